"""One set of rows from the first INSERT to the last measurement. Every stage writes what it found to the
set's state file, so a run that was cut short goes on where it was."""

import json
import os
import pathlib
import shutil
import sys
import time
from hashlib import sha256

from . import asks, targets
from .engine import Engine, Lock, UNFLATTERED
from .load import insert_rates, load, make
from .rows import RowSet
from .sizes import finals, sizes

BUDGET_S = 10  # of each question: it gets as many turns as fit
# Whether this process is served before all usual ones (chrt -r 1 ops/characterize).
FIRST = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
ONCE_S = 3  # a question put to raw rows that takes this long is asked once, but for those in SAMPLED
SAMPLED = ((), ("resource_id",), ("remote_addr",), asks.DIMENSIONS)


class State:
    """What is known of a set of rows, in a file that is replaced whole."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.file = folder, folder / "state.json"
        self.found = json.loads(self.file.read_text()) if self.file.exists() else {}

    def save(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self.found, indent=1))
        os.replace(new, self.file)


class Run:
    """The stages of one set, in order."""

    STAGES = ("load", "settle", "sizes", "totals", "raw", "memory", "plans", "insert_rates", "clean")

    def __init__(self, rows: RowSet, folder: pathlib.Path, lock: Lock, turns: int, keep: bool, tell):
        self.rows, self.lock, self.turns, self.keep, self.tell = rows, lock, turns, keep, tell
        self.state = State(folder)
        self.state.found.setdefault("set", rows._asdict())
        self.engine = None

    def run(self):
        done = self.state.found.setdefault("done", [])
        left = [s for s in self.STAGES if s not in done]
        if not left:
            return
        self.engine = Engine(self.state.folder / "db")
        self.state.found |= {
            "engine": self.engine.value("SELECT version()"),
            "measured": time.strftime("%Y-%m-%d"),
            "command": " ".join([*(["chrt -r 1"] if FIRST else []), "ops/characterize", *sys.argv[1:]]),
            "turns": self.turns,
        }
        try:
            for stage in left:
                getattr(self, stage)()
                done.append(stage)
                self.state.save()
        finally:
            self.engine.close()
        if not self.keep:
            shutil.rmtree(self.state.folder / "db", ignore_errors=True)

    def make(self):
        """Only the files that `load` inserts, for a machine that has time for it now."""
        engine = Engine(self.state.folder / "make")
        make(engine, self.rows, self.lock, self._of("make"))
        engine.close()
        shutil.rmtree(self.state.folder / "make")

    def load(self):
        self.engine.create()
        done = self.state.found.setdefault("chunks", [])
        load(self.engine, self.rows, done, self.lock, self.state.save, self._of("load"))

    def settle(self):
        began = time.monotonic()
        still = self.engine.settle(1800, lambda text: self.tell(f"{self.name}: merges", 0, 1, text))
        self.state.found["settle_s"] = time.monotonic() - began
        self.state.found["settled"] = still

    def sizes(self):
        self.state.found["tables"] = sizes(self.engine)
        self.state.found["merged_rows"] = finals(self.engine)

    def totals(self):
        self.engine.renew_views()
        every = asks.asks(self.rows.days)
        self._questions("totals", asks.totals, every, self.turns)
        wide = [a for a in every if asks.is_wide(a)]
        self._questions("two_steps", asks.two_steps, wide, self.turns)

    def raw(self):
        # The odd ranges cost raw what the even ones do.
        self._questions("raw", asks.raw, asks.asks(self.rows.days, odd=False), min(self.turns, 3))

    def memory(self):
        """The widest questions, and the least power of two of MiB that they run within (max_memory_usage:
        the process' own size says little, since the allocator keeps what it has)."""
        found = self.state.found["memory"] = {}
        value = self.state.found["values"][0]
        for over in dict.fromkeys(a.over for a in asks.asks(self.rows.days) if a.over in ("30 d", asks.ODD)):
            for by in (("remote_addr",), asks.DIMENSIONS):
                ask = asks.Ask(by, "top", over)
                ways = [("totals", asks.totals), ("raw", asks.raw)]
                if asks.is_wide(ask):
                    ways.append(("two steps", asks.two_steps))
                for source, make in ways:
                    sql = f"{make(ask, self.rows, value, 0)} SETTINGS {UNFLATTERED}"
                    with self.lock.hold(alone=True):
                        ms = self.engine.time(sql).ms
                        mib = 2048 if self.engine.fits(sql, 2048) else 4096
                        if mib == 2048:
                            while mib > 32 and self.engine.fits(sql, mib // 2):
                                mib //= 2
                        else:
                            while mib < 16_384 and not self.engine.fits(sql, mib):
                                mib *= 2
                    found[f"{source}: {ask}"] = {"ms": ms, "mib": mib}
                    self.state.save()

    def plans(self):
        """How ClickHouse reads for the slowest question of each target."""
        found = self.state.found["plans"] = {}
        for target in targets.of(self.state.found):
            if ask := target.slowest():
                make = asks.two_steps if target.source == "two_steps" else asks.totals
                sql = make(ask, self.rows, self.state.found["values"][0], 1)
                lines = [line for (line, *_) in self.engine.rows(f"EXPLAIN indexes = 1 {sql}")]
                found[target.what] = {"question": str(ask), "plan": targets.what_is_read(lines)}

    def insert_rates(self):
        chunk = min(1_000_000, self.rows.rows)
        self.state.found["insert"] = insert_rates(self.engine, self.rows.rate, self.lock, chunk, 4, self._of("insert rates"))

    def clean(self):
        """Nothing: the database goes when the engine is closed."""

    @property
    def name(self) -> str:
        return self.state.folder.name

    def _of(self, stage: str):
        return lambda done, total, text: self.tell(f"{self.name}: {stage}", done, total, text)

    def _questions(self, source: str, make, todo: list, turns: int):
        """Each question once cold, once unmeasured, then warm, every turn with another value and range.
        All of a combination in one hold of the lock."""
        values = self.state.found.setdefault("values", asks.values(self.engine, self.rows))
        found = self.state.found.setdefault(source, {})
        for number, by in enumerate(asks.COMBINATIONS):
            mine = [a for a in todo if a.by == by and str(a) not in found]
            if not mine:
                continue
            with self.lock.hold(alone=True) as alone:
                load = os.getloadavg()[0]
                for ask in mine:
                    asked = self._ask(source, make, ask, turns, values)
                    found[str(ask)] = {"load": load, "alone": alone, "first": FIRST, **asked}
            self.state.save()
            self._of(source)(number + 1, len(asks.COMBINATIONS), str(mine[-1]))

    def _ask(self, source: str, make, ask: asks.Ask, turns: int, values: list) -> dict:
        def sql(turn):
            value = values[turn % len(values)]
            return f"{make(ask, self.rows, value, turn)} SETTINGS {UNFLATTERED}"

        self.engine.forget()
        cold = self.engine.time(sql(0))
        warm, cpu, spent = [], [], cold.ms / 1000
        once = source == "raw" and spent > ONCE_S and ask.by not in SAMPLED
        for turn in range(0 if once else turns + 1):
            timed = self.engine.time(sql(turn))
            if turn or spent > BUDGET_S / 2:
                warm.append(round(timed.ms, 1))
                cpu.append(round(timed.cpu_ms, 1))
            spent += timed.ms / 1000
            if spent > BUDGET_S and warm:
                break
        return {"cold": round(cold.ms, 1), "cold_cpu": round(cold.cpu_ms, 1), "warm": warm, "cpu": cpu, "answer": sha256(cold.answer).hexdigest()[:16]}
