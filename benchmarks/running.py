"""Pass 1, whole runs and the closed loop on synthetic quotes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import START, dataset, quotes
from benchmarks.timing import speeds, timed, timed_together

RUN = {
    "strategy": "imbalance",
    "sizing": "sign:lots=1,threshold=0.9",
    "latency": {"service": "affine:1us,350ns", "entry": "constant:1us", "response": "constant:1us"},
}
"""Settings of a whole run that keeps up: a rule, an order for every twelfth event."""


def queues(events: int, repeats: int) -> dict[str, Any]:
    """Pass 1 on arrivals in memory, mean batch about 2, columns warm.

    ``copy`` is the bound: receipts copied to what pass 1 writes, instants and batch numbers.
    """
    from backtest.core.room import Room
    from backtest.plugins.latency_models import Affine
    from backtest.plugins.policies import (
        All,
        AtMost,
        Deadline,
        NewestPerSymbol,
        One,
        OnePerSymbol,
    )
    from backtest.timing.server import InferenceServer
    from backtest.timing.simulation import Queue, rule_of

    random = np.random.default_rng(0)
    times = START + np.cumsum(random.exponential(1000, events)).astype(np.int64)
    symbols = random.integers(0, 39, events).astype(np.int32)

    class Warm(Room):
        """Columns that are used again, so that a run does not pay for fresh pages."""

        def __init__(self) -> None:
            super().__init__(events)
            self.kept: list[Any] = []
            self.next = 0

        def column(self, dtype: Any, width: int | None = None) -> Any:
            if self.next == len(self.kept):
                self.kept.append(np.empty(events, dtype))
            self.next += 1
            column = self.kept[self.next - 1]
            column[:] = 0
            return column

    found = {}
    for name, policy in {
        "all": All(),
        "one": One(),
        "at-most:4": AtMost(4),
        "one-per-symbol": OnePerSymbol(),
        "newest-per-symbol": NewestPerSymbol(),
        "deadline:3,2us": Deadline(3, 2000),
    }.items():
        latency = Affine(700) if name == "one" else Affine(1000, 350)
        server = InferenceServer(policy, latency)
        room, spent = Warm(), []
        for _ in range(repeats + 1):
            room.next = 0
            queue = Queue(
                server, rule_of(server), symbols, times, np.empty(0, dtype=np.int64),
                symbols=39, end=int(times[-1]) + 1, room=room,
            )  # fmt: skip
            begun = time.perf_counter()
            queue.advance(events)
            spent.append(time.perf_counter() - begun)
        found[name] = speeds(events, spent[0], spent[1:]) | {
            "mean_batch": round(float(queue.timing.answered.sum()) / queue.number, 2)
        }
    columns = [np.zeros(events, dtype=np.int64) for _ in range(4)]

    def copy() -> None:
        for first in range(0, events, 1 << 15):
            rows = slice(first, first + (1 << 15))
            for column in columns[1:]:
                column[rows] = columns[0][rows]

    return {"copy": timed(events, repeats, copy), **found}


def end_to_end(folder: Path, events: int, repeats: int, scratch: Path) -> dict[str, Any]:
    """Quotes (zstd), a compiled rule, the market accountant, a run folder."""
    import backtest

    def once() -> None:
        shutil.rmtree(scratch / "runs", ignore_errors=True)
        backtest.run(dataset=str(folder), runs=scratch / "runs", **RUN)

    return timed(events, repeats, once)


def closed_loop(events: int, repeats: int) -> dict[str, Any]:
    """A Python strategy called for each batch of 16, its service times measured.

    ``calls`` is the bound: the strategy called with slices of 16, and nothing else.
    """
    from backtest.core.arrays import Float32Array
    from backtest.core.room import Room
    from backtest.inference.bound_strategy import Inference
    from backtest.market.events import EventBatch, concatenate
    from backtest.plugins.latency_models import Constant, Measured
    from backtest.plugins.policies import AtMost
    from backtest.runs.closed_loop import ClosedLoop
    from backtest.strategies.base import Session, Strategy
    from backtest.timing.server import InferenceServer

    class Rule(Strategy):
        """The imbalance at the touch."""

        def predict(self, batch: EventBatch) -> Float32Array:
            imbalance = np.subtract(batch.bid_size, batch.ask_size, dtype=np.float32)
            return imbalance.reshape(-1, 1)

    ticks = concatenate([*quotes(events, mean_gap_ns=1)])
    session = Session(tuple(f"S{k}" for k in range(39)))
    inference = Inference(Rule(), {"name": "rule"}, {}, session)
    server = InferenceServer(AtMost(16), Measured(), line_limit=1 << 40)

    def once() -> None:
        end = int(ticks.ts_event[-1]) + 10**12
        ClosedLoop(server, inference, ticks, Constant(0), end=end, room=Room(events)).run()

    def calls() -> None:
        columns = [getattr(ticks, f.name) for f in fields(EventBatch)]
        present = [(k, c) for k, c in enumerate(columns) if c is not None]
        for first in range(0, events, 16):
            values: list[Any] = [None] * len(columns)
            for k, column in present:
                values[k] = column[first : first + 16]
            inference.strategy.predict(EventBatch(*values))

    return timed_together(events, repeats, {"calls": calls, "loop": once})


_MEMORY = """
import sys
sys.path.insert(0, {root!r})
import backtest
from benchmarks.timing import peak_mb
backtest.run(dataset={folder!r}, runs={runs!r}, reuse=False, **{run!r})
print(peak_mb())
"""


def memory(scratch: Path, short: int, long: int) -> dict[int, int]:
    """Peak resident memory (MB) of whole runs by length, each in a new process of its own."""
    found: dict[int, int] = {}
    for events in (short, long):
        runs = scratch / "memory-runs"
        shutil.rmtree(runs, ignore_errors=True)
        program = _MEMORY.format(
            root=str(Path(__file__).parents[1]),
            folder=str(dataset(scratch, events)),
            runs=str(runs),
            run=RUN,
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[events] = int(done.stdout)
        shutil.rmtree(runs, ignore_errors=True)
    return found
