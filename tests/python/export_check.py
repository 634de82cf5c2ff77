#!/usr/bin/env python3
"""Does ClickHouse read each export back to the same rows, and hash their content alike?

The files are data/export/, which a test in tests/integration/golden.rs holds to what the program writes.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "corpus/golden"))
import generate as g  # noqa: E402

DIR = pathlib.Path(__file__).resolve().parent.parent.parent / "data/export"
FORMATS = {"rowbinary": "RowBinary", "tsv": "TabSeparated", "csv": "CSV", "json-each-row": "JSONEachRow"}


def main():
    engine, failed = g.Engine(), 0
    want = (DIR / "rows.rowbinary").read_bytes()
    for name, form in FORMATS.items():
        source = f"file('{DIR}/rows.{name}', '{form}', '{g.COLUMNS}')"
        # In the file's order, in a time zone far from ours.
        sql = f"SELECT * FROM {source} SETTINGS max_threads = 1, session_timezone = 'Pacific/Apia'"
        same = engine.session.query(sql, "RowBinary").bytes() == want
        print(f"{'ok  ' if same else 'FAIL'} {form}")
        failed += not same
    sql = f"SELECT {(DIR / 'hash.sql').read_text()} FROM file('{DIR}/rows.rowbinary', 'RowBinary', '{g.COLUMNS}')"
    hashes = engine.session.query(sql + " SETTINGS max_threads = 1", "TabSeparated").bytes()
    same = hashes == (DIR / "hashes.txt").read_bytes()
    print(f"{'ok  ' if same else 'FAIL'} content hash")
    failed += not same
    engine.close()
    print(f"{len(FORMATS) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
