#!/usr/bin/python3
"""Measures four set-ups of the same WordPress and shop, and writes docs/study.html and its data as CSV.

    a  one server           one web server, one database                             docker/single.yaml
    b  load balancing       nginx, two web servers, one database                     tests/cluster/setups/balanced.yaml
    c  Tandem               two of everything, Tandem                                docker/cluster.yaml
    d  HAProxy and scripts  two of everything, HAProxy; the databases' virtual IP and scripts run by keepalived
                                                                                     tests/cluster/setups/haproxy.yaml

Each is measured in calm, under growing load (wrk), and with each part killed, hung and cut off from the network in turn.
What fails is written down, and the study goes on with the next phase.

    tests/cluster/study.py                    all of it: some 40 minutes
    tests/cluster/study.py --short            shorter phases: some 20 minutes
    tests/cluster/study.py --only c           one of them; the CSV files keep what they have of the others
    tests/cluster/study.py --resume           those that the CSV files do not have whole
    tests/cluster/report.py                   only the report, of the CSV files that there are
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field

from compose import ROOT, Compose, cable, can_fail_over, engine, run, state, until
from report import write_report
from visitors import Visitors, answers

RAW = ROOT / "target/study"
DATA = ROOT / "docs/study"
VISITORS = (("reader", 3), ("editor", 1), ("commenter", 1), ("order", 2), ("plain order", 2))
THINK = 0.15
# How long a visitor waits for an answer.
PATIENCE = 20
# For a set-up's harms, in seconds: what is left then is not measured.
BUDGET = 15 * 60
# What may go wrong with a cluster in a phase, without the study being wrong.
WRONG = (TimeoutError, RuntimeError, LookupError, OSError, AssertionError, subprocess.TimeoutExpired)


@dataclass
class Setup:
    name: str
    file: str
    net: str
    address: str
    web: str
    # What is done harm to: how the report calls it, and the service it is at that moment.
    parts: dict
    databases: tuple
    environment: dict = field(default_factory=dict)


def first(service):
    return lambda cluster: (service,)


def holder(address, *services):
    """Who of them has a virtual IP."""
    def find(cluster):
        for service in services:
            if f" {address}/" in cluster.inside(service, "ip", "-4", "-oneline", "address"):
                return (service,)
        raise LookupError(f"nobody has {address}")
    return find


def tandem_says(net, role):
    def find(cluster):
        for number in (31, 32):
            try:
                known = state(f"{net}.{number}")
            except OSError:
                continue
            return (next(server["name"] for server in known["servers"] if server["role"] == role),)
        raise LookupError("no Tandem answers")
    return find


def other(find, *services):
    return lambda cluster: tuple(service for service in services if service not in find(cluster))


def rack(find, *kinds):
    """All that stands beside a database."""
    def of(cluster):
        (database,) = find(cluster)
        return tuple(f"{kind}-{database[-1]}" for kind in kinds)
    return of


ACTIVE = {"c": tandem_says("172.28.0", "active"), "d": holder("172.28.3.101", "database-1", "database-2")}
SETUPS = {
    "a": Setup("one server", "docker/single.yaml", "172.28.1", "172.28.1.21", "single-web",
               {"web server": first("single-web"), "active database": first("single-database")}, ("single-database",)),
    "b": Setup("load balancing", "tests/cluster/setups/balanced.yaml", "172.28.2", "172.28.2.11", "web-1",
               {"load balancer": first("balancer-1"), "web server": first("web-1"), "active database": first("database-1")},
               ("database-1",)),
    "c": Setup("Tandem", "docker/cluster.yaml", "172.28.0", "172.28.0.100", "web-1",
               {"load balancer": holder("172.28.0.100", "balancer-1", "balancer-2"), "web server": first("web-1"),
                "proxy": first("tandem-1"), "standby database": other(ACTIVE["c"], "database-1", "database-2"),
                "active database": ACTIVE["c"], "rack": rack(ACTIVE["c"], "balancer", "web", "tandem", "database", "etcd")},
               ("database-1", "database-2"), {"MIN_INTERVAL": "2s"}),
    "d": Setup("HAProxy and scripts", "tests/cluster/setups/haproxy.yaml", "172.28.3", "172.28.3.100", "web-1",
               {"load balancer": holder("172.28.3.100", "balancer-1", "balancer-2"), "web server": first("web-1"),
                "proxy": first("haproxy-1"), "standby database": other(ACTIVE["d"], "database-1", "database-2"),
                "active database": ACTIVE["d"], "rack": rack(ACTIVE["d"], "balancer", "web", "haproxy", "database")},
               ("database-1", "database-2")),
}


@dataclass
class Length:
    calm: float
    load: float
    connections: tuple
    # For how long a part is gone before somebody brings it back.
    gone: float
    after: float


LONG = Length(calm=40, load=6, connections=(1, 4, 16, 32), gone=12, after=3)
SHORT = Length(calm=12, load=4, connections=(1, 16), gone=8, after=1)


class Files:
    """The CSV files: a row is written as soon as it is known, and replaces what an earlier run of the set-up has written."""

    COLUMNS = {
        "phases": ("setup", "phase", "begun", "seconds", "load_average", "outcome"),
        "tries": ("setup", "phase", "kind", "begun_s", "seconds", "outcome", "again", "waited_s", "detail"),
        "load": ("setup", "scenario", "connections", "requests", "requests_per_s", "errors", "counted", "p50_ms", "p90_ms", "p99_ms",
                 "longest_ms"),
        "faults": ("setup", "part", "harm", "services", "tries", "error_pages", "lost_connections", "timeouts", "no_success_s",
                   "longest_wait_s", "order_wait_s", "no_order_s", "detected_s", "failed_over_s", "whole_again_s", "repair", "acknowledged",
                   "missing", "doubled", "lag_after_ms"),
        "parts": ("setup", "phase", "service", "cpu_percent", "cpu_ms_per_request", "memory_mb"),
    }

    def __init__(self):
        self.rows = {name: [] for name in self.COLUMNS}
        for name in self.COLUMNS:
            if self.path(name).exists():
                with self.path(name).open() as file:
                    self.rows[name] = list(csv.DictReader(file))

    def whole(self):
        """The set-ups of which all has been measured."""
        return {row["setup"] for row in self.rows["phases"] if row["phase"] == "end"}

    def forget(self, letter):
        for name, rows in self.rows.items():
            self.rows[name] = [row for row in rows if row["setup"] != letter]

    @classmethod
    def path(cls, name):
        # Every single try is much, and stays out of the repository.
        return (RAW if name == "tries" else DATA) / f"{name}.csv"

    def add(self, name, **row):
        assert set(row) <= set(self.COLUMNS[name]), row
        self.rows[name].append(row)

    def store(self):
        for name, columns in self.COLUMNS.items():
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".new").open("w", newline="") as file:
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(sorted(self.rows[name], key=lambda row: row["setup"]))
            path.with_suffix(".new").rename(path)


class Study:
    def __init__(self, letter, options, files):
        self.letter, self.files = letter, files
        self.length = SHORT if options.short else LONG
        self.harms = options.harms.split(",")
        self.parts = {part: find for part, find in SETUPS[letter].parts.items() if part not in options.spare.split(",")}
        self.setup = SETUPS[letter]
        self.cluster = Compose(self.setup.file, f"study-{letter}", self.setup.environment)
        self.visitors = None

    def play(self):
        try:
            self.renew()
            self.phase("calm", self.calm)
            self.visitors.end()
            for scenario in ("page", "order"):
                self.phase(f"growing load of {scenario}s", lambda scenario=scenario: self.grow(scenario))
            self.visit()
            begun = time.monotonic()
            for part, find in self.parts.items():
                for harm in self.harms:
                    # One machine that hangs is a part; a rack loses its power or its network.
                    if (part, harm) == ("rack", "hang"):
                        continue
                    if time.monotonic() > begun + BUDGET:
                        self.note(f"{harm} {part}", 0, "not measured: out of time")
                    elif not self.phase(f"{harm} {part}", lambda part=part, find=find, harm=harm: self.strike(part, find(self.cluster), harm)):
                        self.visitors.end()
                        self.cluster.down()
                        self.renew()
            self.visitors.end()
            self.note("end", 0, "ok")
        finally:
            self.files.store()
            self.cluster.down()

    def phase(self, name, action):
        """Does it, and writes down how that went. What fails is the cluster's affair, and the study goes on."""
        self.say(name)
        begun = time.time()
        try:
            action()
            outcome = "ok"
        except WRONG as error:
            outcome = f"{type(error).__name__}: {str(error).strip()[-300:]}"
            self.say(f"{name} failed: {outcome}")
        self.note(name, time.time() - begun, outcome)
        return outcome == "ok"

    def note(self, name, seconds, outcome):
        with open("/proc/loadavg") as file:
            load = file.read().split()[0]
        self.files.add("phases", setup=self.letter, phase=name, begun=time.strftime("%H:%M:%S", time.gmtime(time.time() - seconds)),
                       seconds=round(seconds), load_average=load, outcome=outcome)
        self.files.store()

    def renew(self):
        """Starts the set-up with nothing in it, and lets the visitors in."""
        begun = time.time()
        self.cluster.up()
        until("the site answers", 60, lambda: answers(self.setup.address))
        until("everything is well", 90, self.whole)
        self.note("start", time.time() - begun, "ok")
        self.visit()

    def visit(self):
        self.visitors = Visitors(self.setup.address, timeout=PATIENCE, password=self.cluster.secret("owner", self.setup.web))
        for kind, count in VISITORS:
            self.visitors.begin(kind, count, THINK)
        self.phase("visitors arrive", lambda: self.served(0, 40))

    def served(self, moment, seconds):
        try:
            until("everybody is served", seconds, lambda: self.visitors.served_since(moment))
        except TimeoutError as error:
            raise TimeoutError(f"{error}; " + "; ".join(self.visitors.unserved_since(moment))) from None

    def say(self, words):
        print(f"{time.strftime('%H:%M:%S')} {self.letter} ({self.setup.name}) {words}", flush=True)

    def calm(self):
        begun, before = time.time(), self.cluster.used()
        time.sleep(self.length.calm)
        after = self.cluster.used()
        self.parts_used("calm", before, after, time.time() - begun, sum(one.outcome == "ok" for one in self.visitors.since(begun)))
        self.write_tries("calm", begun)

    def parts_used(self, phase, before, after, seconds, requests):
        for service, (cpu, memory) in after.items():
            spent = cpu - before[service][0]
            self.files.add("parts", setup=self.letter, phase=phase, service=service, cpu_percent=round(100 * spent / seconds, 1),
                           cpu_ms_per_request=round(1000 * spent / max(requests, 1), 2), memory_mb=round(memory, 1))

    def grow(self, scenario):
        """As many requests as it can take, by wrk: WordPress's front page, or plain orders. The database counts the orders, too."""
        path, script = {"page": ("/", ()), "order": ("/cluster/orders.php", ("--script", str(ROOT / "tests/cluster/order.lua")))}[scenario]
        begun, before, total = time.time(), self.cluster.used(), 0
        for connections in self.length.connections:
            counted = self.orders_there()
            text = run("wrk", "--latency", "--threads", "1", "--connections", str(connections), "--duration",
                       f"{self.length.load:.0f}s", "--timeout", f"{PATIENCE}s", *script, f"http://{self.setup.address}{path}",
                       timeout=self.length.load + 2 * PATIENCE)
            figure = {name: milliseconds(value) for name, value in re.findall(r"(50|90|99)%\s+([\d.]+\w+)", text)}
            longest = re.search(r"Latency\s+\S+\s+\S+\s+(\S+)", text).group(1)
            errors = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
            errors += sum(int(count) for counts in re.findall(r"Socket errors: (.*)", text) for count in re.findall(r"\d+", counts))
            requests = int(re.search(r"(\d+) requests in", text).group(1))
            total += requests
            self.files.add("load", setup=self.letter, scenario=scenario, connections=connections, requests=requests,
                           requests_per_s=float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), errors=errors,
                           counted=self.orders_there() - counted if scenario == "order" else "",
                           p50_ms=figure.get("50", ""), p90_ms=figure.get("90", ""), p99_ms=figure.get("99", ""),
                           longest_ms=milliseconds(longest))
        self.parts_used(f"{scenario}s", before, self.cluster.used(), time.time() - begun, total)

    def orders_there(self):
        """What the databases have of wrk's orders: the more of them."""
        return max(int(self.sql(database, "SELECT COUNT(*) FROM shop.plain_orders WHERE token LIKE 'wrk%'")[0][0])
                   for database in self.setup.databases)

    def strike(self, part, services, harm):
        containers = [self.cluster.container(service) for service in services]
        links = [cable(container) for container in containers] if harm == "cut" else []
        begun = time.time()
        harmed(harm, containers, links)
        detected = {}
        while time.time() < begun + self.length.gone:
            self.look(begun, detected)
            time.sleep(0.1)
        undo = {"kill": ("start", *containers), "hang": ("unpause", *containers)}.get(harm)
        if undo:
            run("docker", *undo)
        for link, ip in links:
            run(*ip, "link", "set", link, "up")
        back, repair = time.time(), ""
        if self.patiently(self.whole, 30):
            whole = round(time.time() - back, 2)
        else:
            # It does not come back by itself, and the report says so.
            whole, repair = "", self.repair()
        try:
            # A connection to what hung may hang on, for as long as its visitor has patience: that is this harm's doing.
            self.served(back, 1.5 * PATIENCE)
            time.sleep(self.length.after)
        finally:
            self.judge(part, harm, services, begun, whole, repair, detected)
        if not self.whole():
            raise RuntimeError(f"not whole after all: {repair}")

    def look(self, begun, detected):
        """Notes when Tandem has noticed and when it has promoted somebody, as its events tell."""
        if self.letter != "c":
            return
        for number in (31, 32):
            try:
                known = state(f"{self.setup.net}.{number}", timeout=0.5)
            except OSError:
                continue
            now = time.time()
            for event in known["events"]:
                at = now - event["age_ms"] / 1000 - begun
                if event["event"] in ("suspected", "promoted") and at > 0:
                    detected.setdefault(event["event"], round(at, 2))

    def judge(self, part, harm, services, begun, whole, repair, detected):
        self.write_tries(f"{harm} {part}", begun)
        tries = self.visitors.since(begun)
        count = lambda outcome: sum(one.outcome == outcome for one in tries)
        ends = sorted(one.ended for one in tries if one.outcome == "ok")
        gaps = [later - earlier for earlier, later in zip([begun] + ends, ends)]
        # What somebody waited before the harm was done is not its doing.
        waits = [(one.kind, one.ended - max(one.wanted, begun)) for one in tries if one.outcome == "ok"]
        written = sorted(one.ended for one in tries if one.kind in ("order", "plain order") and one.outcome == "ok")
        pauses = [later - earlier for earlier, later in zip([begun] + written, written)]
        acknowledged, missing, doubled = self.ledger()
        self.files.add("faults", setup=self.letter, part=part, harm=harm, services=" ".join(services), tries=len(tries),
                       error_pages=count("error page"), lost_connections=count("broken"), timeouts=count("timeout"),
                       no_success_s=round(max(gaps, default=0), 2), longest_wait_s=round(max((wait for _, wait in waits), default=0), 2),
                       order_wait_s=round(max((wait for kind, wait in waits if kind == "order"), default=0), 2),
                       no_order_s=round(max(pauses, default=0), 2),
                       detected_s=detected.get("suspected", ""), failed_over_s=detected.get("promoted", ""), whole_again_s=whole,
                       repair=repair, acknowledged=acknowledged, missing=missing, doubled=doubled, lag_after_ms=self.lag())

    def ledger(self):
        """How many orders were acknowledged so far, and of these what the databases lack (the one that has more of them counts: the other may be
        late, or quarantined), and what stands there twice."""
        missing, doubled = "", 0
        # What is acknowledged after this may come later than what the databases are asked.
        acknowledged = self.visitors.orders | self.visitors.plain_orders
        for database in self.setup.databases:
            there = [token for (token,) in self.sql(database, "SELECT token FROM shop.orders UNION ALL "
                                                    "SELECT token FROM shop.plain_orders WHERE token NOT LIKE 'wrk%'")]
            lacks = len(acknowledged - set(there))
            missing = lacks if missing == "" else min(missing, lacks)
            doubled = max(doubled, len(there) - len(set(there)))
        return len(acknowledged), missing, doubled

    def write_tries(self, phase, begun):
        for one in self.visitors.since(begun):
            self.files.add("tries", setup=self.letter, phase=phase, kind=one.kind, begun_s=round(one.begun - begun, 3),
                           seconds=round(one.ended - one.begun, 4), outcome=one.outcome, again=int(one.again),
                           waited_s=round(one.ended - one.wanted, 4), detail=one.detail[:80])

    def sql(self, database, question):
        return self.cluster.sql(database, question)

    def whole(self):
        """Whether it is as before the harm: all containers well, and both databases replicating."""
        if self.cluster.unwell():
            return False
        if self.letter == "c":
            return can_fail_over([f"{self.setup.net}.{number}" for number in (31, 32)])
        if self.letter == "d":
            return all(self.replicates(database) for database in self.setup.databases)
        return True

    def replicates(self, database):
        try:
            rows = self.sql(database, "SHOW ALL SLAVES STATUS")
        except RuntimeError:
            return False
        # Slave_IO_Running and Slave_SQL_Running.
        return bool(rows) and rows[0][12:14] == ["Yes", "Yes"]

    def lag(self):
        """How far the standby is behind when everything is whole again, in milliseconds, where it is known so exactly."""
        if self.letter != "c":
            return ""
        try:
            return max((server["lag_ms"] or 0) for server in state(f"{self.setup.net}.31")["servers"])
        except OSError:
            return ""

    def repair(self):
        """What an operator would do where a set-up does not come back by itself; says what it was, and how long it took."""
        begun, done = time.time(), []
        try:
            unwell = self.cluster.unwell()
            if unwell:
                self.cluster.docker("restart", *unwell)
                done.append("restarted " + ", ".join(unwell))
                self.patiently(self.whole, 30)
            if self.letter in ACTIVE and not self.whole():
                (active,) = ACTIVE[self.letter](self.cluster)
                (standby,) = other(ACTIVE[self.letter], *self.setup.databases)(self.cluster)
                {"c": self.remake_behind_tandem, "d": self.remake_behind_scripts}[self.letter](standby, active)
                done.append(f"{standby} made anew from a backup")
            self.patiently(self.whole, 40)
        except WRONG as error:
            done.append(f"in vain: {str(error).strip()[-200:]}")
        repair = f"{' and '.join(done) or 'waited'}: {time.time() - begun:.0f} s"
        self.say(repair)
        return repair

    @staticmethod
    def patiently(condition, seconds):
        """Whether it has come true within this time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return True

    def remake_behind_tandem(self, standby, active):
        self.cluster.replace(standby, active)
        until(f"{standby} could take over", 40, self.whole)
        self.follow(active)

    def remake_behind_scripts(self, standby, active):
        self.cluster.remake(standby, active)
        password = self.cluster.inside(standby, "cat", "/run/secrets/replication").strip()
        self.sql(standby, f"CHANGE MASTER TO MASTER_HOST = '{active}', MASTER_USER = 'replication', MASTER_PASSWORD = '{password}', "
                          "MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1; START SLAVE")
        until(f"{standby} replicates", 40, lambda: self.replicates(standby))
        self.follow(active)

    def follow(self, active):
        """It replicates from the other too, and where it stood there is in no binary log of the one that was made anew. Nor is where it stands now,
        before that one has caught up."""
        def follows():
            self.sql(active, "STOP SLAVE; SET GLOBAL gtid_slave_pos = @@GLOBAL.gtid_binlog_pos; START SLAVE")
            time.sleep(1)
            return self.replicates(active)
        until(f"{active} replicates", 40, follows)


def harmed(harm, containers, links):
    for link, ip in links:
        run(*ip, "link", "set", link, "down")
    if harm == "kill":
        run("docker", "kill", *containers)
    for container in containers if harm == "hang" else ():
        # A container whose processes are just being born may refuse to be suspended.
        for tries_left in reversed(range(5)):
            try:
                run("docker", "pause", container)
                break
            except RuntimeError:
                if not tries_left:
                    raise
                time.sleep(0.3)


def milliseconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s|m)", text).groups()
    return round(float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit], 2)


def machine(program):
    """What the report says of where this was measured."""
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read()).group(1)) // 1024
    cores = open("/proc/cpuinfo").read().count("processor\t")
    return {
        "processor": f"{cores} cores of {model.group(1) if model else 'an unknown kind'}", "memory": f"{memory} MiB",
        "kernel": " ".join(run("uname", "-sr").split()), "Docker": run("docker", "version", "--format", "{{.Server.Version}}").strip(),
        "MariaDB": run("docker", "run", "--rm", "--entrypoint", "mariadbd", "tandem/database", "--version").split("Ver ")[1].split()[0],
        "Tandem": program,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="abcd", metavar="LETTERS")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--harms", default="kill,hang,cut")
    parser.add_argument("--spare", default="", metavar="PARTS", help="parts to which no harm is done, by the report's names")
    parser.add_argument("--note", default="", help="what a reader of the report has to know of this run")
    parser.add_argument("--program", default="as docker/tandem/program has it", help="how Tandem was compiled")
    options = parser.parse_args()
    # The visitors and wrk need little of the processor, but at once: what they wait for it would look like the cluster's slowness.
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    engine()
    # The images that the others are made of.
    Compose("docker/cluster.yaml", "study-c").call("build")
    files = Files()
    letters = [letter for letter in options.only if not (options.resume and letter in files.whole())]
    about = DATA / "machine.json"
    known = json.loads(about.read_text()) if about.exists() else {"runs": {}}
    failed = []
    for letter in letters:
        files.forget(letter)
        begun = time.time()
        try:
            Study(letter, options, files).play()
        except WRONG as error:  # The others are measured all the same.
            failed.append(f"{letter}: {type(error).__name__}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
        # The last that changed what Tandem is made of.
        commit = subprocess.run(["git", "log", "-1", "--format=%h", "--", "proxy", "protocol", "Cargo.lock"], cwd=ROOT, capture_output=True,
                                text=True, check=False)
        known["machine"] = machine(options.program)
        known["runs"][letter] = {
            "measured": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begun)), "minutes": round((time.time() - begun) / 60, 1),
            "phases": "short" if options.short else "full", "gone_s": (SHORT if options.short else LONG).gone,
            "commit": commit.stdout.strip(), "note": options.note,
        }
        DATA.mkdir(parents=True, exist_ok=True)
        about.write_text(json.dumps(known, indent=1) + "\n")
        write_report(DATA, RAW)
    if failed:
        sys.exit("not measured: " + "\n".join(failed))


if __name__ == "__main__":
    main()
