"""librdkafka's own benchmark, `rdkafka_performance -C`."""

import json
import os
import pathlib
import shutil
import subprocess
import time

from .program import ROOT
from .world import PARTITIONS


def consume(world):
    """Wall and CPU seconds of reading all records."""
    brokers, program = world.kafka(), performance()
    partitions = [word for p in range(PARTITIONS) for word in ("-p", str(p))]
    command = [program, "-C", "-t", "http_log", *partitions, "-b", brokers, "-o", "beginning", "-c",
               str(world.records), "-B", "1000", "-q"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


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
