"""Calls of pass 2: where they end is fixed by the events and the piece size alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.core.marks import Marks
from backtest.core.spool import Spool
from backtest.data.dataset import Dataset
from backtest.data.reading import stream as stream_module
from backtest.data.reading.bus import EventBus, read_events
from backtest.data.reading.stream import Stream, piece_size
from backtest.inference.bound_strategy import BoundStrategy
from backtest.inference.calls import Calls
from backtest.inference.prediction import predict
from backtest.market.events import EventBatch
from backtest.strategies.base import Session, Strategy
from tests.parquet_files import SYMBOLS, assert_same, dataset_of, random_events

ROWS = 300
EVENTS = random_events(ROWS, seed=4)  # two events share an instant on average


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WITH_FEATURES", 32)
    monkeypatch.setattr(stream_module, "WITHOUT_FEATURES", 48)


def split(folder: Path, owner: Sequence[int] | Int64Array, row_group: int = 1000) -> Dataset:
    """The events in as many files as there are owners."""
    assert EVENTS.features is not None
    assert EVENTS.bid is not None
    assert EVENTS.ask is not None
    files: dict[str, Any] = {}
    for number in np.unique(owner):
        mine = np.flatnonzero(owner == number)
        files[f"{number}.parquet"] = {
            "ts_event": EVENTS.ts_event[mine],
            "seq": mine,
            "symbol": [SYMBOLS[i] for i in EVENTS.symbol[mine]],
            "bid": EVENTS.bid[mine],
            "ask": EVENTS.ask[mine],
            **{f"f{k}": EVENTS.features[mine, k] for k in range(3)},
        }
    return dataset_of(folder, files, row_group, features={"columns": ["f0", "f1", "f2"]})


def layouts(folder: Path) -> list[Dataset]:
    """One file; files after one another; files that overlap; and odd row groups."""
    random = np.random.default_rng(1)
    return [
        split(folder / "one", np.zeros(ROWS, int)),
        split(folder / "after", np.arange(ROWS) // 70),
        split(folder / "across", random.integers(0, 4, ROWS)),
        split(folder / "groups", np.arange(ROWS) // 110, row_group=9),
    ]


class Recording(Strategy):
    """Keeps the calls that it gets."""

    stateful: ClassVar[bool] = False

    def bind(self, session: Session) -> None:
        self.calls: list[EventBatch] = []

    def predict(self, batch: EventBatch) -> Float32Array:
        self.calls.append(batch)
        return np.zeros((len(batch), 1), dtype=np.float32)


class Blind(Recording):
    """The same without features."""

    needs_features = False


def calls(
    kind: type[Recording], dataset: Dataset, answered: Any, *, count: int = ROWS, **window: Any
) -> list[EventBatch]:
    """What ``predict`` is called with."""
    strategy = kind()
    session = Session(SYMBOLS, ("f0", "f1", "f2"))
    strategy.bind(session)
    bound = BoundStrategy(strategy, {"name": "recording"}, {}, session)
    given = Stream(dataset, window.get("start"), None, window.get("symbols"), limit=count)
    with Spool(Path(dataset.root), count, 1) as out:
        predict(bound, given, marks(answered), None, out, progress=lambda done, total: None)
    return strategy.calls


def marks(answered: BoolArray) -> Marks:
    """Which events are answered, as the passes hand it on."""
    found = Marks(len(answered), False)
    found.set(0, answered)
    return found


@pytest.mark.parametrize("kind", [Recording, Blind])
@pytest.mark.parametrize("batch_rows", [1, 31, 32, 5000])
def test_calls_do_not_depend_on_files_nor_on_the_batches_of_the_bus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Recording], batch_rows: int
) -> None:
    answered = np.random.default_rng(2).random(ROWS) < 0.7
    answered[64:96] = False  # a piece without any
    size = piece_size(kind.needs_features)
    monkeypatch.setattr(stream_module, "EventBus", partial(_bus, batch_rows))
    for dataset in layouts(tmp_path):
        found = calls(kind, dataset, answered)
        numbers = [np.flatnonzero(answered[k : k + size]) + k for k in range(0, ROWS, size)]
        wanted = [rows for rows in numbers if len(rows)]
        assert [len(batch) for batch in found] == [len(rows) for rows in wanted]
        whole = read_events(dataset, features=kind.needs_features)
        for batch, rows in zip(found, wanted, strict=True):
            assert_same(batch, whole.select(rows))


def _bus(rows: int, dataset: Dataset, **named: Any) -> EventBus:
    return EventBus(dataset, **named | {"batch_rows": rows})


def test_pieces_count_the_windows_events(tmp_path: Path) -> None:
    dataset = layouts(tmp_path)[2]
    window: dict[str, Any] = {"start": int(EVENTS.ts_event[50]), "symbols": ("A", "C")}
    whole = read_events(dataset, features=True, **window)
    count = len(whole) - 5
    found = calls(Recording, dataset, np.ones(count, bool), count=count, **window)
    assert [len(batch) for batch in found] == [32] * (count // 32) + [count % 32]
    assert_same(found[-1], whole.select(slice(count - count % 32, count)))


@pytest.mark.parametrize("limit", [None, ROWS - 7])
@pytest.mark.parametrize("features", [False, True])
def test_reading_goes_on_from_any_piece(tmp_path: Path, features: bool, limit: int | None) -> None:
    for dataset in layouts(tmp_path):
        given = Stream(dataset, limit=limit)
        every = [*given.pieces(features=features)]
        for first in range(len(every) + 1):
            rest = [*given.pieces(features=features, first=first)]
            assert len(rest) == len(every) - first
            for batch, wanted in zip(rest, every[first:], strict=True):
                assert_same(batch, wanted)


def test_calls_by_number_are_those_that_are_read(tmp_path: Path) -> None:
    given = Stream(layouts(tmp_path)[1])
    answered = marks(np.random.default_rng(3).random(ROWS) < 0.5)
    batches = np.array_split(np.random.default_rng(4).permutation(ROWS), 17)
    for made in (Calls(given, True, answered, None), Calls(given, True, answered, batches)):
        for first in (0, 1, len(made) - 1):
            read = [*made.read(first)]
            assert len(read) == len(made) - first
            for call, (numbers, batch) in enumerate(read, first):
                np.testing.assert_array_equal(numbers, made.numbers(call))
                assert_same(batch, read_events(given.dataset, features=True).select(numbers))
