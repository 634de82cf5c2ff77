"""What several benchmarks of one run share: the programs, Kafka with its records, and what a figure is."""

import contextlib
import os
import pathlib
import subprocess

from .program import ROOT, free_port, programs, scratch

PARTITIONS = 12
STACK = {"STACK_DIR": ".stack/bench", "KAFKA_PARTITIONS": str(PARTITIONS)}


def figure(what, unit, turns, target=None, **more):
    """Medians are made of `turns`; `target` is like "<= 1.25"."""
    return {"what": what, "unit": unit, "turns": list(turns), **({"target": target} if target else {}), **more}


class World(contextlib.ExitStack):
    """Made as it is asked for, and taken down at the end."""

    def __init__(self, args):
        super().__init__()
        self.records, self.turns = args.records, args.turns
        self.backlog, self.queued, self.dev = args.backlog, args.queued, args.dev
        self._programs = self._brokers = None
        self._groups = 0
        self.produced = 0

    def program(self):
        return self._built()["anonymizer"]

    def own(self):
        return self._built()["own"]

    def _built(self):
        self._programs = self._programs or programs()
        return self._programs

    def scratch(self) -> pathlib.Path:
        return self.enter_context(scratch())

    def service(self, name, **ports):
        """Starts one of ops/stack, empty, on ports of its own."""
        environment = {**os.environ, **STACK, **ports}
        stack = lambda *words: subprocess.run(["ops/stack", *words, name], cwd=ROOT, env=environment, check=True)
        stack("down", "--wipe")
        self.callback(stack, "down", "--wipe")
        stack("up")

    def kafka(self):
        """Brokers of a topic of 12 partitions with `records`."""
        if not self._brokers:
            port = free_port()
            self.service("kafka", KAFKA_PORT=str(port), KAFKA_CONTROLLER_PORT=str(free_port()))
            self._brokers = f"127.0.0.1:{port}"
            self.produce(self.records)
        return self._brokers

    def produce(self, count):
        """Adds records to the topic."""
        subprocess.run(
            [self.program(), "produce", "--kafka-brokers", self.kafka(), "--count", str(count)], check=True,
            stdout=subprocess.DEVNULL, env={**os.environ, "RUST_LOG": "warn"},
        )
        self.produced += count

    def group(self):
        """A setting: a group that has read nothing."""
        self._groups += 1
        return "--kafka-group", f"bench-{self._groups}"
