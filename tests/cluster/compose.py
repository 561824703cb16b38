"""A cluster of docker/, started by docker-compose as a user starts it, and what can be done to its containers."""

import functools
import json
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*command, timeout=60, check=True, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **more)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def engine(*suites):
    """Starts the machine's own Docker engine if none runs, and has the commands that follow use it. `suites` of Debian are built on."""
    run(str(ROOT / ".ci/docker"), "start", *suites, timeout=600)
    host = run(str(ROOT / ".ci/docker"), "host").strip()
    if host:
        os.environ["DOCKER_HOST"] = host


def engine_off():
    """Ends the engine, if it is our own."""
    run(str(ROOT / ".ci/docker"), "stop", timeout=120)


def cable(container):
    """The machine's end of the container's network, and the command that changes it: taking it down is pulling the cable."""
    number = run("docker", "exec", container, "cat", "/sys/class/net/eth0/iflink").strip()
    ip = ["ip"] if "DOCKER_HOST" not in os.environ else ["nsenter", "--net=/run/netns/tandem-docker", "ip"]
    for line in run(*ip, "-oneline", "link").splitlines():
        index, name = line.split(": ")[:2]
        if index == number:
            return name.split("@")[0], ip
    raise LookupError(f"{container} has no interface here")


def until(what, seconds, condition):
    deadline = time.monotonic() + seconds
    while True:
        seen = condition()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.2)


