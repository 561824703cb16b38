"""Tables and plots out of what was measured."""

import json
import statistics

from ground import ROOT

FOLDER = ROOT / "docs/bench"
RESULTS = FOLDER / "results.json"
README = ROOT / "README.md"
# What stands between these lines of the README is made here.
MARKS = ("<!-- make bench -->", "<!-- /make bench -->")
NAMES = {"direct": "direct", "haproxy": "HAProxy", "nginx": "nginx", "router": "MySQL Router", "tandem": "Tandem"}
COLORS = {"direct": "#9aa3ad", "haproxy": "#4f81bd", "nginx": "#3b9b62", "router": "#d08a3c", "tandem": "#b5325a"}


def middle(found, value):
    """Median, least and most of a value over the rounds."""
    values = [value(told) for told in found["rounds"] if "refused" not in told]
    return (statistics.median(values), min(values), max(values)) if values else None


def rate(found):
    return middle(found, lambda told: told["rate"])


def cpu(found):
    return middle(found, lambda told: told["watched"]["proxy"]["cpu_us"])


def switches(found):
    return middle(found, lambda told: told["watched"]["proxy"]["switches"])


def servers_cpu(found):
    """Nothing where that was not measured."""
    if any("a" not in told.get("watched", {}) for told in found["rounds"]):
        return None
    return middle(found, lambda told: told["watched"]["a"]["cpu_us"] + told["watched"]["b"]["cpu_us"])


def latency(found, name):
    """Nothing where that was not measured."""
    if any("rate" in told and name not in told for told in found["rounds"]):
        return None
    return middle(found, lambda told: told[name])


def ratio(found, base):
    """To the round of the other that ran beside it; median, least and most."""
    ratios = [told["rate"] / other["rate"] for told, other in zip(found["rounds"], base["rounds"])
              if "rate" in told and "rate" in other]
    return (statistics.median(ratios), min(ratios), max(ratios)) if ratios else None


def number(value):
    """With as many digits as say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values):
    """A median with its least and most."""
    return "–" if values is None else f"{number(values[0])} ({number(values[1])}–{number(values[2])})"


def brief(found):
    """A scenario in lines for who waits for the end."""
    lines = []
    for name, peer in found["peers"].items():
        if rate(peer) is None:
            lines.append(f"  {name:12} {why(peer)}")
            continue
        calls = peer.get("syscalls")
        lines.append(
            f"  {name:12} {number(rate(peer)[0]):>7}/s  ratio {spread(relative(found, name)):18} cpu {spread(cpu(peer)):20} µs"
            f"  p50 {number(latency(peer, 'p50_us')[0])}  p99 {number(latency(peer, 'p99_us')[0])}"
            f"  switches {number(switches(peer)[0])}  calls {'–' if calls is None else number(calls)}"
            f"  servers {spread(servers_cpu(peer))} µs")
    lines += [f"  {note}" for note in found.get("notes", [])]
    return "\n".join(lines)


def relative(found, name):
    """To the first of a scenario."""
    base = next(iter(found["peers"].values()))
    return ratio(found["peers"][name], base)


def why(peer):
    return "refused: " + peer["rounds"][0]["refused"].splitlines()[-1][:100]


def read():
    return json.loads(RESULTS.read_text())


def write(results):
    """After each scenario: what has been measured stays if the next one fails."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results) + "\n")
    scenarios = results["scenarios"]
    compared = {name: found for name, found in scenarios.items() if found.get("compares")}
    if compared:
        plot("throughput", "Statements a second, of what a direct connection makes", compared,
             lambda found, name: relative(found, name))
        plot("cpu", "CPU of the proxy for each statement, in µs", compared,
             lambda found, name: None if name == "direct" else cpu(found["peers"][name]), least=True)
    text = "\n".join([*heading(results), *(part for found in scenarios.values() for part in detail(found))])
    (FOLDER / "README.md").write_text(text + "\n")
    readme = README.read_text()
    if compared and all(mark in readme for mark in MARKS):
        before, rest = readme.split(MARKS[0])
        _, after = rest.split(MARKS[1])
        README.write_text("\n".join([before + MARKS[0], *summary(compared), MARKS[1]]) + after)


