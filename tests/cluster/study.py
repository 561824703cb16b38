#!/usr/bin/python3
"""Measures four set-ups of the same WordPress and shop, and writes docs/study.html and its data as CSV.

    a  one server          one web server, one database                              docker/single.yaml
    b  load balancing      nginx, two web servers, one database                      tests/cluster/setups/balanced.yaml
    c  Tandem              two of everything, Tandem                                 docker/cluster.yaml
    d  HAProxy and scripts  two of everything, HAProxy; the databases' virtual IP and scripts run by keepalived
                                                                                     tests/cluster/setups/haproxy.yaml

Each is measured in calm, under growing load (wrk), and with each part killed, hung and cut off from the network in turn.

    tests/cluster/study.py                    all of it: under an hour
    tests/cluster/study.py --short            shorter phases: some 25 minutes
    tests/cluster/study.py --only c --short   one of them, into the same CSV files as the others'
"""

import argparse
import csv
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
    return lambda setup, cluster: service


def holder(address, *services):
    """Who of them has a virtual IP."""
    def find(setup, cluster):
        for service in services:
            if f" {address}/" in cluster.inside(service, "ip", "-4", "-oneline", "address"):
                return service
        raise LookupError(f"nobody has {address}")
    return find


def tandem_says(role):
    def find(setup, cluster):
        known = state(f"{setup.net}.31")
        return next(server["name"] for server in known["servers"] if server["role"] == role)
    return find


def other(find, *services):
    return lambda setup, cluster: next(service for service in services if service != find(setup, cluster))


SETUPS = {
    "a": Setup("one server", "docker/single.yaml", "172.28.1", "172.28.1.21", "single-web",
               {"web server": first("single-web"), "active database": first("single-database")}, ("single-database",)),
    "b": Setup("load balancing", "tests/cluster/setups/balanced.yaml", "172.28.2", "172.28.2.11", "web-1",
               {"load balancer": first("balancer-1"), "web server": first("web-1"), "active database": first("database-1")},
               ("database-1",)),
    "c": Setup("Tandem", "docker/cluster.yaml", "172.28.0", "172.28.0.100", "web-1",
               {"load balancer": holder("172.28.0.100", "balancer-1", "balancer-2"), "web server": first("web-1"),
                "proxy": first("tandem-1"), "standby database": tandem_says("standby"), "active database": tandem_says("active")},
               ("database-1", "database-2"), {"MIN_INTERVAL": "2s"}),
    "d": Setup("HAProxy and scripts", "tests/cluster/setups/haproxy.yaml", "172.28.3", "172.28.3.100", "web-1",
               {"load balancer": holder("172.28.3.100", "balancer-1", "balancer-2"), "web server": first("web-1"),
                "proxy": first("haproxy-1"),
                "standby database": other(holder("172.28.3.101", "database-1", "database-2"), "database-1", "database-2"),
                "active database": holder("172.28.3.101", "database-1", "database-2")}, ("database-1", "database-2")),
}


@dataclass
class Length:
    calm: float
    load: float
    connections: tuple
    # For how long a part is gone before somebody brings it back.
    gone: float
    after: float


LONG = Length(calm=60, load=15, connections=(1, 2, 4, 8, 16, 32), gone=20, after=5)
SHORT = Length(calm=12, load=5, connections=(1, 4, 16), gone=6, after=1)


class Files:
    """The CSV files: a row is written as soon as it is known, and replaces what an earlier run of the set-up has written."""

    COLUMNS = {
        "tries": ("setup", "phase", "kind", "begun_s", "seconds", "outcome", "again", "waited_s", "detail"),
        "load": ("setup", "scenario", "connections", "requests_per_s", "errors", "p50_ms", "p90_ms", "p99_ms", "longest_ms"),
        "faults": ("setup", "part", "harm", "service", "tries", "error_pages", "lost_connections", "timeouts", "no_success_s",
                   "longest_wait_s", "order_wait_s", "no_order_s", "detected_s", "failed_over_s", "whole_again_s", "acknowledged",
                   "missing", "doubled", "longest_lag_ms"),
        "parts": ("setup", "phase", "service", "cpu_percent", "memory_mb"),
    }

    def __init__(self, letters):
        self.rows = {name: [] for name in self.COLUMNS}
        for name in self.COLUMNS:
            path = self.path(name)
            if path.exists():
                with path.open() as file:
                    self.rows[name] = [row for row in csv.DictReader(file) if row["setup"] not in letters]

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
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(sorted(self.rows[name], key=lambda row: row["setup"]))


