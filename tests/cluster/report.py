#!/usr/bin/python3
"""Makes docs/study.html of the CSV files that study.py has written: every figure and every sentence with a number comes from them.

    tests/cluster/report.py      makes it anew, of the last run's files
"""

import csv
import html
import json
import math
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"a": "one server", "b": "load balancing", "c": "Tandem", "d": "HAProxy and scripts"}
COLORS = {"a": "#777777", "b": "#b8790c", "c": "#1769aa", "d": "#a23b72"}
HARMS = {"kill": "killed", "hang": "hung", "cut": "cut off"}
PARTS = ("load balancer", "web server", "proxy", "standby database", "active database", "rack")
# Which kind of part a container is, by its name without its number.
TIER_OF = {"balancer": "load balancers", "web": "web servers", "single-web": "web servers", "tandem": "proxies", "haproxy": "proxies",
           "database": "databases", "single-database": "databases", "etcd": "etcd"}
TIERS = tuple(dict.fromkeys(TIER_OF.values()))
TIER_COLORS = {"load balancers": "#8fb8de", "web servers": "#d9d9d9", "proxies": "#1769aa", "databases": "#e0b15c", "etcd": "#a23b72"}
# What a visitor may wait, in seconds, and hardly notice.
WAIT = 2
PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)


def read(folder, name):
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def write(folder, name, columns, rows):
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def number(text, otherwise=0.0):
    return float(text) if text not in ("", None) else otherwise


def percentile(values, wanted):
    return values[min(len(values) - 1, max(0, math.ceil(len(values) * wanted / 100) - 1))]


def figure(value):
    """Two or three digits that mean something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def derive(data, raw):
    """Of every single try, what the figures show: the distribution in calm, and orders around the active database's death."""
    tries = read(raw, "tries")
    kinds = sorted({one["kind"] for one in tries})
    rows = []
    for setup in NAMES:
        for kind in kinds:
            mine = sorted(float(one["seconds"]) for one in tries
                          if (one["setup"], one["phase"], one["kind"], one["outcome"]) == (setup, "calm", kind, "ok"))
            if mine:
                rows += [(setup, kind, len(mine), wanted, round(percentile(mine, wanted) * 1000, 1)) for wanted in PERCENTILES]
    write(data, "distribution", ("setup", "kind", "requests", "percentile", "ms"), rows)
    rows = [(one["setup"], one["phase"].split()[0], one["begun_s"], one["seconds"], one["outcome"]) for one in tries
            if one["phase"].endswith(" active database") and one["kind"] in ("order", "plain order")]
    write(data, "orders", ("setup", "harm", "begun_s", "seconds", "outcome"), rows)


