"""Figures as lines and as the table at the end."""

import operator
import statistics

COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt}


def value(result):
    return statistics.median(result["turns"])


def is_met(result):
    """Whether the target is met; `None` without one."""
    if "target" not in result:
        return None
    sign, bound = result["target"].split()[:2]
    return COMPARE[sign](value(result), float(bound.rstrip(",")))


def spread(result):
    turns = result["turns"]
    return f"{min(turns):.4g} to {max(turns):.4g}, {len(turns)} turns" if len(turns) > 1 else "1 turn"


def line(result):
    target = f"; target {result['target']}" if "target" in result else ""
    return f"{result['what']}: {value(result):.4g} {result['unit']} ({spread(result)}{target})"


def table(results):
    rows = ["| | what | measured | turns | target | |", "|---|---|---|---|---|---|"]
    for r in results:
        met = {None: "", True: "met", False: "**missed**"}[is_met(r)]
        rows.append(f"| {r['bench']} | {r['what']} | {value(r):.4g} {r['unit']} | {spread(r)} | "
                    f"{r.get('target', '')} | {met} |")
    return "\n".join(rows)
