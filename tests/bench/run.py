#!/usr/bin/python3
"""What a statement costs through Tandem, beside other proxies and without any: `make bench`.

    tests/bench/run.py                 all scenarios, and writes docs/bench
    ONLY=text,connect ROUNDS=5         only these, so many rounds each
    SECONDS=4                          of each round, in which is counted; half a second before it isn't
    WRITE=0                            only prints
    tests/bench/run.py --report        makes the tables and plots anew out of docs/bench/results.json

One load generator (`load`, one thread) drives one program after the other, round by round, so that what else the
machine does falls on all of them alike. CPU is what the kernel says that the program's threads ran, for each statement.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import ground
import report
import wordpress

ROUNDS = int(os.environ.get("ROUNDS", 3))
SECONDS = float(os.environ.get("SECONDS", 2))
# A page takes as long as a thousand statements.
PAGE_SECONDS = max(1, round(3 * SECONDS))
POINT = ["--statement", "SELECT c FROM item WHERE id = {id}"]
RECONNECT = [*POINT, "--per-connection", "5"]
ALL = list(ground.PEERS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true")
    if parser.parse_args().report:
        report.write(report.read())
        return
    wanted = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(SCENARIOS)
    unknown = set(wanted) - set(SCENARIOS)
    if unknown:
        raise SystemExit(f"ONLY={','.join(unknown)} is none of {', '.join(SCENARIOS)}")
    results = {"versions": ground.versions(), "rounds": ROUNDS, "seconds": SECONDS, "scenarios": {}}
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-bench-")))
        grounds = Grounds(stack, folder)
        for name, scenario in SCENARIOS.items():
            if name in wanted:
                found = results["scenarios"][name] = scenario(grounds)
                print(f"{name}: {found['title']}\n{report.brief(found)}", flush=True)
                results["minutes"] = round((time.monotonic() - began) / 60, 1)
                if os.environ.get("WRITE") != "0":
                    report.write(results)


class Grounds:
    """Servers of each kind, once somebody wants them, and the peers before them."""

    def __init__(self, stack, folder):
        self.stack, self.folder, self.pairs, self.peers = stack, folder, {}, {}

    def home(self, kind):
        home = self.folder / kind
        home.mkdir(exist_ok=True)
        return home

    def pair(self, kind):
        if kind not in self.pairs:
            # One at a time: idle servers are not quite idle.
            for peer in self.peers.values():
                peer.stop()
            for pair in self.pairs.values():
                pair.stop()
            self.peers, self.pairs = {}, {kind: ground.Pair(self.home(kind), kind)}
            self.stack.callback(self.pairs[kind].stop)
        return self.pairs[kind]

    def peer(self, name, kind="mariadb"):
        pair = self.pair(kind)
        if name not in self.peers:
            self.peers[name] = ground.PEERS[name](pair, self.home(kind))
            self.stack.callback(self.peers[name].stop)
        return self.peers[name]

    def tandem(self, name, *settings, kind="mariadb", **more):
        """One of its own, which the caller stops."""
        pair = self.pair(kind)
        return ground.tandem(pair, self.home(kind), *settings, name=name, **more)


def command(peer, arguments):
    return [ground.BUILT / "load", "--address", f"127.0.0.1:{peer.port}", "--user", ground.USER,
            "--password", ground.PASSWORD, "--schema", ground.SCHEMA, *arguments]


def drive(peer, arguments, pair, seconds=SECONDS, before=()):
    """One round; what came of it, or why nothing did."""
    watch = ";".join(["proxy=" + ",".join(map(str, peer.pids())), *(f"{name}={pid}" for name, pid in pair.pids.items())])
    told = subprocess.run([*before, *command(peer, [*arguments, "--seconds", str(seconds), "--watch", watch])],
                          capture_output=True, text=True)
    if told.returncode:
        return {"refused": told.stderr.strip()}
    return json.loads(told.stdout)


def system_calls(peer, arguments, pair):
    """For each statement; in a round of its own, for counting costs time."""
    if not peer.pids() or not shutil.which("perf"):
        return None
    with tempfile.NamedTemporaryFile("r") as counts:
        pids = ",".join(map(str, peer.pids()))
        perf = ["perf", "stat", "-x,", "-o", counts.name, "-e", "raw_syscalls:sys_enter", "-p", pids, "--"]
        told = drive(peer, arguments, pair, seconds=0.5, before=perf)
        numbers = [line.split(",")[0] for line in counts if "raw_syscalls" in line]
    if "refused" in told or not numbers or not numbers[0].isdigit():
        return None
    return int(numbers[0]) / told["all_queries"]


def rounds(pair, driven):
    """Drives each of (name, peer, arguments), round by round."""
    found = {name: {"rounds": []} for name, _, _ in driven}
    for _ in range(ROUNDS):
        for name, peer, arguments in driven:
            found[name]["rounds"].append(drive(peer, arguments, pair))
    for name, peer, arguments in driven:
        found[name]["syscalls"] = system_calls(peer, arguments, pair)
    return found


def compared(title, arguments, kind="mariadb", about="", settings=()):
    """Each peer under the same load."""
    def scenario(grounds):
        pair = grounds.pair(kind)
        with ExitStack() as stack:
            peers = {name: grounds.peer(name, kind) for name in ALL if name != "tandem" or not settings}
            if settings:
                peers["tandem"] = grounds.tandem("tandem-set", *certificate(grounds, settings), kind=kind)
                stack.callback(peers["tandem"].stop)
            found = rounds(pair, [(name, peer, arguments) for name, peer in peers.items()])
        return {"title": title, "about": about, "compares": True, "peers": found}
    return scenario


def certificate(grounds, settings):
    """Puts files that are made here into settings."""
    folder = grounds.folder
    if not (folder / "key.pem").exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
                       check=True, capture_output=True)
    return [setting.format(folder=folder) for setting in settings]


def growing(title, about, settings, steps):
    """Tandem alone, under loads that grow in one way."""
    def scenario(grounds):
        pair = grounds.pair("mariadb")
        peer = grounds.tandem("tandem-alone", *settings)
        try:
            before = peer.memory()
            found = rounds(pair, [(name, peer, arguments) for name, arguments in steps.items()])
            note = f"Memory of its own: {before / 1024:.1f} MiB before, {peer.memory() / 1024:.1f} MiB after all of it."
        finally:
            peer.stop()
        return {"title": title, "about": about, "peers": found, "notes": [note]}
    return scenario


def under_rules(grounds):
    """Rules that look at each statement's account, tables and text, and of which none is met."""
    pair, found = grounds.pair("mariadb"), {}
    with ExitStack() as stack:
        driven = []
        for count in (0, 1, 100, 1000):
            rules = "".join(f'\n[[rule]]\nname = "r{number}"\nuser = "app"\ntables = "absent_{number}"\npattern = "absent_{number}$"\n'
                            'target = "active"\n' for number in range(count))
            peer = grounds.tandem(f"tandem-rules-{count}", rules=rules)
            stack.callback(peer.stop)
            driven.append((f"{count} rules", peer, POINT))
        found = rounds(pair, driven)
    return {"title": "statements under rules", "about": "16 clients; each rule asks for the account, a table and a pattern, and none is met.",
            "peers": found}


