"""Runs the trials and writes data/reports/engines.md and engines.json; with --short some of them, which
then have to end as the report says."""

import argparse
import datetime
import json
import os
import pathlib
import sys
import tempfile

from .engine import ROOT
from .trials import Trials

REPORT = ROOT / "data/reports/engines"

# Ways through more than two releases: what the one between does when it only runs.
DETOURS = [["25.8", "26.3", "26.9"], ["26.1", "26.5", "26.7"], ["26.3", "26.7", "26.9"]]

# Trials of --short: one upgrade for each pair of schemes, and back.
SHORT = [["26.1", "26.3"], ["26.3", "26.9"], ["26.1", "26.9"], ["26.9", "26.3"]]


def releases(tools: pathlib.Path) -> dict[str, pathlib.Path]:
    lines = pathlib.Path(__file__).with_name("versions.txt").read_text().splitlines()
    names = [line.split()[0] for line in lines if line and not line.startswith("#")]
    return {name: tools / "engines" / name / "bin/python" for name in names}


def say(text: str):
    print(text, flush=True)


def whole(trials: Trials) -> dict:
    found: dict = {"engines": {}, "upgrades": [], "profiles": {}, "entries": {}}
    names, bases = list(trials.pythons), {}
    for name in names:
        found["engines"][name], bases[name] = trials.base(name)
        say(f"{name}: {found['engines'][name]}")
    for way in [[old, new] for old in names for new in names if old != new] + DETOURS:
        outcome = trials.upgrade(bases[way[0]], way)
        found["upgrades"].append({"way": way, "outcome": outcome})
        say(f"{' -> '.join(way)}: {outcome}")
    for name in names:
        found["profiles"][name] = trials.profiles(name)
        found["entries"][name] = {str(n): trials.entries(name, n) for n in (1, 4)}
        say(f"{name}: entries a block {found['entries'][name]}")
    return found


def short(trials: Trials, known: dict) -> list[str]:
    """What does not end as the report says."""
    wrong, bases = [], {}
    for way in SHORT:
        if way[0] not in bases:
            base, bases[way[0]] = trials.base(way[0])
            if base != known["engines"][way[0]]:
                wrong.append(f"{way[0]}: {base}")
        outcome = trials.upgrade(bases[way[0]], way)
        want = next(u["outcome"] for u in known["upgrades"] if u["way"] == way)
        say(f"{' -> '.join(way)}: {outcome}")
        if outcome != want:
            wrong.append(f"{' -> '.join(way)}: {outcome}; the report has {want}")
    return wrong


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def markdown(found: dict) -> str:
    names = list(found["engines"])
    ways = {tuple(u["way"]): u["outcome"] for u in found["upgrades"]}
    shown = sorted({name for of in found["profiles"].values() for name in of})
    entries = []
    for name in names:
        for partitions, of in found["entries"][name].items():
            entries.append([name, partitions, *(f"{of[t]:.2g}" if t in of else "kept" for t in ("http_log", "http_log_totals", "http_log_1d"))])
    text = f"""# Engines: what each release of ClickHouse makes of an insert that is sent again

`ops/engine-matrix`, {datetime.date.today()}, on the engines of PyPI's chDB (ClickHouse in process), each with the tables and
views of `ops/clickhouse` and the settings of the program's inserts. *once*: the rows are there once in the
raw table and in all six of the totals. *DOUBLED* and *WRONG* name where they are not. `engines.json` has the
same for `sink::versions::tests`, which hold the program's own table against it.

## Each release

The scheme is what `system.server_settings` says of `insert_deduplication_version`: how hashes of tokens are made.

{table(["release", "version()", "scheme", "DDL", "insert", "sent again"], [[n, *(found["engines"][n].get(k, "") for k in ("version", "scheme", "ddl", "insert", "resend"))] for n in names])}
## Sent again after another release was started on the same data

Rows: the release that stored it. Columns: the one that it was sent to again. *cannot read*: after a step
back that release does not show the rows that were stored, so a resend can only be wrong.

{table(["", *names], [[old, *("" if old == new else ways[(old, new)] for new in names)] for old in names])}
With a third release started in between, which got no insert:

{table(["way", "outcome"], [[" -> ".join(way), outcome] for way, outcome in ways.items() if len(way) > 2])}
So a token is known across an upgrade where the schemes have a hash in common. The program keeps the scheme
with each attempt (`src/clickhouse/versions.rs`), and relies on the token only where this table says *once*.

## Settings of the user's profile

An insert and the same again by a user with one setting; what the program pins is set after it. *unknown*: the
release has no such setting.

{table(["setting", *names], [[f"`{s}`", *(found["profiles"][n].get(s, "") for n in names)] for s in shown])}
The trial sends what is pinned with every batch, and what is pinned besides where a server knows it
(`src/clickhouse/schema/settings.rs`).

## Entries of the window

How many entries of the deduplication window one block takes. An insert makes a block in each partition that it
touches, and ClickHouse numbers the blocks of a table, so the numbers tell how much of the window all
writers have used.

{table(["release", "partitions", "http_log", "http_log_totals", "http_log_1d"], entries)}
Not tried: Replicated tables (the window by seconds), which need Keeper, and so more than one process.
"""
    return text


def main():
    parser = argparse.ArgumentParser(prog="ops/engine-matrix")
    parser.add_argument("--short", action="store_true", help="a few trials, compared with the report")
    options = parser.parse_args()
    pythons = releases(pathlib.Path(os.environ["TOOLS_DIR"]))
    with tempfile.TemporaryDirectory(prefix="engines-") as scratch:
        trials = Trials(pythons, pathlib.Path(scratch))
        if options.short:
            wrong = short(trials, json.loads(REPORT.with_suffix(".json").read_text()))
            say("\n".join(wrong) or "as the report says")
            sys.exit(bool(wrong))
        found = whole(trials)
    REPORT.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    REPORT.with_suffix(".md").write_text(markdown(found))


if __name__ == "__main__":
    main()