class Plot:
    """One SVG with two axes; x and y are functions from values to 0..1."""

    def __init__(self, width, height, x, y, title):
        self.width, self.height, self.x, self.y = width, height, x, y
        self.parts = [f'<text x="0" y="14" class="title">{html.escape(title)}</text>']

    LEFT, RIGHT, TOP, BOTTOM = 56, 12, 26, 38

    def at(self, x, y):
        return (self.LEFT + self.x(x) * (self.width - self.LEFT - self.RIGHT),
                self.TOP + (1 - self.y(y)) * (self.height - self.TOP - self.BOTTOM))

    def axes(self, xs, ys, x_name, y_name):
        left, bottom = self.LEFT, self.height - self.BOTTOM
        for value, label in xs:
            x, _ = self.at(value, 0)
            self.parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.TOP}" y2="{bottom}" class="grid"/>'
                              f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{label}</text>')
        for value, label in ys:
            y = self.TOP + (1 - self.y(value)) * (bottom - self.TOP)
            self.parts.append(f'<line x1="{left}" x2="{self.width - self.RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
                              f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        self.parts.append(f'<text x="{(left + self.width) / 2:.0f}" y="{self.height - 6}" text-anchor="middle">{x_name}</text>'
                          f'<text x="{left}" y="{self.TOP - 2}" class="small">{y_name}</text>')

    def line(self, points, color):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for point in points:
            x, y = self.at(*point)
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>')

    def dot(self, x, y, color):
        x, y = self.at(x, y)
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{color}" fill-opacity=".6"/>')

    def text(self):
        return (f'<svg viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}" role="img">'
                + "".join(self.parts) + "</svg>")


def linear(low, high):
    return lambda value: (min(max(value, low), high) - low) / (high - low)


def logarithmic(low, high):
    return lambda value: math.log(min(max(value, low), high) / low) / math.log(high / low)


def legend(setups):
    return '<p class="legend">' + " ".join(
        f'<span><i style="background:{COLORS[one]}"></i>({one}) {NAMES[one]}</span>' for one in setups) + "</p>"


def distribution_plot(rows, kind, setups):
    plot = Plot(460, 260, logarithmic(1, 10000), linear(0, 100), f"{kind}: how many percent were answered within…")
    plot.axes([(10 ** power, label) for power, label in ((0, "1 ms"), (1, "10 ms"), (2, "100 ms"), (3, "1 s"), (4, "10 s"))],
              [(value, f"{value}%") for value in (0, 25, 50, 75, 100)], "response time", "")
    for setup in setups:
        points = [(max(float(row["ms"]), 1), float(row["percentile"])) for row in rows if (row["setup"], row["kind"]) == (setup, kind)]
        if points:
            plot.line(points, COLORS[setup])
    return plot.text()


def load_plot(rows, scenario, column, name, setups):
    mine = [row for row in rows if row["scenario"] == scenario]
    counts = sorted({int(row["connections"]) for row in mine})
    most = max((float(row[column]) for row in mine), default=1)
    step = next(step for step in (10 ** power * digit for power in range(6) for digit in (1, 2, 5)) if 5 * step >= most)
    top = step * math.ceil(most / step)
    plot = Plot(460, 240, logarithmic(counts[0], max(counts[-1], counts[0] + 1)), linear(0, top), f"{scenario}s: {name}")
    plot.axes([(count, count) for count in counts], [(value, str(value)) for value in range(0, top + 1, step)],
              "connections at once", "")
    for setup in setups:
        points = [(int(row["connections"]), float(row[column])) for row in mine if row["setup"] == setup]
        if points:
            plot.line(sorted(points), COLORS[setup])
    return plot.text()


def timeline(rows, setup, harm, until_s):
    plot = Plot(460, 170, linear(0, until_s), logarithmic(0.005, 40), f"({setup}) {NAMES[setup]}: how long an order took")
    plot.axes([(value, f"{value} s") for value in range(0, int(until_s) + 1, 5)],
              [(0.01, "10 ms"), (0.1, "0.1 s"), (1, "1 s"), (10, "10 s")], f"sent so long after the database was {HARMS[harm]}", "")
    for row in rows:
        if (row["setup"], row["harm"]) == (setup, harm) and 0 <= float(row["begun_s"]) <= until_s:
            plot.dot(float(row["begun_s"]), float(row["seconds"]), COLORS[setup] if row["outcome"] == "ok" else "#d00000")
    return plot.text()


def table(columns, rows, kind=""):
    """A cell is text, or a pair of text and class."""
    def cell(one):
        text, name = one if isinstance(one, tuple) else (one, "")
        return f'<td class="{name}">{html.escape(str(text))}' if name else f"<td>{html.escape(str(text))}"
    head = "".join(f"<th>{html.escape(str(column))}" for column in columns)
    body = "".join("<tr>" + "".join(cell(one) for one in row) for row in rows)
    return f'<div class="wide"><table class="{kind}"><tr>{head}{body}</table></div>'


def bars(rows, title, unit):
    """Stacked bars: rows are (setup, {tier: value})."""
    width, line, left = 460, 30, 34
    most = max((sum(parts.values()) for _, parts in rows), default=0) or 1
    parts = [f'<text x="0" y="14" class="title">{html.escape(title)}</text>']
    for row, (setup, values) in enumerate(rows):
        y, x = 26 + row * line, float(left)
        parts.append(f'<text x="0" y="{y + 15}">({setup})</text>')
        for tier, value in values.items():
            wide = value / most * (width - left - 90)
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="20" fill="{TIER_COLORS[tier]}"><title>{tier}: {figure(value)} {unit}'
                         "</title></rect>")
            x += wide
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 15}">{figure(sum(values.values()))} {unit}</text>')
    height = 30 + line * len(rows)
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">' + "".join(parts) + "</svg>"


