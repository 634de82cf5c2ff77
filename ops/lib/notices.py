#!/usr/bin/env python3
"""The licences of everything that is in the program, with their texts, on stdout.

With --static ZIG: those, too, of what only the static programs hold, of which zig (its folder) brings a part.
"""

import json
import pathlib
import subprocess
import sys

TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]
NAMES = ("license", "licence", "copying", "notice", "unlicense", "copyright")
# What lies in a crate under licences of its own: its texts, below the crate.
BUNDLED = {
    "rdkafka-sys": ["librdkafka/LICENSES.txt", "librdkafka/LICENSE"],
    "zstd-sys": ["zstd/LICENSE"],
    "tikv-jemalloc-sys": ["jemalloc/COPYING"],
    "libz-sys": ["src/zlib/LICENSE"],
    "openssl-src": ["openssl/LICENSE.txt"],
}
# Tools of a build, whose sources are linked.
LINKED_TOOLS = {"openssl-src"}
# What zig links: name, licence, its text below zig's folder.
OF_ZIG = [
    ("musl libc", "MIT", "lib/libc/musl/COPYRIGHT"),
    ("libunwind of LLVM", "Apache-2.0 WITH LLVM-exception", "lib/libunwind/LICENSE.TXT"),
    ("compiler_rt of zig", "MIT", "LICENSE"),
]


def packages(is_static):
    """What is linked: reached from the program by dependencies that are not of tests or builds only."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    if is_static:
        command += ["--features", "static"]
    for target in TARGETS:
        command += ["--filter-platform", target]
    data = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    tools = {package["id"] for package in data["packages"] if package["name"] in LINKED_TOOLS}
    wanted, todo = set(), [data["resolve"]["root"]]
    while todo:
        node = todo.pop()
        if node in wanted:
            continue
        wanted.add(node)
        if node in tools:
            continue
        for dependency in nodes[node]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if None in kinds or dependency["pkg"] in tools:
                todo.append(dependency["pkg"])
    wanted.discard(data["resolve"]["root"])
    return [package for package in data["packages"] if package["id"] in wanted]


def texts(package):
    """The files of a licence in it, whatever they are called."""
    folder = pathlib.Path(package["manifest_path"]).parent
    found = [f for f in folder.iterdir() if f.is_file() and f.name.lower().startswith(NAMES)]
    if package["license_file"]:
        found.append(folder / package["license_file"])
    found += [folder / name for name in BUNDLED.get(package["name"], []) if (folder / name).is_file()]
    return sorted({f.resolve() for f in found})


def main():
    """Writes each text once, below the names of all that it is for."""
    zig = pathlib.Path(sys.argv[2]) if sys.argv[1:2] == ["--static"] else None
    all_packages = sorted(packages(bool(zig)), key=lambda p: (p["name"], p["version"]))
    print("What is in anonymizer besides its own code, by whom, and under which licence.\n")
    by_text = {}
    for package in all_packages:
        name = f"{package['name']} {package['version']}"
        authors = ", ".join(package["authors"]) or "its authors"
        print(f"{name}: {package['license'] or 'see its text'}; {authors}")
        for file in texts(package):
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            by_text.setdefault(text, []).append(name)
    print("Rust's standard library: MIT OR Apache-2.0; its contributors, https://thanks.rust-lang.org")
    for name, licence, file in OF_ZIG if zig else []:
        print(f"{name}: {licence}; its authors")
        by_text.setdefault((zig / file).read_text(encoding="utf-8").strip(), []).append(name)
    for text, names in sorted(by_text.items(), key=lambda item: (item[1], item[0])):
        print(f"\n{'=' * 100}\n{', '.join(sorted(set(names)))}\n{'=' * 100}\n\n{text}")


if __name__ == "__main__":
    main()
