"""What is tried on the engines. Each trial ends in one word: once, refused, or what was stored twice."""

import pathlib
import shutil

from .engine import ROWS, Engine, Refused, copy, write_rows

# Settings that a user's profile may have, and that change how inserts are cut, hashed or stored.
PROFILES = [
    ("insert_deduplicate", "0"),
    ("deduplicate_insert", "disable"),
    ("deduplicate_blocks_in_dependent_materialized_views", "0"),
    ("update_insert_deduplication_token_in_dependent_materialized_views", "1"),
    ("async_insert", "1"),
    ("async_insert_deduplicate", "1"),
    ("max_insert_threads", "4"),
    ("max_insert_block_size", "100"),
    ("max_insert_block_size_bytes", "1000"),
    ("min_insert_block_size_rows", "10"),
    ("min_insert_block_size_bytes", "1000"),
    ("min_insert_block_size_rows_for_materialized_views", "10"),
    ("max_block_size", "100"),
    ("parallel_view_processing", "0"),
    ("optimize_on_insert", "1"),
    ("materialized_views_ignore_errors", "1"),
    ("data_type_default_nullable", "1"),
    ("max_partitions_per_insert_block", "1"),
]


def verdict(counts: dict[str, int], want: int = ROWS) -> str:
    """once, or which of raw and totals have other rows than were sent."""
    wrong = [table for table, rows in counts.items() if rows != want]
    if not wrong:
        return "once"
    raw = "raw " if "http_log" in wrong else ""
    totals = len([table for table in wrong if table != "http_log"])
    word = "DOUBLED" if all(counts[table] == 2 * want for table in wrong) else "WRONG"
    return f"{word} {raw}{f'totals ({totals} of 6)' if totals else ''}".strip()


class Trials:
    """Runs trials in a directory of its own; `pythons` are the engines by release."""

    def __init__(self, pythons: dict[str, pathlib.Path], scratch: pathlib.Path):
        self.pythons, self.scratch = pythons, scratch
        self.two = write_rows(scratch / "two.tsv", [2025, 2026])

    def engine(self, release: str, path: pathlib.Path) -> Engine:
        return Engine(self.pythons[release], path)

    def fresh(self, name: str) -> pathlib.Path:
        path = self.scratch / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def base(self, release: str) -> tuple[dict, pathlib.Path]:
        """DDL, an insert and its resend; the directory stays, with the insert in it, for upgrades."""
        path, found = self.fresh(f"base-{release}"), {}
        with self.engine(release, path) as engine:
            found["version"] = engine.query("SELECT version()").strip()
            found["scheme"] = engine.scheme() or "(no such setting)"
            try:
                engine.create()
                found["ddl"] = "applies"
                engine.insert("first", self.two)
                found["insert"] = verdict(engine.counts())
                engine.insert("first", self.two)
                found["resend"] = verdict(engine.counts())
            except Refused as error:
                found.setdefault("ddl", f"refused: {error}")
        return found, path

    def upgrade(self, base: pathlib.Path, way: list[str]) -> str:
        """The insert that `base` holds is sent again after each release in between was started, and
        then by the last one. "cannot read": that one does not have the rows of the first any more."""
        path = copy(base, self.scratch / "upgrade")
        try:
            for release in way[1:-1]:
                with self.engine(release, path) as engine:
                    engine.counts()
            with self.engine(way[-1], path) as engine:
                if verdict(engine.counts()) != "once":
                    return "cannot read"
                engine.insert("first", self.two)
                return verdict(engine.counts())
        except (Refused, BrokenPipeError) as error:
            return f"refused: {str(error).strip()[:80]}"

    def profiles(self, release: str) -> dict[str, str]:
        """An insert and its resend by a user with each setting, one after the other in one database."""
        found = {}
        with self.engine(release, self.fresh("profiles")) as engine:
            engine.create()
            for n, (name, value) in enumerate(PROFILES):
                if not engine.query(f"SELECT name FROM system.settings WHERE name = '{name}'").strip():
                    found[f"{name} = {value}"] = "unknown"
                    continue
                before = engine.counts()
                try:
                    for _ in range(2):
                        engine.insert(f"profile-{n}", self.two, [(name, value)])
                    after = engine.counts()
                    word = verdict({table: after[table] - before[table] for table in after})
                except Refused as error:
                    word = f"refused: {str(error).strip()[:60]}"
                found[f"{name} = {value}"] = word
        return found

    def entries(self, release: str, partitions: int, window: int = 8) -> dict[str, float]:
        """How many entries of a window each block of an insert takes, in the raw table and in those
        that views fill. A block is an insert's part in a partition; ClickHouse numbers them."""
        rows = write_rows(self.scratch / f"{partitions}.tsv", [2026 - n for n in range(partitions)])
        sql = "SELECT table, max(max_block_number) FROM system.parts WHERE database = currentDatabase() GROUP BY table"

        def blocks() -> dict[str, int]:
            return {t: int(n) for t, n in (line.split() for line in engine.query(sql).splitlines())}

        found: dict[str, float] = {}
        with self.engine(release, self.fresh("entries")) as engine:
            engine.create(window)
            for others in range(1, window + 1):
                engine.insert(f"first-{others}", rows)
                since = blocks()
                for n in range(others):
                    engine.insert(f"other-{others}-{n}", rows)
                until, before = blocks(), engine.counts()
                engine.insert(f"first-{others}", rows)
                for table, count in engine.counts().items():
                    if count != before[table]:
                        found.setdefault(table, window / (until[table] - since[table]))
                if len(found) == len(before):
                    break
        return found
