"""How long a record takes from the producer until it is synced, at a steady rate."""

import json
import subprocess

from .program import Program, scratch, until
from .world import figure

RATE, SECONDS = 10_000, 30
# The default.
SYNC_INTERVAL_MS = 250


def latency(world):
    brokers = world.kafka()
    found = []
    for _ in range(min(world.turns, 3)):
        group = world.group()
        with scratch() as directory, Program(
            world.program(), directory / "data", *group, "--kafka-start", "latest", brokers=brokers
        ) as program:
            until(lambda: program.said("partitions assigned"), "partitions")
            out = subprocess.run([world.own(), "latency", brokers, group[1], str(RATE), str(SECONDS)], check=True,
                                 stdout=subprocess.PIPE, text=True).stdout
        found.append(json.loads(out))
    for part, target in (("p50", None), ("p99", f"<= {SYNC_INTERVAL_MS + 100}"), ("max", None)):
        yield figure(f"{RATE} records/s, producer to the commit after the sync: {part}", "ms",
                     (f[part] for f in found), target)