def on_pair(grounds):
    """Reads on both servers, and on the active master alone."""
    pair, found = grounds.pair("mariadb"), {}
    both, one = grounds.tandem("tandem-both"), grounds.tandem("tandem-one", "server.b.weight=0")
    try:
        before = selects(pair)
        drive(both, POINT, pair, seconds=1)
        after = selects(pair)
        found = rounds(pair, [("one server", one, POINT), ("the pair", both, POINT)])
    finally:
        both.stop()
        one.stop()
    counts = {name: after[name] - before[name] for name in after}
    share = 100 * counts["b"] / sum(counts.values())
    return {
        "title": "point SELECT on the pair against one server, 16 clients",
        "about": "What a second server adds can't be seen where both have to share the cores with everything else; its share of the reads can.",
        "peers": found, "notes": [f"The standby answered {share:.0f} % of the reads."],
    }


def home_page(grounds):
    """WordPress's home page through each peer."""
    pair = grounds.pair("mariadb")
    root = wordpress.prepare(pair, grounds.folder)
    servers = {name: [pid] for name, pid in pair.pids.items()}
    with ExitStack() as stack:
        driven = []
        for name in ALL:
            peer = grounds.peer(name)
            site = wordpress.serve(name, root, grounds.folder, peer.port)
            stack.callback(site.stop)
            driven.append((name, site, {"proxy": peer.pids(), **servers}))
            # PHP keeps what it has compiled.
            wordpress.run_wrk(site, 1)
        found = {name: {"rounds": []} for name, _, _ in driven}
        reads, by_standby = {name: [] for name in found}, []
        for _ in range(ROUNDS):
            for name, site, watched in driven:
                before = selects(pair)
                told = wordpress.visit(site, watched, PAGE_SECONDS)
                asked = {server: count - before[server] for server, count in selects(pair).items()}
                found[name]["rounds"].append(told)
                reads[name].append(sum(asked.values()) / told.get("all_queries", 1))
                if name == "tandem":
                    by_standby.append(asked["b"] / sum(asked.values()))
    notes = [f"A page is a connection and {median(reads['direct']):.0f} SELECTs.",
             f"The standby answered {100 * median(by_standby):.0f} % of the reads through Tandem, and none through the others."]
    return {"title": f"WordPress's home page, {wordpress.VISITORS} visitors", "unit": "pages", "compares": True, "peers": found, "notes": notes,
            "about": "Apache with mod_php and Debian's WordPress with ten posts, by wrk. What is counted is of a page, not of a statement."}


