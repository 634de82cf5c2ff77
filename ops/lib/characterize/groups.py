"""How many groups a minute, an hour and a day of traffic has, by rate: what the capacity model is fitted to.

Counts by HyperLogLog with 2^20 cells (about 0.1 % off); nothing is stored."""

import csv
import pathlib
import tempfile

from chdb.session import Session

from .progress import Progress
from .rows import RowSet, select

BUCKETS = {"minute": 60, "hour": 3600, "day": 86_400}
KEYS = {
    "address": "resource_id, response_status, cache_status, remote_addr",
    "no address": "resource_id, response_status, cache_status",
    "address alone": "remote_addr",
}
# Those with held-out rows are not fitted to: another seed and rates in between.
FIT = (0.5, 2, 10, 40, 100, 400, 1000, 4000, 10_000)
HELD_OUT = (1, 5, 20, 60, 200, 700, 2000, 7000)
MOST_ROWS = 120_000_000  # a longer bucket at a higher rate is left out
LEAST_ROWS = 300_000  # so many buckets are looked at, if they are small


def measure(session, rate: float, seconds: int, seed: int) -> dict:
    """Groups by key, in so many whole buckets that there are rows enough; and the rows."""
    buckets = max(1, min(200, round(LEAST_ROWS / (rate * seconds))))
    rows = RowSet(rows=round(rate * seconds * buckets), days=seconds * buckets / 86_400, seed=seed)
    counts = ", ".join(
        f"uniqCombined64(20)(toStartOfInterval(timestamp, INTERVAL {seconds} second), {key})" for key in KEYS.values()
    )
    answer = session.query(f"SELECT {counts} FROM ({select(rows, 0, rows.rows)})", "TabSeparated")
    found = dict(zip(KEYS, map(int, answer.bytes().split())))
    return {"rows": rows.rows, "buckets": buckets, **found}


def main(path: str):
    tell = Progress()
    todo = [
        (rate, bucket, seconds, held)
        for held, rates in (("fit", FIT), ("held out", HELD_OUT))
        for rate in rates
        for bucket, seconds in BUCKETS.items()
        if rate * seconds <= MOST_ROWS
    ]
    # What is in the file already is not measured again.
    pathlib.Path(path).touch()
    with open(path) as file:
        known = {tuple(line.split(",")[:3]) for line in file}
    with tempfile.TemporaryDirectory() as folder, open(path, "a", newline="") as file:
        session = Session(folder)
        out = csv.writer(file, lineterminator="\n")
        if not known:
            out.writerow(["use", "rows_per_second", "bucket", "buckets", "rows", *KEYS])
        for number, (rate, bucket, seconds, use) in enumerate(todo):
            if (use, str(rate), bucket) in known:
                continue
            found = measure(session, rate, seconds, 1 if use == "fit" else 2)
            out.writerow([use, rate, bucket, found["buckets"], found["rows"], *(found[key] for key in KEYS)])
            file.flush()
            tell("groups", number + 1, len(todo), f"{use} {rate} rows/s, {bucket}")
        session.close()