class Findings:
    """What the numbers say, each asked for by name; None where it was not measured."""

    def __init__(self, data):
        self.faults, self.load, self.parts = read(data, "faults"), read(data, "load"), read(data, "parts")
        self.distribution, self.orders, self.phases = read(data, "distribution"), read(data, "orders"), read(data, "phases")
        self.setups = [one for one in NAMES if any(row["setup"] == one for row in self.phases)]
        self.by = {(row["setup"], row["part"], row["harm"]): row for row in self.faults}

    def wait(self, setup, part, harm):
        row = self.by.get((setup, part, harm))
        return row and number(row["longest_wait_s"])

    def pause(self, setup, part, harm):
        """For how long no order succeeded."""
        row = self.by.get((setup, part, harm))
        return row and number(row["no_order_s"])

    def failed(self, setup, part, harm):
        row = self.by.get((setup, part, harm))
        return row and failed(row)

    def harmed(self, setup):
        return [row for row in self.faults if row["setup"] == setup]

    def parts_of(self, setup):
        return {row["part"] for row in self.harmed(setup)}

    def peak(self, setup, scenario):
        """The most that was served in a second, without what failed."""
        return max((number(row["requests_per_s"]) * (1 - number(row["errors"]) / max(number(row["requests"]), 1))
                    for row in self.load if (row["setup"], row["scenario"]) == (setup, scenario)), default=None)

    def median(self, setup, kind):
        return next((number(row["ms"]) for row in self.distribution
                     if (row["setup"], row["kind"]) == (setup, kind) and number(row["percentile"]) == 50), None)

    def total(self, setup, column, phase="calm"):
        mine = [number(row[column]) for row in self.parts if (row["setup"], row["phase"]) == (setup, phase)]
        return sum(mine) if mine else None

    def tiers(self, setup, phase, column):
        found = dict.fromkeys(TIERS, 0.0)
        for row in self.parts:
            if (row["setup"], row["phase"]) == (setup, phase):
                found[TIER_OF[row["service"].rstrip("-0123456789")]] += number(row[column])
        return {tier: value for tier, value in found.items() if value}


def failed(row):
    return int(row["error_pages"]) + int(row["lost_connections"]) + int(row["timeouts"])


def harm_table(found):
    """Longest wait, and how many requests failed, for each harm and set-up."""
    rows = []
    for part in PARTS:
        for harm, done in HARMS.items():
            cells = [("has none" if found.harmed(setup) and part not in found.parts_of(setup) else told(found, setup, part, harm),
                      grade(found, setup, part, harm)) for setup in found.setups]
            if any(name != "none" for _, name in cells):
                rows.append([f"{part} {done}", *cells])
    return table(["", *(f"({one}) {NAMES[one]}" for one in found.setups)], rows, "harms")


def told(found, setup, part, harm):
    wait, wrong = found.wait(setup, part, harm), found.failed(setup, part, harm)
    if wait is None:
        return "not measured"
    return f"{figure(wait)} s; " + ("none failed" if wrong == 0 else f"{wrong} failed")


def one_server(found):
    """When it is enough."""
    mine = found.harmed("a")
    if not mine:
        return []
    points = []
    least = min(mine, key=lambda row: number(row["no_success_s"]))
    points.append(f"Whatever is harmed, nobody is served until it has been repaired, here after some seconds: the shortest time in which nothing succeeded "
                  f"was {figure(number(least['no_success_s']))} s ({least['part']} {HARMS[least['harm']]}). Really it is as long as a person needs. One server is "
                  "enough where that is bearable.")
    lost = sum(int(number(row["missing"])) for row in mine)
    points.append("Nothing that was acknowledged was lost: the database writes every commit to its disk. What becomes of it with the disk was not measured."
                  if not lost else f"{lost} acknowledged orders were missing afterwards.")
    # A difference of a tenth says nothing.
    faster = [setup for setup in found.setups for scenario in ("page", "order")
              if setup != "a" and (found.peak(setup, scenario) or 0) > 1.1 * (found.peak("a", scenario) or 0)]
    if not faster:
        points.append("On one machine none of the others was faster by more than a tenth, and all need more of everything: see below.")
    return points