class Compose:
    def __init__(self, file, project, environment=None, over=()):
        """`over` are files that change something of `file`."""
        self.files, self.project = [str(ROOT / each) for each in (file, *over)], project
        self.environment = {**os.environ, "TANDEM_TARGET": "given", **(environment or {})}

    def call(self, *words, timeout=900):
        files = [word for file in self.files for word in ("--file", file)]
        return run("docker-compose", "--project-name", self.project, *files, *words, timeout=timeout, env=self.environment)

    def up(self):
        self.call("build")
        self.call("up", "--detach")

    def down(self):
        self.call("down", "--volumes", "--timeout", "3")

    @functools.cache
    def services(self):
        """All that go on running."""
        return sorted(service for service in self.call("config", "--services").split() if not service.endswith("secrets"))

    @functools.cache
    def container(self, service):
        # Also one that was killed.
        names = run("docker", "ps", "--all", "--filter", f"label=com.docker.compose.project={self.project}",
                    "--filter", f"label=com.docker.compose.service={service}", "--format", "{{.Names}}").split()
        assert len(names) == 1, (service, names)
        return names[0]

    def docker(self, verb, *services):
        run("docker", verb, *(self.container(service) for service in services))

    def inside(self, service, *command, user=None):
        return run("docker", "exec", *(("--user", user) if user else ()), self.container(service), *command)

    def unwell(self):
        """Who does not run, or is not healthy; one question for all, since it is asked often."""
        text = run("docker", "ps", "--filter", f"label=com.docker.compose.project={self.project}",
                   "--format", '{{.Label "com.docker.compose.service"}} {{.Status}}')
        status = dict(line.split(" ", 1) for line in text.splitlines())
        # "Up 3 minutes" where nobody looks after its health, else "Up 3 minutes (healthy)"; "(Paused)".
        return [service for service in self.services()
                if not re.fullmatch(r"Up [^(]*(\(healthy\))?", status.get(service, ""))]

    def healthy(self, service):
        return service not in self.unwell()

    def used(self):
        """Of each service: seconds of CPU so far, and MiB of memory without what the kernel could drop, as its control group counts them."""
        found = {}
        for service in self.services():
            pid = run("docker", "inspect", "--format", "{{.State.Pid}}", self.container(service)).strip()
            groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
            if "cpuacct" in groups:
                cpu = int(Path("/sys/fs/cgroup/cpuacct" + groups["cpuacct"], "cpuacct.usage").read_text()) / 1e9
                folder, total, idle = Path("/sys/fs/cgroup/memory" + groups["memory"]), "memory.usage_in_bytes", "total_inactive_file"
            else:
                folder, total, idle = Path("/sys/fs/cgroup" + groups[""]), "memory.current", "inactive_file"
                cpu = int(re.search(r"usage_usec (\d+)", (folder / "cpu.stat").read_text()).group(1)) / 1e6
            dropped = int(re.search(rf"^{idle} (\d+)", (folder / "memory.stat").read_text(), re.M).group(1))
            found[service] = cpu, (int((folder / total).read_text()) - dropped) / 2 ** 20
        return found

    def secret(self, name, service="web-1"):
        return self.inside(service, "cat", f"/run/secrets/{name}").strip()

    def sql(self, service, question):
        """The rows of an answer."""
        text = self.inside(service, "console", "--skip-column-names", "--batch", "--execute", question, user="mysql")
        return [line.split("\t") for line in text.splitlines()]

    def tandem(self, *words):
        """Tells the Tandem that decides."""
        for service in ("tandem-1", "tandem-2"):
            try:
                return self.inside(service, "tandem", *words)
            except RuntimeError as error:
                refused = error
        raise refused

    def replace(self, database, source):
        """What docs/runbooks.md says of a server in quarantine."""
        self.tandem("drain", database)
        self.remake(database, source)
        self.tandem("open", database)

    def remake(self, database, source):
        """Makes a database anew from a backup of the other. It runs then, and does not replicate yet."""
        mysql = self.inside(source, "cat", "/var/lib/mysql/made").strip() == "mysqld"
        run("docker", "stop", "--time", "5", self.container(database))
        if mysql:
            self.inside(source, "rm", "-rf", "/tmp/backup", user="mysql")
            self.sql(source, "CLONE LOCAL DATA DIRECTORY = '/tmp/backup'")
            backup, restore, after = "tar --create --directory /tmp/backup .", "tar --extract", "true"
        else:
            backup = "mariadb-backup --defaults-file=/etc/mysql/tandem.cnf --user=mysql --backup --stream=mbstream --target-dir=/tmp"
            restore, after = "mbstream -x", "mariadb-backup --prepare --target-dir=. >&2; cat xtrabackup_binlog_info"
        image = run("docker", "inspect", "--format", "{{.Image}}", self.container(database)).strip()
        made = run("bash", "-o", "pipefail", "-c",
                   f"docker exec --user mysql {self.container(source)} {backup} | "
                   f"docker run --rm --interactive --network none --user mysql --volumes-from {self.container(database)} --entrypoint bash "
                   f"{image} -ec 'cd /var/lib/mysql; cp made /tmp/made; rm -rf * .[!.]*; {restore}; {after}; cp /tmp/made .'", timeout=300)
        run("docker", "start", self.container(database))
        until(f"{database} runs", 40, lambda: self.healthy(database))
        if mysql:
            self.inside(source, "rm", "-rf", "/tmp/backup", user="mysql")
            self.sql(database, "RESET REPLICA ALL")
        else:
            gtids = made.split()[2]
            self.sql(database, f"RESET MASTER; SET GLOBAL gtid_binlog_state = '{gtids}'; SET GLOBAL gtid_slave_pos = '{gtids}'")

    def logs(self, service):
        done = subprocess.run(["docker", "logs", "--tail", "40", self.container(service)], capture_output=True, text=True,
                              timeout=30, check=False)
        return done.stdout + done.stderr


def state(tandem, timeout=5):
    """What the dashboard of the Tandem at this address shows, as data."""
    with urllib.request.urlopen(f"http://{tandem}:9446/api/state", timeout=timeout) as answer:
        return json.load(answer)


def obstacles(tandems):
    """Why the standby could not take over, as the Tandem that decides says it, of these addresses; nothing if it could."""
    for tandem in tandems:
        try:
            failover = state(tandem)["failover"]
        except OSError:
            continue
        if failover["role"].startswith("leader"):
            return failover["obstacles"]
    return ["no Tandem decides"]


def can_fail_over(tandems):
    return not obstacles(tandems)
