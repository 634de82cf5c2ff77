#!/usr/bin/env python3
"""Does every panel of the dashboard "Traffic", and every question of ops/cookbook.sql, run on the real
engine, and answer as the raw rows do?

Grafana's variables and the datasource plugin's macros are written out as those do it. Each panel is asked
over an hour, a day, 30 days and a year, with all values, one and two of each variable; the same SQL is then
run with raw http_log in place of `traffic`, and must give the same answer. Times are printed.

The same with the server in other time zones than UTC, in the hours that summer time skips and repeats; with
traffic at one even rate, of which every point and mean must be that rate; with values that hold quotes and
backslashes; with ranges that are empty, turned round and beyond what a time holds.

    tests/python/traffic_check.py            in UTC, and with half of the selections for each range in New York
    tests/python/traffic_check.py ZONE       the same in that time zone; in Prague `engine::traffic::*` does
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import zoneinfo

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "ops/lib"))
from characterize.engine import Engine, sql_statements  # noqa: E402
from characterize.load import insert, write_chunk  # noqa: E402
from characterize.rows import COLUMNS, DAY, RowSet  # noqa: E402

BOARD = ROOT / "ops/grafana/dashboards/traffic.json"
COOKBOOK = ROOT / "ops/cookbook.sql"
# Awkward values for those who quote: as they stand in the log.
ODD = "IT'S"
ODDER = "C:\\new\\'t$__fromTime${cache:csv}"
# Zones to have the server in, each with an hour that it repeats and one that it skips.
ZONES = {
    "Europe/Prague": (1792890000, 1774746000),  # 2026-10-25 and 2026-03-29, 01:00 UTC
    "America/New_York": (1793509200, 1772953200),  # 2026-11-01 05:00 and 2026-03-08 07:00 UTC
}
# Traffic at an even rate: a request in two seconds, of this resource, through those hours.
EVEN = 8
EVEN_PERIOD = 2
NOW = int(time.time())
RANGES = {"1 h": 3600, "24 h": DAY, "30 d": 30 * DAY, "1 y": 365 * DAY}


def fill(engine: Engine):
    """300,000 rows of 40 days and 100,000 of the last day, up to now, some that the cookbook names, and the even
    ones: six hours around each change of a clock."""
    engine.create()
    end = NOW // DAY * DAY + DAY
    for seed, rows, days in ((1, 300_000, 40), (2, 100_000, 1)):
        start = end - days * DAY if days > 1 else NOW - DAY
        made = RowSet(rows=rows, days=days, addresses=20_000, seed=seed, start=start)
        insert(engine, write_chunk(engine, made, 0, rows), f"rows-{seed}")
    engine.run(
        f"INSERT INTO http_log ({COLUMNS}) SELECT toDateTime({NOW} - number * 977), 7, 1000 + number, 5, "
        f"[200, 200, 502][1 + number % 3], ['HIT', {literal(ODD)}, {literal(ODDER)}][1 + number % 3], 'GET', "
        "'198.51.100.X', '/' FROM numbers(5000)"
    )
    for hour in (hour for hours in ZONES.values() for hour in hours):
        engine.run(
            f"INSERT INTO http_log ({COLUMNS}) SELECT toDateTime({hour - 3 * 3600} + number * {EVEN_PERIOD}), {EVEN}, "
            f"1000, 5, 200, 'HIT', 'GET', '198.51.100.X', '/' FROM numbers({6 * 3600 // EVEN_PERIOD})"
        )


def literal(text: str) -> str:
    """As a string of ClickHouse's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# What Grafana and the plugin make of the text of a panel.


def variable(values: list, form: str) -> str:
    """`${name:form}`; Grafana puts an allValue in as it is written."""
    if isinstance(values, str):
        return values
    if form == "csv":
        return ",".join(values)
    assert form == "singlequote", f"the form {form} is not known here"
    return ",".join("'" + v.replace("'", "\\'") + "'" for v in values)


def expand(sql: str, variables: dict, start: int, end: int, interval: int) -> str:
    """Grafana's variables, then the plugin's macros as its pkg/macros/macros.go writes them."""
    sql = re.sub(r"\$\{(\w+):(\w+)\}", lambda m: variable(variables[m[1]], m[2]), sql)
    macros = {"fromTime": f"toDateTime({start})", "toTime": f"toDateTime({end})", "interval_s": str(interval)}
    sql = re.sub(r"\$__(\w+)", lambda m: macros[m[1]], sql)
    assert "$" not in sql, f"not expanded: {sql}"
    return sql


