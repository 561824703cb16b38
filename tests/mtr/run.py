#!/usr/bin/python3
"""MariaDB's own test suite through Tandem: every test of the suite `main` that passes directly twice has to pass
through Tandem, but for the exceptions, which stand with their reasons in `exceptions.txt`.

    tests/mtr/run.py                     one server behind Tandem, then the pair, with each protocol of which there is a
                                         list of what passes directly
    tests/mtr/run.py --setting one       only that; `pair` likewise
    tests/mtr/run.py --protocol ps       every statement as a prepared one (mtr's --ps-protocol); also view, cursor
    tests/mtr/run.py --setting pair main.select main.join      only these tests
    tests/mtr/run.py --every 50          only each fiftieth
    tests/mtr/run.py --verify-direct     makes direct-PROTOCOL.txt anew: what passes directly, twice
    tests/mtr/run.py --resume …          goes on where a run with the same options was ended
    tests/mtr/run.py --jobs 2 …          on so many grounds at once, each with servers and a Tandem of its own

What becomes of each test is written into `journal.txt` in the folder of --var as soon as it is known,
and at the end `summary.txt`, which is printed too.

The servers have the data that mtr makes for its own, and the options that each test's files ask for. The pair's second
server replicates from the first; when a test has made that impossible (RESET MASTER), it is made to follow again.
"""

import argparse
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
MTR = Path("/usr/share/mysql/mysql-test")
TANDEM = Path(os.environ.get("TANDEM", HERE.parents[1] / "target/debug/tandem"))
# One mtr for so many tests: after a failure the next batch begins with fresh servers, since a test that fails
# leaves behind what others trip over.
BATCH = 40
PROTOCOLS = {"text": [], "ps": ["--ps-protocol"], "view": ["--view-protocol"], "cursor": ["--cursor-protocol"]}
# What a pair needs, beyond mtr's own options.
SERVER = ["--log-output=file", "--log-bin=master-bin", "--log-slave-updates", "--max-connections=300",
          # Tandem tells them where clients come from.
          "--proxy-protocol-networks=*"]
# Tests with one of these restart or end the server, which is none of theirs here.
RESTARTS = re.compile(r"shutdown_server|restart_mysqld|shutdown_mysqld|start_mysqld|kill_mysqld|MYSQLD_BOOTSTRAP")
# With one of these a test connects to ::1 too.
EVERYWHERE = {"--bind-address=*", "--bind-address=::"}
VERDICTS = ["disabled", "skipped", "pass", "fail"]
SOURCE = re.compile(r"^\s*(?:--\s*)?source\s+([^\s;]+)", re.M | re.I)
RESULT = re.compile(r"^(main\.\S+)(?: '[^']*')* +(?:w\d+ +)?\[ (pass|fail|skipped|disabled)", re.M)


