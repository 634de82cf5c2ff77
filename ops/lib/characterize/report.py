"""The report of all sets that were measured: totals.md, totals.json and plots."""

import json
import os
import pathlib
import platform

from . import asks, plot, targets
from .targets import percentile

HEAD = """# The totals, measured

{machine}. Engine {engine}, in process (chDB), files of RowBinary in zstd inserted with the program's settings, every view on.
Synthetic rows (`ops/lib/characterize/rows.py`): 200 resources, 8 statuses, 6 cache states, sessions of 8 requests
in 5 minutes. {contention}

    {command}

Milliseconds are the wall's. Those of processors, on two cores together, are given beside them, since other work
changes them less. *Warm*: up to {turns} runs of each question after one that is not counted, each run over another hour or day and of another
value, the query condition cache off. *Cold*: the first run after the engine's caches and the page cache of its files
were dropped. *Top*: the 100 groups with the most bytes. *Series*: bytes and requests of one value of each dimension, in
steps of 1 min, 5 min and 1 h. *29 d odd*: from some minute of the day to another, as "the last 30 days" is.
"""


def warm(found: dict, questions: list, what: str = "warm") -> list:
    return [ms for ask in questions if str(ask) in found for ms in found[str(ask)][what]]


def times_of(found: dict, questions: list, what: str = "warm") -> list:
    """Warm, or the one cold time of what was asked only once; `what` is warm (the wall's time) or cpu."""
    one = {"warm": "cold", "cpu": "cold_cpu"}[what]
    asked = [found[str(q)] for q in questions if str(q) in found]
    return [ms for q in asked for ms in q[what] or [q[one]]]


def cell(found: dict, questions: list, what: str = "warm") -> str:
    values = times_of(found, questions, what)
    mark = "" if warm(found, questions) else "*"
    return f"{percentile(values, 0.5):,.0f} / {percentile(values, 0.95):,.0f}{mark}" if values else "-"


def title(run: dict) -> str:
    s = run["set"]
    days = "" if s["days"] == 30 else f" in {s['days']:g} d"
    return f"{s['rows'] / 1e6:.3g}M rows{days}, {s['addresses'] / 1e3:g}k addresses"


def table(head: list, rows: list) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, r)) + " |" for r in rows]) + "\n"


def name(by: tuple) -> str:
    return " + ".join(by) or "(none)"


def against(run: dict) -> str:
    """What was wanted, what was found."""
    rows = []
    for target, odd in zip(targets.of(run), targets.of(run, odd=True)):
        ms, of_cpu = ([f"{percentile(target.times(w), p):,.0f}" for p in (0.5, 0.95)] for w in ("warm", "cpu"))
        rows.append([
            f"{target.what}: p95", f"{target.ms:,} ms", f"{ms[0]} / {ms[1]} ms", "met" if target.is_met() else "**missed**",
            " / ".join(of_cpu), f"{percentile(odd.times(), 0.95):,.0f} ms",
        ])  # fmt: skip
    memory = run["memory"]
    two, plain = (max(m["mib"] for q, m in memory.items() if q.startswith(s)) for s in ("two", "totals"))
    rows.append(["memory of the widest, in two steps", "2,048 MiB", f"within {two:,} MiB (asked plainly {plain:,})",
                 met(two <= 2048), "", ""])  # fmt: skip
    i = run["insert"]
    rows.append(["insert with all views / without", "0.5", f"{i['ratio']:.2f}", met(i["ratio"] >= 0.5), f"{i['ratio_of_cpu']:.2f}", ""])
    size = {n: v["bytes"] for n, v in run["tables"].items()}
    share = sum(size.values()) / size["http_log"] - 1
    rows.append(["disk of all totals / raw", "0.5", f"{share:.3f}", met(share <= 0.5), "", ""])
    head = ["what", "target", "found: p50 / p95", "", "the same in ms of processors", "p95 of 29 d odd"]
    return table(head, rows)


def met(yes: bool) -> str:
    return "met" if yes else "**missed**"


def missed(run: dict) -> str:
    """Of each target that is missed, what limits it and how its slowest question is read."""
    text = ""
    for target in targets.of(run):
        plan = run.get("plans", {}).get(target.what)
        if target.is_met() or not plan:
            continue
        worst = run[target.source][plan["question"]]
        text += (
            f"**{target.what}**: {target.limit}. Slowest: {plan['question']}, p95 {percentile(worst['warm'], 0.95):,.0f} ms "
            f"({percentile(worst['cpu'], 0.95):,.0f} of processors). `EXPLAIN indexes = 1`, tables that are not read left out:\n\n"
            + "".join(f"    {line}\n" for line in plan["plan"]) + "\n"
        )  # fmt: skip
    return f"### What limits the missed ones\n\n{text}" if text else ""