def heading(results):
    versions = results["versions"]
    return [
        "# What a statement costs",
        "",
        "Made by `make bench`; every number is the median of the rounds, with the least and the most behind it. Only what stands in one",
        "table was measured side by side, round by round. Servers, proxy and load generator share the machine's cores, and the load is",
        "closed (a client sends when it has its answer), so throughput says what all of them cost together; CPU says what the proxy alone does.",
        "",
        f"- {versions['machine']}; all of it took {results['minutes']} minutes",
        f"- servers: {versions['mariadb']}",
        f"- HAProxy: {versions['haproxy']}; nginx: {versions['nginx']}; MySQL Router: {versions['router']}",
        f"- Tandem: {versions['tandem']}, with all that is on by default, both servers behind it. The others, and the direct connection,"
        " have the active master alone",
    ]


def detail(found):
    """A scenario's own section."""
    yield from ["", f"## {found['title']}", ""]
    if found.get("about"):
        yield from [found["about"], ""]
    if found["peers"]:
        told = next(iter(found["peers"].values()))["rounds"]
        yield from [f"{len(told)} rounds.", ""]
        first = label(next(iter(found["peers"])))
        yield f"| | {found.get('unit', 'statements')} a second | of {first} | CPU of the proxy, µs | system calls | context switches | CPU of the servers, µs | p50, µs | p99, µs | p99.9, µs |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, peer in found["peers"].items():
        if rate(peer) is None:
            yield f"| {label(name)} | {why(peer)} |"
            continue
        has_proxy = cpu(peer)[0] > 0
        calls = peer.get("syscalls")
        cells = [
            label(name), spread(rate(peer)), spread(relative(found, name)),
            spread(cpu(peer)) if has_proxy else "–", "–" if calls is None else number(calls),
            number(switches(peer)[0]) if has_proxy else "–", spread(servers_cpu(peer)),
            *("–" if took is None else number(took[0])
              for took in (latency(peer, part) for part in ("p50_us", "p99_us", "p999_us"))),
        ]
        yield f"| {' | '.join(cells)} |"
    for note in found.get("notes", []):
        yield from ["", note]


def label(name):
    return NAMES.get(name, name)


def summary(compared):
    """The README's table."""
    names = [name for name in NAMES if any(name in found["peers"] for found in compared.values())]
    yield f"| | {' | '.join(map(label, names))} |"
    yield "|---" * (len(names) + 1) + "|"
    for found in compared.values():
        cells = []
        for name in names:
            peer = found["peers"].get(name)
            if peer is None or rate(peer) is None:
                cells.append("–")
            elif name == "direct":
                cells.append(f"1.00, {number(rate(peer)[0])}/s")
            else:
                cells.append(f"{relative(found, name)[0]:.2f}, {number(cpu(peer)[0])} µs")
        yield f"| {found['title']} | {' | '.join(cells)} |"


def plot(name, title, compared, value, least=False):
    """Bars, one group a scenario. In each group the longest is as long as the room is."""
    names = [name for name in NAMES if any(value(found, name) for found in compared.values() if name in found["peers"])]
    bar, gap, left, room = 13, 16, 360, 420
    lines, y = [], 54
    for found in compared.values():
        present = [(name, value(found, name)) for name in names if name in found["peers"]]
        present = [(name, values) for name, values in present if values]
        most = max(values[0] for _, values in present)
        middle_of = y + bar * len(present) / 2 + 4
        lines.append(f'<text x="{left - 12}" y="{middle_of:.0f}" text-anchor="end">{found["title"]}</text>')
        for which, (median, low, high) in present:
            width = room * median / most
            lines.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar - 2}" fill="{COLORS[which]}">'
                         f'<title>{label(which)}: {number(median)}, {number(low)} to {number(high)}</title></rect>')
            lines.append(f'<text class="value" x="{left + width + 5:.1f}" y="{y + bar - 4}">{number(median)}</text>')
            y += bar
        y += gap
    legend, x = [], left
    for which in names:
        legend.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{COLORS[which]}"/>'
                      f'<text x="{x + 14}" y="39">{label(which)}</text>')
        x += 30 + 7 * len(label(which))
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + room + 60}" height="{y}" font-family="sans-serif" font-size="12">',
        "<style>text { fill: #24292f } .value { font-size: 10px } @media (prefers-color-scheme: dark) { text { fill: #d0d7de } }</style>",
        f'<text x="8" y="18" font-size="14" font-weight="bold">{title}{" (less is better)" if least else ""}</text>',
        *legend, *lines, "</svg>",
    ]
    (FOLDER / f"{name}.svg").write_text("\n".join(svg) + "\n")