def interval(seconds: int, points: int = 1200) -> int:
    """Grafana's: range / points, rounded to a round time, and at least the panel's 1m."""
    wanted = seconds / points
    for upto, round_to in ((90, 60), (210, 120), (450, 300), (750, 600), (1050, 900), (1500, 1200), (2700, 1800),
                           (5400, 3600), (9000, 7200), (16200, 10800), (32400, 21600), (86400, 43200)):  # fmt: skip
        if wanted < upto:
            return round_to
    return 86_400


# `traffic`, word for word from what its file promises, on raw rows.

DIMENSIONS = {"resource": "resource_id", "status": "response_status", "cache": "cache_status", "address": "remote_addr"}


def calls(sql: str):
    """Begin, end and arguments of each `traffic(...)`."""
    for found in re.finditer(r"\btraffic\(", sql):
        depth, at, parts = 1, found.end(), [""]
        while depth:
            c = sql[at]
            if c == "'":
                close = re.compile(r"'(?:[^'\\]|\\.)*'").match(sql, at).end()
                parts[-1] += sql[at:close]
                at = close
                continue
            depth += (c in "([") - (c in ")]")
            if c == "," and depth == 1:
                parts.append("")
            elif depth:
                parts[-1] += c
            at += 1
        yield found.start(), at, dict((a.strip() for a in part.split("=", 1)) for part in parts)


def from_raw(sql: str) -> str:
    """The same question with raw rows in place of `traffic`."""
    for start, end, a in reversed(list(calls(sql))):
        by = a["by"].strip("'").replace(" ", "").split(",")
        first, until = f"intDiv({a['from']}, 60) * 60", f"intDiv({a['to']} + 59, 60) * 60"
        minute = "intDiv(toUInt64(toUnixTimestamp(timestamp)), 60) * 60"
        point, seconds = first, f"{until} - {first}"
        if a["step"] != "0":
            point = f"intDiv({minute}, {a['step']}) * {a['step']}"
            seconds = f"least({point} + {a['step']}, {until}) - greatest({point}, {first})"
        where = f"toUnixTimestamp(timestamp) >= {first} AND toUnixTimestamp(timestamp) < {until} AND {a['from']} < {a['to']}"
        columns = ""
        for word, column in DIMENSIONS.items():
            none = "''" if word in ("cache", "address") else "0"
            columns += f"{column if word in by else none} AS {word}, "
            values = re.sub(r"/\*.*?\*/", "", a[word])
            if values != "[]":
                where += f" AND has({values}, {column})"
        inner = f"SELECT toDateTime({point}, 'UTC') AS time, {seconds} AS covered, {columns}sum(bytes_sent) AS bytes, count() AS requests FROM http_log WHERE {where} GROUP BY ALL"
        renamed = ", ".join(f"{word} AS {column}" for word, column in DIMENSIONS.items())
        sql = f"{sql[:start]}(SELECT time, covered AS seconds, {renamed}, bytes AS bytes_sent, requests FROM ({inner})){sql[end:]}"
    return sql


class Checks:
    def __init__(self, engine: Engine):
        self.engine, self.passed, self.failed = engine, 0, 0

    def check(self, good: bool, words: str):
        self.passed, self.failed = self.passed + good, self.failed + (not good)
        if not good:
            print(f"FAIL  {words}")

    def answers(self, name: str, sql: str) -> float:
        """Runs it on the totals and on raw; they must agree. Returns milliseconds on the totals."""
        try:
            ms, _, got = self.engine.time(sql)
            want = self.engine.time(from_raw(sql)).answer
        except Exception as error:
            self.check(False, f"{name}: {str(error)[:300]}\n{sql}")
            return 0.0
        self.check(got == want and got != b"", f"{name}: totals {got[:200]} raw {want[:200]}\n{sql}")
        return ms


def offered(engine: Engine, board: dict, name: str, text: str) -> str:
    """The value that Grafana puts in when a person chooses `text`: the plugin takes the first column for the
    value, the second for what is shown."""
    (query,) = [v["query"] for v in board["templating"]["list"] if v["name"] == name]
    sql = expand(query, {}, NOW - DAY, NOW, 60)
    lines = engine.session.query(sql, "JSONCompactEachRow").bytes().decode().splitlines()
    values = {row[-1]: row[0] for row in map(json.loads, lines)}
    assert text in values, f"{name} does not offer {text}: {values}"
    return values[text]


def expected(checks: Checks, name: str, sql: str, want: str):
    got = checks.engine.time(sql).answer.decode().strip()
    checks.check(got == want, f"{name}: {got}, not {want}\n{sql}")


