#!/usr/bin/python3
"""Builds the tests and runs their binaries, several at a time, since most of them wait for servers; each within a time.

    tests/run.py                          all of them, on MariaDB
    tests/run.py --server mysql-9.7       those that have servers, on MySQL; may be given several times, with mariadb among them
    tests/run.py --jobs 1 failover cuts   only these, one after the other

What a binary prints is shown when it has ended: whole if it failed, else its results only. A binary that takes longer than
--within seconds is ended with all that it has started, and has failed; its unfinished tests are named. Ends with 1 if any has failed.
"""

import argparse
import collections
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

# These wait most of the time, or take longest: first, so that none of them is alone in the end.
FIRST = ("packets", "coordination", "restarts", "runbooks", "replay", "differential", "consistency", "cuts", "failover")

Binary = collections.namedtuple("Binary", "name path folder server")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="test binaries, by their files' names")
    parser.add_argument("--server", action="append", help="mariadb (this machine's, the default), mysql-9.7 or mariadb-11.8")
    parser.add_argument("--jobs", type=int, default=3, help="binaries at a time (3)")
    parser.add_argument("--within", type=int, default=600, help="seconds that a binary may take (600)")
    options = parser.parse_args()
    built = build()
    binaries = []
    for name, path, folder, is_black_box in built:
        servers = (options.server or ["mariadb"]) if is_black_box else [None]
        binaries += [Binary(name, path, folder, server) for server in servers]
    unknown = set(options.names) - {binary.name for binary in binaries}
    if unknown:
        sys.exit(f"no test binary has the name {', '.join(sorted(unknown))}")
    if options.names:
        binaries = [binary for binary in binaries if binary.name in options.names]
    binaries.sort(key=lambda binary: FIRST.index(binary.name) if binary.name in FIRST else len(FIRST))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tandem-templates-") as templates:
        results = run_all(binaries, options, templates)
    failed = [binary for binary, _, passed in results if not passed]
    slowest = sorted(results, key=lambda result: -result[1])[:8]
    print("slowest: " + ", ".join(f"{label(binary)} {took:.0f} s" for binary, took, _ in slowest))
    print(f"{len(results)} test binaries in {time.monotonic() - begun:.0f} s, {len(failed)} failed")
    if failed:
        sys.exit("failed: " + ", ".join(label(binary) for binary in failed))


def build():
    """(name, path, folder of its package, whether it needs servers) of each test binary."""
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    built = []
    for line in output.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            target, folder = message["target"], os.path.dirname(message["manifest_path"])
            is_black_box = os.path.basename(folder) == "tests" and target["kind"] == ["test"]
            built.append((target["name"], message["executable"], folder, is_black_box))
    return built


def label(binary):
    return f"{binary.name} on {binary.server}" if binary.server else binary.name


def run_all(binaries, options, templates):
    """(binary, seconds, whether it passed) of each, in the order in which they ended."""
    waiting, results, lock = collections.deque(binaries), [], threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                binary = waiting.popleft()
            begun = time.monotonic()
            code, output = run(binary, options.within, templates)
            took = time.monotonic() - begun
            with lock:
                results.append((binary, took, code == 0))
                show(binary, took, code, output, options.within)

    threads = [threading.Thread(target=work) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def run(binary, within, templates):
    """Its exit code, `None` when it took too long, and what it printed."""
    # Tandem would take TANDEM_SERVER for a key of its configuration: only who needs it gets it.
    environment = {name: value for name, value in os.environ.items() if name != "TANDEM_SERVER"}
    environment.update({"CARGO_MANIFEST_DIR": binary.folder, "RUST_BACKTRACE": "0"})
    if binary.server:
        environment.update({"TANDEM_SERVER": binary.server, "TANDEM_TEMPLATES": templates})
    # A file and not a pipe: servers that outlive a binary for a moment may hold it open.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [binary.path],
            cwd=binary.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(within)
        except subprocess.TimeoutExpired:
            # What it has started ends by itself: the pairs' watchdogs see to it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
        output.seek(0)
        return code, output.read()


def show(binary, took, code, output, within):
    print(f"--- {label(binary)}, {took:.0f} s", flush=True)
    if code == 0:
        print("\n".join(line for line in output.splitlines() if line.startswith("test result:")), flush=True)
        return
    print(output, flush=True)
    if code is None:
        begun = set(re.findall(r"^test (\S+) has been running", output, re.M))
        ended = set(re.findall(r"^test (\S+) \.\.\. ", output, re.M))
        print(f"took longer than {within} s and was ended; not finished: {', '.join(sorted(begun - ended)) or 'not known'}", flush=True)


if __name__ == "__main__":
    main()