def beside_writes(grounds):
    """Reads at a pace that leaves the cores idle most of the time, as where each server has cores of its own, while another table is written."""
    pair = grounds.pair("mariadb")
    both, one = grounds.tandem("tandem-both"), grounds.tandem("tandem-one", "server.b.weight=0")
    reads = [*POINT, "--clients", "9", "--pace", "100"]
    writes = ["--statement", "UPDATE hot SET n = n + 1 WHERE id = 1", "--clients", "4", "--pace", "250", "--warm-up", "0",
              "--seconds", str(SECONDS + 1)]
    driven = [("direct", grounds.peer("direct")), ("Tandem, one server", one), ("Tandem, the pair", both)]
    found = {name: {"rounds": []} for name, _ in driven}
    shares, written = [], []
    try:
        for _ in range(ROUNDS):
            for name, peer in driven:
                before = selects(pair)
                with subprocess.Popen(command(peer, writes), stdout=subprocess.PIPE, text=True) as writer:
                    found[name]["rounds"].append(drive(peer, reads, pair))
                    written.append(json.loads(writer.communicate()[0])["rate"])
                after = selects(pair)
                if peer is both:
                    shares.append((after["b"] - before["b"]) / sum(after[server] - before[server] for server in after))
    finally:
        both.stop()
        one.stop()
    return {
        "title": "reads of one table while another is written",
        "about": "9 clients read 100 times a second each, 4 write 250 times a second each, all through the same. The standby follows in each row.",
        "peers": found,
        "notes": [f"The standby answered {100 * median(shares):.0f} % of the reads through Tandem and the pair.",
                  f"Writes a second: {median(written):.0f} ({min(written):.0f} to {max(written):.0f})."],
    }


def counted(grounds):
    """Tandem beside one that counts no statements."""
    pair = grounds.pair("mariadb")
    off, on = (grounds.tandem(f"tandem-{name}", f"statistics.enabled={enabled}", "listener.workers=1")
               for name, enabled in (("uncounted", "false"), ("counted", "true")))
    try:
        found = rounds(pair, [("without", off, POINT), ("with", on, POINT)])
    finally:
        off.stop()
        on.stop()
    pairs = [[told["watched"]["proxy"]["cpu_us"] for told in both if "watched" in told]
             for both in zip(*(peer["rounds"] for peer in found.values()))]
    more = sorted(100 * (on / off - 1) for off, on in (both for both in pairs if len(both) == 2))
    notes = []
    if more:
        notes.append(f"CPU with statistics, against the round beside it without: {more[len(more) // 2]:+.1f} % ({more[0]:+.1f} to {more[-1]:+.1f}).")
    return {"title": "statistics on against off, 16 clients", "about": "`[statistics] enabled`, one worker each.", "peers": found, "notes": notes}


def selects(pair):
    return {name: int(pair.ask(name, "SHOW GLOBAL STATUS LIKE 'Com_select'").split()[1]) for name in pair.ports}


def sleeping(grounds):
    """What a client costs that does nothing."""
    pair, notes = grounds.pair("mariadb"), []
    for name in ALL[1:]:
        for count in (400, 2000, 19_500):
            if name == "tandem":
                peer = grounds.tandem("tandem-sleep", "listener.max_connections=20000")
            elif count == 400:
                peer = ground.PEERS[name](pair, grounds.home("mariadb"))
            else:
                # The servers let 500 in.
                continue
            try:
                notes.append(f"{report.label(name)}: {sleep(peer, count)}")
            finally:
                peer.stop()
    about = ("Each has logged in, asked one thing, and sleeps. Memory is what the process has written to itself; what the kernel keeps for a"
             " socket, two for each client where each has a server's connection, comes to it. HAProxy, nginx and MySQL Router pass each"
             " client on to a connection of its own, so the servers' `max_connections` (500 here) ends it.")
    return {"title": "sleeping clients", "about": about, "peers": {}, "notes": notes}


