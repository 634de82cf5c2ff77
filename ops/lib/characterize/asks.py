"""The questions that are timed: each combination of the four dimensions, as a top 100 and as a series of
one value, over an hour, a day and the whole set; on the totals and on raw http_log."""

from itertools import combinations
from typing import NamedTuple

from .rows import DAY, RowSet

HOUR, MINUTE = 3600, 60
DIMENSIONS = ("resource_id", "response_status", "cache_status", "remote_addr")
# What `traffic` calls them.
WORDS = dict(zip(DIMENSIONS, ("resource", "status", "cache", "address")))
COMBINATIONS = [c for n in range(5) for c in combinations(DIMENSIONS, n)]
# Seconds of the range, and the step of a series over it.
RANGES = {"1 h": (HOUR, MINUTE), "24 h": (DAY, 5 * MINUTE), "30 d": (30 * DAY, HOUR)}
# As a dashboard asks for "the last 30 days" at some minute of the day: neither end is a whole hour.
ODD = "29 d odd"


class Ask(NamedTuple):
    by: tuple
    kind: str  # top, series
    over: str  # a key of RANGES, or ODD

    def __str__(self):
        return f"{self.kind} of {' + '.join(self.by) or 'all'} over {self.over}"


def asks(days: float = 30, odd: bool = True) -> list[Ask]:
    """Those whose range a set of so many days has."""
    ranges = [r for r, (seconds, _) in RANGES.items() if seconds <= days * DAY]
    ranges += [ODD] if odd and "30 d" in ranges else []
    return [Ask(by, kind, over) for by in COMBINATIONS for over in ranges for kind in ("top", "series")]


def bounds(rows: RowSet, over: str, turn: int) -> tuple[int, int, int]:
    """From, to (not included) and step. Short ranges lie elsewhere each turn, so that no turn repeats."""
    if over == ODD:
        odd_by = 37 * MINUTE + 11 * MINUTE * turn
        return rows.start + 10 * HOUR + odd_by, rows.end - DAY + 10 * HOUR + odd_by, HOUR
    length, step = RANGES[over]
    if length >= rows.seconds:
        return rows.start, rows.end, step
    back = (turn * 5 * HOUR) % max(rows.seconds - length - HOUR, HOUR)
    to = rows.end - back
    return to - length, to, step


def values(engine, rows: RowSet) -> list[dict]:
    """What series are of: for each turn one value of every dimension, together on some rows, common and
    rare ones."""
    found = engine.rows(
        "SELECT resource_id, response_status, cache_status, remote_addr FROM http_log "
        f"WHERE timestamp >= {rows.end - 3 * HOUR} GROUP BY 1, 2, 3, 4 ORDER BY count() DESC, 1, 2, 3, 4 LIMIT 1000"
    )
    picked = [found[min(len(found) - 1, at)] for at in (0, 3, 30, 100, 300, 500, 700, 999)]
    return [dict(zip(DIMENSIONS, (r, s, f"'{c}'", f"'{a}'"))) for r, s, c, a in picked]


def raw(ask: Ask, rows: RowSet, value: dict, turn: int) -> str:
    """The question put to http_log itself."""
    start, end, step = bounds(rows, ask.over, turn)
    where = f"timestamp >= toDateTime({start}) AND timestamp < toDateTime({end})"
    if ask.kind == "series":
        where += "".join(f" AND {d} = {value[d]}" for d in ask.by)
        return (
            f"SELECT toStartOfInterval(timestamp, INTERVAL {step} second) AS time, sum(bytes_sent), count() "
            f"FROM http_log WHERE {where} GROUP BY time ORDER BY time"
        )
    columns = "".join(f"{d}, " for d in ask.by)
    group = f"GROUP BY {', '.join(ask.by)} " if ask.by else ""
    return (
        f"SELECT {columns}sum(bytes_sent) AS bytes, count() FROM http_log WHERE {where} {group}"
        f"ORDER BY {', '.join(['bytes DESC', *ask.by])} LIMIT 100"
    )


def totals(ask: Ask, rows: RowSet, value: dict, turn: int) -> str:
    """The question put to `traffic`."""
    call = _traffic(ask, rows, value, turn, ask.by)
    if ask.kind == "series":
        return f"SELECT time, bytes_sent, requests FROM {call} ORDER BY time"
    columns = "".join(f"{d}, " for d in ask.by)
    return f"SELECT {columns}bytes_sent, requests FROM {call} {_order(ask)}"


def two_steps(ask: Ask, rows: RowSet, value: dict, turn: int) -> str:
    """The same top list, exact as well (ops/cookbook.sql says why), for an address with other dimensions."""
    wide, narrow = (_traffic(ask, rows, value, turn, by) for by in (ask.by, ("remote_addr",)))
    return (
        f"SELECT {', '.join(ask.by)}, bytes_sent, requests FROM {wide} WHERE remote_addr IN (SELECT remote_addr "
        f"FROM {narrow} WHERE bytes_sent >= (SELECT if(count() < 100, 0, min(bytes_sent)) FROM (SELECT bytes_sent "
        f"FROM {wide} WHERE remote_addr IN (SELECT remote_addr FROM {narrow} ORDER BY bytes_sent DESC LIMIT 50) "
        f"ORDER BY bytes_sent DESC LIMIT 100))) {_order(ask)}"
    )


def _order(ask: Ask) -> str:
    return f"ORDER BY {', '.join(['bytes_sent DESC', *ask.by])} LIMIT 100"


def _traffic(ask: Ask, rows: RowSet, value: dict, turn: int, by: tuple) -> str:
    start, end, step = bounds(rows, ask.over, turn)
    series = ask.kind == "series"
    filters = (f"{word} = [{value[d] if series and d in by else ''}]" for d, word in WORDS.items())
    return (
        f"traffic(from = {start}, to = {end}, step = {step if series else 0}, "
        f"by = '{'' if series else ','.join(WORDS[d] for d in by)}', {', '.join(filters)})"
    )


def is_wide(ask: Ask) -> bool:
    """A top list of the address with other dimensions."""
    return ask.kind == "top" and "remote_addr" in ask.by and len(ask.by) > 1
