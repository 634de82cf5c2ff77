"""See ops/characterize."""

import argparse
import pathlib
import shutil
import sys

from . import fit, groups
from .engine import ROOT, Lock
from .progress import Progress
from .report import write
from .rows import RowSet
from .stages import Run


def numbers(text: str) -> list[int]:
    """`1e6,10000000` as whole numbers."""
    found = []
    for part in text.split(","):
        value = float(part)
        if value < 1000 or value != int(value):
            raise argparse.ArgumentTypeError(f"{part} is not a whole number of at least 1000, such as 1e6")
        found.append(int(value))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="ops/characterize", description=__doc__)
    parser.add_argument("--rows", type=numbers, default=numbers("1e6,1e7,1e8"), help="sizes of the sets, e.g. 1e6,1e7,1e8")
    parser.add_argument("--days", type=float, default=30, help="days over which the rows are spread")
    parser.add_argument("--addresses", type=numbers, default=numbers("200000"), help="masked addresses there are")
    parser.add_argument("--turns", type=int, default=8, help="warm runs of each question")
    parser.add_argument("--state", type=pathlib.Path, default=ROOT / ".stack/characterize", help="where it works")
    parser.add_argument("--out", type=pathlib.Path, help="where the report goes; default: STATE/report")
    parser.add_argument("--lock", help="file to lock: shared while loading, alone while timing")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run found")
    parser.add_argument("--keep", action="store_true", help="keep the databases")
    parser.add_argument("--make", action="store_true", help="only make the files that are to be inserted")
    parser.add_argument("--report", action="store_true", help="only write the report of what was found")
    parser.add_argument("--capacity", action="store_true", help="count groups by rate, and fit the model of `capacity`")
    options = parser.parse_args()

    if options.capacity:
        groups.main(str(ROOT / "data/capacity/groups.csv"))
        return fit.main()

    tell = Progress()
    for addresses in options.addresses:
        for rows in options.rows:
            if options.report:
                continue
            name = f"{rows:.0e}-rows-{options.days:g}-days-{addresses:.0e}-addresses".replace("e+0", "e")
            folder = options.state / name
            if options.fresh:
                shutil.rmtree(folder, ignore_errors=True)
            made = RowSet(rows=rows, days=options.days, addresses=addresses)
            run = Run(made, folder, Lock(options.lock), options.turns, options.keep, tell)
            run.make() if options.make else run.run()
    if options.make:
        return 0
    out = options.out or options.state / "report"
    write(options.state, out)
    print(f"report: {out}/totals.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