def main():
    options = arguments()
    # Whoever ends it finds no servers left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    where = options.var.resolve()
    if len(str(where)) > 60:
        sys.exit(f"{where} is too long a path for the sockets in it: name a shorter one with --var")
    if not options.resume:
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
    # A build meanwhile must not change what is tested.
    shutil.copy2(TANDEM, where / "tandem")
    journal = Journal(where / "journal.txt")
    protocols = options.protocol or [name for name in PROTOCOLS if direct_file(name).exists()]
    if options.verify_direct:
        for protocol in options.protocol or ["text"]:
            verify_direct(where, journal, protocol, options.tests, options.jobs)
        return 0
    verdicts = []
    for protocol in protocols:
        tests = direct_list(protocol)
        if options.tests:
            for test in set(options.tests) - set(tests):
                print(f"{test} is not in {direct_file(protocol).name}")
            tests = [test for test in options.tests if test in tests]
        tests = tests[::options.every]
        verdicts += [judge(where, journal, setting, protocol, tests, options.jobs)
                     for setting in options.setting or ["one", "pair"]]
    summary = table([Verdict._fields, *verdicts])
    (where / "summary.txt").write_text(summary)
    print(summary, end="")
    # Exceptions that pass are no mistake: some of them do now and then.
    return int(any(verdict.failed for verdict in verdicts))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*")
    parser.add_argument("--setting", action="append", choices=["one", "pair"])
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS)
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--jobs", type=int, default=5, metavar="N")
    parser.add_argument("--verify-direct", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--var", type=Path, default=Path("/tmp/tandem-mtr"), help="a folder that is emptied first, unless --resume")
    return parser.parse_args()


Verdict = namedtuple("Verdict", "protocol setting direct through skipped exceptions failed")


def table(rows):
    """Rows of words and numbers, one below the other."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "".join(" ".join(cell.rjust(width) for cell, width in zip(row, widths)) + "\n" for row in rows)


def judge(where, journal, setting, protocol, tests, jobs):
    """Runs the tests through Tandem and compares with the exceptions."""
    excepted = exceptions(setting, protocol)
    with Grounds(where, setting, protocol, jobs) as grounds:
        # What is known to fail spoils the servers for those behind it: it comes last, alone.
        results = grounds.run([test for test in tests if test not in excepted], journal.part(protocol, setting, "company"))
        failed = [test for test in tests if results.get(test) not in ("pass", "skipped")]
        # Alone and on fresh servers: what fails only after another one's failure does not count.
        again = grounds.run(failed, journal.part(protocol, setting, "alone"), size=1)
    lasting = [test for test in failed if again.get(test) != "pass"]
    skipped = [test for test in tests if results.get(test) == "skipped"]
    unexpected = [test for test in lasting if test not in excepted]
    recovered = [test for test in excepted if test in tests and test not in lasting]
    print(f"{protocol}, {setting}: {len(tests)} tests pass directly twice; through Tandem "
          f"{len(tests) - len(lasting) - len(skipped)} pass, {len(skipped)} are skipped, {len(lasting)} fail, "
          f"{len(lasting) - len(unexpected)} of them known exceptions")
    for test in failed:
        if test not in lasting and test not in excepted:
            print(f"  only in company  {test}")
    for test in unexpected:
        print(f"  UNEXPECTED       {test}   (see {where}/{protocol}-{setting}-*/mtr.log)")
    for test in recovered:
        print(f"  PASSES NOW       {test}   take it off exceptions.txt: {excepted[test]}")
    sys.stdout.flush()
    return Verdict(protocol, setting, direct=len(tests), through=len(tests) - len(lasting) - len(skipped),
                   skipped=len(skipped), exceptions=len(lasting) - len(unexpected), failed=len(unexpected))


def verify_direct(where, journal, protocol, tests, jobs):
    """What passes directly, twice, the second time in other company."""
    names = tests or sorted(f"main.{file.stem}" for file in (MTR / "main").glob("*.test"))
    names = [name for name in names if server_options(name) is not None]
    with Grounds(where, "direct", protocol, jobs) as grounds:
        first = grounds.run(names, journal.part(protocol, "direct", "first"))
        passing = [test for test in names if first.get(test) == "pass"]
        second = grounds.run(passing, journal.part(protocol, "direct", "second"))
    twice = [test for test in passing if second.get(test) == "pass"]
    version = subprocess.run(["mariadbd", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    count = list(first.values()).count
    head = (f"# Passes directly, twice: run.py --verify-direct --protocol {protocol}\n# {version}\n"
            f"# Of {len(names)} tests that do not restart the server {count('skipped') + count('disabled')} are skipped, "
            f"{count('fail')} fail (they want\n# what an external server has not), {len(passing)} pass once, "
            f"{len(twice)} twice.\n")
    direct_file(protocol).write_text(head + "".join(f"{test}\n" for test in twice))
    print(head, end="")


def direct_file(protocol):
    return HERE / f"direct-{protocol}.txt"


def direct_list(protocol):
    file = direct_file(protocol)
    if not file.exists():
        sys.exit(f"{file.name} is missing: make it with run.py --verify-direct --protocol {protocol}")
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


def exceptions(setting, protocol):
    """`test | settings | protocols | reason`, where `*` means all."""
    found = {}
    for line in (HERE / "exceptions.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        test, settings, protocols, reason = (part.strip() for part in line.split("|", 3))
        if fits(setting, settings) and fits(protocol, protocols):
            found[test] = reason
    return found


def fits(name, names):
    return names == "*" or name in names.split()


def files(test):
    """The test's file and those it includes, with what is in them."""
    texts, todo = {}, [MTR / "main" / f"{test.removeprefix('main.')}.test"]
    while todo:
        file = todo.pop()
        if file not in texts and file.exists():
            texts[file] = file.read_text(errors="replace")
            todo += [place / name for name in SOURCE.findall(texts[file]) for place in (file.parent, MTR)]
    return texts


def server_options(test):
    """What the test's files want of the server; None when it can't have that here."""
    options = []
    for file, text in files(test).items():
        if RESTARTS.search(text):
            return None
        for more in [file.with_suffix(".opt"), file.with_name(f"{file.stem}-master.opt")]:
            if more.exists():
                options.extend(more.read_text(errors="replace").split())
    # A `$` is a plugin that mtr looks for.
    return None if "$" in "".join(options) else tuple(options)


class Journal:
    """What became of each test so far: `PART | test | verdict`, added to as the tests go."""

    def __init__(self, file):
        self.file = file
        self.parts = {}
        for line in file.read_text().splitlines() if file.exists() else []:
            name, test, verdict = line.split(" | ")
            self.part(name).learn(test, verdict)

    def part(self, *name):
        name = " ".join(name)
        return self.parts.setdefault(name, Part(self, name))


class Part:
    def __init__(self, journal, name):
        self.journal, self.name = journal, name
        self.known = {}
        self.writing = threading.Lock()

    def learn(self, test, verdict):
        """A test that runs in several combinations passes if one is not skipped and none fails."""
        self.known[test] = max(verdict, self.known.get(test, verdict), key=VERDICTS.index)

    def note(self, test, verdict):
        with self.writing, self.journal.file.open("a") as out:
            self.learn(test, verdict)
            out.write(f"{self.name} | {test} | {verdict}\n")


class Grounds:
    """Several grounds that share the tests."""

    def __init__(self, where, setting, protocol, jobs):
        self.setting = setting
        self.grounds = [Ground(where / f"{protocol}-{setting}-{number}", setting, protocol) for number in range(1, jobs + 1)]
        self.open, self.workers = ExitStack(), []

    def __enter__(self):
        # mtr takes its time to make a server's folder.
        with ThreadPoolExecutor() as pool:
            list(pool.map(Ground.install, self.grounds))
        for ground in self.grounds:
            self.open.enter_context(ground)
        return self

    def __exit__(self, *_):
        for ground in self.grounds:
            ground.interrupt()
        for worker in self.workers:
            worker.join()
        self.open.close()

    def run(self, tests, part, size=BATCH):
        """What becomes of each test; those that want the same options of the server go together."""
        groups, batches = {}, queue.SimpleQueue()
        for test in tests:
            if test not in part.known:
                groups.setdefault(server_options(test) or (), []).append(test)
        left = sum(map(len, groups.values()))
        for options, group in sorted(groups.items(), key=lambda item: -len(item[1])):
            # Shorter ones where there are few, so that each ground has some.
            length = max(1, min(size, len(group) // len(self.grounds)))
            for start in range(0, len(group), length):
                batches.put((options, group[start:start + length]))
        print(f"  {self.setting}: {left} of {len(tests)} tests are to run", flush=True)
        self.workers = [threading.Thread(target=ground.work, args=(batches, part, size == 1)) for ground in self.grounds]
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.join()
        return part.known


class Ground:
    """Servers and, unless the setting is `direct`, Tandem in front of them; all of it stops at the end."""

    def __init__(self, where, setting, protocol):
        self.setting, self.protocol = setting, protocol
        self.where = where
        self.log = where / "mtr.log"
        self.running = []
        # What the servers that run were started with, None when the next test needs fresh ones.
        self.options = None
        self.testing, self.ended = None, threading.Event()
        names = ["a", "b"] if setting == "pair" else ["a"]
        self.servers = [Server(where / name, number, setting != "direct") for number, name in enumerate(names, 1)]

    def install(self):
        for server in self.servers:
            server.install()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def interrupt(self):
        self.ended.set()
        if self.testing:
            self.testing.terminate()

    def work(self, batches, part, alone):
        """Runs one batch after the other, until there are none."""
        while not self.ended.is_set():
            try:
                options, batch = batches.get_nowait()
            except queue.Empty:
                return
            if self.options == options or self.start(options):
                self.mtr(batch, part)
                self.options = options
            if self.ended.is_set():
                # Told to end amid the tests: those without a verdict are for the next time.
                return
            for test in batch:
                if test not in part.known:
                    part.note(test, "fail")
            bad = [test for test in batch if part.known[test] == "fail"]
            if bad or alone:
                self.options = None
            print(f"  {self.where.name}: {len(batch)} run, failed: {' '.join(bad) or 'none'}", flush=True)

    def start(self, options):
        """All of it anew, with data as they were at the beginning; false where the server or Tandem refuses these
        options."""
        self.stop()
        self.options = None
        everywhere = not EVERYWHERE.isdisjoint(options)
        for server in self.servers:
            self.running.append(server)
            # Where Tandem listens everywhere the port is taken.
            server.listens = free_port() if everywhere else server.port
            if not server.start(options):
                return False
        if self.setting == "pair":
            self.running.append(Follower(*self.servers))
        if self.setting != "direct":
            self.running.append(Tandem(self.where, self.servers, "[::]" if everywhere else "127.0.0.1"))
            return wait_for(lambda: sql(self.running[-1].socket, "DO 1") is not None)
        return True

    def stop(self):
        while self.running:
            self.running.pop().stop()

    def mtr(self, tests, part):
        """Runs mtr on an external server, the last thing that was started."""
        front = self.servers[0] if self.setting == "direct" else self.running[-1]
        # The first server's folder: tests read and write files where it does.
        var = self.servers[0].where
        command = [MTR / "mtr", f"--vardir={var}", f"--tmpdir={var}/tmp", "--user=root", "--force", "--max-test-fail=0",
                   "--retry=0", "--testcase-timeout=10", "--suite-timeout=300", "--nowarnings"]
        for key, value in [("socket", front.socket), ("port", front.port), ("user", "root")]:
            command += ["--extern", f"{key}={value}"]
        env = dict(os.environ, MASTER_MYPORT=str(front.port), MASTER_MYSOCK=str(front.socket))
        command = [*command, *PROTOCOLS[self.protocol], *tests]
        with subprocess.Popen(command, cwd=MTR, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace") as running, self.log.open("a") as log:
            self.testing = running
            for line in running.stdout:
                log.write(line)
                for test, verdict in RESULT.findall(line):
                    part.note(test, verdict)


class Server:
    def __init__(self, where, number, behind):
        self.where, self.number = where, number
        self.child = None
        self.socket = where / "tmp/mysqld.1.sock"
        # Tests compare `@@port` with the port they were told, which is Tandem's: the same one, at another address.
        self.address, self.port = f"127.0.0.{1 + number}" if behind else "*", free_port()
        self.behind, self.listens = behind, self.port

    def install(self):
        """Has mtr make the server's folder as it makes its own: accounts, tables, option file."""
        command = [MTR / "mtr", f"--vardir={self.where}", f"--tmpdir={self.where}/tmp", "--start-and-exit", "main.1st"]
        done = subprocess.run(command, cwd=MTR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        pid_file = self.where / "run/mysqld.1.pid"
        if not wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), 10):
            sys.exit(f"mtr could not start a server:\n{done.stdout}")
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{pid}").exists())
        # The mtr that runs the tests writes another my.cnf.
        (self.where / "my.cnf").rename(self.where / "server.cnf")

    def start(self, options):
        data = self.where / "mysqld.1/data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self.where / "install.db", data)
        for path in [data, *data.rglob("*")]:
            # mtr keeps its original unwritable.
            path.chmod(path.stat().st_mode | 0o200)
        command = ["mariadbd", f"--defaults-file={self.where}/server.cnf", "--defaults-group-suffix=.1", "--user=root",
                   f"--bind-address={self.address}", f"--port={self.listens}", f"--server-id={self.number}", *SERVER]
        zone = "GMT-3"
        for option in options:
            if option.startswith("--timezone="):
                zone = option.removeprefix("--timezone=")
            elif option != "--force-restart" and not (self.behind and option.startswith("--bind-address=")):
                command.append(option)
        if self.number == 2:
            command += ["--read-only=1", "--slave-skip-errors=all", "--slave-net-timeout=10"]
        with (self.where / "error.log").open("ab") as log:
            self.child = subprocess.Popen(command, cwd=self.where, env=dict(os.environ, TZ=zone), stdout=log, stderr=log)
        wait_for(lambda: self.child.poll() is not None or sql(self.socket, "DO 1") is not None)
        return self.child.poll() is None

    def stop(self):
        end(self.child)


class Tandem:
    def __init__(self, where, servers, address):
        self.socket, self.port = where / "tandem.sock", servers[0].port
        text = (HERE / "tandem.toml").read_text().replace("WHERE", str(where))
        text = text.replace("ADDRESS", address).replace("PORT", str(self.port)).replace("ADMIN", str(free_port()))
        for server in servers:
            text += f'\n[[server]]\nname = "{server.where.name}"\naddress = "{server.socket}"\nproxy_protocol = true\n'
        file = where / "tandem.toml"
        file.write_text(text)
        file.chmod(0o600)
        with (where / "tandem.log").open("ab") as log:
            self.child = subprocess.Popen([where.parent / "tandem", "run", "--config", file], stdout=log, stderr=log)

    def stop(self):
        end(self.child)


class Follower:
    """Has the second server follow the first, and again when a test has made that impossible."""

    def __init__(self, first, second):
        self.first, self.second = first, second
        self.ended = threading.Event()
        self.follow()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def follow(self):
        position = sql(self.first.socket, "SELECT @@GLOBAL.gtid_binlog_pos") or ""
        sql(self.second.socket,
            f"STOP SLAVE; RESET MASTER; SET GLOBAL gtid_slave_pos='{position.strip()}'; "
            f"CHANGE MASTER TO MASTER_HOST='{self.first.address}', MASTER_PORT={self.first.listens}, MASTER_USER='root', "
            "MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1; START SLAVE")

    def watch(self):
        while not self.ended.wait(1):
            status = sql(self.second.socket, "SHOW SLAVE STATUS\\G") or ""
            if "Slave_IO_Running: No" in status or "Slave_SQL_Running: No" in status:
                self.follow()

    def stop(self):
        self.ended.set()
        self.thread.join()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sql(path, text):
    """What the client prints, or None when the server does not answer."""
    try:
        done = subprocess.run(["mariadb", "--no-defaults", f"--socket={path}", "-uroot", "-N", "-e", text],
                              capture_output=True, text=True, errors="replace", timeout=30)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def end(child):
    child.terminate()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def wait_for(happened, seconds=60):
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


if __name__ == "__main__":
    sys.exit(main())
