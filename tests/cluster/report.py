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
COLORS = {"a": "#8a8a8a", "b": "#c98b1b", "c": "#1f77b4", "d": "#a23b72"}
HARMS = {"kill": "killed", "hang": "hung", "cut": "cut off"}
PARTS = ("load balancer", "web server", "proxy", "standby database", "active database")
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
            if one["phase"] in ("kill active database", "hang active database") and one["kind"] in ("order", "plain order")]
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
    top = max((float(row[column]) for row in mine), default=1) * 1.1
    plot = Plot(460, 240, logarithmic(counts[0], max(counts[-1], counts[0] + 1)), linear(0, top), f"{scenario}s: {name}")
    plot.axes([(count, count) for count in counts], [(top * part / 4, figure(top * part / 4)) for part in range(5)],
              "connections at once", "")
    for setup in setups:
        points = [(int(row["connections"]), float(row[column])) for row in mine if row["setup"] == setup]
        if points:
            plot.line(sorted(points), COLORS[setup])
    return plot.text()


def timeline(rows, setup, harm, until_s):
    plot = Plot(460, 170, linear(0, until_s), logarithmic(0.005, 40), f"({setup}) {NAMES[setup]}: orders")
    plot.axes([(value, f"{value} s") for value in range(0, int(until_s) + 1, 5)],
              [(0.01, "10 ms"), (0.1, "0.1 s"), (1, "1 s"), (10, "10 s")], f"sent so long after the database was {HARMS[harm]}", "took")
    for row in rows:
        if (row["setup"], row["harm"]) == (setup, harm) and 0 <= float(row["begun_s"]) <= until_s:
            plot.dot(float(row["begun_s"]), float(row["seconds"]), COLORS[setup] if row["outcome"] == "ok" else "#d00000")
    return plot.text()


def table(columns, rows):
    head = "".join(f"<th>{html.escape(str(column))}" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}" for cell in row) for row in rows)
    return f'<div class="wide"><table><tr>{head}{body}</table></div>'


def failed(row):
    return int(row["error_pages"]) + int(row["lost_connections"]) + int(row["timeouts"])


def harm_table(faults, setups):
    """Longest wait, and how many requests failed, for each harm and set-up."""
    by = {(row["setup"], row["part"], row["harm"]): row for row in faults}
    rows = []
    for part in PARTS:
        for harm, done in HARMS.items():
            cells = []
            for setup in setups:
                row = by.get((setup, part, harm))
                if row is None:
                    mine = {one["part"] for one in faults if one["setup"] == setup}
                    cells.append("has none" if mine and part not in mine else "not measured")
                else:
                    wrong = failed(row)
                    cells.append(f"{figure(number(row['longest_wait_s']))} s; "
                                 + ("none failed" if wrong == 0 else f"{wrong} of {row['tries']} failed"))
            if any(cell.endswith("failed") for cell in cells):
                rows.append([f"{part} {done}", *cells])
    return table(["", *(f"({one}) {NAMES[one]}" for one in setups)], rows)


