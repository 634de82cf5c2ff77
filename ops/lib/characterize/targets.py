"""What was wanted of the totals at 100 million rows, and what was found."""

import math
import re
from typing import NamedTuple

from . import asks


def percentile(values: list, p: float) -> float:
    """The smallest value that at least `p` of all do not exceed."""
    values = sorted(values)
    return values[max(0, math.ceil(p * len(values)) - 1)]


class Target(NamedTuple):
    """A group of questions that shall be answered within `ms`, 95 of 100 times."""

    what: str
    ms: float
    source: str
    questions: list
    found: dict
    # What the time goes to; said where the target is missed.
    limit: str

    def times(self, what: str = "warm") -> list:
        return [ms for q in self.questions if str(q) in self.found for ms in self.found[str(q)][what]]

    def slowest(self) -> "asks.Ask | None":
        asked = [q for q in self.questions if str(q) in self.found and self.found[str(q)]["warm"]]
        return max(asked, key=lambda q: percentile(self.found[str(q)]["warm"], 0.95), default=None)

    def is_met(self) -> bool:
        return percentile(self.times(), 0.95) <= self.ms


def of(run: dict, odd: bool = False) -> list[Target]:
    """The targets of time; over the odd 29 days in place of all ranges, if asked."""
    every = [a for a in asks.asks(run["set"]["days"]) if (a.over == asks.ODD) == odd]
    plain = [a for a in every if "remote_addr" not in a.by]
    with_address = [a for a in every if "remote_addr" in a.by]
    short = [a for a in with_address if a.over in ("1 h", "24 h") or a.kind == "series"]
    long_tops = [a for a in with_address if a.over in ("30 d", asks.ODD) and a.kind == "top"]
    totals, two_steps = run.get("totals", {}), run.get("two_steps", {})
    return [
        Target("without the address, all ranges", 100, "totals", plain, totals,
               "rows of http_log_1h: a series of 30 days by the hour adds up all of them"),
        Target("with it: 1 h, 24 h, and all series", 250, "totals", short, totals,
               "top lists of 24 h: 2.6 million rows of http_log_totals go through a hash table whose keys hold "
               "the address as text"),
        Target("top of the address alone, 30 d", 250, "totals", [a for a in long_tops if a.by == ("remote_addr",)], totals,
               "3.6 million rows of http_log_address_1d go through a hash table of 200,000 addresses"),
        Target("top of the address and others, 30 d, in two steps", 2500, "two_steps",
               [a for a in long_tops if asks.is_wide(a)], two_steps,
               "the rows of the addresses that reach the floor go through a hash table of millions of groups"),
    ]  # fmt: skip


def what_is_read(plan: list[str]) -> list[str]:
    """Of EXPLAIN indexes = 1: each table that is read, with the parts, granules and key conditions."""
    found, table = [], None
    for line in plan:
        text = line.replace("\\'", "'").strip(" │├└─")
        if match := re.match(r"ReadFromMergeTree \(\w+\.(\w+)\)", text):
            table = match[1]
        elif table and (match := re.match(r"Parts: (\d+) \| Granules: (\d+)", text)):
            if match[2] != "0":
                found.append(f"{table}: {match[1]} parts, {match[2]} granules")
            else:
                table = None
        elif table and found and re.match(r"(Min-Max|Partition|PrimaryKey|Condition:|Parts: \d+/|Granules: \d+/)", text):
            found.append(f"    {text}" if text.endswith(("Max", "Partition", "PrimaryKey")) else f"        {text}")
    return found
