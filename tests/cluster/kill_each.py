#!/usr/bin/python3
"""Starts the cluster of docker/cluster.yaml, has visitors read, comment and order, and kills each container once.

No visitor may see an error page, whichever container dies. What was acknowledged must be there in the end, once, on both
databases. Who was being served by a load balancer at the moment of its death loses his connection, and tries again; so may one whose
page a web server was sending.

    tests/cluster/kill_each.py            what `make cluster-test` does
    tests/cluster/kill_each.py --hang     suspends each container for fifteen seconds, too: a load balancer while it has the virtual IP, where
                                          nginx alone hangs as well; a database as the standby, and as the active one
    tests/cluster/kill_each.py --mysql    with MySQL in place of MariaDB
    tests/cluster/kill_each.py --keep     leaves the cluster running
    tests/cluster/kill_each.py web-1      only this one
"""

import argparse
import sys
import time

from compose import Compose, can_fail_over, engine, engine_off, obstacles, state, until
from visitors import Visitors, answers, longest_wait

NET = "172.28.0"
ADDRESS = f"{NET}.100"
TANDEMS = (f"{NET}.31", f"{NET}.32")
# How long anybody may wait for what he wanted when one of these is killed, in seconds, on a machine that is busy with all of it.
LONGEST = {"database": 6.0, "tandem": 4.0, "web": 4.0, "balancer": 6.0, "etcd": 4.0}
KINDS = (("reader", 2), ("commenter", 1), ("order", 2))
# The same when it hangs. A load balancer whose whole machine hangs keeps who was being served, until it wakes up; where it has lost the
# virtual IP by then, as one of lower priority has, until he gives up.
HANGING = 15
PATIENCE = 30
LONGEST_HUNG = {**LONGEST, "web": 7.0, "balancer": PATIENCE + 1.0, "nginx": 7.0}
# Visitors who may lose their connection with it: with a load balancer, all who are there; with a web server, who is just being sent
# a page.
LOST = {"balancer": sum(count for _, count in KINDS), "nginx": sum(count for _, count in KINDS), "web": 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("services", nargs="*")
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--mysql", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    begun = time.monotonic()
    engine(*["sid"] * options.mysql)
    cluster = Compose("docker/cluster.yaml", "tandem-test", {"MIN_INTERVAL": "2s"}, over=["docker/mysql.yaml"] * options.mysql)
    try:
        cluster.up()
        print(f"the cluster is up after {time.monotonic() - begun:.0f} s", flush=True)
        play(cluster, options)
    except Exception:
        for service in cluster.services():
            print(f"--- {service}\n{cluster.logs(service)}", file=sys.stderr)
        raise
    finally:
        if not options.keep:
            cluster.down()
            engine_off()
    print(f"passed in {time.monotonic() - begun:.0f} s")


def play(cluster, options):
    until("the virtual IP answers", 30, lambda: answers(ADDRESS))
    until("the standby could take over", 60, lambda: can_fail_over(TANDEMS))
    visitors = Visitors(ADDRESS, timeout=PATIENCE, password=cluster.secret("owner"))
    for kind, count in KINDS:
        visitors.begin(kind, count, 0.1)
    services = options.services or cluster.services()
    complaints = []
    print(f"{'':38}{'longest wait (s): ' + ', '.join(kind for kind, _ in KINDS):<48}{'error pages':>12}{'lost':>6}")
    try:
        until("everybody is there", 60, lambda: visitors.served_since(0))
        arrived = time.time()
        time.sleep(4)
        complaints += report(visitors, "in calm", arrived, 0, 2.0)
        for service in services:
            if options.hang and service.startswith("balancer"):
                # Before it is killed, since that takes the address from it.
                complaints += strike(cluster, visitors, service, "pause")
                complaints += strike(cluster, visitors, service, "hang nginx of")
            complaints += strike(cluster, visitors, service, "kill")
            if options.hang and not service.startswith("balancer"):
                complaints += strike(cluster, visitors, service, "pause")
            if options.hang and service.startswith("database"):
                cluster.tandem("switchover", "--to", service)
                complaints += strike(cluster, visitors, service, "pause")
    finally:
        visitors.end()
    complaints += ledger(cluster, visitors)
    assert not complaints, "\n".join(complaints)


def strike(cluster, visitors, service, harm):
    """Kills or suspends it, brings it back after some seconds, and waits until the cluster is whole again."""
    sort = service.split("-")[0]
    name = f"{harm} {service}{role(cluster, service)}"
    begun = time.time()
    if harm == "hang nginx of":
        # Nobody wakes it up: the load balancer sees to it itself.
        cluster.inside(service, "pkill", "-STOP", "nginx")
        sort = "nginx"
        time.sleep(HANGING)
    else:
        cluster.docker(harm, service)
        time.sleep(HANGING if harm == "pause" else 3)
        cluster.docker({"kill": "start", "pause": "unpause"}[harm], service)
    until(f"{service} is healthy again", 60, lambda: cluster.healthy(service))
    until("Tandem has looked at it", 60, lambda: can_fail_over(TANDEMS) or quarantined())
    if quarantined():
        replace_standby(cluster)
    until("the standby could take over again", 60, lambda: can_fail_over(TANDEMS))
    # What was asked for in between has been answered, or its visitor has given up: it must not count as the next harm's.
    back = time.time()
    until("everybody is served", PATIENCE + 10, lambda: visitors.served_since(back))
    return report(visitors, name, begun, LOST.get(sort, 0), (LONGEST if harm == "kill" else LONGEST_HUNG)[sort])


def quarantined():
    return any("quarantined" in obstacle for obstacle in obstacles(TANDEMS))


def replace_standby(cluster):
    """It has commits that nobody was told of, as an active database may that wakes up, and a MySQL that comes back: it is made anew, as
    docs/runbooks.md says of a server in quarantine."""
    active = next(server["name"] for server in state(TANDEMS[0])["servers"] if server["role"] == "active")
    standby = "database-1" if active == "database-2" else "database-2"
    begun = time.monotonic()
    cluster.replace(standby, active)
    print(f"{standby} was quarantined, and made anew in {time.monotonic() - begun:.0f} s", flush=True)


def role(cluster, service):
    """What makes it the more important one of its kind, if it is."""
    if service.startswith("balancer"):
        return " (virtual IP)" if f" {ADDRESS}/" in cluster.inside(service, "ip", "-4", "-oneline", "address") else ""
    known = [state(tandem) for tandem in TANDEMS]
    if any(one["failover"]["leader"] == service for one in known):
        return " (decides)"
    if any(server["name"] == service and server["role"] == "active" for one in known for server in one["servers"]):
        return " (active)"
    return ""


def report(visitors, what, begun, lost, longest):
    """Prints how long visitors waited, and returns what should not have been."""
    tries = visitors.since(begun)
    waits = longest_wait(tries)
    pages = [one for one in tries if one.outcome == "error page"]
    # Whoever can't get through tries again: that he lost one connection is counted once.
    broken = [one for one in tries if one.outcome in ("broken", "timeout") and not one.again]
    text = ", ".join(f"{waits.get(kind, float('nan')):.2f}" for kind, _ in KINDS)
    print(f"{what:38}{text:<48}{len(pages):>12}{len(broken):>6}", flush=True)
    complaints = [f"{what}: an error page for a {one.kind}: {one.detail}" for one in pages]
    complaints += [f"{what}: a lost connection of a {one.kind}: {one.detail}" for one in broken] if len(broken) > lost else []
    complaints += [f"{what}: a {kind} waited for {wait:.2f} s" for kind, wait in waits.items() if wait > longest]
    complaints += [f"{what}: no {kind} got anything" for kind, _ in KINDS if kind not in waits]
    return complaints


def ledger(cluster, visitors):
    """Compares what was acknowledged with what both databases have."""
    complaints = []
    for database in ("database-1", "database-2"):
        orders = [token for (token,) in cluster.sql(database, "SELECT token FROM shop.orders")]
        comments = [text for (text,) in cluster.sql(
            database, "SELECT comment_content FROM wordpress.wp_comments WHERE comment_content LIKE 'I was here%'")]
        complaints += [f"{database} lacks the order {token}" for token in visitors.orders - set(orders)]
        complaints += [f"{database} lacks the comment {text}" for text in visitors.comments - set(comments)]
        complaints += [f"{database} has {len(comments) - len(set(comments))} comments twice"] * (len(comments) > len(set(comments)))
        print(f"{database}: {len(visitors.orders)} orders and {len(visitors.comments)} comments acknowledged, "
              f"{len(orders)} and {len(comments)} there", flush=True)
    return complaints


if __name__ == "__main__":
    main()
