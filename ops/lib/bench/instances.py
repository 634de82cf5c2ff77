"""Three instances in one group, against one."""

import concurrent.futures
import contextlib
import subprocess
import time

from .program import Program, scratch, until
from .world import PARTITIONS, figure

RATE = 10_000
# Seconds in which a group has settled.
WAIT = 12


def instances(world):
    one, three = [], []
    for _ in range(min(world.turns, 3)):
        one.append(world.records / read_by(world, 1))
        three.append(world.records / read_by(world, 3))
    yield figure("one instance, 12 partitions", "records/s", one)
    yield figure("three instances", "records/s", three)
    yield figure("three against one", "x", (t / o for o, t in zip(one, three)), ">= 1")
    pauses = [(joining(world), joining_alone(world)) for _ in range(min(world.turns, 3))]
    yield figure("longest pause of a partition while two instances join", "s", (ours for ours, _ in pauses))
    yield figure("the same of librdkafka's consumers alone", "s", (alone for _, alone in pauses))
    yield figure("pause beyond Kafka's own", "s", (ours - alone for ours, alone in pauses), "<= 1")


def read_by(world, count):
    """Seconds from the first assignment until all records are committed."""
    brokers, group = world.kafka(), world.group()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        running = [
            stack.enter_context(Program(world.program(), directory / f"data-{n}", *group, brokers=brokers))
            for n in range(count)
        ]
        until(lambda: any(p.said("partitions assigned") for p in running), "partitions")
        began = time.monotonic()
        until(lambda: sum(together(running).values()) >= world.records, "all records", every=0.05)
        return time.monotonic() - began


def together(running):
    """Committed offsets by partition, whoever committed them."""
    found = {}
    # Each answers within 0.2 s.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = list(pool.map(Program.committed_by_partition, running))
    for answer in answers:
        for partition, offset in answer.items():
            found[partition] = max(found.get(partition, 0), offset)
    return found


def joining(world):
    """The longest time in which a partition's committed offset stood still while records kept coming."""
    brokers, group = world.kafka(), world.group()
    start = ("--kafka-start", "latest")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())

        def join(n):
            running.append(stack.enter_context(
                Program(world.program(), directory / f"data-{n}", *group, *start, brokers=brokers)))

        running = []
        join(0)
        until(lambda: running[0].said("partitions assigned"), "partitions")
        with producing(world):
            until(lambda: len(together(running)) == PARTITIONS, "records of all partitions")
            watched = Watched(together(running))
            for n in (1, 2):
                watched.look(running, 3)
                join(n)
                watched.look(running, WAIT)
    return watched.longest


def joining_alone(world):
    """The same without the program, by `own joining`."""
    with producing(world):
        return float(subprocess.run([world.own(), "joining", world.kafka(), world.group()[1], str(WAIT)], check=True,
                                    stdout=subprocess.PIPE, text=True).stdout)


@contextlib.contextmanager
def producing(world):
    """At a steady rate, until its end."""
    producer = subprocess.Popen([world.program(), "produce", "--kafka-brokers", world.kafka(), "--rate", str(RATE)],
                                stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        producer.terminate()
        producer.wait()


class Watched:
    """How long offsets stand still."""

    def __init__(self, offsets):
        now = time.monotonic()
        self.offsets, self.since, self.longest = offsets, dict.fromkeys(offsets, now), 0.0

    def look(self, running, seconds):
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for partition, offset in together(running).items():
                if offset > self.offsets[partition]:
                    self.longest = max(self.longest, now - self.since[partition])
                    self.offsets[partition], self.since[partition] = offset, now
            time.sleep(0.02)
