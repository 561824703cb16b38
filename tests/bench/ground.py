"""What is measured on: a pair of servers, Tandem before both, and others before the active master."""

import os
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("BUILT", ROOT / "target/release"))
SERVERS = Path(os.environ.get("TANDEM_SERVERS", "/var/cache/tandem"))
USER, PASSWORD, SCHEMA = "app", "app-secret", "shop"
ROWS = 10_000
BLOB = 4 << 20
# Of nginx and HAProxy: more than any scenario has.
CONNECTIONS = 4096


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, what):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{what} ended with {process.returncode}; its words are in its log")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{what} does not listen")


class Pair:
    """Two servers that replicate to each other, with the data of the statements."""

    def __init__(self, folder, kind):
        self.config = folder / "pair.toml"
        env = os.environ | {"TANDEM_SERVER": kind}
        self.process = subprocess.Popen([BUILT / "pair", self.config], stdout=subprocess.PIPE, text=True, env=env)
        lines = [self.process.stdout.readline().split() for _ in "ab"]
        if not all(lines):
            raise SystemExit("the servers did not start")
        self.ports = {name: int(address.rsplit(":", 1)[1]) for name, address, _ in lines}
        self.sockets = {name: path for name, _, path in lines}
        self.pids = {name: int((Path(path).parent / "pid").read_text()) for name, path in self.sockets.items()}
        self.fill()

    def fill(self):
        self.ask("a", f"""
            USE {SCHEMA};
            CREATE TABLE digits (d INT PRIMARY KEY);
            INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9);
            CREATE TABLE item (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k));
            INSERT INTO item SELECT n, n, REPEAT(CHAR(97 + n % 26), 119), REPEAT('-', 59) FROM
                (SELECT 1 + a.d + 10*b.d + 100*e.d + 1000*f.d AS n FROM digits a, digits b, digits e, digits f) AS numbers;
            CREATE TABLE hot (id INT PRIMARY KEY, n INT NOT NULL);
            INSERT INTO hot VALUES (1, 0);
            CREATE TABLE picture (id INT PRIMARY KEY, data LONGBLOB NOT NULL);
            INSERT INTO picture SELECT d + 1, REPEAT(CHAR(65 + d), {BLOB}) FROM digits WHERE d < 4;""")
        self.wait_follows()

    def wait_follows(self):
        """Until the standby has all that the active master has."""
        mark = f"{time.time_ns()}"
        self.ask("a", f"CREATE OR REPLACE VIEW {SCHEMA}.mark AS SELECT {mark}")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.ask("b", f"SELECT * FROM {SCHEMA}.mark", quiet=True).strip() == mark:
                return
            time.sleep(0.1)
        raise SystemExit("the standby does not follow")

    def ask(self, name, statements, quiet=False):
        told = subprocess.run(["mariadb", "--no-defaults", "-uroot", "-N", "-S", self.sockets[name]],
                              input=statements, capture_output=True, text=True)
        if told.returncode and not quiet:
            raise SystemExit(f"{name}: {told.stderr}")
        return told.stdout

    def stop(self):
        self.process.send_signal(2)
        self.process.wait()


class Peer:
    """A program that is measured, or the active master itself, which has none."""

    def __init__(self, name, port, process=None):
        self.name, self.port, self.process = name, port, process

    def pids(self):
        """The program and its children."""
        if self.process is None:
            return []
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def memory(self):
        """KiB that are its own: heaps, stacks and what it has written to of its program."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Anonymous:"):
                    total += int(line.split()[1])
        return total

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start(name, folder, command, port, **more):
    with open(folder / f"{name}.log", "w") as log:
        process = subprocess.Popen(command, **({"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL} | more))
    wait_for(port, process, name)
    return Peer(name, port, process)


def direct(pair, _folder):
    return Peer("direct", pair.ports["a"])


def haproxy(pair, folder):
    port, file = free_port(), folder / "haproxy.cfg"
    file.write_text(f"""
global
    nbthread 2
    maxconn {CONNECTIONS}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen mysql
    bind 127.0.0.1:{port}
    server a 127.0.0.1:{pair.ports["a"]}
""")
    return start("haproxy", folder, ["haproxy", "-db", "-f", file], port)


def nginx(pair, folder):
    port, file = free_port(), folder / "nginx.conf"
    file.write_text(f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error;
events {{ worker_connections {CONNECTIONS}; }}
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_timeout 1h;
        tcp_nodelay on;
        proxy_pass 127.0.0.1:{pair.ports["a"]};
    }}
}}
""")
    return start("nginx", folder, ["nginx", "-c", file], port)


def router(pair, folder):
    root, port = SERVERS / "mysql-router", free_port()
    inside = root / "tmp" / folder.name
    inside.mkdir(exist_ok=True)
    (inside / "router.conf").write_text(f"""
[DEFAULT]
logging_folder=
runtime_folder=/tmp/{folder.name}
data_folder=/tmp/{folder.name}
[logger]
level=WARNING
[routing:bench]
bind_address=127.0.0.1
bind_port={port}
destinations=127.0.0.1:{pair.ports["a"]}
routing_strategy=first-available
protocol=classic
client_ssl_mode=PASSTHROUGH
server_ssl_mode=AS_CLIENT
max_connections={CONNECTIONS}
""")
    command = ["chroot", root, "/usr/bin/mysqlrouter", "--user=root", "-c", f"/tmp/{folder.name}/router.conf"]
    return start("router", folder, command, port)


def tandem(pair, folder, *settings, name="tandem", program="tandem", rules="", **more):
    """With everything on that is on by default: both servers, strict consistency, digests, metrics."""
    port, admin = free_port(), free_port()
    config = folder / f"{name}.toml"
    config.write_text(pair.config.read_text() + rules)
    config.chmod(0o600)
    command = [BUILT / program, "run", "--config", config]
    for setting in (f"listener.address=127.0.0.1:{port}", f"admin.address=127.0.0.1:{admin}", "log.level=warn",
                    "monitor.slow_start=0s", *settings):
        command += ["--set", setting]
    # Whatever the environment configures is none of this one's.
    env = {key: value for key, value in os.environ.items() if not key.startswith("TANDEM_")}
    return start(name, folder, command, port, env=env, **more)


PEERS = {"direct": direct, "haproxy": haproxy, "nginx": nginx, "router": router, "tandem": tandem}


def versions():
    def first(*command):
        try:
            told = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            return "?"
        return (told.stdout + told.stderr).strip().splitlines()[0]

    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return {
        "machine": f"{os.cpu_count()} cores ({model}), Linux {os.uname().release}",
        "mariadb": first("mariadbd", "--version"),
        "haproxy": first("haproxy", "-v"),
        "nginx": first("nginx", "-v"),
        "router": first("chroot", str(SERVERS / "mysql-router"), "mysqlrouter", "--version"),
        "tandem": first("git", "-C", str(ROOT), "log", "-1", "--format=%h of %as"),
    }