def bought(found):
    """What each part of the redundancy buys: the same harm with it and without it."""
    rows = []
    for name, part, before, after in (
            ("a second web server behind nginx", "web server", "a", "b"),
            ("a second load balancer with a virtual IP", "load balancer", "b", "c"),
            ("a second database, with Tandem", "active database", "b", "c"),
            ("a second database, with HAProxy and scripts", "active database", "b", "d"),
            ("a second Tandem", "proxy", None, "c"),
            ("a second HAProxy", "proxy", None, "d"),
            ("two racks, with Tandem", "rack", None, "c"),
            ("two racks, with HAProxy and scripts", "rack", None, "d")):
        for harm, done in HARMS.items():
            if found.wait(after, part, harm) is not None:
                without = before and told(found, before, part, harm) or "not measured"
                rows.append([name, f"{part} {done}", (without, grade(found, before, part, harm)),
                             (told(found, after, part, harm), grade(found, after, part, harm))])
                name = ""
    return table(["", "harm", "longest wait without it", "with it"], rows, "harms")


def grade(found, setup, part, harm):
    """The colour of a cell."""
    wait, wrong = found.wait(setup, part, harm), found.failed(setup, part, harm)
    return "none" if wait is None else "good" if wait < WAIT and wrong == 0 else "fair" if wait < 3 * WAIT else "bad"


def costs(found):
    """What each set-up needs."""
    measures = [
        ("containers", lambda one: sum((row["setup"], row["phase"]) == (one, "calm") for row in found.parts)),
        ("memory in calm, MiB", lambda one: found.total(one, "memory_mb")),
        ("processor with nine visitors, % of a core", lambda one: found.total(one, "cpu_percent")),
        ("processor for a page, ms", lambda one: found.total(one, "cpu_ms_per_request", "pages")),
        ("processor for an order, ms", lambda one: found.total(one, "cpu_ms_per_request", "orders")),
        ("most pages a second", lambda one: found.peak(one, "page")),
        ("most orders a second", lambda one: found.peak(one, "order")),
        ("a page in calm, median ms", lambda one: found.median(one, "reader")),
        ("an order in calm, median ms", lambda one: found.median(one, "order")),
        ("a comment in calm, median ms", lambda one: found.median(one, "commenter")),
    ]
    rows = [[name, *(str(value) if isinstance(value := measure(one), int) else "" if value is None else figure(value) for one in found.setups)]
            for name, measure in measures]
    said = []
    for setup in "cd":
        proxies = {phase: found.tiers(setup, phase, "cpu_ms_per_request").get("proxies") for phase in ("pages", "orders")}
        if all(proxies.values()):
            said.append(f"The two proxies of ({setup}) take {figure(proxies['pages'])} ms of processor for a page and {figure(proxies['orders'])} ms for an "
                        f"order, which is {100 * proxies['pages'] / found.total(setup, 'cpu_ms_per_request', 'pages'):.0f} and "
                        f"{100 * proxies['orders'] / found.total(setup, 'cpu_ms_per_request', 'orders'):.0f} % of all.")
    order = {setup: found.median(setup, "order") for setup in "acd"}
    page = {setup: found.median(setup, "reader") for setup in "acd"}
    if all(order.values()) and all(page.values()):
        said.append(f"In calm a page takes {figure(page['c'] / page['a'])} times as long as on one server with Tandem and {figure(page['d'] / page['a'])} times with "
                    f"HAProxy; an order, which a second database has before it is acknowledged, {figure(order['c'] / order['a'])} and "
                    f"{figure(order['d'] / order['a'])} times.")
    return table(["", *(f"({one}) {NAMES[one]}" for one in found.setups)], rows, "harms") + points(html.escape(one) for one in said)


def beside(found):
    """Tandem and what is in its place in (d), harm by harm."""
    better = {"c": [], "d": []}
    alike = 0
    for part in PARTS:
        for harm, done in HARMS.items():
            waits = {setup: found.wait(setup, part, harm) for setup in "cd"}
            if None in waits.values():
                continue
            quicker = min(waits, key=waits.get)
            # Less than a factor of two says nothing.
            if max(waits.values()) > 2 * waits[quicker]:
                better[quicker].append(f"{part} {done} ({told(found, 'c', part, harm)} and {told(found, 'd', part, harm)})")
            else:
                alike += 1
    said = [f"Less than half as long a wait with {name}: {', '.join(better[setup]) or 'after no harm'}."
            for setup, name in (("c", "Tandem"), ("d", "HAProxy and scripts"))]
    if alike:
        said.append(f"The other {alike} harms were less than a factor of two apart, which says nothing.")
    return points(html.escape(one) for one in said)


