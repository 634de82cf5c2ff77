#!/usr/bin/env python3
"""ClickHouse for development and tests: the real engine (chDB) behind ClickHouse's HTTP interface.

    clickhouse_gateway.py --port 8123 --path DIR [--listen 127.0.0.1] [--user default] [--password ''] [--profile NAME=VALUE,...] [--config FILE]

DIR/engine is the database, DIR/spool holds request bodies while they are read, DIR/requests.log gets
one line a request: `time method query_id status code rows ms bytes "query"`. `code` is the exception
code or 0; `rows` is written rows for an INSERT, else result rows.

How an INSERT runs: the body is written to a file exactly as it came, compressed or not, then
`INSERT INTO t (cols) FROM INFILE 'file' COMPRESSION 'zstd' SETTINGS ... FORMAT x`. This takes the
engine's own insert path (tokens, views, column defaults, block settings); no byte passes through
Python's memory. Each request has a connection of its own, on which `database` and the settings in the
URL are set, so nothing leaks into the next one. `--profile` gives settings that hold before those, as a
user's profile does; a name with `!` before it cannot be changed (code 452), as by a constraint.

Weaker than a server, and not faked:
- Queries run one at a time. A query_id counts as running (code 216) from its request's first line on.
- `async_insert=1` is accepted and has no effect: a file is always inserted synchronously.
- No sessions (`session_id` is ignored), no users but one, no roles or quotas.
- No native block compression (`compress=1`, `decompress=1`: code 48) and no compressed answers.
- An answer is made whole in memory before it is sent, so `wait_end_of_query` is always on and a late
  `__exception__` never appears in a body; `http_write_exception_in_output_format` does nothing.
- A dropped client does not stop its query (as in the server), and KILL QUERY cannot reach one.
- The engine gives its own ids to queries: system.query_log does not know the client's query_id.
- In the summary, written_rows and written_bytes are the engine's counts: they include what views wrote,
  and rows that deduplication then dropped.
- The engine's zstd reader takes a frame that lacks its end for the end of the data. A body that the
  network cut is refused here (its length is wrong); one that the client itself built short is not.
- The format CapnProto, and the native TCP port, do not exist.
"""

import argparse
import base64
import hmac
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chdb.session import Session
from chdb.state.sqlitelike import Connection
from clickhouse_sql import ClickHouseError, http_status, quote, split_insert, statements

# Parameters of the HTTP interface. Every other one is a setting, and the engine judges it.
INTERFACE_PARAMETERS = {
    "query", "database", "user", "password", "query_id", "default_format", "session_id", "session_timeout",
    "session_check", "compress", "decompress", "wait_end_of_query", "buffer_size", "quota_key", "stacktrace",
}  # fmt: skip

# The longest part of a body searched for the end of an INSERT's head: the server's max_query_size.
MAX_HEAD = 262_144
COPY = 65_536


class Answer:
    """What a query gave: bytes in a format, and the counts for the summary."""

    def __init__(self, body=b"", written=(0, 0), read=(0, 0), result=(0, 0)):
        self.body, self.written, self.read, self.result = body, written, read, result
        self.rows = (written or (0, 0))[0] or result[0]


def written(result):
    """Rows and bytes that were written, views included; None from engines before 26.7, which do not tell."""
    if not hasattr(result, "rows_written"):
        return None
    return result.rows_written(), result.bytes_written()


