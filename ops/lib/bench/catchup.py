"""A backlog, sent as fast as the program can, against curl with the same bodies."""

import subprocess

from .program import Program, Sink, cpu_seconds, fill, memory, scratch, tool, until
from .world import figure

# One request a second is the least that the program takes, so bodies are long.
SETTINGS = ("--flush-interval", "1s", "--max-body-bytes", "256MiB", "--max-batch-rows", "10000000")


def catchup(world):
    curls, rates, overall, ratios, cpu, most = [], [], [], [], [], []
    for turn in range(min(world.turns, 3)):
        with scratch() as directory:
            data, body = directory / "data", a_body(world, directory)
            rows = fill(world.own(), data, "rows", world.backlog)["rows"]
            with Sink(world.own(), directory) as sink:
                curls.append(curl(body, sink))
                body.unlink()
                before = len(sink.inserts())
                with Program(world.program(), data, *SETTINGS, url=sink.url) as program:
                    until(lambda: len(sink.inserts()) > before, "the first body", every=0.01)
                    used = cpu_seconds(program.pid)
                    until(lambda: program.queued() == 0, "all sent", every=0.2)
                    cpu.append((cpu_seconds(program.pid) - used) / rows * 1e6)
                    most.append(memory(program.pid, "VmHWM"))
                sent = sink.inserts()[before:]
            took = sent[-1]["end"] - sent[0]["at"]
            rates.append(sum(s["bytes"] for s in sent) / sum(s["end"] - s["at"] for s in sent))
            overall.append(rows / took)
            ratios.append(sum(s["bytes"] for s in sent) / took / curls[-1])
            print(f"turn {turn + 1}: curl {curls[-1] / 1e6:.0f} MB/s, anonymizer {rates[-1] / 1e6:.0f} MB/s while it "
                  f"sends; {len(sent)} bodies, {rows} rows in {took:.1f} s", flush=True)
    yield figure("curl", "MB/s", (t / 1e6 for t in curls))
    yield figure("while a body is sent", "MB/s", (o / 1e6 for o in rates))
    yield figure("while a body is sent, against curl", "x", (o / t for o, t in zip(rates, curls)), ">= 0.9")
    yield figure("a backlog, with the pauses between bodies", "rows/s", overall)
    yield figure("the same in bytes, against curl without a pause", "x", ratios, ">= 0.9")
    yield figure("CPU a row of backlog", "us", cpu)
    yield figure("most memory while catching up", "MiB", most, "<= 256")


def a_body(world, directory):
    """One as the program sends it, in a file."""
    data, body = directory / "one", directory / "body"
    fill(world.own(), data, "rows", 7_000_000)
    with Sink(world.own(), directory, body) as sink, Program(world.program(), data, *SETTINGS, url=sink.url):
        until(sink.inserts, "a body")
    return body


def curl(body, sink):
    """Bytes a second, the best of three."""
    for _ in range(3):
        subprocess.run([tool("curl"), "-sf", "-X", "POST", "-H", "Expect: 100-continue", "-T", body,
                        f"{sink.url}/?insert_deduplication_token=curl"], check=True, stdout=subprocess.DEVNULL)
    until(lambda: len(sink.inserts()) == 3, "curl's lines")
    return max(line["bytes"] / (line["end"] - line["at"]) for line in sink.inserts())
