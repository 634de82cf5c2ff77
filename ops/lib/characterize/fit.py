"""Fits the capacity model (src/cli/capacity/model.rs) to counted groups: groups / rows = r0 * (1 + (n/a)^b)^(-c)."""

import csv
import json
import math
import pathlib

import numpy as np

from .engine import ROOT


def read(path: pathlib.Path) -> dict:
    """Groups a row, by (use, bucket, key): pairs of rows in a bucket and groups for each of them."""
    points = {}
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            rows = int(line["rows"])
            for key in ("address", "no address", "address alone"):
                pair = (rows / int(line["buckets"]), int(line[key]) / rows)
                points.setdefault((line["use"], line["bucket"], key), []).append(pair)
    return points


def share(growth: dict, n):
    """Groups a row."""
    return growth["r0"] * (1 + (n / growth["a"]) ** growth["b"]) ** -growth["c"]


def growth(p) -> dict:
    """Four numbers of any size as the model's: positive, r0 at most 1 (no more groups than rows), and
    b * c at most 1 (more rows never have fewer groups)."""
    r0, a, b, slope = 1 / (1 + np.exp(-p[0])), np.exp(p[1]), np.exp(p[2]), 1 / (1 + np.exp(-p[3]))
    return {"r0": float(r0), "a": float(a), "b": float(b), "c": float(slope / b)}


def fit(pairs: list) -> dict:
    n, want = np.array(pairs).T

    def badness(p):
        with np.errstate(all="ignore"):
            off = np.log(share(growth(p), n)) - np.log(want)
        # Of equals, not the one with the wildest numbers.
        return float(np.sum(off**2) + 1e-6 * np.sum(p**2)) if np.all(np.isfinite(off)) else math.inf

    starts = [
        [math.log(want[0] / (1 - min(want[0], 0.99))), math.log(a), math.log(b), slope]
        for a in (n[0] / 10, n[len(n) // 2], n[-1])
        for b in (0.3, 0.6, 1.0)
        for slope in (-2.0, 0.0, 2.0)
    ]
    best = min((lowest(badness, np.array(start)) for start in starts), key=badness)
    return {name: float(f"{value:.6g}") for name, value in growth(best).items()}


def lowest(f, start, steps: int = 3000):
    """Nelder and Mead's simplex: four numbers need no library."""
    points = [start] + [start + 0.5 * row for row in np.eye(len(start))]
    points = sorted(((f(p), tuple(p)) for p in points))
    for _ in range(steps):
        centre = np.mean([p for _, p in points[:-1]], axis=0)
        worst_value, worst = points[-1]
        tried = None
        for factor in (1.0, 2.0, -0.5):
            p = centre + factor * (centre - np.array(worst))
            value = f(p)
            if factor == 2.0:
                if value < tried[0]:
                    tried = (value, tuple(p))
                break
            if value < points[0][0] and factor == 1.0:
                tried = (value, tuple(p))
                continue  # try to go further
            if value < points[-2][0] or (factor == -0.5 and value < worst_value):
                tried = (value, tuple(p))
                break
            if factor == 1.0:
                p = centre - 0.5 * (centre - np.array(worst))
                value = f(p)
                if value < worst_value:
                    tried = (value, tuple(p))
                break
        if tried:
            points[-1] = tried
        else:
            first = np.array(points[0][1])
            points = [points[0]] + [
                (f(q), tuple(q)) for q in (first + 0.5 * (np.array(p) - first) for _, p in points[1:])
            ]
        points.sort()
        if points[-1][0] - points[0][0] < 1e-14:
            break
    return np.array(points[0][1])


def error(growth: dict, pairs: list) -> float:
    """The largest relative error over these points."""
    return max(abs(share(growth, n) / want - 1) for n, want in pairs)


# What each totals table of the DDL groups by, as groups.csv names it.
TABLES = {
    "http_log_totals": ("minute", "address"),
    "http_log_totals_1d": ("day", "address"),
    "http_log_address_1d": ("day", "address alone"),
    "http_log_1m": ("minute", "no address"),
    "http_log_1h": ("hour", "no address"),
    "http_log_1d": ("day", "no address"),
}
SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}
MOST_OFF = 0.10


def main() -> int:
    """Writes data/capacity/factors.json; exit code 1 if the model is too far off what it was not fitted to."""
    folder = ROOT / "data/capacity"
    runs = json.loads((ROOT / "data/reports/totals.json").read_text())["runs"]
    points, run = read(folder / "groups.csv"), runs[-1]
    tables, wrong = run["tables"], []
    factors = {
        "raw_bytes_per_row": tables["http_log"]["bytes"] / tables["http_log"]["rows"],
        **json.loads((folder / "disk.json").read_text()),
        "totals": [],
    }
    print(f"{'table':<22}{'r0':>10}{'a':>12}{'b':>8}{'c':>8}{'B a row':>9}{'off fitted':>12}{'off held out':>13}")
    for name, (bucket, key) in TABLES.items():
        fitted_growth = fit(points["fit", bucket, key])
        fitted, held_out = (error(fitted_growth, points[use, bucket, key]) for use in ("fit", "held out"))
        size = tables[name]["bytes"] / tables[name]["rows"]
        factors["totals"].append({
            "name": name, "bucket_s": SECONDS[bucket], "bytes_per_group": round(size, 3), "growth": fitted_growth,
        })  # fmt: skip
        print(
            f"{name:<22}" + "".join(f"{fitted_growth[n]:>{w}.4g}" for n, w in (("r0", 10), ("a", 12), ("b", 8), ("c", 8)))
            + f"{size:>9.2f}{fitted:>11.1%} {held_out:>12.1%}"
        )
        if held_out > MOST_OFF:
            wrong.append(name)
    factors["raw_bytes_per_row"] = round(factors["raw_bytes_per_row"], 3)
    (folder / "factors.json").write_text(json.dumps(factors, indent=2) + "\n")
    print("\nbytes that the model gives for each set that was loaded, against those found:")
    for run in runs:
        rate = run["set"]["rows"] / (run["set"]["days"] * 86_400)
        found = sum(v["bytes"] for v in run["tables"].values())
        model = run["set"]["rows"] * factors["raw_bytes_per_row"]
        for t in factors["totals"]:
            model += run["set"]["rows"] * min(1.0, share(t["growth"], rate * t["bucket_s"])) * t["bytes_per_group"]
        print(
            f"  {run['set']['rows']:>11,} rows, {rate:7.2f} a second, {run['set']['addresses']:>9,} addresses: "
            f"{model / 1e9:8.3f} GB, found {found / 1e9:8.3f} GB, {model / found - 1:+.1%}"
        )
    if wrong:
        print(f"more than {MOST_OFF:.0%} off at rates it was not fitted to: {', '.join(wrong)}")
    return 1 if wrong else 0
