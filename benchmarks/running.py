"""Pass 1, whole runs and the closed loop on synthetic quotes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.market.events import EventBatch, concatenate
from backtest.market.window import Window
from backtest.timing.server import Server
from backtest.timing.server_rules import ServerRules
from benchmarks.data import START, dataset, quotes
from benchmarks.timing import speeds, timed, timed_together

RUN: dict[str, Any] = {
    "strategy": "imbalance",
    "sizing": "sign:lots=1,threshold=0.9",
    "latency": {"service": "affine:1us,350ns", "entry": "constant:1us", "response": "constant:1us"},
}
"""Settings of a whole run that keeps up: a rule, an order for every twelfth event."""

_CHUNK = 65_536
"""Events that a server is given at once, as many as the engine gives it."""


def queues(events: int, repeats: int) -> dict[str, Any]:
    """Pass 1 on arrivals in memory, chunk by chunk through one window, mean batch about 2.

    ``copy`` is the bound: receipts copied to what pass 1 writes, instants and batch numbers.
    """
    from backtest.plugins.latency_models import Affine
    from backtest.plugins.policies import (
        All,
        AtMost,
        Deadline,
        NewestPerSymbol,
        One,
        OnePerSymbol,
    )

    random = np.random.default_rng(0)
    times = START + np.cumsum(random.exponential(1000, events)).astype(np.int64)
    ticks = EventBatch(random.integers(0, 39, events).astype(np.int32), times)
    found: dict[str, Any] = {}
    for name, policy in {
        "all": All(),
        "one": One(),
        "at-most:4": AtMost(4),
        "one-per-symbol": OnePerSymbol(),
        "newest-per-symbol": NewestPerSymbol(),
        "deadline:3,2us": Deadline(3, 2000),
    }.items():
        rules = ServerRules(policy, Affine(700) if name == "one" else Affine(1000, 350))
        window = Window(Server.COLUMNS)
        spent, answered, batches = [], 0, 1
        for _ in range(repeats + 1):
            began = time.perf_counter()
            answered, batches = _serve(rules, ticks, window)
            spent.append(time.perf_counter() - began)
        found[name] = speeds(events, spent[0], spent[1:]) | {
            "mean_batch": round(answered / batches, 2)
        }
    columns = [np.zeros(_CHUNK, dtype=np.int64) for _ in range(3)]

    def copy() -> None:
        for first in range(0, events, _CHUNK):
            chunk = times[first : first + _CHUNK]
            for column in columns:
                column[: len(chunk)] = chunk

    return {"copy": timed(events, repeats, copy), **found}


def _serve(rules: ServerRules, ticks: EventBatch, window: Window) -> tuple[int, int]:
    """Events answered and batches served, by a server that has seen nothing yet."""
    from backtest.plugins.latency_models import Constant

    end = int(ticks.ts_event[-1]) + 1
    # The columns of a window that was used before, so that no fresh memory is paid for.
    window.first = window.stop = window.needed = 0
    server = Server(rules, Constant(0), window, symbols=39, end=end)
    answered = 0
    for first in range(0, len(ticks), _CHUNK):
        chunk = ticks.select(slice(first, first + _CHUNK))
        rows = window.extend(len(chunk))
        window["symbol"][rows] = chunk.symbol
        server.receive(chunk, rows)
        server.advance(last=first + len(chunk) == len(ticks))
        answered += len(server.take_answered())
        window.release(min(server.needs, server.settled))
    return answered, server.batches


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
    from backtest.inference.bound_strategy import BoundStrategy
    from backtest.plugins.latency_models import Constant, Measured
    from backtest.plugins.policies import AtMost
    from backtest.runs.closed_loop import LiveStrategy, loop_columns
    from backtest.strategies.base import Session, Strategy

    class Rule(Strategy):
        """The imbalance at the touch."""

        needs_features: ClassVar[bool] = False

        def predict(self, batch: EventBatch) -> Float32Array:
            assert batch.bid_size is not None
            assert batch.ask_size is not None
            imbalance = np.subtract(batch.bid_size, batch.ask_size, dtype=np.float32)
            return imbalance.reshape(-1, 1)

    ticks = concatenate([*quotes(events, mean_gap_ns=1)])
    session = Session(tuple(f"S{k}" for k in range(39)))
    bound = BoundStrategy(Rule(), {"name": "rule"}, {}, session)
    rules = ServerRules(AtMost(16), Measured(), line_limit=1 << 40)
    present = [f.name for f in fields(EventBatch) if getattr(ticks, f.name) is not None]

    def once() -> None:
        window = Window({**Server.COLUMNS, **loop_columns(bound, present)})
        end = int(ticks.ts_event[-1]) + 10**12
        server = Server(rules, Constant(0), window, symbols=39, end=end, live=True)
        live = LiveStrategy(bound, rules, window)
        for first in range(0, events, _CHUNK):
            chunk = ticks.select(slice(first, first + _CHUNK))
            rows = window.extend(len(chunk))
            for name in present:
                window[name][rows] = getattr(chunk, name)
            server.receive(chunk, rows)
            last = window.stop == events
            while (batch := server.advance(last=last)) is not None:
                server.serve(live(batch))
            live.check()
            server.take_answered()
            window.release(min(server.needs, server.settled))

    def calls() -> None:
        columns = [getattr(ticks, f.name) for f in fields(EventBatch)]
        given = [(k, c) for k, c in enumerate(columns) if c is not None]
        for first in range(0, events, 16):
            values: list[Any] = [None] * len(columns)
            for k, column in given:
                values[k] = column[first : first + 16]
            bound.strategy.predict(EventBatch(*values))

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