def conclusions(faults, load, distribution, parts, setups):
    """The chapter on advantages and disadvantages. A sentence stands there only if the numbers say it."""
    by = {(row["setup"], row["part"], row["harm"]): row for row in faults}
    peak = {setup: max((float(row["requests_per_s"]) for row in load if row["setup"] == setup and row["scenario"] == "page"), default=0)
            for setup in setups}
    orders = {setup: max((float(row["requests_per_s"]) for row in load if row["setup"] == setup and row["scenario"] == "order"), default=0)
              for setup in setups}
    median = {(row["setup"], row["kind"]): float(row["ms"]) for row in distribution if float(row["percentile"]) == 50}
    memory = {setup: sum(float(row["memory_mb"]) for row in parts if row["setup"] == setup) for setup in setups}
    cpu = {setup: sum(float(row["cpu_percent"]) for row in parts if row["setup"] == setup) for setup in setups}
    wrong = {setup: sum(failed(row) for row in faults if row["setup"] == setup) for setup in setups}
    text = []

    def harmed(setup, part, harm):
        row = by.get((setup, part, harm))
        if row is None:
            return None
        return (f"the longest wait was {figure(number(row['longest_wait_s']))} s and "
                + ("no request failed" if failed(row) == 0 else f"{failed(row)} of {row['tries']} requests failed"))

    for setup in setups:
        points = [f"Orders took {figure(median.get((setup, 'order'), 0))} ms and pages {figure(median.get((setup, 'reader'), 0))} ms "
                  f"(medians in calm). Pages reached {figure(peak[setup])} and orders {figure(orders[setup])} a second."]
        points.append(f"All parts together took {figure(memory[setup])} MB and {figure(cpu[setup])} % of a core in calm.")
        for part in PARTS:
            told = [f"{HARMS[harm]}: {harmed(setup, part, harm)}" for harm in HARMS if harmed(setup, part, harm)]
            if told:
                points.append(f"The {part} {'; '.join(told)}.")
        lost = [(row["part"], HARMS[row["harm"]], int(row["missing"])) for row in faults if row["setup"] == setup and number(row["missing"])]
        twice = max((int(row["doubled"]) for row in faults if row["setup"] == setup), default=0)
        if not any(row["setup"] == setup for row in faults):
            text.append(f"<h3>({setup}) {NAMES[setup]}: not harmed in this run</h3><ul>"
                        + "".join(f"<li>{html.escape(point)}" for point in points) + "</ul>")
            continue
        points.append("No acknowledged order was found missing afterwards" if not lost else "Acknowledged orders were missing: " + ", ".join(
            f"{count} after the {part} was {harm}" for part, harm, count in lost))
        points[-1] += (", and none was there twice." if not twice else f", and {twice} of the plain orders, which nothing keeps apart, "
                       "were there twice in the end.")
        away = [f"the {row['part']} {HARMS[row['harm']]}" for row in faults if row["setup"] == setup and row["whole_again_s"] == ""]
        if away:
            points.append(f"Within a minute after its return it had not become whole by itself after: {', '.join(away)}.")
        text.append(f"<h3>({setup}) {NAMES[setup]}: {wrong[setup]} failed requests in all</h3><ul>"
                    + "".join(f"<li>{html.escape(point)}" for point in points) + "</ul>")

    ranked = []
    a, c, d = (by.get((setup, "active database", "kill")) for setup in "acd")
    if a and c:
        ranked.append(f"A second database with Tandem turned {figure(number(a['longest_wait_s']))} s of waiting and {failed(a)} failed requests, "
                      f"with a dead database that somebody restarts at once, into {figure(number(c['longest_wait_s']))} s and {failed(c)}.")
    if c and d:
        ranked.append(f"With HAProxy and scripts in its place it was {figure(number(d['longest_wait_s']))} s and {failed(d)}.")
    if "a" in setups and "c" in setups and peak["a"] and median.get(("a", "order")):
        ranked.append(f"What Tandem and the rest cost on this machine, where all share two cores: {figure(memory['c'] / max(memory['a'], 1))} times the "
                      f"memory, {figure(peak['c'] / peak['a'])} times the pages and {figure(orders['c'] / max(orders['a'], 0.01))} times the orders a second, "
                      f"and an order took {figure(median[('c', 'order')] / median[('a', 'order')])} times as long in calm.")
    if "a" in setups:
        if any(row["setup"] == "a" for row in faults):
            ranked.append("One server is enough where what the table shows for it is bearable, multiplied by how long it takes until somebody comes: "
                          "the harm was undone here after seconds, and until then nobody was served.")
    return "".join(f"<p>{html.escape(one)}" for one in ranked) + "".join(text)


METHOD = """
<p>The four set-ups run on the same machine, one after the other, in containers, from the same images: the same Apache, PHP, WordPress and MariaDB with
the same settings, every commit synced to the disk. <b>(a)</b> is one web server and one database. <b>(b)</b> adds nginx and a second web server.
<b>(c)</b> is <code>docker/cluster.yaml</code>: everything twice, two Tandems, three members of etcd. <b>(d)</b> is (c) with HAProxy in Tandem's place;
keepalived beside each database gives one of them a virtual IP and runs scripts that set <code>read_only</code>, as they are written by hand
(<code>tests/cluster/setups</code>).
<p>Nine visitors come all the time: three read pages, one saves a profile in WordPress's administration, one comments, two order with a token by which the shop knows an order
that comes twice, two order plainly. Each waits 0.15 s between two requests. What fails is tried again after 0.2 s, but for plain orders. A <i>failed</i>
request is one that was answered with an error page, not at all, or not within 30 s. A <i>wait</i> is the time from the first try to the success.
<p>Harm: <i>killed</i> is <code>docker kill</code>, <i>hung</i> is <code>docker pause</code>, <i>cut off</i> is its network interface taken down, as if the cable were pulled. After
some seconds it is undone, and the next harm waits until all is whole again. Growing load is wrk, without waiting between requests: WordPress's
front page, and plain orders. After each harm all acknowledged orders are looked for in every database.
"""
LIMITS = """
<ul><li>All parts, the visitors and wrk share this machine's cores: two web servers can't be faster than one here, and what each part costs shows
as throughput that the others lack. On machines of their own, reads would gain from the second web server and the second database.
<li>The network between the parts is the machine's memory: no distance, no loss, no lack of bandwidth.
<li>All databases share one disk, and so its syncs.
<li>Each harm was done once in each set-up. A difference of less than a factor of two between two set-ups says nothing; the machine was not
otherwise idle where the note above says so.
<li>The scripts of (d) are one way to write them. Others are better or worse.
<li>Harm was undone after seconds. How long a machine is really away decides how much (a) and (b) lose.</ul>
"""
STYLE = """
body{font:15px/1.5 sans-serif;max-width:980px;margin:2em auto;padding:0 1em;color:#222}h1,h2,h3{line-height:1.2}table{border-collapse:collapse;font-size:13px}
td,th{padding:.25em .7em .25em 0;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}.wide{overflow-x:auto}svg text{font:11px sans-serif;fill:#333}
svg .title{font-weight:bold;font-size:12px}.grid{stroke:#e4e4e4}svg{max-width:100%;height:auto}.legend span{margin-right:1.2em}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}
.pair{display:flex;flex-wrap:wrap;gap:8px}
"""