def care(found):
    """What a person had to do, and what was lost or doubled."""
    points = []
    for setup in found.setups:
        mine = found.harmed(setup)
        if not mine:
            continue
        repaired = [f"{row['part']} {HARMS[row['harm']]} ({row['repair']})" for row in mine if row["repair"]]
        lost = [(row["part"], HARMS[row["harm"]], int(number(row["missing"]))) for row in mine if number(row["missing"])]
        twice = max((int(row["doubled"]) for row in mine), default=0)
        wrong = sum(failed(row) for row in mine)
        said = [f"{len(mine)} harms, {wrong} failed requests of {sum(int(row['tries']) for row in mine)}",
                "no acknowledged order was missing afterwards" if not lost else "acknowledged orders were missing: "
                + ", ".join(f"{count} after {part} {done}" for part, done, count in lost),
                "none stood there twice" if not twice else f"of the plain orders, which nothing keeps apart, {twice} stood there twice",
                "once the part was back it became whole by itself each time" if not repaired else "it did not become whole by itself after " + ", ".join(repaired)]
        points.append(f"<b>({setup}) {NAMES[setup]}</b>: " + html.escape("; ".join(said)) + ".")
    return points


def short(found):
    """The first sentences."""
    points = []
    for setup in found.setups:
        mine = found.harmed(setup)
        if not mine:
            continue
        unnoticed = sum(grade(found, setup, row["part"], row["harm"]) == "good" for row in mine)
        worst = max(mine, key=lambda row: number(row["longest_wait_s"]))
        killed = found.pause(setup, "active database", "kill")
        points.append(f"<b>({setup}) {NAMES[setup]}</b>: " + html.escape(
            f"in {unnoticed} of {len(mine)} harms no request failed and nobody waited for {WAIT} s. "
            + (f"The active database killed stopped orders for {figure(killed)} s. " if killed is not None else "")
            + f"The longest wait was {figure(number(worst['longest_wait_s']))} s, with the {worst['part']} {HARMS[worst['harm']]}."))
    return points


def points(items):
    return "<ul>" + "".join(f"<li>{item}" for item in items) + "</ul>"


def chapter(found):
    """Advantages and disadvantages, from the measurements alone."""
    page = ["<h3>When one server is enough</h3>", points(html.escape(one) for one in one_server(found)),
            "<h3>What each part of the redundancy buys</h3><p>The longest that a visitor waited for what he wanted while the part was away, and how many "
            "requests failed; with it and without it.", bought(found),
            "<h3>What it costs</h3><p>On this machine, which all parts share. Processor time is that of all parts, divided by the requests; what runs without any "
            "request, such as those who watch each other, is in it.", costs(found),
            *(("<h3>Tandem beside HAProxy and scripts</h3><p>The longest wait, and how many requests failed, with Tandem and with HAProxy and scripts.",
               beside(found)) if set("cd") <= set(found.setups) else ()),
            "<h3>What it leaves to do</h3>", points(care(found))]
    return "".join(page)


