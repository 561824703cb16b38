"""A cluster of docker/, started by docker-compose as a user starts it, and what can be done to its containers."""

import json
import os
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


def engine():
    """Starts the machine's own Docker engine if none runs, and has the commands that follow use it."""
    run(str(ROOT / ".ci/docker"), "start", timeout=600)
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
    def __init__(self, file, project, environment=None):
        self.file, self.project = ROOT / file, project
        self.environment = {**os.environ, "TANDEM_TARGET": "given", **(environment or {})}

    def call(self, *words, timeout=900):
        return run("docker-compose", "--project-name", self.project, "--file", str(self.file), *words,
                   timeout=timeout, env=self.environment)

    def up(self):
        self.call("build")
        self.call("up", "--detach")

    def down(self):
        self.call("down", "--volumes", "--timeout", "3")

    def services(self):
        return self.call("config", "--services").split()

    def container(self, service):
        # All of them, also the one that was killed.
        names = run("docker", "ps", "--all", "--filter", f"label=com.docker.compose.project={self.project}",
                    "--filter", f"label=com.docker.compose.service={service}", "--format", "{{.Names}}").split()
        assert len(names) == 1, (service, names)
        return names[0]

    def docker(self, verb, service):
        run("docker", verb, self.container(service))

    def inside(self, service, *command):
        return run("docker", "exec", self.container(service), *command)

    def healthy(self, service):
        text = run("docker", "inspect", "--format", "{{json .State}}", self.container(service))
        state = json.loads(text)
        return state["Running"] and state.get("Health", {}).get("Status") == "healthy"

    def secret(self, name, service="web-1"):
        return self.inside(service, "cat", f"/run/secrets/{name}").strip()

    def sql(self, service, question, before=()):
        """The rows of an answer; `before` is what the client is run by."""
        text = self.inside(service, *before, "mariadb", "--defaults-file=/etc/mysql/tandem.cnf", "--user=mysql",
                           "--skip-column-names", "--batch", "--execute", question)
        return [line.split("\t") for line in text.splitlines()]

    def logs(self, service):
        done = subprocess.run(["docker", "logs", "--tail", "40", self.container(service)], capture_output=True, text=True,
                              timeout=30, check=False)
        return done.stdout + done.stderr


def state(tandem, timeout=5):
    """What the dashboard of the Tandem at this address shows, as data."""
    with urllib.request.urlopen(f"http://{tandem}:9446/api/state", timeout=timeout) as answer:
        return json.load(answer)


def can_fail_over(tandems):
    """Whether the Tandem that decides, of these addresses, says that the standby could take over."""
    for tandem in tandems:
        try:
            failover = state(tandem)["failover"]
        except OSError:
            continue
        if failover["role"].startswith("leader") and not failover["obstacles"]:
            return True
    return False
