"""With 10 GiB in the queue: starting, memory, and whether rates depend on how much is queued."""

import os
import shutil
import signal
import time

from .program import memory as resident
from .program import Process, Program, Sink, cpu_seconds, file_bytes, fill, until
from .world import figure

EVERY_SECOND = ("--flush-interval", "1s")
SIZES = {"0.1 GiB": 100 << 20, "1 GiB": 1 << 30}


def queue(world):
    """A data dir with `world.queued` bytes in it, made once a run by a process that was killed at its end."""
    if not hasattr(world, "full"):
        data = world.scratch() / "data"
        command = [world.own(), "fill", str(data), "bytes", str(world.queued), "hold"]
        began = time.monotonic()
        with Process(command, data.parent / "fill.log") as filler:
            until(lambda: filler.said('"rows"'), "a full queue", every=0.1, patience=900)
        print(f"{world.queued >> 30} GiB queued in {time.monotonic() - began:.0f} s, "
              f"files of {file_bytes(data) / 2**30:.1f} GiB", flush=True)
        world.full = data
    return world.full


def start(world):
    """The first start reads all that was written since the one before; later ones what little came since."""
    fresh = not hasattr(world, "full")
    data, brokers = queue(world), world.kafka()
    group = world.group()
    found = {"SIGKILL, all of it written since the last start": [one(world, data, brokers, group, signal.SIGTERM)]} \
        if fresh else {}
    for before, sign in (("a stop", signal.SIGKILL), ("SIGKILL", signal.SIGTERM)):
        found[f"{before}, little written since the last start"] = [
            one(world, data, brokers, group, sign if turn == world.turns - 1 else other(sign))
            for turn in range(world.turns)
        ]
    for after, turns in found.items():
        yield figure(f"to the first append after {after}", "s", (t[0] for t in turns), "<= 2")
        yield figure(f"to the first insert after {after}", "s", (t[1] for t in turns), "<= 5")


def other(sign):
    return signal.SIGTERM if sign == signal.SIGKILL else signal.SIGKILL


def one(world, data, brokers, group, end):
    """Seconds from the process's start to its first append and to the first byte of its first insert."""
    world.produce(1000)
    with Sink(world.own(), data.parent) as sink:
        began, wall = time.monotonic(), time.time()
        with Program(world.program(), data, *EVERY_SECOND, *group, url=sink.url, brokers=brokers) as program:
            until(lambda: program.said("partitions assigned"), "partitions")
            until(lambda: program.metric("rows_appended_total"), "an append", every=0.01)
            appended = time.monotonic() - began
            until(sink.inserts, "an insert", every=0.01)
            inserted = sink.inserts()[0]["at"] - wall
            program.end(end)
    return appended, inserted


def memory(world):
    """While it reads as many records and sends, once a second, from a full queue."""
    data, brokers = queue(world), world.kafka()
    # What it has read once it does not read again.
    world.produce(world.records)
    with Sink(world.own(), data.parent) as sink, Program(
        world.program(), data, *EVERY_SECOND, *world.group(), url=sink.url, brokers=brokers
    ) as program:
        rss = []

        def is_done():
            rss.append(resident(program.pid))
            return program.committed() >= world.produced and len(sink.inserts()) >= 10

        until(is_done, "all records and ten inserts", every=0.1)
        most = resident(program.pid, "VmHWM")
        program.end()
    yield figure("most memory with the queue full, reading and sending", "MiB", [most], "<= 256")
    yield figure("memory of most of the time", "MiB", rss[len(rss) // 10:])


def growth(world):
    """How many records and rows a second, with little and with much queued: one after the other, turn by turn."""
    sizes = {**SIZES, f"{world.queued >> 30} GiB": None}
    kinds = (("reading", ""), ("reading", " of CPU time"), ("sending", " of CPU time"))
    found = {kind: {name: [] for name in sizes} for kind in kinds}
    for _ in range(world.turns):
        for name, size in sizes.items():
            data = world.scratch() / "data" if size else queue(world)
            if size:
                fill(world.own(), data, "bytes", size)
            # What it has read once it does not read again.
            world.produce(world.records)
            # Nothing is still on its way to the disk that this run has not written.
            os.sync()
            for kind, rate in zip(kinds, (*read(world, data), send(world, data))):
                found[kind][name].append(rate)
            if size:
                shutil.rmtree(data)
    for (what, by), rates in found.items():
        for name, turns in rates.items():
            yield figure(f"{what} with {name} queued", f"rows/s{by}", turns)
        first, *more = rates.items()
        for name, turns in more:
            ratios = (t / f for t, f in zip(turns, first[1]))
            yield figure(f"{what} with {name} queued, against {first[0]}{by}", "x", ratios, ">= 0.9")


def read(world, data):
    """Records a second, and a second of CPU."""
    count = "rows_appended_total"
    with Program(world.program(), data, *world.group(), brokers=world.kafka()) as program:
        until(lambda: program.metric(count), "records", every=0.05)
        before = sample(program, count)
        until(lambda: program.metric(count) >= world.records * 0.95, "records", every=0.05)
        rows, wall, cpu = difference(before, sample(program, count))
        program.end()
    return rows / wall, rows / cpu


def send(world, data):
    """Rows for each second of CPU, since the pause between requests bounds the wall clock."""
    count = "rows_inserted_total"
    bounds = (*EVERY_SECOND, "--max-batch-rows", "400000")
    with Sink(world.own(), data.parent) as sink, Program(world.program(), data, *bounds, url=sink.url) as program:
        # The first one comes with the start.
        until(lambda: len(sink.inserts()) >= 2, "inserts", every=0.01)
        before = sample(program, count)
        until(lambda: len(sink.inserts()) >= 12, "inserts", every=0.01)
        rows, _, cpu = difference(before, sample(program, count))
        program.end()
    return rows / cpu


def sample(program, count):
    return program.metric(count), time.monotonic(), cpu_seconds(program.pid)


def difference(before, after):
    return (b - a for a, b in zip(before, after))
