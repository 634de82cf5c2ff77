"""An engine of a release, the project's tables in it, and inserts as the program makes them."""

import json
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
CHILD = pathlib.Path(__file__).with_name("child.py")

# What is asked of each table: the raw one has a row for each, the totals have sums.
TABLES = {
    "http_log": "count()",
    "http_log_totals": "sum(requests)",
    "http_log_totals_1d": "sum(requests)",
    "http_log_address_1d": "sum(requests)",
    "http_log_1m": "sum(requests)",
    "http_log_1h": "sum(requests)",
    "http_log_1d": "sum(requests)",
}
COLUMNS = (
    "timestamp, resource_id, bytes_sent, request_time_milli, response_status, "
    "cache_status, method, remote_addr, url"
)
ROWS = 600


class Refused(Exception):
    """The engine answered with an error."""


def ddl() -> list[str]:
    """Every statement of ops/clickhouse, in the order of creation."""
    statements = []
    for file in sorted((ROOT / "ops/clickhouse").glob("*.sql")):
        text = re.sub(r"^[ \t]*--.*\n", "", file.read_text(), flags=re.M)
        statements += [part.strip() for part in re.split(r";[ \t]*$", text, flags=re.M) if part.strip()]
    return statements


def pinned(token: str) -> list[tuple[str, str]]:
    """The settings of the program's INSERTs, read from src/clickhouse/insert.rs, so that they cannot drift apart."""
    source = (ROOT / "src/clickhouse/insert.rs").read_text()
    body = source[source.index("pub fn insert_settings") :]
    pairs = dict(re.findall(r'\("(\w+)", ([^)]+)\)', body[: body.index(".into_iter()")]))
    assert "insert_deduplication_token" in pairs, "src/clickhouse/insert.rs: cannot read insert_settings"
    values = {"token": token, "&block": "1048576"}
    http_only = {"wait_end_of_query", "query_id", "send_progress_in_http_headers"}
    return [(n, values.get(v, v.strip('"'))) for n, v in pairs.items() if n not in http_only]


def pinned_where_known() -> list[tuple[str, str]]:
    """What the program sends besides where the server lists it, read from src/clickhouse/schema/settings.rs."""
    source = (ROOT / "src/clickhouse/schema/settings.rs").read_text()
    body = source[source.index("const WHERE_KNOWN") :]
    pairs = re.findall(r'\("(\w+)", "(\w*)"\)', body[: body.index("];")])
    assert pairs, "src/clickhouse/schema/settings.rs: cannot read WHERE_KNOWN"
    return pairs


def write_rows(path: pathlib.Path, years: list[int]) -> pathlib.Path:
    """ROWS rows in as many partitions as there are years."""
    lines = (
        f"{years[n % len(years)]}-03-0{1 + n % 9} 10:{n % 60:02}:00\t{n % 5}\t{n * 7}\t{n}\t200\tHIT\tGET\t1.2.{n % 3}.X\t/{n}\n"
        for n in range(ROWS)
    )
    path.write_text("".join(lines))
    return path


class Engine:
    """The engine of one release on `path`. To be closed before another opens the same directory."""

    def __init__(self, python: pathlib.Path, path: pathlib.Path):
        self.process = subprocess.Popen(
            [str(python), str(CHILD), str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.stdout.close()

    def query(self, sql: str, settings=()) -> str:
        print(json.dumps({"sql": sql, "settings": list(settings)}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise Refused("the engine ended")
        job = json.loads(line)
        if "error" in job:
            raise Refused(job["error"])
        return job["answer"]

    def create(self, window: int = 10_000):
        """Our tables and views, with this window."""
        for statement in ddl():
            self.query(re.sub(r"(deduplication_window = )\d+", rf"\g<1>{window}", statement))

    def insert(self, token: str, rows: pathlib.Path, profile=()):
        """One insert as the program makes it, by a user whose profile has these settings."""
        sql = f"INSERT INTO http_log ({COLUMNS}) FROM INFILE '{rows}' FORMAT TSV"
        known = set(self.query("SELECT name FROM system.settings").split())
        besides = [(name, value) for name, value in pinned_where_known() if name in known]
        self.query(sql, [*profile, *pinned(token), *besides])

    def counts(self) -> dict[str, int]:
        return {table: int(self.query(f"SELECT {what} FROM {table}")) for table, what in TABLES.items()}

    def scheme(self) -> str:
        """How this server makes hashes of tokens, as it says itself; empty where it has no such setting."""
        sql = "SELECT value FROM system.server_settings WHERE name = 'insert_deduplication_version'"
        return self.query(sql).strip()


def copy(old: pathlib.Path, new: pathlib.Path) -> pathlib.Path:
    """The directory as a later release finds it."""
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(old, new, symlinks=True)
    return new