def panel(board: dict, title: str) -> str:
    (found,) = [p for p in board["panels"] if p["title"] == title]
    (target,) = found["targets"]
    return target["rawSql"]


def filters(checks: Checks):
    """A value is chosen as it stands in the log: its rows are found, and no others."""
    board = json.loads(BOARD.read_text())
    everything = {v["name"]: v["allValue"] for v in board["templating"]["list"]}
    for text in ("HIT", ODD, ODDER):
        chosen = everything | {"resource": ["007"], "cache": [offered(checks.engine, board, "cache", text)]}
        sql = expand(panel(board, "Requests"), chosen, NOW - 90 * DAY, NOW + 60, 60)
        want = checks.engine.value(f"SELECT count() FROM http_log WHERE resource_id = 7 AND cache_status = {literal(text)}")
        checks.check(int(want) > 1000, f"rows with {text}: {want}")
        expected(checks, f"filter {text}", sql, want)


def rates(checks: Checks):
    """Of even traffic each point and the mean are the rate, wherever a range begins and ends."""
    board = json.loads(BOARD.read_text())
    everything = {v["name"]: v["allValue"] for v in board["templating"]["list"]} | {"resource": [str(EVEN)]}
    charts = {
        "Requests a second by status": 1 / EVEN_PERIOD,
        "Bits a second by cache status": 8000 / EVEN_PERIOD,
        "Bits a second of the top 10 resources": 8000 / EVEN_PERIOD,
    }
    for hours in ZONES.values():
        for hour in hours:
            for start, end in ((0, 3600), (-130, 3600), (170, 1490), (59, 61), (-3599, 7201), (1799, 1801)):
                start, end = hour + start, hour + end
                for step in (60, 300, 3600):
                    for title, rate in charts.items():
                        sql = expand(panel(board, title), everything, start, end, step)
                        (column,) = re.findall(r"AS (\w+_per_second)", sql)
                        first, count = start // step * step, -(-end // step) - start // step
                        summed = f"SELECT count(), min({column}), max({column}), toUnixTimestamp(min(time)) FROM ({sql})"
                        expected(checks, f"{title}, {start} to {end} by {step}", summed, f"{count}\t{rate:g}\t{rate:g}\t{first}")
                sql = expand(panel(board, "Mean bit rate"), everything, start, end, 60)
                expected(checks, f"mean rate, {start} to {end}", sql, f"{8000 / EVEN_PERIOD:g}")


def edges(checks: Checks):
    """Ranges that hold nothing, and the ends of what a time holds; a time as text is refused."""
    ask = "SELECT sum(requests) FROM traffic(from = {}, to = {}, step = {}, by = '{}', resource = [], status = [], cache = [], address = [])"
    every = checks.engine.value("SELECT count() FROM http_log")
    top = 2**32
    for by in ("", "status", "address", "status,address"):
        for step in (0, 60, 3600, 86400):
            for start, end in ((NOW, NOW), (NOW, NOW - DAY), (0, 0), (top, top + 1), (top - 60, top), (2**63, 2**64 - 1), (2**64 - 1, 0)):
                expected(checks, f"{start} to {end}", ask.format(start, end, step, by), "0")
            for end in (top - 1, top, top + 1, 2**64 - 1):
                expected(checks, f"0 to {end}", ask.format(0, end, step, by), every)
    for bound in ("now()", "toDateTime('2026-11-20 00:00:00', 'Europe/Prague')", "'2026-11-20 00:00:00'", "-1"):
        try:
            got = checks.engine.value(ask.format(bound, NOW, 0, ""))
        except Exception as error:
            checks.check("cannot be parsed as UInt64 for query parameter 'from'" in str(error), f"{bound}: {error}")
        else:
            checks.check(False, f"{bound} was taken, and gave {got}")


def local_days(checks: Checks, zone: str):
    """A day of one's own is asked for by its seconds."""
    for hour in (NOW, *(hour for hours in ZONES.values() for hour in hours)):
        day = datetime.datetime.fromtimestamp(hour, zoneinfo.ZoneInfo(zone)).date()
        next_day = day + datetime.timedelta(days=1)
        start, end = (f"toUnixTimestamp('{d} 00:00:00', '{zone}')" for d in (day, next_day))
        sql = f"SELECT sum(requests) FROM traffic(from = {start}, to = {end}, step = 0, by = '', resource = [], status = [], cache = [], address = [])"
        want = checks.engine.value(f"SELECT countIf(toDate(timestamp, '{zone}') = '{day}') FROM http_log")
        checks.check(int(want) > 0, f"{day} has rows")
        expected(checks, f"{day} in {zone}", sql, want)