class Study:
    def __init__(self, letter, options, files):
        self.letter, self.files = letter, files
        self.length = SHORT if options.short else LONG
        self.harms = options.harms.split(",")
        self.parts = {part: find for part, find in SETUPS[letter].parts.items() if part not in options.spare.split(",")}
        self.setup = SETUPS[letter]
        self.cluster = Compose(self.setup.file, f"study-{letter}", self.setup.environment)

    def play(self):
        self.say("starts")
        try:
            self.cluster.up()
            until("the site answers", 60, lambda: answers(self.setup.address))
            until("everything is well", 90, self.whole)
            self.visit()
            self.calm()
            self.visitors.end()
            self.grow()
            self.visit()
            for part, find in self.parts.items():
                for harm in self.harms:
                    self.strike(part, find(self.setup, self.cluster), harm)
            self.visitors.end()
        finally:
            self.files.store()
            self.cluster.down()

    def visit(self):
        self.visitors = Visitors(self.setup.address, timeout=30, password=self.cluster.secret("owner", self.setup.web))
        for kind, count in VISITORS:
            self.visitors.begin(kind, count, THINK)
        until("everybody is there", 60, lambda: self.visitors.served_since(0))

    def say(self, words):
        print(f"{time.strftime('%H:%M:%S')} {self.letter} ({self.setup.name}) {words}", flush=True)

    def calm(self):
        self.say("in calm")
        begun = time.time()
        usage = []
        while time.time() < begun + self.length.calm:
            usage += self.usage()
        for service in sorted({service for service, _, _ in usage}):
            mine = [(cpu, memory) for one, cpu, memory in usage if one == service]
            self.files.add("parts", setup=self.letter, phase="calm", service=service,
                           cpu_percent=round(sum(cpu for cpu, _ in mine) / len(mine), 1),
                           memory_mb=round(max(memory for _, memory in mine), 1))
        self.write_tries("calm", begun)

    def usage(self):
        """CPU, in percent of a core, and memory of each container, as Docker counts them over a second."""
        text = run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}}")
        units = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0, "B": 0.0}
        found = []
        for line in text.splitlines():
            match = re.match(rf"study-{self.letter}_(.+)_1 ([\d.]+)% ([\d.]+)([KMG]?i?B) ", line)
            if match:
                service, cpu, memory, unit = match.groups()
                found.append((service, float(cpu), float(memory) * units[unit]))
        return found

    def grow(self):
        """As many requests as it can take, by wrk: WordPress's front page, and plain orders."""
        for scenario, path in (("page", "/"), ("order", "/cluster/orders.php")):
            for connections in self.length.connections:
                script = ("--script", str(ROOT / "tests/cluster/order.lua")) if scenario == "order" else ()
                text = run("wrk", "--latency", "--threads", "1", "--connections", str(connections), "--duration",
                           f"{self.length.load:.0f}s", "--timeout", "20s", *script, f"http://{self.setup.address}{path}", timeout=120)
                figure = {name: milliseconds(value) for name, value in re.findall(r"(50|90|99)%\s+([\d.]+\w+)", text)}
                longest = re.search(r"Latency\s+\S+\s+\S+\s+(\S+)", text).group(1)
                errors = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
                errors += sum(int(count) for counts in re.findall(r"Socket errors: (.*)", text) for count in re.findall(r"\d+", counts))
                self.files.add("load", setup=self.letter, scenario=scenario, connections=connections,
                               requests_per_s=float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), errors=errors,
                               p50_ms=figure["50"], p90_ms=figure["90"], p99_ms=figure["99"], longest_ms=milliseconds(longest))
            self.say(f"has taken its load of {scenario}s")

    def strike(self, part, service, harm):
        self.say(f"{harm}s the {part}, {service}")
        container = self.cluster.container(service)
        link, ip = cable(container)
        do = {"kill": ("docker", "kill", container), "hang": ("docker", "pause", container), "cut": (*ip, "link", "set", link, "down")}
        undo = {"kill": ("docker", "start", container), "hang": ("docker", "unpause", container), "cut": (*ip, "link", "set", link, "up")}
        begun = time.time()
        harmed(do[harm])
        detected = {}
        while time.time() < begun + self.length.gone:
            self.look(begun, detected)
            time.sleep(0.1)
        run(*undo[harm])
        back = time.time()
        try:
            until(f"{self.letter} is whole again", 60, self.whole)
            whole = round(time.time() - back, 2)
        except TimeoutError:
            # It does not come back by itself. The report says so; an operator restarts what is wrong.
            whole = ""
            self.repair()
        lag = self.lag()
        # A connection to what hung may hang on, for as long as its visitor has patience: that is this harm's doing.
        try:
            until("everybody is served again", 90, lambda: self.visitors.served_since(back))
        except TimeoutError:
            self.say("somebody is still not served")
        time.sleep(self.length.after)
        self.judge(part, harm, service, begun, whole, detected, lag)

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

    def judge(self, part, harm, service, begun, whole, detected, lag):
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
        self.files.add("faults", setup=self.letter, part=part, harm=harm, service=service, tries=len(tries),
                       error_pages=count("error page"), lost_connections=count("broken"), timeouts=count("timeout"),
                       no_success_s=round(max(gaps, default=0), 2), longest_wait_s=round(max((wait for _, wait in waits), default=0), 2),
                       order_wait_s=round(max((wait for kind, wait in waits if kind == "order"), default=0), 2),
                       no_order_s=round(max(pauses, default=0), 2),
                       detected_s=detected.get("suspected", ""), failed_over_s=detected.get("promoted", ""), whole_again_s=whole,
                       acknowledged=acknowledged, missing=missing, doubled=doubled, longest_lag_ms=lag)

    def ledger(self):
        """How many orders were acknowledged so far, and of these what the database that serves lacks (the other may be late, or
        quarantined), and what stands there twice."""
        missing, doubled = None, 0
        # What is acknowledged after this may come later than what the databases are asked.
        orders, plain = set(self.visitors.orders), set(self.visitors.plain_orders)
        for database in self.setup.databases:
            there = [token for (token,) in self.sql(database, "SELECT token FROM shop.orders UNION ALL SELECT token FROM shop.plain_orders")]
            lacks = len((orders | plain) - set(there))
            missing = lacks if missing is None else min(missing, lacks)
            doubled = max(doubled, len(there) - len(set(there)))
        return len(orders) + len(plain), missing, doubled

    def write_tries(self, phase, begun):
        for one in self.visitors.since(begun):
            self.files.add("tries", setup=self.letter, phase=phase, kind=one.kind, begun_s=round(one.begun - begun, 3),
                           seconds=round(one.ended - one.begun, 4), outcome=one.outcome, again=int(one.again),
                           waited_s=round(one.ended - one.wanted, 4), detail=one.detail[:80])

    def sql(self, database, question):
        # keepalived runs as root there, and so does what is run beside it.
        before = ("setpriv", "--reuid=mysql", "--clear-groups") if self.letter == "d" else ()
        return self.cluster.sql(database, question, before)

    def whole(self):
        """Whether it is as before the harm: all containers well, and both databases replicating."""
        if not all(self.cluster.healthy(service) for service in self.cluster.services()
                   if not service.endswith("secrets") and not service.startswith("haproxy")):
            return False
        if self.letter == "c":
            return can_fail_over([f"{self.setup.net}.{number}" for number in (31, 32)])
        if self.letter == "d":
            return all(self.replicates(database) for database in self.setup.databases)
        return True

    def replicates(self, database):
        rows = self.sql(database, "SHOW ALL SLAVES STATUS")
        # Slave_IO_Running and Slave_SQL_Running.
        return bool(rows) and rows[0][12:14] == ["Yes", "Yes"]

    def lag(self):
        """How far the standby is behind when everything is whole again, in milliseconds, where it is known so exactly."""
        if self.letter != "c":
            return ""
        known = state(f"{self.setup.net}.31")
        return max((server["lag_ms"] or 0) for server in known["servers"])

    def repair(self):
        self.say("does not come back by itself: what an operator would do")
        if self.letter == "d":
            for database in self.setup.databases:
                self.say(f"{database}: " + str(self.sql(database, "SHOW ALL SLAVES STATUS")[0][10:22]))
                self.sql(database, "STOP SLAVE; START SLAVE")
        else:
            for service in self.cluster.services():
                if not service.endswith("secrets") and not self.cluster.healthy(service):
                    self.cluster.docker("restart", service)
        try:
            until("it is whole after all", 60, self.whole)
        except TimeoutError:
            self.say("is still not whole")


