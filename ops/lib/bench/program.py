"""The program, and the sink that swallows, as processes to measure."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
PATIENCE = 600
NOWHERE = "http://127.0.0.1:1"


def build(*what):
    """The programs' paths."""
    out = subprocess.run(
        ["cargo", "build", "--locked", "--message-format=json", *what],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout
    messages = [json.loads(line) for line in out.splitlines()]
    return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}


def programs():
    """`anonymizer` and `own`."""
    return build("--release", "--bin", "anonymizer", "--bench", "own")


def dev():
    """`own` as the tests are built: it is there already, our own code not optimised."""
    return build("--bench", "own")["own"]


@contextlib.contextmanager
def scratch():
    """A directory on the disk of the build, which is removed."""
    (ROOT / "target").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "target", prefix="bench-") as directory:
        yield pathlib.Path(directory)


def memory(pid, field="VmRSS"):
    """MiB."""
    return int(re.search(rf"{field}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def cpu_seconds(pid):
    """Of all its threads, those that ended, too; by the clock that clock_getcpuclockid(3) names."""
    return time.clock_gettime(~pid << 3 | 2)


def file_bytes(data):
    return sum(f.stat().st_size for f in (data / "queue").rglob("*") if f.is_file())


def until(what, words, patience=PATIENCE, every=0.005):
    """Waits, and returns what `what` returned."""
    deadline = time.monotonic() + patience
    while not (value := what()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not in {patience} s: {words}")
        time.sleep(every)
    return value


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Process:
    """Ended by its `with`, whatever happens."""

    def __init__(self, command, log, **more):
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def said(self, words):
        """Whether it logged `words`."""
        if words in self.log.read_text():
            return True
        if self.process.poll() is not None:
            raise SystemExit(f"it ended: {self.log.read_text()[-2000:]}")
        return False

    def end(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        self.process.wait(60)


class Program(Process):
    """`anonymizer run` on `data`."""

    def __init__(self, binary, data, *settings, url=NOWHERE, brokers="127.0.0.1:1"):
        self.data, self.port = data, free_port()
        super().__init__(
            [binary, "run", "--data-dir", data, "--kafka-brokers", brokers, "--clickhouse-url", url,
             "--http-listen", f"127.0.0.1:{self.port}", *settings],
            data.parent / f"{data.name}.log", env={**os.environ, "RUST_LOG": "info"},
        )

    def status(self):
        """What `anonymizer status` shows; `None` while the socket is not there."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                # A Unix socket's path is short.
                directory = os.open(self.data, os.O_RDONLY)
                try:
                    connection.connect(f"/proc/self/fd/{directory}/control.sock")
                finally:
                    os.close(directory)
                connection.sendall(b'"status"\n')
                line = connection.makefile().readline()
        except OSError:
            return None
        return json.loads(line)["ok"] if line else None

    def lanes(self):
        """Those of Kafka's topic, without what `own fill` has made."""
        status = self.status()
        return [lane for lane in status["queue"]["lanes"] if lane["topic"].startswith("http_log")] if status else []

    def committed(self):
        """Records of the topic that are synced and committed; its offsets begin at 0."""
        return sum(self.committed_by_partition().values())

    def committed_by_partition(self):
        found = {}
        # A partition has a lane for each time that it was assigned.
        for lane in self.lanes():
            found[lane["partition"]] = max(found.get(lane["partition"], 0), lane["eligible"])
        return found

    def metric(self, name):
        """Of /metrics; `None` before it is served."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
                text = answer.read().decode()
        except OSError:
            return None
        return float(re.search(rf"^anonymizer_{name} (\S+)", text, re.M)[1])

    def queued(self):
        """Rows; `None` while it is not known."""
        status = self.status()
        return status and status["queue"]["rows"]


class Sink(Process):
    """A ClickHouse that swallows (`own sink`)."""

    def __init__(self, own, directory, dump=None):
        super().__init__([own, "sink", *([dump] if dump else [])], directory / "sink.log")
        port = until(lambda: self.lines(), "the sink's port")[0]["port"]
        self.url = f"http://127.0.0.1:{port}"

    def lines(self):
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def inserts(self):
        """Each with its bytes and when its head and body came and its body ended, Unix seconds."""
        return [line for line in self.lines() if line.get("insert")]


def fill(own, data, what, amount):
    """Queues `amount` of `what`, rows or bytes. Returns both."""
    out = subprocess.run([own, "fill", data, what, str(amount)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)


def tool(name):
    path = shutil.which(name)
    if not path:
        raise SystemExit(f"{name} is missing")
    return path
