#!/usr/bin/env python3
"""Verifies the committed data/golden/ against the engine and the C++ reference. Writes nothing there.

First each file for itself, from what is committed: records read by pycapnp, masks made anew, rows
read and written by ClickHouse. Then all of it again from generate.py: the same bytes must come out.
"""

import json
import sys

import generate as g


def main():
    passed, failed = 0, []

    def check(name, complaint):
        nonlocal passed
        if complaint:
            failed.append(name)
            print(f"FAIL {name}: {complaint}")
        else:
            passed += 1

    committed = {p.relative_to(g.OUT).as_posix(): p.read_bytes() for p in g.OUT.rglob("*") if p.is_file()}
    manifest = json.loads(committed["manifest.json"])
    reference, engine = g.Reference(), g.Engine()
    for entry in manifest["good"]:
        check(entry["file"], good_complaint(entry, committed.get(entry["file"], b""), reference, engine))
    engine.close()
    for entry in manifest["bad"]:
        verdict = "accepts" if reference.accepts(committed.get(entry["file"], b"")) else "rejects"
        allowed = entry["must"] == "either" or (entry["must"] == "quarantine" and verdict == "rejects")
        check(entry["file"], None if verdict == entry["reference"] and allowed else f"the reference {verdict} it")
    masks = {}
    for number, line in enumerate(committed["mask.tsv"].removesuffix(b"\n").split(b"\n"), 1):
        given, _, expected = line.partition(b"\t")
        masks[given.decode()] = expected.decode()
        check(f"mask.tsv:{number}", None if g.mask(given) == expected else f"{given!r} -> {g.mask(given)!r}")
    for given, expected in g.ANCHORS.items():
        check(f"mask.tsv, {given!r}", None if masks.get(given) == expected else "missing or different")

    made = g.build()
    listed = {e["file"] for section in manifest.values() for e in section} | {"manifest.json", "mask.tsv"}
    for name in sorted(made.keys() | committed.keys() | listed):
        same = made.get(name) == committed.get(name) and name in listed
        check(f"{name}, anew", None if same else "missing, unlisted, or not what generate.py makes")

    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


def good_complaint(entry, message, reference, engine):
    fields = {k: v.encode("latin-1") if isinstance(v, str) else v for k, v in entry["fields"].items()}
    if not reference.accepts(message):
        return "the reference rejects it"
    if (read := reference.read(message)) != fields:
        return f"the reference reads {read}"
    if g.segments(message) != entry["segments"]:
        return f"{g.segments(message)} segments"
    if g.mask(fields["remote_addr"]).decode() != entry["masked"]:
        return f"masked is {g.mask(fields['remote_addr'])!r}"
    row, reason = g.row_or_reason(fields)
    if row is None:
        return None if entry.get("quarantine") == reason and "row" not in entry else reason
    if "quarantine" in entry or bytes.fromhex(entry["row"]) != row:
        return f"the row is {row.hex()}"
    return engine.complaint(fields, bytes.fromhex(entry["row"]))


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.exit(main())
