"""What a run holds in memory does not grow with its history."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import backtest
from backtest.core import row_groups
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.data.dataset import open_dataset
from backtest.data.reading import stream
from backtest.data.reading.bus import EventBus
from backtest.inference import prediction_store
from backtest.market.events import EventBatch
from backtest.market.window import Window
from backtest.runs import closed_loop
from backtest.timing import metrics
from benchmarks.running import memory
from benchmarks.timing import peak_mb

ROOT = Path(__file__).parents[2]
PIECE = 2048
SHORT, LONG = 30_000, 210_000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces, windows and row groups that are short beside the histories."""
    monkeypatch.setattr(stream, "WITHOUT_FEATURES", PIECE)
    monkeypatch.setattr(Window.__init__, "__defaults__", (4 * PIECE,))
    # How many events are in flight must not depend on how busy this machine is.
    monkeypatch.setattr(closed_loop, "perf_counter_ns", count(0, 14_000).__next__)
    for module, name in (
        (row_groups, "LEAST_ROWS"),
        (row_groups, "MOST_ROWS"),
        (prediction_store, "_ROWS"),
        (metrics, "_ROWS"),
    ):
        monkeypatch.setattr(module, name, PIECE)
    monkeypatch.setattr("backtest.data.table_files.ROW_GROUP_ROWS", PIECE)


def quotes(events: int) -> Iterator[EventBatch]:
    random = np.random.default_rng(0)
    for first in range(0, events, PIECE):
        n = min(PIECE, events - first)
        bid = random.integers(100, 110, n)
        yield EventBatch(
            random.integers(0, 5, n).astype(np.int32),
            10**18 + 1000 * np.arange(first, first + n),
            bid=bid,
            ask=bid + 1,
            bid_size=random.integers(1, 9, n),
            ask_size=random.integers(1, 9, n),
        )


def dataset(folder: Path, events: int) -> str:
    path = folder / f"quotes-{events}"
    if not path.exists():
        card = Card(name=path.name, symbols=tuple("ABCDE"))
        write_canonical(path, card, quotes(events))
    return str(path)


def peak(folder: Path, events: int, **settings: object) -> int:
    """Most bytes that Python and numpy held at once during a run."""
    asked = {"dataset": dataset(folder, events), "runs": folder / "runs", "strategy": "imbalance"}
    backtest.run(reuse=False, **asked, **settings)  # type: ignore[arg-type]
    found = []
    for _ in range(2):  # what two threads hold at once is a matter of luck
        tracemalloc.start()
        backtest.run(reuse=False, **asked, **settings)  # type: ignore[arg-type]
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(found)


@pytest.mark.parametrize(
    "settings",
    [
        {"latency": {"service": "affine:500ns,200ns"}},
        {"latency": {"service": "affine:1us,2us", "feed": "exponential:3us"}, "policy": "one"},
        {"latency": {"service": "affine:1us,900ns"}, "policy": "newest-per-symbol"},
        {"latency": {"service": "measured"}, "policy": "at-most:16"},
    ],
    ids=["keeping up", "overloaded", "conflating", "closed loop"],
)
def test_a_longer_history_takes_no_more_memory(settings: dict[str, object], tmp_path: Path) -> None:
    short, long = (peak(tmp_path, events, **settings) for events in (SHORT, LONG))
    # A piece of fills may be full or empty in the end, and footers describe each small row group.
    assert long - short < 18 * 8 * PIECE + 2 * (LONG - SHORT)  # not even a column of int32


def test_the_bus_decodes_no_further_ahead_than_it_must(tmp_path: Path) -> None:
    bus = EventBus(open_dataset(dataset(tmp_path, LONG)), batch_rows=PIECE)
    gc.collect()
    before = pa.total_allocated_bytes()
    events = iter(bus)
    first = next(events)
    time.sleep(0.3)  # as a slow consumer gives it time to
    held = pa.total_allocated_bytes() - before
    rows = len(first) + sum(map(len, events))
    assert rows == LONG
    assert held < 8 * 8 * LONG / 5


def test_a_peak_is_the_programs_own() -> None:
    """Not that of the process that started it, which a child's rusage tells on Linux."""
    held = np.ones(300 << 20, dtype=np.uint8)
    program = "from benchmarks.timing import peak_mb; print(peak_mb())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert 1 <= int(done.stdout) < 200
    assert held[-1]
    assert peak_mb() > 300


@pytest.mark.slow
def test_ten_times_the_history_takes_no_more_memory(tmp_path: Path) -> None:
    found = memory(tmp_path, 400_000, 4_000_000)
    assert found[4_000_000] < 1.2 * found[400_000], found
