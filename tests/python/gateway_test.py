"""The ClickHouse gateway of ops/lib must answer as ClickHouse does, or the tests that use it prove nothing.

Run: .stack/tools/venv/bin/python tests/python/gateway_test.py   (after `ops/stack up`, which makes the venv)
"""

import base64
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

import pyarrow

GATEWAY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "ops", "lib", "clickhouse_gateway.py")
PASSWORD = "se:cret"
TABLE = "(n UInt64, s String DEFAULT 'none') ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100"
# What the program sends with every INSERT.
PINNED = {
    "insert_deduplicate": 1, "deduplicate_insert": "enable", "deduplicate_blocks_in_dependent_materialized_views": 1,
    "async_insert": 0, "max_insert_threads": 1, "max_insert_block_size": 1048449,
    "min_insert_block_size_rows": 1048449, "min_insert_block_size_bytes": 268402944, "optimize_on_insert": 0,
    "throw_on_max_partitions_per_insert_block": 0, "wait_end_of_query": 1, "send_progress_in_http_headers": 0,
    "http_write_exception_in_output_format": 0, "input_format_parallel_parsing": 0,
}  # fmt: skip
ROW_BINARY = "INSERT INTO {} (n, s) FORMAT RowBinary"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rows(numbers, text=b"abc"):
    return b"".join(struct.pack("<QB", n, len(text)) + text for n in numbers)


