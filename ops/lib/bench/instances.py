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
        one.append(read_by(world, 1))
        three.append(read_by(world, 3))
    yield figure("one instance, 12 partitions", "records/s", one)
    yield figure("three instances", "records/s", three)
    yield figure("three against one", "x", (t / o for o, t in zip(one, three)), ">= 1")
    pauses = [(joining(world), joining_alone(world)) for _ in range(min(world.turns, 3))]
    yield figure("longest pause of a partition while two instances join", "s", (ours for ours, _ in pauses))
    yield figure("the same of librdkafka's consumers alone", "s", (alone for _, alone in pauses))
    yield figure("pause beyond Kafka's own", "s", (ours - alone for ours, alone in pauses), "<= 1")


def read_by(world, count):
    """Records committed a second, once each instance has some (the group is complete) and reads at its full rate."""
    brokers, group = world.kafka(), world.group()
    # One reads alone until the others have joined.
    while world.produced < 4 * world.records:
        world.produce(world.records)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        running = [
            stack.enter_context(Program(world.program(), directory / f"data-{n}", *group, brokers=brokers))
            for n in range(count)
        ]
        committed = lambda: sum(together(running).values())  # noqa: E731
        until(lambda: all(p.committed_by_partition() for p in running), "partitions for each", every=0.05)
        settled = committed() + world.records // 2
        before, began = until(lambda: (n := committed()) >= settled and (n, time.monotonic()), "some records", every=0.05)
        wanted = before + world.records
        assert wanted <= world.produced, f"{before} of {world.produced} records were read before"
        after = until(lambda: (n := committed()) >= wanted and n, "all records", every=0.05)
        return (after - before) / (time.monotonic() - began)


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