def sleep(peer, count):
    # What the first client costs is not the sleeper's.
    subprocess.run(command(peer, [*POINT, "--seconds", "0.2"]), capture_output=True)
    before = peer.memory()
    load = subprocess.Popen(command(peer, [*POINT, "--idle", "--clients", str(count)]), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if load.stdout.readline().strip() != "ready":
        return f"{count} clients: refused ({load.communicate()[1].strip().splitlines()[-1]})"
    each = (peer.memory() - before) / count
    load.communicate()
    return f"{count} clients, {each:.1f} KiB each"


def slow_readers(grounds):
    """Memory while clients take a large result slowly."""
    pair, notes = grounds.pair("mariadb"), []
    arguments = ["--statement", "SELECT data FROM picture WHERE id = {id}", "--ids", "4", "--clients", "16",
                 "--bytes-per-second", "1000000", "--warm-up", "0", "--seconds", "3"]
    peer = grounds.tandem("tandem-slow")
    try:
        subprocess.run(command(peer, [*POINT, "--seconds", "0.2"]), capture_output=True)
        before, most = peer.memory(), 0
        load = subprocess.Popen(command(peer, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while load.poll() is None:
            most = max(most, peer.memory())
            time.sleep(0.1)
    finally:
        peer.stop()
    notes.append(f"Memory of Tandem's own: {before / 1024:.1f} MiB before, at most {most / 1024:.1f} MiB while 16 clients took 4 MiB each.")
    return {"title": "4 MiB results, read at 1 MB/s by 16 clients", "peers": {}, "notes": notes}


def allocations(grounds):
    """With the tests' build of Tandem, whose allocator counts."""
    pair, notes = grounds.pair("mariadb"), []
    loads = {"text": POINT, "prepared": PREPARED, "1000 rows": ROWS, "a connection every 5": RECONNECT}
    peer = grounds.tandem("tandem-counting", program="proxy", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for name, arguments in loads.items():
            drive(peer, arguments, pair, seconds=0.5)
            before = allocated(peer)
            told = drive(peer, arguments, pair, seconds=1)
            notes.append(f"{name}: {(allocated(peer) - before) / told['all_queries']:.2f} a statement")
    finally:
        peer.stop()
    return {"title": "allocations", "about": "Of the whole process, monitor and all.", "peers": {}, "notes": notes}


def allocated(peer):
    peer.process.stdin.write(b"allocations\n")
    peer.process.stdin.flush()
    return int(peer.process.stdout.readline())


PREPARED = ["--statement", "SELECT c FROM item WHERE id = ?", "--prepared"]
ROWS = ["--statement", "SELECT id, c FROM item WHERE id >= {id} ORDER BY id LIMIT 1000", "--ids", "9000"]
BLOB = ["--statement", "SELECT data FROM picture WHERE id = {id}", "--ids", "4", "--clients", "4"]
TLS = ["client_tls.certificate={folder}/certificate.pem", "client_tls.key={folder}/key.pem"]
SCENARIOS = {
    "text": compared("point SELECT, text, 16 clients", POINT),
    "prepared": compared("point SELECT, prepared, 16 clients", PREPARED),
    "single": compared("point SELECT, one client", [*POINT, "--clients", "1"]),
    "rows": compared("1000 rows, 16 clients", ROWS),
    "blob": compared("one value of 4 MiB, 4 clients", BLOB),
    "connect": compared("a new connection every 5 statements", RECONNECT),
    "allocations": allocations,
    "crowd": growing("many active clients on 100 server connections", "The pool is given 50 connections to each server.",
                     ["pool.max_connections=50"],
                     {f"{count} clients": [*POINT, "--clients", str(count)] for count in (16, 100, 1000, 5000)}),
    "shapes": growing("statements of many shapes", "16 clients; a worker keeps what it knows of 10,000 shapes (`limits.statement_cache`), and "
                      "the numbers of 2,000 (`statistics.digests`). Each has seen them before it is counted.", [],
                      {f"{count} shapes": ["--statement", "SELECT c AS c{shape} FROM item WHERE id = {id}", "--shapes", str(count),
                                           "--warm-up", str(0.5 if count < 10_000 else 6)]
                       for count in (1, 100, 10_000, 100_000)}),
    "rules": under_rules,
    "pair": on_pair,
    "wordpress": home_page,
    "latency": beside_writes,
    "statistics": counted,
    "sleeping": sleeping,
    "slow": slow_readers,
    "sha2": compared("a new connection every 5, caching_sha2_password (MySQL)", RECONNECT, kind="mysql-9.7"),
    "tls": compared("a new connection every 5, TLS resumed (MySQL)", [*RECONNECT, "--tls"], kind="mysql-9.7", settings=TLS),
}


if __name__ == "__main__":
    main()