def write_report(data, raw, machine):
    if machine is not None:
        (data / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    machine = json.loads((data / "machine.json").read_text())
    if (raw / "tries.csv").exists():
        derive(data, raw)
    faults, load, parts = read(data, "faults"), read(data, "load"), read(data, "parts")
    distribution, orders = read(data, "distribution"), read(data, "orders")
    setups = [one for one in NAMES if any(row["setup"] == one for row in faults + load)]
    page = [f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>What redundancy buys, and costs'
            f'</title><style>{STYLE}</style><h1>What redundancy buys, and costs</h1>'
            "<p>The same WordPress and shop on one server, behind a load balancer, with Tandem, and with HAProxy and scripts: measured by <code>make study</code>, "
            "and written by it too. The data is in <code>docs/study/</code>.",
            "<h2>In short</h2>", legend(setups), "<p>The longest that a visitor waited for what he wanted, and how many requests failed, when a part was harmed and brought back after seconds:",
            harm_table(faults, setups),
            "<h2>Advantages and disadvantages</h2>", conclusions(faults, load, distribution, parts, setups),
            "<h2>The active database dies, or hangs</h2><p>Each point is an order; red ones failed.", legend(setups)]
    for harm in ("kill", "hang"):
        page.append('<div class="pair">' + "".join(timeline(orders, one, harm, 25) for one in setups) + "</div>")
    page += ["<h2>In calm</h2>", legend(setups),
             '<div class="pair">' + "".join(distribution_plot(distribution, kind, setups)
                                            for kind in ("reader", "order", "commenter", "editor")) + "</div>"]
    rows = [[f"({row['setup']})", row["kind"], row["requests"]] + [
        figure(float(one["ms"])) for one in distribution
        if (one["setup"], one["kind"]) == (row["setup"], row["kind"]) and float(one["percentile"]) in (50, 90, 95, 99, 100)]
        for row in distribution if float(row["percentile"]) == 50]
    page += [table(("", "visitor", "requests", "median ms", "90 %", "95 %", "99 %", "longest"), rows),
             "<h2>Growing load</h2>", legend(setups)]
    if load:
        page.append('<div class="pair">' + "".join(load_plot(load, scenario, column, name, setups) for scenario in ("page", "order")
                                                   for column, name in (("requests_per_s", "a second"), ("p99_ms", "99 % within… ms"))) + "</div>")
        page.append(table(("", "scenario", "connections", "a second", "errors", "median ms", "90 %", "99 %", "longest"), [
            [f"({row['setup']})", *(row[name] for name in ("scenario", "connections", "requests_per_s", "errors", "p50_ms", "p90_ms", "p99_ms",
                                                          "longest_ms"))] for row in load]))
    page += ["<h2>Every harm</h2><p><i>Nothing for</i>: the longest time in which no request of anybody succeeded. <i>No order for</i>: the same of orders. <i>Detected</i> and <i>promoted</i>: as Tandem's events tell. <i>Whole again</i>: from the return of the part until all was as before; "
             "empty: not within a minute, and repaired. <i>Missing</i>, <i>twice</i>: of all orders acknowledged so far.",
             table(("", "part", "harm", "service", "requests", "error pages", "lost connections", "timeouts", "nothing for s", "longest wait s", "longest order s", "no order for s",
                    "detected s", "promoted s", "whole again s", "orders so far", "missing", "twice", "lag after ms"),
                   [[f"({row['setup']})", *list(row.values())[1:]] for row in faults]),
             "<h2>What the parts need in calm</h2><p>As Docker counts it; CPU in percent of one core.",
             table(("", "container", "CPU %", "memory MB"),
                   [[f"({row['setup']})", row["service"], row["cpu_percent"], row["memory_mb"]] for row in parts]),
             "<h2>How it was measured</h2>", METHOD, table(("", ""), [[name, value] for name, value in machine.items() if value != ""]),
             "<h2>What can't be concluded from it</h2>", LIMITS, "</html>\n"]
    (data.parent / "study.html").write_text("".join(page))


if __name__ == "__main__":
    write_report(ROOT / "docs/study", ROOT / "target/study", None)
