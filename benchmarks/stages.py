"""Where the time of a whole run goes: ``python -m benchmarks.stages``.

CPU time by stage, in ns an event: the least of several runs, since other processes disturb it less
than wall time. What is called inside another stage counts for itself alone.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import backtest
from backtest.core.table_files import TableFile
from backtest.core.table_writer import TableWriter
from backtest.data.reading.decode import Decoder
from backtest.inference.accuracy import AccuracyTally
from backtest.inference.answers import AnswerStream
from backtest.inference.prediction_store import PredictionWriter
from backtest.timing.metrics import DelayTally
from backtest.timing.server import Server
from backtest.trading.target_venue import TargetVenue
from benchmarks.data import dataset
from benchmarks.running import RUN
from benchmarks.timing import parser_of

_STAGES = (
    (Decoder, "decode", "columns made of what is read"),
    (Server, "receive", "pass 1: receipts"),
    (Server, "advance", "pass 1: the server"),
    (AnswerStream, "take", "pass 2: the strategy"),
    (PredictionWriter, "write", "pass 2: its answers stored"),
    (TargetVenue, "follow", "pass 3: quotes"),
    (TargetVenue, "answer", "pass 3: targets"),
    (TargetVenue, "advance", "pass 3: orders and fills"),
    (TargetVenue, "settle", "pass 3: ideal accounts"),
    (TargetVenue, "take_fills", "pass 3: fills by arrival"),
    (AccuracyTally, "add", "answers compared"),
    (DelayTally, "add", "delays counted"),
    (TableWriter, "write", "tables: rows collected"),
    (TableFile, "write", "tables: packed, hashed and written"),
)


def main() -> None:
    """Run it."""
    given = parser_of(__doc__, repeats=9).parse_args()
    folder = dataset(given.scratch, given.events)
    spent: dict[str, float] = {}
    inner = threading.local()
    for owner, name, label in _STAGES:
        setattr(owner, name, _timed(getattr(owner, name), label, spent, inner))
    least: dict[str, float] = {}
    for repeat in range(given.repeats + 1):
        shutil.rmtree(given.scratch / "runs", ignore_errors=True)
        spent.clear()
        begun, wall = _cpu(), time.perf_counter()
        backtest.run(dataset=str(folder), runs=given.scratch / "runs", **RUN)
        spent["all threads, CPU"] = _cpu() - begun
        spent["wall"] = time.perf_counter() - wall
        for label, seconds in spent.items():
            if repeat:
                least[label] = min(least.get(label, seconds), seconds)
    for label, seconds in least.items():
        print(f"{seconds / given.events * 1e9:7.1f} ns  {label}")  # noqa: T201
    print(f"load {os.getloadavg()[0]:.2f}")  # noqa: T201


def _timed(
    call: Callable[..., Any], label: str, spent: dict[str, float], inner: threading.local
) -> Callable[..., Any]:
    """The call, its own CPU time added to ``spent``."""

    @functools.wraps(call)
    def timed(*given: Any, **named: Any) -> Any:
        stack: list[float] = inner.__dict__.setdefault("stack", [])
        stack.append(0.0)
        begun = time.thread_time()
        try:
            return call(*given, **named)
        finally:
            took = time.thread_time() - begun
            spent[label] = spent.get(label, 0) + took - stack.pop()
            if stack:
                stack[-1] += took

    return timed


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