def harmed(command):
    """A container whose processes are just being born may refuse to be suspended."""
    for _ in range(4):
        try:
            return run(*command)
        except RuntimeError:
            time.sleep(0.3)
    return run(*command)


def milliseconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s|m)", text).groups()
    return round(float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit], 2)


def machine(begun, options, letters):
    """What the report says of where and how this was measured."""
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read()).group(1)) // 1024
    cores = open("/proc/cpuinfo").read().count("processor\t")
    load = open("/proc/loadavg").read().split()[:3]
    commit = subprocess.run(["git", "describe", "--always"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "measured": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begun)), "minutes": round((time.time() - begun) / 60),
        "set-ups of this run": ", ".join(letters), "length": "short" if options.short else "full", "note": options.note,
        "processor": f"{cores} cores of {model.group(1) if model else 'an unknown kind'}", "memory": f"{memory} MiB",
        "kernel": " ".join(run("uname", "-sr").split()), "load average at its end": " ".join(load), "commit": commit,
        "Docker": run("docker", "version", "--format", "{{.Server.Version}}").strip(),
        "Tandem": options.program,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="abcd", metavar="LETTERS")
    parser.add_argument("--harms", default="kill,hang,cut")
    parser.add_argument("--spare", default="", metavar="PARTS", help="parts to which no harm is done, by the report's names")
    parser.add_argument("--note", default="", help="what a reader of the report has to know of this run")
    parser.add_argument("--program", default="as docker/tandem/program has it", help="how Tandem was compiled")
    options = parser.parse_args()
    begun = time.time()
    engine()
    # The images that the others are made of.
    Compose("docker/cluster.yaml", "study-c").call("build")
    files = Files(options.only)
    failed = []
    for letter in options.only:
        try:
            Study(letter, options, files).play()
        except Exception as error:  # The others are measured all the same.
            failed.append(f"{letter}: {type(error).__name__}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
    write_report(DATA, RAW, machine(begun, options, options.only))
    if failed:
        sys.exit("not measured: " + "\n".join(failed))


if __name__ == "__main__":
    main()