METHOD = """
<p>The four set-ups run on the same machine, one after the other, in containers, from the same images: the same Apache, PHP, WordPress and MariaDB with
the same settings, every commit synced to the disk. <b>(a)</b> is one web server and one database. <b>(b)</b> adds nginx and a second web server.
<b>(c)</b> is <code>docker/cluster.yaml</code>: everything twice, two Tandems, three members of etcd. <b>(d)</b> is (c) with HAProxy in Tandem's place;
keepalived beside each database gives one of them a virtual IP and runs scripts that set <code>read_only</code>, as they are written by hand
(<code>tests/cluster/setups</code>).
<p>Nine visitors come all the time: three read pages, one saves a profile in WordPress's administration, one comments, two order with a token by which the shop
knows an order that comes twice, two order plainly. Each waits 0.15 s between two requests. What fails is tried again after 0.2 s, but for plain orders. A
<i>failed</i> request is one that was answered with an error page, not at all, or not within 20 s; one that is tried again and fails again counts twice. A
<i>wait</i> is the time from the first try, or from the harm if that came later, to the success.
<p>Harm: <i>killed</i> is <code>docker kill</code>, <i>hung</i> is <code>docker pause</code>, <i>cut off</i> is the network interface taken down, as if the
cable were pulled. The <i>rack</i> is all that stands beside the active database: a load balancer, a web server, a proxy, in (c) a member of etcd. After GONE s it is
undone, and the next harm waits until all is whole again: all containers well, both databases replicating, in (c) the standby able to take over. What is not whole
within 30 s is repaired as an operator would do it, by a restart, or by making the standby anew from a backup of the active database.
<p>Growing load is wrk, without waiting between requests: WordPress's front page, and plain orders; each number of connections for a few seconds. The database
counts the orders, too. CPU and memory are those of the containers' control groups. After each harm all acknowledged orders are looked for in every database.
<p>The containers, the visitors and wrk had precedence over whatever else ran on the machine (control group and niceness); the load average says how much that was.
"""
LIMITS = """
<ul><li>All parts, the visitors and wrk share this machine's cores: two web servers can't be faster than one here, and what each part costs shows
as throughput that the others lack. On machines of their own, reads would gain from the second web server and the second database.
<li>The network between the parts is the machine's memory: no distance, no loss, no lack of bandwidth.
<li>All databases share one disk, and so its syncs.
<li>Each harm was done once in each set-up. A difference of less than a factor of two between two set-ups says nothing.
<li>The machine was not idle otherwise where the load average was high in calm; what is in milliseconds is then longer than it need be, in all set-ups.
<li>Nine visitors, who wait until they are answered: where a part hangs, all nine may be caught by it before it is left out, and then nobody is served for
as long as they wait. A tenth would have been.
<li>The scripts of (d) are one way to write them. Others are better or worse.
<li>Harm was undone after seconds. How long a machine is really away decides how much (a) and (b) lose.</ul>
"""
STYLE = """
body{font:16px/1.55 sans-serif;max-width:980px;margin:2em auto;padding:0 1em;color:#222;background:#fff}h1,h2,h3{line-height:1.25}h2{margin-top:2em}
table{border-collapse:collapse;font-size:14px}td,th{padding:.3em .8em .3em 0;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
.wide{overflow-x:auto}.harms td,.harms th{padding:.3em .8em}.harms td:first-child,.harms th:first-child{position:sticky;left:0;background:#fff}
.good{background:#e3f1e3}.fair{background:#fbf1d5}.bad{background:#f8dcd9}.none{color:#777}
svg text{font:11px sans-serif;fill:#333}svg .title{font-weight:bold;font-size:12px}.grid{stroke:#e4e4e4}svg{max-width:100%;height:auto}
.legend span{margin-right:1.2em;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}.pair{display:flex;flex-wrap:wrap;gap:8px}
details{margin:1em 0}summary{cursor:pointer}li{margin:.35em 0}
"""


