"""What the program takes when nothing comes."""

import time

from .program import Program, Sink, cpu_seconds, memory, scratch, until
from .world import figure

SECONDS = 30


def idle(world):
    brokers = world.kafka()
    with scratch() as directory, Sink(world.own(), directory) as sink:
        # Latest: the records that are there are not read.
        with Program(world.program(), directory / "data", *world.group(), "--kafka-start", "latest", url=sink.url,
                     brokers=brokers) as program:
            until(lambda: program.said("the tables exist"), "tables")
            until(lambda: program.said("partitions assigned"), "partitions")
            time.sleep(2)
            used, began = cpu_seconds(program.pid), time.monotonic()
            time.sleep(SECONDS)
            share = (cpu_seconds(program.pid) - used) / (time.monotonic() - began) * 100
            yield figure("idle for 30 s", "% of a core", [share], "< 0.5")
            yield figure("memory when idle", "MiB", [memory(program.pid)], "< 60")
