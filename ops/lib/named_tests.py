#!/usr/bin/env python3
"""Fails if LIMITATIONS.md, a report or a deliberate bug names a test that does not exist.

A name is `module::test` in backticks, or the last word of what a bug's `caught_by` names; a `*` in it stands
for any letters. The test must stand, as a word, in a file or an inline module of that name. By the sources
alone, so that nothing has to be built.
"""

import re
import sys

sys.dont_write_bytecode = True
import mutants
from mutants import ROOT

SOURCES = [f for top in ("src", "tests") for f in sorted((ROOT / top).rglob("*.rs"))]


def modules(file, text):
    """Names under which a test of this file may be called: file, folders, inline modules, what it includes."""
    inline = re.findall(r"^\s*(?:pub(?:\([^)]*\))? )?mod (\w+)", text, re.M)
    return {file.stem, *file.relative_to(ROOT).parts[1:-1], *inline}


def references():
    for page in [ROOT / "LIMITATIONS.md", *sorted((ROOT / "data/reports").glob("*.md"))]:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            for name in re.findall(r"`((?:[a-z_0-9]+::)+[a-z_0-9]*[a-z_0-9*])`", line):
                yield f"{page.relative_to(ROOT)}:{number}", name
    for bug in mutants.read():
        for test in bug.caught_by:
            name = test.partition(" -- ")[0].split()[-1]
            # A target alone, as `--test crash`, has no name to look for.
            if not name.startswith("-") and "::" in name:
                yield f"tests/mutants/{bug.name}.toml", name


def main():
    texts = {file: file.read_text() for file in SOURCES}
    by_module = {}
    for file, text in texts.items():
        for module in modules(file, text):
            by_module.setdefault(module, []).append(text)
    wrong, count = [], 0
    for place, path in references():
        count += 1
        *outer, test = path.split("::")
        homes = next((by_module[m] for m in reversed(outer) if m != "tests" and m in by_module), None)
        word = re.compile(r"\b" + re.escape(test).replace(r"\*", r"\w*") + r"\b")
        if homes is None:
            wrong.append(f"{place}: {path}: there is no module {outer[-1]}")
        elif test != "*" and not any(word.search(text) for text in homes):
            wrong.append(f"{place}: {path}: no test of that name")
    print("\n".join(wrong) or f"{count} names of tests, all there")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
