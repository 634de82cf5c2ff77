"""Inserts into ClickHouse's engine (chDB behind ops/lib/clickhouse_gateway.py), against the engine reading the same
body from a file with the same settings, into the same tables with their views. Times are the gateway's own, so
that of the program includes receiving the body."""

import re
import subprocess
import urllib.parse

from .program import ROOT, Program, Sink, fill, free_port, scratch, tool, until
from .world import STACK, figure

ROWS = 1_000_000


def engine(world):
    port = free_port()
    world.service("clickhouse", CLICKHOUSE_PORT=str(port))
    url = f"http://127.0.0.1:{port}"
    log = ROOT / STACK["STACK_DIR"] / "data/clickhouse/requests.log"
    with scratch() as directory:
        body, target = a_body(world, directory)
        data = directory / "data"
        fill(world.own(), data, "rows", ROWS * (world.turns + 1) + 100_000)
        ours, theirs = [], []
        done = len(inserts(log))
        for turn in range(world.turns + 1):
            with Program(world.program(), data, "--flush-interval", "1s", "--request-timeout", "10m", url=url) as program:
                until(lambda: len(inserts(log)) > done, "an insert", every=0.02)
                program.end()
            done = len(inserts(log))
            rows, ms = inserts(log)[-1]
            read_file(url, target, body, f"bench-{turn}")
            file_rows, file_ms = inserts(log)[-1]
            done = len(inserts(log))
            # The first ones find everything cold.
            if turn:
                ours.append(rows / ms * 1000)
                theirs.append(file_rows / file_ms * 1000)
    yield figure("engine reads a file", "rows written/s, views among them", theirs)
    yield figure("program into the engine", "rows written/s, views among them", ours)
    yield figure("program against the file", "x", (o / t for o, t in zip(ours, theirs)), ">= 0.9")


def a_body(world, directory):
    """A body as the program sends it, in a file, and the path of its request."""
    data, body = directory / "one", directory / "body.zst"
    fill(world.own(), data, "rows", ROWS - 10_000)
    with Sink(world.own(), directory, body) as sink, Program(
        world.program(), data, "--flush-interval", "1s", url=sink.url
    ):
        return body, until(sink.inserts, "a body")[0]["target"]


def read_file(url, target, body, token):
    """The same INSERT with the same settings, from a file."""
    given = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query))
    into, form = re.fullmatch(r"(INSERT INTO .*\)) FORMAT (\w+)", given.pop("query")).groups()
    given.update(insert_deduplication_token=token, query_id=token)
    sql = f"{into} FROM INFILE '{body}' COMPRESSION 'zstd' FORMAT {form}"
    subprocess.run([tool("curl"), "-sf", f"{url}/?{urllib.parse.urlencode(given)}", "--data-binary", sql], check=True)


def inserts(log):
    """Rows written and milliseconds of each insert so far."""
    found = []
    for line in log.read_text().splitlines():
        _, _, query_id, status, _, rows, ms, _, query = line.split(" ", 8)
        if query.startswith('"INSERT') and status == "200":
            found.append((int(rows), int(ms)))
    return found