def zstd(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


class Gateway:
    def __init__(self, path):
        self.path, self.port, self.process = path, free_port(), None

    def start(self):
        command = [sys.executable, GATEWAY, "--port", str(self.port), "--path", self.path, "--password", PASSWORD]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.send("GET", "/ping", auth=None)[1] == b"Ok.\n":
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the gateway did not start")

    def send(self, method, path, body=None, headers=None, auth=("default", PASSWORD)):
        """(status, body, headers), one connection a request."""
        headers = dict(headers or {})
        if auth:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def query(self, sql, body=b"", encoding=None, auth=("default", PASSWORD), **parameters):
        url = "/?" + urllib.parse.urlencode({"query": sql, **parameters})
        return self.send("POST", url, body, {"Content-Encoding": encoding} if encoding else None, auth)

    def ok(self, sql, body=b"", encoding=None, **parameters):
        """The body of an answer that must be a success."""
        status, text, headers = self.query(sql, body, encoding, **parameters)
        if status != 200 or "X-ClickHouse-Exception-Code" in headers:
            raise AssertionError(f"{sql}: {status} {text}")
        return text

    def count(self, table):
        return int(self.ok(f"SELECT count() FROM {table}"))


class GatewayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.gateway = Gateway(cls.folder)
        cls.gateway.start()

    @classmethod
    def tearDownClass(cls):
        cls.gateway.process.terminate()
        code = cls.gateway.process.wait(30)
        shutil.rmtree(cls.folder)
        assert code == 0, f"SIGTERM gave exit code {code}"

    def setUp(self):
        self.table = self.id().rsplit(".", 1)[1]
        self.ok, self.count = self.gateway.ok, self.gateway.count
        self.assertEqual(b"", self.ok(f"CREATE TABLE {self.table} {TABLE}"))

    def fails(self, code, status, answer):
        self.assertEqual((status, str(code)), (answer[0], answer[2]["X-ClickHouse-Exception-Code"]), answer[1])
        self.assertTrue(answer[1].startswith(f"Code: {code}. DB::Exception: ".encode()), answer[1])
        self.assertEqual(1, answer[1].count(b"Code: "), answer[1])

    def test_ping_needs_no_password(self):
        self.assertEqual((200, b"Ok.\n"), self.gateway.send("GET", "/ping", auth=None)[:2])

    def test_insert_of_several_zstd_frames_with_the_pinned_settings(self):
        body = b"".join(zstd(rows(range(i * 100, i * 100 + 100))) for i in range(50))
        status, text, headers = self.gateway.query(
            ROW_BINARY.format(self.table), body, "zstd", **PINNED, insert_deduplication_token="t", query_id="q-1"
        )
        self.assertEqual((200, b"", None), (status, text, headers["X-ClickHouse-Exception-Code"]))
        self.assertEqual("q-1", headers["X-ClickHouse-Query-Id"])
        self.assertEqual("5000", json.loads(headers["X-ClickHouse-Summary"])["written_rows"])
        self.assertEqual(5000, self.count(self.table))
        self.assertEqual(b"1\n", self.ok(f"SELECT count() FROM system.parts WHERE active AND table = '{self.table}'"))

    def test_a_resend_under_the_same_token_counts_once(self):
        for token, body, want in [
            ("a", rows(range(10)), 10),
            ("a", rows(range(10)), 10),
            ("a", rows(reversed(range(10))), 10),  # order and packing are free
            ("b", rows(range(10)), 20),
        ]:
            self.ok(ROW_BINARY.format(self.table), zstd(body), "zstd", **PINNED, insert_deduplication_token=token)
            self.assertEqual(want, self.count(self.table))

    def test_a_view_counts_a_resend_once(self):
        totals = self.table + "_totals"
        self.ok(
            f"CREATE TABLE {totals} (digit UInt64, requests UInt64) ENGINE = SummingMergeTree ORDER BY digit "
            "SETTINGS non_replicated_deduplication_window = 100"
        )
        self.ok(
            f"CREATE MATERIALIZED VIEW {totals}_mv TO {totals} "
            f"AS SELECT n % 10 AS digit, count() AS requests FROM {self.table} GROUP BY digit"
        )
        for _ in range(3):
            self.ok(ROW_BINARY.format(self.table), rows(range(1000)), **PINNED, insert_deduplication_token="v")
        self.assertEqual(b"1000\n", self.ok(f"SELECT sum(requests) FROM {totals}"))
        # Without the setting the resend doubles the totals: the gateway passes settings on.
        loose = PINNED | {"deduplicate_blocks_in_dependent_materialized_views": 0}
        self.ok(ROW_BINARY.format(self.table), rows(range(1000)), **loose, insert_deduplication_token="v")
        self.assertEqual(b"2000\n", self.ok(f"SELECT sum(requests) FROM {totals}"))
        self.assertEqual(1000, self.count(self.table))

    def test_other_encodings(self):
        sql = ROW_BINARY.format(self.table)
        self.ok(sql, gzip.compress(rows(range(7))) + gzip.compress(rows(range(3))), "gzip")
        with pyarrow.BufferOutputStream() as sink:
            with pyarrow.CompressedOutputStream(sink, "lz4") as out:
                out.write(rows(range(5)))
            self.ok(sql, sink.getvalue().to_pybytes(), "lz4")
        self.assertEqual(15, self.count(self.table))
        self.fails(48, 501, self.gateway.query(sql, b"x", "rot13"))

    def test_other_formats_and_the_query_in_the_body(self):
        table = self.table
        self.ok(f"INSERT INTO {table} FORMAT JSONEachRow", b'{"n": 1, "s": "x"}\n{"n": 2}\n')
        self.ok(f"INSERT INTO {table} FORMAT TabSeparated", b"3\tx\n")
        self.ok(f"INSERT INTO {table} (s, n) FORMAT CSV", b'"y;",4\n')
        self.ok(f"INSERT INTO {table} VALUES", b"(5, 'a;b')")
        self.ok(f"INSERT INTO {table} VALUES (6, 'in;URL')")
        native = self.ok("SELECT toUInt64(7) AS n, 'nat' AS s FORMAT Native")
        self.ok(f"INSERT INTO {table} FORMAT Native", native)
        for encoding, pack in [("", bytes), ("gzip", gzip.compress), ("zstd", zstd)]:
            text = f"INSERT INTO {table} SETTINGS max_insert_threads = 1 FORMAT TSV\n8\tb{encoding}\n"
            self.ok("", pack(text.encode()), encoding)
        self.ok(f"INSERT INTO {table} (n)", b"FORMAT TSV\n9\n")
        self.ok(f"INSERT INTO {table} SELECT 10, 'sel'")
        got = self.ok(f"SELECT n, s FROM {table} ORDER BY n, s FORMAT TSV").decode().replace("\t", ":").split()
        want = "1:x 2:none 3:x 4:y; 5:a;b 6:in;URL 7:nat 8:b 8:bgzip 8:bzstd 9:none 10:sel".split()
        self.assertEqual(want, got)

    def test_a_body_cut_short_is_never_inserted(self):
        query = urllib.parse.quote(ROW_BINARY.format(self.table))
        auth = base64.b64encode(f"default:{PASSWORD}".encode()).decode()
        head = f"POST /?query={query} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {auth}\r\n"
        whole = rows(range(10))
        for rest in [
            f"Content-Length: {len(whole) + 12}\r\n\r\n".encode() + whole,
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(whole) + whole + b"\r\n",  # no last chunk
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(whole) + 12) + whole,
            b"Content-Length: -5\r\n\r\n" + whole,
            b"\r\n" + whole,
        ]:
            with socket.create_connection(("127.0.0.1", self.gateway.port), 30) as s:
                s.sendall(head.encode() + rest)
                s.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: s.recv(4096), b""))
            self.assertRegex(answer, rb"HTTP/1.1 (500|411) ")
            self.assertRegex(answer, rb"X-ClickHouse-Exception-Code: (33|381)\r")
        self.assertEqual(0, self.count(self.table))
        chunks = (whole[:5], whole[5:])  # a complete chunked body is welcome
        self.gateway.send("POST", f"/?query={query}", iter(chunks), {})
        self.assertEqual(10, self.count(self.table))

    def test_expect_100_continue(self):
        query = urllib.parse.quote(ROW_BINARY.format(self.table))
        auth = base64.b64encode(f"default:{PASSWORD}".encode()).decode()
        body = rows(range(10))
        with socket.create_connection(("127.0.0.1", self.gateway.port), 30) as s:
            s.sendall(
                f"POST /?query={query} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {auth}\r\n"
                f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            self.assertIn(b"100 Continue", s.recv(4096))
            s.sendall(body)
            self.assertIn(b"200 OK", s.recv(4096))
        self.assertEqual(10, self.count(self.table))

    def test_errors_have_the_servers_code_and_status(self):
        query, table = self.gateway.query, self.table
        self.fails(60, 404, query(ROW_BINARY.format("nosuch"), rows([1])))
        self.fails(60, 404, query("SELECT * FROM nosuch"))
        self.fails(81, 404, query("SELECT 1", database="nosuch"))
        self.fails(115, 404, query(ROW_BINARY.format(table), rows([1]), no_such_setting=1))
        self.fails(115, 404, query("SELECT 1", **{"x = 1, y": 1}))
        self.fails(62, 400, query("SELEC 1"))
        self.fails(62, 400, query("SELECT 1; SELECT 2"))
        self.fails(62, 400, query(""))
        self.fails(16, 500, query(f"INSERT INTO {table} (nosuch) FORMAT RowBinary", rows([1])))
        self.fails(27, 400, query(f"INSERT INTO {table} FORMAT TSV", b"1\tx\nbad\ty\n"))
        self.fails(73, 404, query(f"INSERT INTO {table} FORMAT NoSuch", b"1"))
        self.fails(48, 501, query("SELECT 1", decompress=1))
        answer = query(ROW_BINARY.format(table), rows([1])[:-1])  # ends inside a row
        self.assertIn(answer[2]["X-ClickHouse-Exception-Code"], ("32", "33"))
        self.assertEqual(0, self.count(table))

    def test_settings_do_not_outlive_their_request(self):
        self.ok("SELECT 1", max_threads=1, database="system")
        self.assertEqual(b"default\n", self.ok("SELECT currentDatabase()"))
        self.assertEqual(b"1\n", self.ok("SELECT getSetting('max_threads')", max_threads=1))
        self.assertEqual(b"it's \\\n", self.ok("SELECT getSetting('log_comment') FORMAT TSVRaw", log_comment="it's \\"))
        self.assertEqual(b"\n", self.ok("SELECT getSetting('log_comment')"))

    def test_passwords(self):
        query, send = self.gateway.query, self.gateway.send
        self.fails(516, 403, query("SELECT 1", auth=("default", "wrong")))
        self.fails(516, 403, query("SELECT 1", auth=("nobody", PASSWORD)))
        self.fails(516, 403, query("SELECT 1", auth=None))
        self.assertEqual(200, query("SELECT 1", auth=None, user="default", password=PASSWORD)[0])
        headers = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": PASSWORD}
        self.assertEqual(200, send("POST", "/", b"SELECT 1", headers, auth=None)[0])

    def test_get_reads_and_changes_nothing(self):
        url = "/?query=" + urllib.parse.quote(f"INSERT INTO {self.table} SELECT 1, 'x'")
        self.fails(164, 500, self.gateway.send("GET", url))
        self.assertEqual((200, b"1\n"), self.gateway.send("GET", "/?query=SELECT%201")[:2])

    def test_select_formats_and_parameters(self):
        self.assertEqual(b'{"a":1}\n', self.ok("SELECT 1 AS a FORMAT JSONEachRow"))
        self.assertEqual(b'{"a":1}\n', self.ok("SELECT 1 AS a", default_format="JSONEachRow"))
        self.assertEqual(b"1\n", self.ok("", b"SELECT 1 -- no more;\n"))
        self.assertEqual(b"7\tx'y\n", self.ok("SELECT {a:UInt8}, {b:String} FORMAT TSVRaw", param_a="7", param_b="x'y"))

    def test_a_running_query_id_is_refused(self):
        slow = threading.Thread(target=self.ok, args=("SELECT sleep(2)",), kwargs={"query_id": "twin"})
        slow.start()
        time.sleep(0.5)
        self.fails(216, 500, self.gateway.query("SELECT 1", query_id="twin"))
        self.assertEqual(b"Ok.\n", self.gateway.send("GET", "/ping")[1])
        slow.join()
        self.ok("SELECT 1", query_id="twin")

    def test_every_request_has_one_log_line(self):
        self.ok(ROW_BINARY.format(self.table), rows(range(3)), query_id="logged")
        self.gateway.query("SELECT * FROM nosuch", query_id="failed")
        with open(os.path.join(self.folder, "requests.log")) as file:
            lines = [line.split(" ", 8) for line in file]
        self.assertEqual([["POST", "logged", "200", "0", "3"]], [f[1:6] for f in lines if f[2] == "logged"])
        self.assertEqual([["POST", "failed", "404", "60", "0"]], [f[1:6] for f in lines if f[2] == "failed"])

    def test_what_was_acknowledged_survives_a_kill(self):
        for n in range(3):
            self.ok(ROW_BINARY.format(self.table), rows(range(10)), insert_deduplication_token=f"k{n}")
            self.gateway.process.send_signal(signal.SIGKILL)
            self.gateway.process.wait()
            self.gateway.start()
            self.ok(ROW_BINARY.format(self.table), rows(range(10)), insert_deduplication_token=f"k{n}")
            self.assertEqual(10 * (n + 1), self.count(self.table))
        self.assertEqual([], os.listdir(os.path.join(self.folder, "spool")))


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=1).result
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(failed > 0)
