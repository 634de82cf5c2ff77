"""The deliberate bugs, tests/mutants/NAME.toml: what each breaks, which tests find it, and what it changes.

    breaks = "rows stay queued until ClickHouse has them"
    caught_by = ["--test integration delivery::rows_stay_queued_until_clickhouse_has_them"]

    [[change]]
    file = "src/flush/insert.rs"
    find = 'self.queue.update_batch(&batch)?;'
    replace = 'self.queue.ack(&batch)?;'

`find` stands exactly once in the file: a bug whose place has changed is an error, never a bug put
elsewhere. Whole lines between ''' and ''' keep their indentation. There may be several changes; each is
looked up in the file as it is without the others.
"""

import pathlib
import sys

try:
    import tomllib
except ImportError:
    sys.exit("the deliberate bugs are TOML: Python 3.11 or newer is needed to read them")

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "tests/mutants"


class Broken(Exception):
    """The mutant proves nothing: its place, its header or its build is wrong."""


class Mutant:
    def __init__(self, file):
        self.name = file.stem
        try:
            if file.suffix != ".toml":
                raise Broken("is no .toml")
            self.breaks, self.caught_by, changes = header(tomllib.loads(file.read_text()))
            self.changes = {}
            for path, find, replace in changes:
                self.changes.setdefault(path, []).append((find, replace))
        except (Broken, tomllib.TOMLDecodeError) as e:
            raise Broken(f"{file.relative_to(ROOT)}: {e}") from None

    def texts(self):
        """Each file it changes, with its text with the bug."""
        return {path: changed(path, pairs) for path, pairs in self.changes.items()}


def header(bug):
    unknown = set(bug) - {"breaks", "caught_by", "change"}
    if unknown:
        raise Broken(f"knows no `{min(unknown)}`")
    breaks, caught_by, changes = bug.get("breaks"), bug.get("caught_by"), bug.get("change")
    if not isinstance(breaks, str) or not breaks.strip():
        raise Broken("needs breaks = \"what is no longer true\"")
    if not isinstance(caught_by, list) or not caught_by or not all(isinstance(t, str) and t for t in caught_by):
        raise Broken("needs caught_by = [\"--lib module::test\"]")
    if not isinstance(changes, list) or not changes:
        raise Broken("needs a [[change]]")
    for change in changes:
        if set(change) != {"file", "find", "replace"} or not all(isinstance(v, str) for v in change.values()):
            raise Broken("each [[change]] has file, find and replace, and nothing else")
        if not change["find"] or change["find"] == change["replace"]:
            raise Broken(f"a [[change]] of {change['file']} changes nothing")
    return breaks, caught_by, [(c["file"], c["find"], c["replace"]) for c in changes]


def changed(path, pairs):
    if not (ROOT / path).is_file():
        raise Broken(f"there is no {path}")
    text = (ROOT / path).read_text()
    places = []
    for find, replace in pairs:
        start = text.find(find)
        if start < 0:
            raise Broken(f"{path} no longer has:\n{find.rstrip()}")
        if text.find(find, start + 1) >= 0:
            raise Broken(f"{path} has more than once:\n{find.rstrip()}")
        places.append((start, start + len(find), replace))
    places.sort()
    if any(end > start for (_, end, _), (start, _, _) in zip(places, places[1:])):
        raise Broken(f"two changes of {path} overlap")
    for start, end, replace in reversed(places):
        text = text[:start] + replace + text[end:]
    return text


def read(names=()):
    """All bugs, or those named. Ends the program if one is not there or not well formed."""
    files = sorted(f for f in FOLDER.iterdir() if not f.name.startswith("."))
    missing = set(names) - {f.stem for f in files}
    if missing:
        sys.exit(f"no such mutant: {', '.join(sorted(missing))}")
    mutants, wrong = [], []
    for file in files:
        if names and file.stem not in names:
            continue
        try:
            mutants.append(Mutant(file))
        except Broken as e:
            wrong.append(str(e))
    if wrong:
        sys.exit("\n".join(wrong))
    if not mutants:
        sys.exit("tests/mutants has no bug")
    return mutants
