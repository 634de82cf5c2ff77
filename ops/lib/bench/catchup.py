"""A backlog, sent as fast as the program can, against curl with the same bodies."""

import subprocess
import time

from .program import Program, Sink, cpu_seconds, fill, memory, scratch, tool, until
from .world import figure

# One request a second is the least that the program takes, so bodies are long: 256 MiB. Where rows bound a body,
# it goes out as it is stored; where bytes do, it is packed.
STORED = ("--flush-interval", "1s", "--max-body-bytes", "256MiB", "--max-batch-rows", "8000000")
PACKED = ("--flush-interval", "1s", "--max-body-bytes", "256MiB", "--max-batch-rows", "10000000")


def catchup(world):
    turns = [drain(world, STORED, world.backlog) for _ in range(min(world.turns, 3))]
    of = lambda name: [turn[name] for turn in turns]  # noqa: E731
    yield figure("curl", "MB/s", of("curl"))
    yield figure("while a body is sent as stored", "MB/s", of("rate"))
    yield figure("while a body is sent, against curl", "x", (t["rate"] / t["curl"] for t in turns), ">= 0.9")
    yield figure("the backlog, with the pauses between bodies", "rows/s", of("rows"))
    yield figure("the same in bytes, against curl without a pause", "x", (t["bytes"] / t["curl"] for t in turns), ">= 0.9")
    yield figure("CPU a row of backlog", "us", of("cpu"))
    yield figure("most memory with bodies of 256 MiB", "MiB", of("memory"))
    packed = drain(world, PACKED, world.backlog * 2 // 5)
    yield figure("the backlog, packed though a slot is a second", "rows/s", [packed["rows"]])


def drain(world, settings, backlog):
    """Rates of sending a backlog, in a second; those of bytes in MB."""
    with scratch() as directory:
        data, body = directory / "data", a_body(world, directory)
        rows = fill(world.own(), data, "rows", backlog)["rows"]
        with Sink(world.own(), directory) as sink:
            rate_of_curl = curl(body, sink)
            body.unlink()
            before = len(sink.inserts())
            with Program(world.program(), data, *settings, url=sink.url) as program:
                until(lambda: program.said("queued from before"), "the start", every=0.02)
                began, used = time.time(), cpu_seconds(program.pid)
                until(lambda: program.queued() == 0, "all sent", every=0.2)
                cpu, most = cpu_seconds(program.pid) - used, memory(program.pid, "VmHWM")
            sent = sink.inserts()[before:]
    # The check of the tables, and the pause behind it, come before the first body.
    took, total = sent[-1]["end"] - began - 1, sum(s["bytes"] for s in sent)
    found = {"curl": rate_of_curl / 1e6, "rate": total / sum(s["end"] - s["at"] for s in sent) / 1e6, "rows": rows / took,
             "bytes": total / took / 1e6, "cpu": cpu / rows * 1e6, "memory": most}
    print(f"{len(sent)} bodies, {rows} rows in {took:.1f} s; {found['rate']:.0f} MB/s while it sends, "
          f"curl {found['curl']:.0f}", flush=True)
    return found


def a_body(world, directory):
    """One as the program sends it, in a file."""
    data, body = directory / "one", directory / "body"
    fill(world.own(), data, "rows", 7_000_000)
    with Sink(world.own(), directory, body) as sink, Program(world.program(), data, *STORED, url=sink.url):
        until(sink.inserts, "a body")
    return body


def curl(body, sink):
    """Bytes a second, the best of three."""
    for _ in range(3):
        subprocess.run([tool("curl"), "-sf", "-X", "POST", "-H", "Expect: 100-continue", "-T", body,
                        f"{sink.url}/?insert_deduplication_token=curl"], check=True, stdout=subprocess.DEVNULL)
    until(lambda: len(sink.inserts()) == 3, "curl's lines")
    return max(line["bytes"] / (line["end"] - line["at"]) for line in sink.inserts())
