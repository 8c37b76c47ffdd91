"""What a run holds in memory does not grow with its history."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import backtest
from backtest.core import arrays, columnar_file, room
from backtest.core.room import Room
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import EventBus
from backtest.inference import bound_strategy, calls, prediction, prediction_store
from backtest.market.events import EventBatch
from backtest.runs import engine
from backtest.timing import simulation
from backtest.timing.outcomes import Status, Timing
from backtest.trading import settlement
from benchmarks.timing import peak_mb

ROOT = Path(__file__).parents[2]
PIECE = 2048
SHORT, LONG = 30_000, 210_000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that are short beside the histories, and no column in memory."""
    monkeypatch.setattr(columnar_file, "BLOCK", PIECE)
    for module in (arrays, settlement, simulation):
        monkeypatch.setattr(module, "CHUNK", PIECE)
    for module in (bound_strategy, engine, prediction, prediction_store):
        monkeypatch.setattr(module, "RELEASE", PIECE)
    monkeypatch.setattr(calls, "WITHOUT_FEATURES", 2 * PIECE)
    monkeypatch.setattr(room, "MEMORY", 0)
    monkeypatch.setattr("backtest.data.canonical.ROW_GROUP_ROWS", PIECE)


def quotes(count: int) -> Iterator[EventBatch]:
    random = np.random.default_rng(0)
    for first in range(0, count, PIECE):
        n = min(PIECE, count - first)
        bid = random.integers(100, 110, n)
        yield EventBatch(
            random.integers(0, 5, n).astype(np.int32),
            10**18 + 1000 * np.arange(first, first + n),
            bid=bid,
            ask=bid + 1,
            bid_size=random.integers(1, 9, n),
            ask_size=random.integers(1, 9, n),
        )


def dataset(folder: Path, count: int) -> str:
    path = folder / f"quotes-{count}"
    if not path.exists():
        card = Card(name=path.name, symbols=tuple("ABCDE"))
        write_canonical(path, card, quotes(count))
    return str(path)


def peak(folder: Path, count: int, **settings: object) -> int:
    """Most bytes that Python and numpy held at once during a run; columns in files are none."""
    asked = {"dataset": dataset(folder, count), "runs": folder / "runs", "strategy": "imbalance"}
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
    short, long = (peak(tmp_path, count, **settings) for count in (SHORT, LONG))
    # A block of fills may be full or empty in the end, and footers describe each small row group.
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


def test_marks_are_counted_and_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RELEASE", 64)
    made = Room(1000, tmp_path, memory=0)
    marks = made.column(np.bool_)
    marks[::3] = True
    released: list[int] = []
    monkeypatch.setattr(made, "release", lambda: released.append(1))
    assert made.count(marks) == 334
    assert len(released) == 16
    lines = np.zeros(1000, dtype=np.int32)
    times = np.zeros(1000, dtype=np.int64)
    status = np.where(marks, Status.DROPPED, Status.ANSWERED).astype(np.uint8)
    for of, unbroken in ((status, False), (np.zeros_like(status), True)):
        monkeypatch.setattr("backtest.timing.outcomes._STRETCH", 100)
        released.clear()
        assert Timing(times, times, times, of, times).unbroken(lines, made.release) == unbroken
        assert len(released) == (10 if unbroken else 0)


def test_a_peak_is_the_programs_own() -> None:
    """Not that of the process that started it, which a child's rusage tells on Linux."""
    held = np.ones(300 << 20, dtype=np.uint8)
    program = "from benchmarks.timing import peak_mb; print(peak_mb())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert 1 <= int(done.stdout) < 200
    assert held[-1]
    assert peak_mb() > 300


def test_columns_beyond_the_bound_lie_in_files(tmp_path: Path) -> None:
    made = Room(1000, tmp_path, memory=10_000)
    first = made.column(np.int64)
    assert not made.mapped
    second = made.column(np.int64)
    assert made.mapped
    for column in (first, second):
        assert not column.any()
        column[:] = np.arange(1000)
    made.release()
    assert (first == second).all()
    other = Room(1000, tmp_path, memory=10_000)
    other.adopt(made)
    other.column(np.uint8)
    third = other.column(np.int64)
    third[:] = 5
    other.release()
    assert (third == 5).all()
    assert (second == np.arange(1000)).all()
    assert len(other._maps) == 2
    assert not Room(1000, tmp_path, memory=10_000).mapped
    assert list(tmp_path.iterdir()) == []
