"""What is measured without Kafka and ClickHouse, by the program own.rs."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUDGET = pathlib.Path(__file__).with_name("budget.json")


def build(*what):
    """The programs' paths, built in release."""
    out = subprocess.run(
        ["cargo", "build", "--release", "--locked", "--message-format=json", *what],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout
    messages = [json.loads(line) for line in out.splitlines()]
    return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}


def own():
    return build("--bench", "own")["own"]


def stages(_args):
    if not shutil.which("valgrind"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "valgrind"], check=True, stdout=subprocess.DEVNULL)
    program, counts = own(), {}
    for records in (5_000, 25_000):
        words = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*own::stages*",
             program, "stages", str(records)],
            check=True, stderr=subprocess.PIPE, text=True,
        ).stderr
        counts[records] = int(re.search(r"Collected : (\d+)", words)[1])
    # The difference leaves out what is done once.
    each = (counts[25_000] - counts[5_000]) / 20_000
    budget = json.loads(BUDGET.read_text())["instructions_a_record"]
    yield {"what": "own stages of a record", "unit": "instructions", "turns": [each],
           "target": f"<= {budget}, the budget", "failed": each > budget}


def packed(_args):
    out = subprocess.run([own(), "pack", str(1 << 20)], check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        body = json.loads(line)
        name = f"rows in 1 MiB, {body['body']}" + (f" at zstd {body['level']}" if body["level"] else "")
        yield {"what": name, "unit": "rows", "turns": [body["rows"]]}
        yield {"what": f"{name}: against stored", "unit": "x", "turns": [body["ratio"]], "target": ">= 2.0"}
        yield {"what": f"{name}: filled", "unit": "of the body", "turns": [body["filled"]], "target": ">= 0.98"}


def memory(pid, field="VmRSS"):
    """MiB."""
    return int(re.search(rf"{field}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def queued(args):
    programs = {**build("--bin", "anonymizer"), "own": own()}
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        data = pathlib.Path(directory) / "data"
        began = time.monotonic()
        subprocess.run([programs["own"], "fill", str(data), str(args.queued)], check=True)
        print(f"{args.queued} rows queued in {time.monotonic() - began:.0f} s", flush=True)
        size = sum(f.stat().st_size for f in (data / "queue").rglob("*") if f.is_file())
        yield {"what": "files of the queue", "unit": "GiB", "turns": [size / 2**30]}
        for how, sign in (("a stop", signal.SIGTERM), ("SIGKILL", signal.SIGKILL)):
            took, rss = [], []
            # The first start finds what `fill` left.
            for turn in range(args.turns + 1):
                seconds, mib = start(programs["anonymizer"], data, sign)
                if turn:
                    took.append(seconds)
                    rss.append(mib)
            target = "<= 2" if sign == signal.SIGTERM else "<= 5"
            yield {"what": f"start after {how}", "unit": "s", "turns": took, "target": target}
            yield {"what": f"memory after that start, {how}", "unit": "MiB", "turns": rss, "target": "<= 256"}


def start(program, data, sign):
    """Seconds until the program has its queue and looks for Kafka, and its memory then."""
    log = data.parent / "log"
    with log.open("w") as out:
        began = time.monotonic()
        process = subprocess.Popen(
            [program, "run", "--data-dir", data, "--kafka-brokers", "127.0.0.1:1", "--clickhouse-url",
             "http://127.0.0.1:1", "--http-listen", "127.0.0.1:0"],
            stdout=out, stderr=out, env={**os.environ, "RUST_LOG": "info"},
        )
        while "rows queued from before" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(f"the program ended: {log.read_text()}")
            time.sleep(0.005)
        took = time.monotonic() - began
        time.sleep(1)
        rss = memory(process.pid)
        process.send_signal(sign)
        process.wait(30)
    return took, rss
