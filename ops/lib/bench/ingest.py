"""From Kafka to the synced queue, against librdkafka's own benchmark."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from .alone import ROOT, build, memory

PARTITIONS = 6
STACK = {"STACK_DIR": ".stack/bench", "KAFKA_PORT": "19092", "KAFKA_CONTROLLER_PORT": "19093",
         "KAFKA_PARTITIONS": str(PARTITIONS)}
BROKER = "127.0.0.1:19092"


def ingest(args):
    program, baseline = build("--bin", "anonymizer")["anonymizer"], performance()
    environment = {**os.environ, **STACK}
    subprocess.run(["ops/stack", "down", "--wipe", "kafka"], cwd=ROOT, env=environment, check=True)
    subprocess.run(["ops/stack", "up", "kafka"], cwd=ROOT, env=environment, check=True)
    try:
        subprocess.run(
            [program, "produce", "--kafka-brokers", BROKER, "--count", str(args.records)], check=True,
            stdout=subprocess.DEVNULL, env={**os.environ, "RUST_LOG": "warn"},
        )
        ours, theirs = [], []
        for turn in range(args.turns):
            theirs.append(consume(baseline, args.records))
            ours.append(run(program, args.records, turn))
            print(f"turn {turn + 1}: librdkafka {theirs[-1][0]:.2f} s, anonymizer {ours[-1][0]:.2f} s", flush=True)
    finally:
        subprocess.run(["ops/stack", "down", "--wipe", "kafka"], cwd=ROOT, env=environment, check=True)
    n = args.records
    yield {"what": "librdkafka alone", "unit": "records/s", "turns": [n / t[0] for t in theirs]}
    yield {"what": "Kafka to synced queue", "unit": "records/s", "turns": [n / t[0] for t in ours]}
    yield {"what": "wall time against librdkafka alone", "unit": "x", "target": "<= 1.25",
           "turns": [o[0] / t[0] for o, t in zip(ours, theirs)]}
    yield {"what": "CPU a record, librdkafka alone", "unit": "us", "turns": [t[1] / n * 1e6 for t in theirs]}
    yield {"what": "CPU a record, whole program", "unit": "us", "target": "<= 1.2",
           "turns": [o[1] / n * 1e6 for o in ours]}
    yield {"what": "most memory", "unit": "MiB", "target": "<= 256", "turns": [o[2] for o in ours]}


def consume(baseline, records):
    """Wall and CPU seconds of librdkafka's benchmark."""
    partitions = [word for p in range(PARTITIONS) for word in ("-p", str(p))]
    command = [baseline, "-C", "-t", "http_log", *partitions, "-b", BROKER, "-o", "beginning", "-c", str(records),
               "-B", "1000", "-q"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def run(program, records, turn):
    """Wall and CPU seconds from the assignment of partitions on, and the most memory in MiB."""
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        log, data = pathlib.Path(directory) / "log", pathlib.Path(directory) / "data"
        with log.open("w") as out:
            process = subprocess.Popen(
                [program, "run", "--data-dir", data, "--kafka-brokers", BROKER, "--kafka-group", f"bench-{turn}",
                 "--clickhouse-url", "http://127.0.0.1:1", "--http-listen", "127.0.0.1:0"],
                stdout=out, stderr=out, env={**os.environ, "RUST_LOG": "info"},
            )
        try:
            while "partitions assigned" not in log.read_text():
                if process.poll() is not None:
                    raise SystemExit(f"the program ended: {log.read_text()}")
                time.sleep(0.005)
            began, cpu = time.monotonic(), cpu_seconds(process.pid)
            while appended(program, data) < records:
                time.sleep(0.05)
            return time.monotonic() - began, cpu_seconds(process.pid) - cpu, memory(process.pid, "VmHWM")
        finally:
            process.kill()
            process.wait()


def appended(program, data):
    out = subprocess.run([program, "status", "--json", "--data-dir", data], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True).stdout
    return json.loads(out)["queue"]["rows"] if out else 0


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def performance():
    """librdkafka's benchmark, built from the source that the program is linked with."""
    target = ROOT / "target/bench/rdkafka_performance"
    if target.exists():
        return target
    libraries = sorted((ROOT / "target/release/build").glob("rdkafka-sys-*/out/src/librdkafka.a"))
    zstd = sorted((ROOT / "target/release/build").glob("zstd-sys-*/out/libzstd.a"))
    if not libraries or not zstd:
        raise SystemExit("librdkafka is not built below target/release")
    out = libraries[-1].parents[1]
    source = out / "examples/rdkafka_performance.c"
    if not source.exists():
        tree = json.loads(subprocess.run(["cargo", "metadata", "--format-version=1", "--locked"], cwd=ROOT, check=True,
                                         stdout=subprocess.PIPE, text=True).stdout)
        manifest = next(p["manifest_path"] for p in tree["packages"] if p["name"] == "rdkafka-sys")
        source = pathlib.Path(manifest).parent / "librdkafka/examples/rdkafka_performance.c"
    work = target.parent / "src"
    shutil.rmtree(work, ignore_errors=True)
    (work / "examples").mkdir(parents=True)
    (work / "src").mkdir()
    shutil.copy(source, work / "examples")
    shutil.copy(out / "config.h", work)
    for header in (source.parents[1] / "src").glob("*.h"):
        shutil.copy(header, work / "src")
    subprocess.run(
        ["gcc", "-O2", "-w", "-o", target, "-I", work / "src", work / "examples/rdkafka_performance.c", libraries[-1],
         zstd[-1], "-lz", "-lssl", "-lcrypto", "-lpthread", "-lm", "-ldl"],
        check=True,
    )
    return target
