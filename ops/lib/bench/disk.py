"""What the queue's files take of the disk."""

import json
import subprocess

from .program import scratch
from .world import figure

BYTES = 1 << 30


def disk(world):
    with scratch() as directory:
        out = subprocess.run([world.own(), "disk", str(directory / "data"), str(BYTES)], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
    states = [json.loads(line) for line in out.splitlines()]
    of = lambda name: [s["files"] / BYTES for s in states if s["state"] == name]  # noqa: E731
    for cycle, full in enumerate(of("full"), 1):
        yield figure(f"files of 1 GiB queued, cycle {cycle}", "x", [full], "<= 1.5")
    for cycle, drained in enumerate(of("drained"), 1):
        yield figure(f"files after it was sent, cycle {cycle}", "of that GiB", [drained])
    steady = [s for s in states if s["state"] == "steady"]
    yield figure("files of 1 GiB queued, three more passed through", "x", (s["files"] / s["payload"] for s in steady), "<= 1.5")
    yield figure("files of the last cycle against the first", "x", [of("full")[-1] / of("full")[0]], "<= 1.1")
