"""The ClickHouse engine (chDB) on one directory, the project's DDL in it, and honest timing."""

import contextlib
import fcntl
import os
import pathlib
import re
import time
from typing import NamedTuple

from chdb.session import Session

ROOT = pathlib.Path(__file__).resolve().parents[3]
DDL = ROOT / "ops/clickhouse"

# A repeat would be answered from what this cache remembers of the first run.
UNFLATTERED = "use_query_condition_cache = 0"


def sql_statements(text: str) -> list[str]:
    """As apply_ddl in ops/lib/common.sh cuts them: a `;` at the end of a line ends one."""
    text = re.sub(r"^[ \t]*--.*\n", "", text, flags=re.M)
    return [part.strip() for part in re.split(r";[ \t]*$", text, flags=re.M) if part.strip()]


def ddl_statements() -> list[str]:
    """Every statement of ops/clickhouse, in the order of creation."""
    return [sql for file in sorted(DDL.glob("*.sql")) for sql in sql_statements(file.read_text())]


def insert_settings(token: str) -> str:
    """The settings of the program's INSERTs, read from src/clickhouse/insert.rs, so that they cannot drift apart."""
    source = (ROOT / "src/clickhouse/insert.rs").read_text()
    body = source[source.index("pub fn insert_settings") :]
    pairs = dict(re.findall(r'\("(\w+)", ([^)]+)\)', body[: body.index(".into_iter()")]))
    assert "insert_deduplication_token" in pairs, "src/clickhouse/insert.rs: cannot read insert_settings"
    values = {"token": f"'{token}'", "&block": "1048576"}
    http_only = {"wait_end_of_query", "query_id"}
    shown = {n: values.get(v, v.replace('"', "'")) for n, v in pairs.items() if n not in http_only}
    return ", ".join(f"{name} = {value}" for name, value in shown.items())


class Timed(NamedTuple):
    """One question: milliseconds from the call to the last byte of the answer, those of the processors that
    this process took meanwhile (which other work on the machine hardly changes), and the answer."""

    ms: float
    cpu_ms: float
    answer: bytes


class Engine:
    """One database directory; one process owns it."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.session = Session(str(path))

    def close(self):
        self.session.close()

    def run(self, sql: str):
        """Runs one statement, result thrown away."""
        self.session.query(sql, "Null")

    def rows(self, sql: str) -> list[list[str]]:
        text = self.session.query(sql, "TabSeparated").bytes().decode("utf-8", "replace")
        return [line.split("\t") for line in text.splitlines()]

    def value(self, sql: str) -> str:
        return self.rows(sql)[0][0]

    def create(self, without_views: bool = False):
        """The project's tables; without the views that fill the totals, if asked."""
        for sql in ddl_statements():
            if not (without_views and "MATERIALIZED VIEW" in sql.upper()):
                self.run(sql)

    def renew_views(self):
        """The questions that are stored (not the views that fill tables) as they are written now."""
        for sql in ddl_statements():
            if found := re.match(r"CREATE VIEW IF NOT EXISTS (\w+)", sql):
                self.run(f"DROP VIEW IF EXISTS {found[1]}")
                self.run(sql)

    def time(self, sql: str) -> "Timed":
        cpu, started = time.process_time(), time.perf_counter()
        answer = self.session.query(sql, "TabSeparated").bytes()
        return Timed((time.perf_counter() - started) * 1000, (time.process_time() - cpu) * 1000, answer)

    def forget(self):
        """Makes the next query a cold one: drops the engine's caches, and the database's files from the
        page cache (only ours: other programs keep theirs)."""
        for cache in ("MARK", "UNCOMPRESSED", "INDEX MARK", "PRIMARY INDEX", "QUERY CONDITION"):
            with contextlib.suppress(Exception):  # named differently in other versions
                self.run(f"SYSTEM DROP {cache} CACHE")
        for folder, _, files in os.walk(self.path / "store"):
            for name in files:
                with contextlib.suppress(OSError):  # merged away meanwhile
                    fd = os.open(os.path.join(folder, name), os.O_RDONLY)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(fd)

    def fits(self, sql: str, mib: int) -> bool:
        """Whether a query runs within so much memory."""
        try:
            self.run(f"{sql}, max_memory_usage = {mib << 20}")
        except Exception as error:
            if "MEMORY_LIMIT_EXCEEDED" not in str(error):
                raise
            return False
        return True

    def merges(self) -> int:
        return int(self.value("SELECT count() FROM system.merges"))

    def settle(self, patience: float, tell) -> bool:
        """Waits until no merge has run for 5 s; false if some still do after `patience` seconds."""
        end, quiet = time.monotonic() + patience, 0
        while quiet < 5 and time.monotonic() < end:
            running = self.merges()
            quiet = 0 if running else quiet + 1
            tell(f"{running} merges under way")
            time.sleep(1)
        return quiet >= 5


class Lock:
    """A file that other heavy work on this machine also locks: shared while loading, alone while timing.
    Without a file, nothing. Nobody waits for ever: after `PATIENCE_S` the work goes on without it."""

    PATIENCE_S = 30

    def __init__(self, path: str | None):
        self.path = path

    @contextlib.contextmanager
    def hold(self, alone: bool):
        """Yields whether the lock is held."""
        if not self.path:
            yield False
            return
        with open(self.path, "a") as file:
            end = time.monotonic() + self.PATIENCE_S
            while not (held := self._try(file, alone)) and time.monotonic() < end:
                time.sleep(0.05)
            yield held

    def _try(self, file, alone: bool) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
