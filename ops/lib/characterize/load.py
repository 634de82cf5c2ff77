"""Loading through the insert path's form: files of RowBinary in zstd, one INSERT each, with the program's
settings and a token. A chunk that was cut short is sent again under its token, so loading resumes."""

import os
import statistics
import time

from .engine import Engine, Lock, insert_settings
from .rows import COLUMNS, DAY, STRUCTURE, RowSet, select

CHUNK = 1_000_000  # max_batch_rows: what one INSERT carries after an outage


def write_chunk(engine: Engine, rows: RowSet, first: int, count: int) -> str:
    """A file of rows as an INSERT carries them; one that is there already is whole."""
    path = str(engine.path.parent / f"chunk-{first}-{count}.bin")
    if os.path.exists(path):
        return path
    engine.run(
        f"INSERT INTO FUNCTION file('{path}.new', 'RowBinary', '{STRUCTURE}', 'zstd') {select(rows, first, count)} "
        "SETTINGS max_threads = 1, output_format_compression_level = 1, engine_file_truncate_on_insert = 1"
    )
    os.replace(f"{path}.new", path)
    return path


def make(engine: Engine, rows: RowSet, lock: Lock, tell):
    """All chunks, ahead of loading: 30 bytes a row."""
    firsts = range(0, rows.rows, CHUNK)
    for number, first in enumerate(firsts):
        with lock.hold(alone=False):
            write_chunk(engine, rows, first, min(CHUNK, rows.rows - first))
        tell(number + 1, len(firsts), "")


def insert(engine: Engine, path: str, token: str) -> tuple[float, float]:
    """Seconds that the INSERT took, and seconds of processors, merges beside it included."""
    cpu, started = time.process_time(), time.perf_counter()
    engine.run(
        f"INSERT INTO http_log ({COLUMNS}) FROM INFILE '{path}' COMPRESSION 'zstd' "
        f"SETTINGS {insert_settings(token)} FORMAT RowBinary"
    )
    return time.perf_counter() - started, time.process_time() - cpu


def load(engine: Engine, rows: RowSet, done: list, lock: Lock, save, tell):
    """Inserts every chunk that is not in `done`, a list of [first row, seconds], and adds it there."""
    firsts = range(0, rows.rows, CHUNK)
    loaded = {first for first, _ in done}
    for first in firsts:
        if first in loaded:
            continue
        count = min(CHUNK, rows.rows - first)
        with lock.hold(alone=False):
            path = write_chunk(engine, rows, first, count)
            seconds, _ = insert(engine, path, f"characterize-{rows.seed}-{first}")
        os.remove(path)
        done.append([first, seconds])
        save()
        rate = count / statistics.median([s for _, s in done[-10:]])
        tell(len(done), len(firsts), f"{sum(1 for _ in done) * CHUNK / 1e6:.0f}M rows, {rate / 1000:.0f}k rows/s")


def insert_rates(engine: Engine, rate: float, lock: Lock, chunk: int, times: int, tell) -> dict:
    """Rows a second of the same INSERT with all views and without any, in turns, each into tables that are
    empty at first: medians, and all values. The rows came at `rate` a second."""
    rows = RowSet(chunk, days=chunk / rate / DAY, seed=7)
    path = write_chunk(engine, rows, 0, chunk)
    found, cpu = {"with views": [], "without": []}, {"with views": [], "without": []}
    for name in ("with_views", "without_views"):
        engine.run(f"DROP DATABASE IF EXISTS {name} SYNC")
        engine.run(f"CREATE DATABASE {name}")
        engine.run(f"USE {name}")
        engine.create(without_views=name == "without_views")
    for turn in range(times + 1):
        with lock.hold(alone=True):
            for kind, database in (("with views", "with_views"), ("without", "without_views")):
                engine.run(f"USE {database}")
                seconds, processors = insert(engine, path, f"rate-{kind[:5]}-{turn}")
                if turn:  # the first warms up
                    found[kind].append(chunk / seconds)
                    cpu[kind].append(chunk / processors)
        tell(turn, times, "")
    engine.run("USE default")
    for name in ("with_views", "without_views"):
        engine.run(f"DROP DATABASE {name} SYNC")
    os.remove(path)
    median, of_cpu = ({kind: statistics.median(v) for kind, v in m.items()} for m in (found, cpu))
    return {
        "rows": chunk,
        "rows_a_second": found,
        "median": median,
        "ratio": median["with views"] / median["without"],
        "rows_a_second_of_cpu": of_cpu,
        "ratio_of_cpu": of_cpu["with views"] / of_cpu["without"],
    }