class Engine:
    """The database: one process owns its path, and queries take turns."""

    def __init__(self, path: str, profile: str = "", config: str = ""):
        self.path = os.path.join(path, "engine")
        if config:
            self.path = f"file:{self.path}?config-file={config}"
        self.profile, self.fixed = {}, set()
        for name, _, value in (pair.partition("=") for pair in profile.split(",") if pair):
            self.profile[name.lstrip("!")] = value
            if name.startswith("!"):
                self.fixed.add(name[1:])
        self.spool = os.path.join(path, "spool")
        shutil.rmtree(self.spool, ignore_errors=True)  # bodies of requests that a crash cut short
        os.makedirs(self.spool)
        self.turn = threading.Lock()
        self.session = Session(self.path)  # keeps the database open between requests

    def close(self):
        with self.turn:  # the query that is running comes to its end
            self.session.close()

    def run(self, request: "Request", spool: str) -> Answer:
        """Run the query in the URL, the body, or both, one after the other as the server reads them.
        `spool` is the request's own folder and holds the file `body`."""
        sql, body = request.sql, os.path.join(spool, "body")
        insert = split_insert(sql) if sql.strip() else None
        if insert and insert.format and not sql[insert.data_at :].strip():
            return self._insert(insert, body, request.encoding, request)
        # The statement goes on in the body: it has to be plain to be read.
        whole = self._plain(spool, request)
        with open(whole, "rb") as file:
            head = file.read(MAX_HEAD)
            request.shown = head[:200]
            insert = split_insert(head)
            if insert:
                file.seek(insert.data_at)
                data = os.path.join(spool, "data")
                with open(data, "wb") as out:
                    shutil.copyfileobj(file, out, COPY)
                return self._insert(insert, data, "none", request)
            text = head + file.read()
        count = statements(text)
        if count == 0:
            raise ClickHouseError.own(62, "SYNTAX_ERROR", "Empty query")
        if count > 1:
            raise ClickHouseError.own(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        result = self._query(text.decode("utf-8", "surrogateescape"), request)
        counts = (result.rows_read(), result.bytes_read())
        scanned = (result.storage_rows_read(), result.storage_bytes_read())
        return Answer(result.bytes(), written(result), scanned, counts)

    def _insert(self, insert, data: str, encoding: str, request: "Request") -> Answer:
        name = insert.format or request.parameters.get("default_format", "Values")
        source = f"FROM INFILE {quote(data)} COMPRESSION {quote(encoding)}"
        result = self._query(f"{insert.into} {source} {insert.settings} FORMAT {name}", request)
        return Answer(written=written(result), read=(result.rows_read(), result.bytes_read()))

    def _plain(self, spool: str, request: "Request") -> str:
        """The query text as one file. The engine unpacks, as it does for INSERT."""
        body = unpacked = os.path.join(spool, "body")
        if request.encoding != "none" and os.path.getsize(body):
            unpacked = os.path.join(spool, "unpacked")
            columns = "'RawBLOB', 'data String'"
            self._bare(
                f"INSERT INTO FUNCTION file({quote(unpacked)}, {columns}) "
                f"SELECT data FROM file({quote(body)}, {columns}, {quote(request.encoding)})"
            )
        if not request.sql.strip():
            return unpacked
        whole = os.path.join(spool, "whole")
        with open(whole, "wb") as out, open(unpacked, "rb") as rest:
            out.write(request.sql + b"\n")
            shutil.copyfileobj(rest, out, COPY)
        return whole

    def _bare(self, sql: str):
        with self.turn:
            try:
                self.session.query(sql)
            except Exception as error:
                raise ClickHouseError.of_engine(error) from error

    def _query(self, sql: str, request: "Request"):
        with self.turn:
            connection = Connection(self.path)
            try:
                if request.database:
                    connection.query("USE `" + request.database.replace("\\", "\\\\").replace("`", "\\`") + "`")
                for name, value in self.profile.items():
                    connection.query(f"SET {name} = {quote(value)}")
                for name, value in request.settings.items():
                    if name in self.fixed and value != self.profile[name]:
                        raise ClickHouseError.own(
                            452, "SETTING_CONSTRAINT_VIOLATION", f"Setting {name} should not be changed"
                        )
                    connection.query(f"SET {name} = {quote(value)}")
                if request.method == "GET":
                    connection.query("SET readonly = 2")  # as the server: GET changes nothing
                return connection.query(sql, request.format, params=request.query_parameters)
            except ClickHouseError:
                raise
            except Exception as error:
                raise ClickHouseError.of_engine(error) from error
            finally:
                connection.close()


class Request:
    """The parts of a request that say how to run the query."""

    def __init__(self, method: str, url: urllib.parse.SplitResult, headers):
        self.method = method
        pairs = urllib.parse.parse_qsl(url.query, keep_blank_values=True, errors="surrogateescape")
        self.parameters = dict(pairs)
        self.sql = self.parameters.get("query", "").encode("utf-8", "surrogateescape")
        self.shown = self.sql  # what the log shows of the query
        self.database = headers.get("X-ClickHouse-Database") or self.parameters.get("database", "")
        self.format = self.parameters.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated"
        self.query_id = self.parameters.get("query_id") or str(uuid.uuid4())
        self.query_parameters = {k[6:]: v for k, v in pairs if k.startswith("param_")}
        self.settings = {
            k: v for k, v in pairs if k not in INTERFACE_PARAMETERS and not k.startswith("param_")
        }
        self.encoding = (headers.get("Content-Encoding") or "").strip().lower() or "none"

    def credentials(self, headers):
        if headers.get("X-ClickHouse-User") is not None:
            return headers["X-ClickHouse-User"], headers.get("X-ClickHouse-Key", "")
        scheme, _, value = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except ValueError:
                user, password = "", ""
            return user, password
        return self.parameters.get("user", "default"), self.parameters.get("password", "")

    def check(self):
        """Refuse what the gateway cannot do, and names that could not be settings."""
        for name in ("compress", "decompress"):
            if self.parameters.get(name, "0") not in ("0", "false"):
                raise ClickHouseError.own(48, "NOT_IMPLEMENTED", f"The gateway has no native block compression ({name})")
        for name in self.settings:
            if not re.fullmatch(r"\w+", name, re.ASCII):
                raise ClickHouseError.own(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "clickhouse-gateway"
    timeout = 30  # the server's http_receive_timeout: a silent client is dropped
    wbufsize = COPY

    def do_GET(self):
        self.serve()

    def do_POST(self):
        self.serve()

    def handle_expect_100(self):
        proceed = super().handle_expect_100()
        self.wfile.flush()  # the client waits for this line before it sends the body
        return proceed

    def serve(self):
        started = time.monotonic()
        url = urllib.parse.urlsplit(self.path)
        if url.path in ("/ping", "/replicas_status") or (url.path == "/" and self.command == "GET" and not url.query):
            return self.answer(200, b"Ok.\n")
        if url.path != "/":
            self.close_connection = True  # its body is not read
            return self.answer(404, f"There is no handle {url.path}\n".encode())
        request = Request(self.command, url, self.headers)
        running = self.server.running
        is_first = running.begin(request.query_id)
        spool = tempfile.mkdtemp(dir=self.server.engine.spool)
        given, code, status = Answer(), 0, 200
        try:
            given = self.run(request, spool, is_first)
            text = given.body
        except ClickHouseError as error:
            code, status, text = error.code, http_status(error.code), error.text.encode("utf-8", "replace") + b"\n"
        finally:
            if is_first:
                running.end(request.query_id)
            shutil.rmtree(spool, ignore_errors=True)
        nanoseconds = int((time.monotonic() - started) * 1e9)
        self.server.log(
            self.command, request.query_id, status, code, given.rows,
            nanoseconds // 1_000_000, self.headers.get("Content-Length", "-"), request.shown,
        )  # fmt: skip
        summary = {
            "read_rows": given.read[0], "read_bytes": given.read[1], "total_rows_to_read": 0,
            "result_rows": given.result[0], "result_bytes": given.result[1], "elapsed_ns": nanoseconds,
        }  # fmt: skip
        if given.written:
            summary |= {"written_rows": given.written[0], "written_bytes": given.written[1]}
        headers = {
            "X-ClickHouse-Query-Id": request.query_id.encode("latin-1", "replace").decode("latin-1"),
            "X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in summary.items()}),
        }
        if code:
            headers["X-ClickHouse-Exception-Code"] = str(code)
        self.answer(status, text, headers)

    def run(self, request: Request, spool: str, is_first: bool) -> Answer:
        # The body is read to its end before anything is refused: an answer given earlier, followed by
        # a close, can be lost to a reset.
        self.receive(os.path.join(spool, "body"))
        user, password = request.credentials(self.headers)
        if not self.server.allows(user, password):
            text = "Authentication failed: password is incorrect, or there is no user with such name"
            raise ClickHouseError.own(516, "AUTHENTICATION_FAILED", f"{user}: {text}")
        if not is_first:
            text = f"Query with id = {request.query_id} is already running"
            raise ClickHouseError.own(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", text)
        request.check()
        return self.server.engine.run(request, spool)

    def receive(self, path: str):
        """The body, as it came, into a file. One that is cut short is an error, never a shorter body."""
        length = self.headers.get("Content-Length")
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if length is None and not chunked and self.command == "POST":
            self.close_connection = True
            text = "The Transfer-Encoding is not chunked and there is no Content-Length header for POST request"
            raise ClickHouseError.own(381, "HTTP_LENGTH_REQUIRED", text)
        try:
            with open(path, "wb") as out:
                if not chunked:
                    return self.copy(int(length or 0), out)
                while size := int(self.line().split(b";")[0], 16):
                    self.copy(size, out)
                    self.line()
                while self.line().strip():
                    pass  # trailers
        except (ValueError, OSError, EOFError) as error:
            self.close_connection = True
            raise ClickHouseError.own(33, "CANNOT_READ_ALL_DATA", f"Cannot read the body: {error}") from error

    def copy(self, size: int, out):
        if size < 0:
            raise ValueError(f"a length of {size}")
        left = size
        while left:
            piece = self.rfile.read1(min(left, COPY))
            if not piece:
                raise EOFError(f"Unexpected EOF, got {size - left} of {size} bytes")
            out.write(piece)
            left -= len(piece)

    def line(self) -> bytes:
        line = self.rfile.readline(COPY)
        if not line.endswith(b"\n"):
            raise EOFError("Unexpected EOF in a chunked body")
        return line

    def answer(self, status: int, body: bytes, headers=None):
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, re.sub(r"[\r\n]", " ", value))
            self.send_header("Content-Type", "text/plain; charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:
            self.close_connection = True  # the client is gone; what was done stays done

    def log_message(self, *_):
        pass  # the server's own log says more


class Running:
    """The ids of the requests in hand."""

    def __init__(self):
        self.ids, self.lock = set(), threading.Lock()

    def begin(self, query_id: str) -> bool:
        with self.lock:
            is_first = query_id not in self.ids
            self.ids.add(query_id)
            return is_first

    def end(self, query_id: str):
        with self.lock:
            self.ids.discard(query_id)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, engine: Engine, user: str, password: str, log_path: str):
        self.engine, self.running = engine, Running()
        self.user, self.password = user, password
        self.log_file, self.log_lock = open(log_path, "a", buffering=1, encoding="utf-8"), threading.Lock()
        super().__init__(address, Handler)

    def allows(self, user: str, password: str) -> bool:
        same_user = hmac.compare_digest(user.encode(), self.user.encode())
        return hmac.compare_digest(password.encode(), self.password.encode()) and same_user

    def log(self, method, query_id, status, code, rows, ms, length, sql: bytes):
        query = json.dumps(" ".join(sql[:200].decode("utf-8", "replace").split()))
        query_id = re.sub(r"\s", "_", query_id)
        with self.log_lock:
            print(f"{time.time():.3f}", method, query_id, status, code, rows, ms, length, query, file=self.log_file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--listen", default="127.0.0.1", help="the address, for a container another one")
    parser.add_argument("--path", required=True, help="data directory")
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    parser.add_argument("--profile", default="", help="settings of the user's profile: NAME=VALUE,!FIXED=VALUE")
    parser.add_argument("--config", default="", help="a configuration file of the server, as for clusters")
    options = parser.parse_args()
    path = os.path.abspath(options.path)
    os.makedirs(path, exist_ok=True)
    engine = Engine(path, options.profile, options.config)
    log_path = os.path.join(path, "requests.log")
    server = Server((options.listen, options.port), engine, options.user, options.password, log_path)

    stop = threading.Event()  # set after the engine is open: it may install handlers of its own
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on {options.listen}:{options.port}", flush=True)
    stop.wait()
    print("stopping", flush=True)
    server.shutdown()
    server.server_close()
    engine.close()
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