def times(run: dict, source: str) -> str:
    ranges = [r for r in (*asks.RANGES, asks.ODD) if any(r in q for q in run[source])]
    head = ["by"] + [f"{kind} {r}" for kind in ("top", "series") for r in ranges]
    rows = []
    for by in asks.COMBINATIONS:
        cells = [cell(run[source], [asks.Ask(by, kind, r)]) for kind in ("top", "series") for r in ranges]
        rows.append([name(by), *cells])
    return table(head, rows)


def cold(run: dict) -> str:
    rows = []
    for source in ("totals", "raw"):
        for wanted, what in ((False, "without the address"), (True, "with it")):
            for r in asks.RANGES:
                found = [
                    run[source][str(a)]["cold"]
                    for a in asks.asks()
                    if ("remote_addr" in a.by) == wanted and a.over == r and str(a) in run[source]
                ]
                if found:
                    middle, high = percentile(found, 0.5), max(found)
                    rows.append([source, what, r, len(found), f"{middle:,.0f}", f"{high:,.0f}"])
    return table(["asked", "combinations", "range", "questions", "p50 ms", "slowest ms"], rows)


def disk(runs: list) -> str:
    rows = []
    for run in runs:
        raw_rows = run["tables"]["http_log"]["rows"]
        for n, v in run["tables"].items():
            merged = run["merged_rows"].get(n, v["rows"])
            rows.append([
                title(run), n, f"{v['rows'] / raw_rows:.4f}", f"{merged / raw_rows:.4f}",
                f"{v['bytes'] / raw_rows:.2f}", f"{v['bytes'] / max(1, v['rows']):.2f}", v["parts"],
            ])  # fmt: skip
    return table(["set", "table", "rows a raw row", "if merged", "B a raw row", "B a row of its own", "parts"], rows)


def columns(run: dict) -> str:
    raw_rows = run["tables"]["http_log"]["rows"]
    rows = []
    for n, v in run["tables"].items():
        sizes = sorted(v["columns"].items(), key=lambda c: -c[1])
        rows.append([n, ", ".join(f"{c} {b / raw_rows:.2f}" for c, b in sizes)])
    return table(["table", "bytes of each column, a raw row"], rows)


def inserts(runs: list) -> str:
    rows = []
    for run in runs:
        i, chunks = run["insert"], [s for _, s in run["chunks"]]
        m = i["median"]
        whole = run["set"]["rows"] / sum(chunks)
        rows.append([
            title(run), f"{i['rows']:,}", f"{m['with views']:,.0f}", f"{m['without']:,.0f}", f"{i['ratio']:.2f}",
            f"{i['ratio_of_cpu']:.2f}", f"{whole:,.0f}",
        ])  # fmt: skip
    return table(["set", "rows an INSERT", "rows/s with views", "without", "ratio", "of processors", "rows/s of the whole load"], rows)


def memory(run: dict) -> str:
    rows = [
        [q, f"{m['ms']:,.0f}", f"{m['mib']:,}"] for q, m in run["memory"].items()
    ]
    return table(["question", "ms", "runs within MiB"], rows)


def growth(runs: list) -> str:
    groups = {
        "without the address, top": lambda a: "remote_addr" not in a.by and a.kind == "top",
        "without the address, series": lambda a: "remote_addr" not in a.by and a.kind == "series",
        "address alone, top": lambda a: a.by == ("remote_addr",) and a.kind == "top",
        "address and others, top": lambda a: "remote_addr" in a.by and len(a.by) > 1 and a.kind == "top",
        "with the address, series": lambda a: "remote_addr" in a.by and a.kind == "series",
    }
    rows = []
    for run in runs:
        for what, is_in in groups.items():
            cells = [
                cell(run[source], [a for a in asks.asks() if is_in(a) and a.over == r], "cpu")
                for r in asks.RANGES
                for source in ("totals", "raw")
            ]
            rows.append([title(run), what, *cells])
    return table(["set", "questions"] + [f"{r} {s}" for r in asks.RANGES for s in ("totals", "raw")], rows)


