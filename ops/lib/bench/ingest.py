"""From Kafka to the synced queue, against librdkafka's own benchmark."""

import time

from .baseline import consume
from .program import Program, cpu_seconds, memory, scratch, until
from .world import figure


def ingest(world):
    brokers, n = world.kafka(), world.records
    ours, theirs = [], []
    for turn in range(world.turns):
        theirs.append(consume(world))
        with scratch() as directory:
            with Program(world.program(), directory / "data", *world.group(), brokers=brokers) as program:
                ours.append((*read_all(program, n), memory(program.pid, "VmHWM")))
        print(f"turn {turn + 1}: librdkafka {theirs[-1][0]:.2f} s, anonymizer {ours[-1][0]:.2f} s", flush=True)
    yield figure("librdkafka alone", "records/s", (n / t[0] for t in theirs))
    yield figure("Kafka to synced queue", "records/s", (n / t[0] for t in ours))
    yield figure("wall time against librdkafka alone", "x", (o[0] / t[0] for o, t in zip(ours, theirs)), "<= 1.25")
    yield figure("CPU a record, librdkafka alone", "us", (t[1] / n * 1e6 for t in theirs))
    yield figure("CPU a record, whole program", "us", (o[1] / n * 1e6 for o in ours), "<= 1.2")
    yield figure("most memory while reading", "MiB", (o[2] for o in ours), "<= 256")


def read_all(program, records):
    """Wall and CPU seconds from the assignment of partitions until all is appended and synced."""
    until(lambda: program.said("partitions assigned"), "partitions")
    began, cpu = time.monotonic(), cpu_seconds(program.pid)
    until(lambda: program.committed() >= records, "all records", every=0.05)
    return time.monotonic() - began, cpu_seconds(program.pid) - cpu
