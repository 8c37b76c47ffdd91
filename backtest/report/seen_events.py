"""The quotes and trades that runs saw, read once for all who follow them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from backtest.comparison.run_settings import ticks
from backtest.core.arrays import Int64Array
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import EventBus
from backtest.errors import BacktestError, DataError
from backtest.market.events import EventBatch
from backtest.runs.folder import Run


class Follower(Protocol):
    """Takes the events that a run saw."""

    def add(self, events: EventBatch) -> None:
        """Take the next events."""


def follow(
    runs: Sequence[Run], openers: Sequence[Callable[[Run, Dataset], Follower]]
) -> list[list[Follower] | None]:
    """Show each run's followers all events that it saw; runs on the same events share a reading.

    Args:
        runs: those without fills are left out.
        openers: make a follower of a run and its dataset.

    Returns:
        For each run its followers, in the order of ``openers``; ``None`` without fills, and where
        the dataset is gone, damaged or has no quotes.

    Raises:
        DataError: a table of a run cannot be read.
    """
    found: list[list[Follower] | None] = [None] * len(runs)
    same: dict[str, list[int]] = {}
    for k, run in enumerate(runs):
        if run.has_table("fills"):
            same.setdefault(str(ticks(run)), []).append(k)
    for members in same.values():
        dataset = dataset_of(runs[members[0]])
        if dataset is None:
            continue
        followers = {k: [opened(runs[k], dataset) for opened in openers] for k in members}
        try:
            for events in events_of(runs[members[0]], dataset):
                for of_run in followers.values():
                    for follower in of_run:
                        follower.add(events)
        except Unreadable:
            continue
        for k, of_run in followers.items():
            found[k] = of_run
    return found


class Unreadable(Exception):
    """The events are damaged."""


class Standing:
    """The doubled mids that stand within a batch of events, and after it.

    Args:
        symbols: size of the symbol table.
    """

    def __init__(self, symbols: int) -> None:
        self._mids: Int64Array = np.zeros(symbols, dtype=np.int64)
        self._before = self._mids
        self._times: Int64Array = np.empty(0, dtype=np.int64)
        self._keys: Int64Array = np.empty(0, dtype=np.int64)
        self._found: Int64Array = np.empty(0, dtype=np.int64)

    def add(self, events: EventBatch) -> None:
        """Take the next events."""
        quoted = events.select(np.flatnonzero(events.valid_quote()))
        self._times, self._before = quoted.ts_event, self._mids
        symbol = quoted.symbol.astype(np.int64)
        rows = np.argsort(symbol, kind="stable")
        # By symbol, then by how many quotes had been set with it.
        self._keys = symbol[rows] * (len(rows) + 1) + rows + 1
        self._found = np.empty(0, dtype=np.int64)
        if len(rows):
            assert quoted.bid is not None  # or no quote were valid
            assert quoted.ask is not None
            self._found = (quoted.bid + quoted.ask)[rows]
            last = np.append(np.diff(symbol[rows]) != 0, True)
            self._mids = self._before.copy()
            self._mids[symbol[rows][last]] = self._found[last]

    def at(self, symbol: Int64Array, times: Int64Array) -> Int64Array:
        """Doubled mids at instants [n] from the batch before on; one set right then stands."""
        mids = self._before[symbol]
        if len(self._keys):
            stride = len(self._keys) + 1
            key = symbol * stride + np.searchsorted(self._times, times, side="right")
            place = np.searchsorted(self._keys, key, side="right") - 1
            inside = (place >= 0) & (self._keys[place] // stride == symbol)
            mids[inside] = self._found[place[inside]]
        return mids


def numbers_of(names: Sequence[str], dataset: Dataset, run: Run) -> Int64Array:
    """The numbers of symbols in a dataset, by those of a run's fills, int64 [n].

    Raises:
        DataError: the dataset does not have one of them.
    """
    known = {name: k for k, name in enumerate(dataset.symbols)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise damaged(run, f"it holds fills of {unknown[0]!r}, which the dataset does not have")
    return np.array([known[name] for name in names], dtype=np.int64)


def damaged(run: Run, problem: str) -> DataError:
    """What is wrong with a run's fills."""
    return DataError(
        problem,
        place=str(run.folder / "fills.parquet"),
        remedy="The file is damaged, or of another program: run it again with --no-reuse.",
    )


def dataset_of(run: Run) -> Dataset | None:
    """The dataset that a run saw, if it is still there and unchanged."""
    source = str(run.manifest["config"]["dataset"])
    try:
        dataset = open_dataset(Path(source) if Path(source).is_dir() else source)
        unchanged = dataset.data_hash() == run.manifest["determined_by"]["data"]
    except BacktestError:
        return None
    return dataset if unchanged and dataset.has_quotes else None


def events_of(run: Run, dataset: Dataset) -> Iterator[EventBatch]:
    """The events that a run saw, batch by batch.

    Raises:
        Unreadable: they are damaged.
    """
    config, window = run.manifest["config"], run.manifest["config"]["window"]
    # Of a walk-forward, events are numbered through its test stretches alone.
    folds = [fold["test_ns"] for fold in run.manifest.get("folds", ())]
    for start, end in folds or [(window["start"], window["end"])]:
        yield from _stretch(dataset, start, end, config["symbols"], config["limit"])


def _stretch(
    dataset: Dataset,
    start: int | None,
    end: int | None,
    symbols: list[str] | None,
    left: int | None,
) -> Iterator[EventBatch]:
    """The first ``left`` events from ``start`` to before ``end``."""
    batches = iter(EventBus(dataset, start=start, end=end, symbols=symbols, features=False))
    while left is None or left > 0:
        try:
            events = next(batches, None)
        except BacktestError as error:
            raise Unreadable from error
        if events is None:
            return
        yield events if left is None else events.select(slice(0, left))
        if left is not None:
            left -= len(events)