def write_report(data, raw):
    machine = json.loads((data / "machine.json").read_text())
    if (raw / "tries.csv").exists():
        derive(data, raw)
    found = Findings(data)
    setups = found.setups
    gone = " or ".join(sorted({f"{run['gone_s']:.0f}" for run in machine["runs"].values()}))
    page = ['<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>What redundancy buys, and costs'
            f'</title><style>{STYLE}</style><h1>What redundancy buys, and costs</h1>'
            "<p>The same WordPress and shop on one server, behind a load balancer, with Tandem, and with HAProxy and scripts, measured and written up by "
            "<code>make study</code>. The data is in <code>docs/study/</code>.",
            "<h2>In short</h2>", points(short(found)), legend(setups),
            "<p>The longest that a visitor waited for what he wanted, and how many requests failed, when a part was harmed and brought back after "
            f"{gone} s:", harm_table(found),
            "<h2>Advantages and disadvantages</h2>", chapter(found),
            "<h2>The active database dies, hangs, or is cut off</h2><p>Each point is an order; red ones failed.", legend(setups)]
    for harm in HARMS:
        page.append('<div class="pair">' + "".join(timeline(found.orders, one, harm, 25) for one in setups) + "</div>")
    page += ["<h2>In calm</h2><p>Nine visitors, who think for 0.15 s between two requests.", legend(setups),
             '<div class="pair">' + "".join(distribution_plot(found.distribution, kind, setups)
                                            for kind in ("reader", "order", "commenter", "editor")) + "</div>"]
    rows = [[f"({row['setup']})", row["kind"], row["requests"]] + [
        figure(float(one["ms"])) for one in found.distribution
        if (one["setup"], one["kind"]) == (row["setup"], row["kind"]) and float(one["percentile"]) in (50, 90, 95, 99, 100)]
        for row in found.distribution if float(row["percentile"]) == 50]
    page.append(details("All numbers", table(("", "visitor", "requests", "median ms", "90 %", "95 %", "99 %", "longest"), rows)))
    page += ["<h2>Growing load</h2>", legend(setups)]
    if found.load:
        page.append('<div class="pair">' + "".join(load_plot(found.load, scenario, column, name, setups) for scenario in ("page", "order")
                                                   for column, name in (("requests_per_s", "a second"), ("p99_ms", "99 % within… ms"))) + "</div>")
        page.append(details("All numbers", "<p><i>In the database</i>: by how many rows the orders grew, as the database counts them; those that were under way when "
                            "wrk stopped are among them." + table(
                                ("", "scenario", "connections", "requests", "a second", "errors", "in the database", "median ms", "90 %", "99 %", "longest"), [
                                    [f"({row['setup']})", *(row[name] for name in (
                                        "scenario", "connections", "requests", "requests_per_s", "errors", "counted", "p50_ms", "p90_ms", "p99_ms", "longest_ms"))]
                                    for row in found.load])))
    page += ["<h2>What the parts need</h2>", '<p class="legend">' + " ".join(
        f'<span><i style="background:{TIER_COLORS[tier]}"></i>{tier}</span>' for tier in TIERS) + "</p>", '<div class="pair">',
        *(bars([(setup, found.tiers(setup, phase, column)) for setup in setups], title, unit) for phase, column, title, unit in (
            ("pages", "cpu_ms_per_request", "processor time of a page", "ms"), ("orders", "cpu_ms_per_request", "processor time of an order", "ms"),
            ("calm", "cpu_percent", "processor in calm, of one core", "%"), ("calm", "memory_mb", "memory in calm", "MiB"))), "</div>",
        details("All numbers", table(("", "phase", "container", "CPU % of a core", "CPU ms a request", "memory MiB"), [
            [f"({row['setup']})", row["phase"], row["service"], row["cpu_percent"], row["cpu_ms_per_request"], row["memory_mb"]] for row in found.parts])),
        "<h2>Every harm</h2><p><i>Nothing for</i>: the longest time in which no request of anybody succeeded. <i>No order for</i>: the same of orders. "
        "<i>Detected</i> and <i>promoted</i>: as Tandem's events tell. <i>Whole again</i>: from the return of the part until all was as before; "
        "empty: not within 30 s, and repaired. <i>Missing</i>, <i>twice</i>: of all orders acknowledged since the set-up's start.",
        details("All numbers", table(("", "part", "harm", "containers", "requests", "error pages", "lost connections", "timeouts", "nothing for s", "longest wait s", "longest order s",
               "no order for s", "detected s", "promoted s", "whole again s", "repair", "orders so far", "missing", "twice", "lag after ms"),
              [[f"({row['setup']})", *list(row.values())[1:]] for row in found.faults])),
        "<h2>How it was measured</h2>", METHOD.replace("GONE", gone),
        table(("", ""), [*([name, value] for name, value in machine["machine"].items()), ["load average", load_average(found)]]),
        "<h3>The runs</h3>", table(("", "measured", "minutes", "phases", "Tandem's commit", "note"), [
            [f"({setup}) {NAMES[setup]}", run["measured"], run["minutes"], run["phases"], run["commit"], run["note"]] for setup, run in machine["runs"].items()]),
        wrong_phases(found),
        details("All phases, with the machine's load average at their ends", table(("", "phase", "begun (UTC)", "seconds", "load average", "outcome"), [
            [f"({row['setup']})", row["phase"], row["begun"], row["seconds"], row["load_average"], row["outcome"]] for row in found.phases])),
        "<h2>What can't be concluded from it</h2>", LIMITS, "</html>\n"]
    (data.parent / "study.html").write_text("".join(page))


def load_average(found):
    seen = sorted(number(row["load_average"]) for row in found.phases)
    return f"{figure(seen[0])} to {figure(seen[-1])} at the ends of the phases, half of them above {figure(seen[len(seen) // 2])}"


def wrong_phases(found):
    wrong = [row for row in found.phases if row["outcome"] != "ok"]
    if not wrong:
        return "<p>Every phase of every set-up came to its end."
    return "<p>These phases did not come to their end as they should:" + table(("", "phase", "what was wrong"), [
        [f"({row['setup']})", row["phase"], row["outcome"]] for row in wrong])


def details(summary, content):
    return f"<details><summary>{summary}</summary>{content}</details>"


if __name__ == "__main__":
    write_report(ROOT / "docs/study", ROOT / "target/study")