def two_steps(run: dict) -> str:
    """Top lists of the address with other dimensions: plain and in two steps."""
    rows = []
    for by in (a.by for a in asks.asks(odd=False) if asks.is_wide(a) and a.over == "30 d"):
        cells = [
            cell(run[s], [asks.Ask(by, "top", r)]) for r in (*asks.RANGES, asks.ODD) for s in ("totals", "two_steps")
        ]
        rows.append([name(by), *cells])
    return table(["by"] + [f"{r} {w}" for r in (*asks.RANGES, asks.ODD) for w in ("plain", "two steps")], rows)


def differing(run: dict) -> list:
    """Questions whose answer from the totals is not the one from raw."""
    found = [
        q for q in run["raw"] if q in run["totals"] and run["raw"][q]["answer"] != run["totals"][q]["answer"]
    ]
    two = run["two_steps"]
    return found + [f"{q} in two steps" for q in two if two[q]["answer"] != run["totals"][q]["answer"]]


def plots(runs: list, out: pathlib.Path):
    biggest = runs[-1]
    tops = [asks.Ask(by, "top", "30 d") for by in asks.COMBINATIONS]
    plot.bars(
        out / "totals-top-30d.svg", f"Top 100 over 30 days, p95 of processor ms, {title(biggest)}", "ms", [name(a.by) for a in tops],
        {s: [percentile(times_of(biggest[s], [a], "cpu"), 0.95) for a in tops] for s in ("totals", "raw")},
    )  # fmt: skip
    series = {}
    usual = [r for r in runs if all(r["set"][k] == biggest["set"][k] for k in ("addresses", "days"))]
    for source in ("totals", "raw"):
        for wanted, what in ((False, "without the address"), (True, "with it")):
            chosen = [a for a in asks.asks() if ("remote_addr" in a.by) == wanted and a.over == "30 d"]
            line = [(r["set"]["rows"], percentile(times_of(r[source], chosen, "cpu"), 0.95)) for r in usual]
            series[f"{source}, {what}"] = line
    plot.lines(out / "totals-growth.svg", "p95 of all 30-day questions, ms of processors", "rows in http_log", "ms", series)


def write(state: pathlib.Path, out: pathlib.Path):
    runs = [json.loads(f.read_text()) for f in state.glob("*/state.json")]
    runs = [r for r in runs if "insert" in r]  # measured to the end
    runs.sort(key=lambda r: (-r["set"]["addresses"], r["set"]["rows"]))
    if not runs:
        raise SystemExit("nothing is measured to the end yet")
    big, out_json = runs[-1], {"runs": runs}
    out.mkdir(parents=True, exist_ok=True)
    loads = [q["load"] for r in runs for s in ("totals", "raw") for q in r[s].values()]
    held = sum(q.get("alone", False) for q in big["totals"].values()) / len(big["totals"])
    first = all(q.get("first") for q in big["totals"].values())
    contention = (
        f"**Other work was on the machine**: the load average, kept with each question in [totals.json](totals.json), was\n"
        f"{min(loads):.1f} to {max(loads):.1f} when its group began. "
        + ("The kernel served this process before all others (`chrt -r 1`),\nso it waited little, but caches and memory were shared."
           if first else f"{held:.0%} of the questions had a lock that kept most of it away.")
        if max(loads) > 2.5
        else "The machine did nothing else."
    )  # fmt: skip
    head = HEAD.format(
        machine=f"{big['measured']}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        engine=big["engine"], contention=contention, turns=big["turns"], command=big["command"],
    )  # fmt: skip
    wrong = [f"{title(r)}: {q}" for r in runs for q in differing(r)]
    text = "\n".join([
        head,
        f"## Against the targets: {title(big)}\n", against(big), missed(big),
        "Every answer from the totals was compared with raw's: "
        + (f"**{len(wrong)} differ**: {', '.join(wrong[:5])}.\n" if wrong else "all equal.\n"),
        f"## Warm, p50 / p95 ms, {title(big)}\n\nFrom the totals:\n", times(big, "totals"),
        "Top lists of the address with others, plain and in two steps (`ops/cookbook.sql`, question 10):\n",
        two_steps(big),
        "The same from raw `http_log` (* asked only once, cold):\n", times(big, "raw"), "![](totals-top-30d.svg)\n",
        "## Cold\n", cold(big), "## As rows grow\n\np50 / p95, ms of processors.\n", growth(runs), "![](totals-growth.svg)\n",
        "## Disk\n", disk(runs), columns(big), "## Inserts\n", inserts(runs), "## Memory\n", memory(big),
    ])  # fmt: skip
    (out / "totals.md").write_text(text)
    plots(runs, out)
    (out / "totals.json").write_text(json.dumps(out_json, separators=(",", ":")) + "\n")