def panels(checks: Checks, every: bool):
    board = json.loads(BOARD.read_text())
    everything = {v["name"]: v["allValue"] for v in board["templating"]["list"]}
    checks.check(set(everything) == set(DIMENSIONS), "the four dimensions are the variables")
    odd = [offered(checks.engine, board, "cache", text) for text in (ODD, ODDER)]
    one = {"resource": ["1001"], "status": ["200"], "cache": ["HIT"], "address": ["198.51.100.X"]}
    two = {"resource": ["7", "1002"], "status": ["200", "502"], "cache": ["HIT", *odd], "address": ["198.51.100.X", "none"]}
    one_of_each = [everything | {name: values} for name, values in one.items() if name != "address"]
    selections = [everything, *one_of_each, everything | {"address": one["address"]}, two]
    for v in board["templating"]["list"]:
        sql = expand(v["query"], everything, NOW - DAY, NOW, 60)
        checks.answers(f"variable {v['name']}", sql)
    print(f"{'ms of each panel, slowest of all selections':<44}" + "".join(f"{r:>8}" for r in RANGES))
    for panel in board["panels"]:
        row = ""
        for i, (name, seconds) in enumerate(RANGES.items()):
            slowest = 0.0
            for selection in selections if every else selections[i % 2 :: 2]:
                for target in panel["targets"]:
                    sql = expand(target["rawSql"], selection, NOW - seconds, NOW, interval(seconds))
                    slowest = max(slowest, checks.answers(f"{panel['title']}, {name}", sql))
            row += f"{slowest:>8.0f}"
        print(f"{panel['title']:<44}{row}")


def cookbook(checks: Checks):
    print(f"\n{'ms of each question of the cookbook':<44}")
    answers = []
    # One moment for all: a minute may begin between a question and its check.
    text = COOKBOOK.read_text().replace("now('UTC')", f"toDateTime({NOW}, 'UTC')").replace("now()", f"toDateTime({NOW})")
    for number, sql in enumerate(sql_statements(text), 1):
        if "traffic(" in sql:
            ms = checks.answers(f"cookbook {number}", sql)
            answer = checks.engine.time(sql).answer
        else:
            ms, _, answer = checks.engine.time(sql)
            checks.check(answer != b"", f"cookbook {number} answers nothing")
        answers.append((sql, answer))
        print(f"{number:>4}{ms:>8.0f}")
    (two_steps,) = [a for sql, a in answers if "no floor" in sql]
    plain = (
        "SELECT remote_addr, resource_id, sum(bytes_sent) AS bytes, count() FROM http_log WHERE timestamp >= "
        f"{(NOW - 30 * DAY) // 60 * 60} AND timestamp < {-(-NOW // 60) * 60} "
        "GROUP BY 1, 2 ORDER BY bytes DESC, 1, 2 LIMIT 100"
    )
    checks.check(checks.engine.time(plain).answer == two_steps, "the two-step list is the plain one")
    (both,) = [a for sql, a in answers if "'totals'" in sql]
    lines = sorted(line.split("\t")[1:] for line in both.decode().splitlines())
    checks.check(len(lines) == 2 and lines[0] == lines[1], f"totals and raw agree: {lines}")


def main() -> int:
    zones = sys.argv[1:] or ["UTC", "America/New_York"]
    if os.environ.get("TZ") in zones and len(zones) == 1:
        return check_zone(zones[0])
    # The engine takes its zone once a process, as it starts.
    return max(subprocess.run([sys.executable, __file__, z], env=os.environ | {"TZ": z}).returncode for z in zones)


def check_zone(zone: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(pathlib.Path(folder) / "db")
        fill(engine)
        checks = Checks(engine)
        found = engine.value("SELECT timezone()")
        checks.check(found == zone, f"the server is in {found}, not in {zone}")
        print(f"ClickHouse {engine.value('SELECT version()')} in {zone}")
        panels(checks, every=zone == "UTC")
        filters(checks)
        rates(checks)
        edges(checks)
        local_days(checks, zone)
        cookbook(checks)
        # That a difference is seen: one row more in raw than in the totals.
        before = checks.failed
        engine.run("ALTER TABLE http_log DELETE WHERE resource_id = 7 SETTINGS mutations_sync = 2")
        sql = f"SELECT requests FROM traffic(from = {NOW - 3600}, to = {NOW}, step = 0, by = '', resource = [7], status = [], cache = [], address = [])"
        got = engine.time(sql).answer
        checks.check(got != engine.time(from_raw(sql)).answer and before == checks.failed, "rows that raw lacks are seen")
        engine.close()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
