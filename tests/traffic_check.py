#!/usr/bin/env python3
"""Does every panel of the dashboard "Traffic", and every question of ops/cookbook.sql, run on the real
engine, and answer as the raw rows do?

Grafana's variables and the datasource plugin's macros are written out as those do it. Each panel is asked
over an hour, a day, 30 days and a year, with all values, one and two of each variable; the same SQL is then
run with raw http_log in place of `traffic`, and must give the same answer. Times are printed.
"""

import json
import pathlib
import re
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "ops/lib"))
from characterize.engine import Engine, sql_statements  # noqa: E402
from characterize.load import insert, write_chunk  # noqa: E402
from characterize.rows import COLUMNS, DAY, RowSet  # noqa: E402

BOARD = ROOT / "ops/grafana/dashboards/traffic.json"
COOKBOOK = ROOT / "ops/cookbook.sql"
# An awkward value for those who quote.
ODD = "IT'S"
NOW = int(time.time())
RANGES = {"1 h": 3600, "24 h": DAY, "30 d": 30 * DAY, "1 y": 365 * DAY}


def fill(engine: Engine):
    """300,000 rows of 40 days and 100,000 of the last day, up to now, and some that the cookbook names."""
    engine.create()
    end = NOW // DAY * DAY + DAY
    for seed, rows, days in ((1, 300_000, 40), (2, 100_000, 1)):
        start = end - days * DAY if days > 1 else NOW - DAY
        made = RowSet(rows=rows, days=days, addresses=20_000, seed=seed, start=start)
        insert(engine, write_chunk(engine, made, 0, rows), f"rows-{seed}")
    engine.run(
        f"INSERT INTO http_log ({COLUMNS}) SELECT toDateTime({NOW} - number * 977), 7, 1000 + number, 5, "
        f"[200, 200, 502][1 + number % 3], ['HIT', '{ODD.replace(chr(39), chr(92) + chr(39))}'][1 + number % 2], 'GET', "
        "'198.51.100.X', '/' FROM numbers(5000)"
    )


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
        minute = "toUInt64(toUnixTimestamp(toStartOfMinute(timestamp, 'UTC')))"
        point = f"intDiv({minute}, {a['step']}) * {a['step']}" if a["step"] != "0" else f"toUnixTimestamp(toStartOfMinute({a['from']}))"
        where = (
            f"timestamp >= toStartOfMinute({a['from']}) AND timestamp < toStartOfMinute({a['to']} + INTERVAL 59 SECOND)"
        )
        columns = ""
        for word, column in DIMENSIONS.items():
            none = "''" if word in ("cache", "address") else "0"
            columns += f"{column if word in by else none} AS {word}, "
            values = re.sub(r"/\*.*?\*/", "", a[word])
            if values != "[]":
                where += f" AND has({values}, {column})"
        inner = f"SELECT toDateTime({point}) AS time, {columns}sum(bytes_sent) AS bytes, count() AS requests FROM http_log WHERE {where} GROUP BY ALL"
        renamed = ", ".join(f"{word} AS {column}" for word, column in DIMENSIONS.items())
        sql = f"{sql[:start]}(SELECT time, {renamed}, bytes AS bytes_sent, requests FROM ({inner})){sql[end:]}"
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


def panels(checks: Checks):
    board = json.loads(BOARD.read_text())
    everything = {v["name"]: v["allValue"] for v in board["templating"]["list"]}
    checks.check(set(everything) == set(DIMENSIONS), "the four dimensions are the variables")
    one = {"resource": ["1001"], "status": ["200"], "cache": ["HIT"], "address": ["198.51.100.X"]}
    two = {"resource": ["7", "1002"], "status": ["200", "502"], "cache": ["HIT", ODD], "address": ["198.51.100.X", "none"]}
    one_of_each = [everything | {name: values} for name, values in one.items() if name != "address"]
    selections = [everything, *one_of_each, everything | {"address": one["address"]}, two]
    for v in board["templating"]["list"]:
        sql = expand(v["query"], everything, NOW - DAY, NOW, 60)
        checks.answers(f"variable {v['name']}", sql)
    print(f"{'ms of each panel, slowest of all selections':<44}" + "".join(f"{r:>8}" for r in RANGES))
    for panel in board["panels"]:
        row = ""
        for name, seconds in RANGES.items():
            slowest = 0.0
            for selection in selections:
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
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(pathlib.Path(folder) / "db")
        fill(engine)
        checks = Checks(engine)
        panels(checks)
        cookbook(checks)
        # That a difference is seen: one row more in raw than in the totals.
        before = checks.failed
        engine.run("ALTER TABLE http_log DELETE WHERE resource_id = 7 SETTINGS mutations_sync = 2")
        sql = f"SELECT requests FROM traffic(from = toDateTime({NOW - 3600}), to = toDateTime({NOW}), step = 0, by = '', resource = [7], status = [], cache = [], address = [])"
        got = engine.time(sql).answer
        checks.check(got != engine.time(from_raw(sql)).answer and before == checks.failed, "rows that raw lacks are seen")
        engine.close()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
