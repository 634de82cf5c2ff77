"""What is measured without Kafka and ClickHouse, by the program own.rs."""

import json
import pathlib
import re
import shutil
import subprocess

from .program import dev

BUDGET = pathlib.Path(__file__).with_name("budget.json")


def stages(world):
    """Of the release, or with `--dev` of the tests' build, in which a step that is added shows as well and costs
    no second build; its budget is its own."""
    if not shutil.which("valgrind"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "valgrind"], check=True, stdout=subprocess.DEVNULL)
    program, counts = dev() if world.dev else world.own(), {}
    for records in (5_000, 25_000):
        words = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*own::stages*",
             program, "stages", str(records)],
            check=True, stderr=subprocess.PIPE, text=True,
        ).stderr
        counts[records] = int(re.search(r"Collected : (\d+)", words)[1])
    # The difference leaves out what is done once.
    each = (counts[25_000] - counts[5_000]) / 20_000
    budget = json.loads(BUDGET.read_text())["dev" if world.dev else "release"]
    yield {"what": "own stages of a record", "unit": "instructions", "turns": [each],
           "target": f"<= {budget}, the budget", "failed": each > budget}


def packed(world):
    out = subprocess.run([world.own(), "pack", str(1 << 20)], check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        body = json.loads(line)
        name = f"rows in 1 MiB, {body['body']}" + (f" at zstd {body['level']}" if body["level"] else "")
        yield {"what": name, "unit": "rows", "turns": [body["rows"]]}
        yield {"what": f"{name}: against stored", "unit": "x", "turns": [body["ratio"]], "target": ">= 2.0"}
        yield {"what": f"{name}: filled", "unit": "of the body", "turns": [body["filled"]], "target": ">= 0.98"}
