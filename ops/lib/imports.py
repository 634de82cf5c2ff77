#!/usr/bin/env python3
"""The architecture as a check: which folder of src may import which, and no circle of files.

ORDER is read from the ground up: a folder (or a file beside them) imports only what stands before it.
Re-exports are followed to the file that has the item. A folder's mod.rs is its door: what lies in the
folder may use it and it what lies there. Tests may import what they like.

    ops/lib/imports.py            the order with what each folder imports; exit code 1 at a violation
    ops/lib/imports.py --prove    and adds two wrong imports to copies, each of which must be found
"""

import pathlib
import re
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ORDER = ["runtime", "record", "privacy", "row", "clickhouse", "queue", "ownership", "kafka", "store", "ingest",
         "flush", "settings", "observe", "pipeline", "cli", "lib", "allocator", "main"]
USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))? )?use ((?:crate|super|self|anonymizer|[a-z_]+)::[^;]*);", re.M)
PATH = re.compile(r"(?<![\w:])(?:crate|super|anonymizer)(?:::[A-Za-z_]\w*)+")


def without_tests(text):
    """The source without comments, strings and inline test modules."""
    text = re.sub(r"^#\[cfg\(test\)\]\n(?:#\[[^\n]*\n)*(?:pub )?mod \w+ \{\n.*?^\}\n", "", text, flags=re.M | re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', text, flags=re.S)


def leaves(tree, prefix=()):
    """The paths of a use tree: `a::{b, c::d}` -> a::b, a::c::d; with the name each gets."""
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    if not brace:
        path, _, alias = tree.partition(" as ")
        path = prefix + tuple(path.strip().split("::"))
        if path[-1] == "self":
            path = path[:-1]
        yield path, (alias.strip() or path[-1])
        return
    prefix += tuple(filter(None, head.strip().split("::")))
    depth, item = 0, ""
    for c in rest[: rest.rindex("}")] + ",":
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            if item.strip():
                yield from leaves(item, prefix)
            item = ""
        else:
            item += c


class Source:
    def __init__(self, src):
        self.files, self.exports, tests = {}, {}, set()
        for file in sorted(src.rglob("*.rs")):
            module = tuple(p for p in file.relative_to(src).with_suffix("").parts if p not in ("mod", "lib"))
            text = file.read_text()
            for name in re.findall(r"#\[cfg\(test\)\]\n(?:#\[[^\n]*\n)*(?:pub )?mod (\w+);", text):
                tests.add(module + (name,))
            self.files[module] = (file.relative_to(src).as_posix(), without_tests(text))
        self.files = {m: f for m, f in self.files.items() if not any(m[: len(t)] == t for t in tests)}
        for module, (_, text) in self.files.items():
            for match in USE.finditer(text):
                for path, name in leaves(match.group(2)):
                    self.exports.setdefault(module, {})[name] = self.absolute(path, module)

    def absolute(self, path, module):
        if path[0] in ("crate", "anonymizer"):
            return path[1:]
        base = module
        while path and path[0] in ("super", "self"):
            base, path = (base[:-1] if path[0] == "super" else base), path[1:]
        return base + path

    def home(self, path, seen=()):
        """The module in whose file the item stands."""
        if path in self.files:
            return path
        for k in range(len(path) - 1, -1, -1):
            if path[:k] in self.files:
                onward = self.exports.get(path[:k], {}).get(path[k])
                if onward and onward != path and onward not in seen:
                    return self.home(onward + path[k + 1:], seen + (path,))
                return path[:k]
        return None

    def imports(self):
        """(module, module it imports, the path as written), without a door and what is behind it."""
        for module, (_, text) in self.files.items():
            paths = [p for m in USE.finditer(text) for p, _ in leaves(m.group(2))]
            paths += [tuple(p.split("::")) for p in PATH.findall(USE.sub("", text))]
            for path in paths:
                if path[0] not in ("crate", "super", "self", "anonymizer") and module + path[:1] not in self.files:
                    continue
                home = self.home(self.absolute(path, module))
                if home is None or home == module:
                    continue
                yield module, home, "::".join(path)


def circles(edges):
    """Sets of files that import each other, by Tarjan."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node):]
            del stack[stack.index(node):]
            if len(group) > 1:
                found.append(group)

    for node in list(edges):
        if node not in index:
            visit(node)
    return found


def room(module):
    return module[0] if module else "lib"


def look(src):
    """What each room imports, and what is wrong."""
    source, rooms, edges, wrong = Source(src), {}, {}, []
    for module, home, path in source.imports():
        here, there = room(module), room(home)
        name = source.files[module][0]
        if here not in ORDER:
            wrong.append(f"src/{name}: {here} has no place in the order")
            continue
        if here != there:
            rooms.setdefault(here, set()).add(there)
            if home and ORDER.index(there) > ORDER.index(here) and there != "lib":
                wrong.append(f"src/{name}: {path} runs back up, from {here} to {there}")
        door = module[: len(home)] == home or home[: len(module)] == module
        if not door:
            edges.setdefault(module, set()).add(home)
    for group in circles(edges):
        wrong.append("a circle of files: " + ", ".join(sorted(f"src/{source.files[m][0]}" for m in group)))
    return rooms, sorted(set(wrong))


def prove(what, name, line, words):
    """Ends the program unless one import more is found."""
    with tempfile.TemporaryDirectory() as copy:
        src = pathlib.Path(shutil.copytree(ROOT / "src", pathlib.Path(copy) / "src"))
        file = src / name
        file.write_text(f"{file.read_text()}\n{line}\n")
        found = [w for w in look(src)[1] if words in w]
    if not found:
        sys.exit(f"{what} was not found: {line} in src/{name}")
    print(f"found, as it must be: {found[0]}")


def main():
    rooms, wrong = look(ROOT / "src")
    for name in ORDER:
        uses = sorted(rooms.get(name, ()), key=lambda r: ORDER.index(r) if r in ORDER else -1)
        print(f"{name:11} {' '.join(uses)}".rstrip())
    print("\n".join(wrong) if wrong else "no import runs back up, no circle of files")
    if sys.argv[1:] == ["--prove"]:
        prove("an import from queue to flush", "queue/fill/append.rs", "use crate::flush::Flusher;", "runs back up")
        prove("a circle", "queue/format/block.rs", "use crate::queue::disk::files;", "a circle of files")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
