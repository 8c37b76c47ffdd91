"""How the mid moved after the fills of runs, from one pass over the quotes that they saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from backtest.comparison.run_settings import ticks
from backtest.core.arrays import Float64Array, Int64Array
from backtest.core.arrow import Codes, integers
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import EventBus
from backtest.errors import BacktestError, DataError
from backtest.market.events import EventBatch
from backtest.runs.folder import Run
from backtest.trading.fill_table import CLOSING, closing

HORIZONS_NS = np.concatenate([[0], np.logspace(6, 10.5, 28)]).astype(np.int64)
"""Where markouts are read: 1 ms to about 30 s after the fill."""

_FILLS = (*CLOSING, "symbol", "lots", "ts_venue")


def markouts_of(runs: Sequence[Run]) -> list[Float64Array | None]:
    """Mean markout of each run in half ticks at ``HORIZONS_NS``; ``None`` without quotes or fills.

    Raises:
        DataError: a table of a run cannot be read.
    """
    found: list[Float64Array | None] = [None] * len(runs)
    same: dict[str, list[int]] = {}
    for k, run in enumerate(runs):
        if run.has_table("fills"):
            same.setdefault(str(ticks(run)), []).append(k)
    for members in same.values():
        dataset = _dataset(runs[members[0]])
        if dataset is None:
            continue
        tallies = [_Markouts(runs[k], dataset.symbols) for k in members]
        try:
            for events in _quotes(runs[members[0]], dataset):
                for tally in tallies:
                    tally.add(events)
        except _Unreadable:
            continue
        for k, tally in zip(members, tallies, strict=True):
            found[k] = tally.mean()
    return found


class _Unreadable(Exception):
    """The quotes are damaged."""


class _Standing:
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


class _Markouts:
    """Adds up a run's markouts while the quotes stream by."""

    def __init__(self, run: Run, symbols: Sequence[str]) -> None:
        self._pieces = _fills(run, symbols)
        self._more = True
        self._standing = _Standing(len(symbols))
        # Fills whose last horizon has not passed: symbol, lots, ts_venue, doubled mid then [4, n];
        # by symbol and time, so that mids that lie side by side are looked up together.
        self._open: Int64Array = np.empty((4, 0), dtype=np.int64)
        self._loaded = self._counted = int(np.iinfo(np.int64).min)
        self._total = np.zeros(len(HORIZONS_NS))
        self._lots = 0

    def add(self, events: EventBatch) -> None:
        """Take the next events."""
        if len(events):
            self._standing.add(events)
            # Quotes at the instant of the latest event may still come.
            self._count(int(events.ts_event[-1]))

    def mean(self) -> Float64Array | None:
        """Mean move in half ticks a lot, after the last events; ``None`` without fills."""
        self._count(int(np.iinfo(np.int64).max))
        return self._total / self._lots if self._lots else None

    def _count(self, until: int) -> None:
        """Read the mids before ``until``, at the horizons of all fills, that were not read yet."""
        while self._more and self._loaded < until:
            self._load()
        symbol, lots, venue, start = self._open
        for k, horizon in enumerate(HORIZONS_NS.tolist()):
            times = venue + horizon
            due = np.flatnonzero((times >= self._counted) & (times < until))
            mids = self._standing.at(symbol[due], times[due])
            if not k:
                start[due] = mids
            self._total[k] += float(lots[due] @ (mids - start[due]))
        self._open = self._open[:, venue >= until - int(HORIZONS_NS[-1])]
        self._counted = until

    def _load(self) -> None:
        """Take the next fills, which are in the order in which they were made."""
        piece = next(self._pieces, None)
        self._more = piece is not None
        if piece is not None and piece.shape[1]:
            joined = np.hstack([self._open, piece])
            self._open = joined[:, np.argsort(joined[0], kind="stable")]
            self._loaded = int(piece[2, -1])
            self._lots += int(np.abs(piece[1]).sum())


def _fills(run: Run, symbols: Sequence[str]) -> Iterator[Int64Array]:
    """Fills of orders, as ``_Markouts`` holds them, piece by piece."""
    numbers = {name: k for k, name in enumerate(symbols)}
    codes = Codes()
    for piece in run.pieces("fills", _FILLS):
        code = codes(piece["symbol"])
        unknown = [name for name in codes.names if name not in numbers]
        if unknown:
            raise DataError(
                f"it holds fills of {unknown[0]!r}, which the dataset does not have",
                place=str(run.folder / "fills.parquet"),
                remedy="The file is damaged, or of another program: run it again with --no-reuse.",
            )
        symbol = np.array([numbers[name] for name in codes.names], dtype=np.int64)[code]
        columns = (symbol, integers(piece["lots"]), integers(piece["ts_venue"]))
        yield np.array([*columns, np.zeros_like(symbol)])[:, ~closing(piece)]


def _dataset(run: Run) -> Dataset | None:
    """The dataset that a run saw, if it is still there and unchanged."""
    source = str(run.manifest["config"]["dataset"])
    try:
        dataset = open_dataset(Path(source) if Path(source).is_dir() else source)
        unchanged = dataset.data_hash() == run.manifest["determined_by"]["data"]
    except BacktestError:
        return None
    return dataset if unchanged and dataset.has_quotes else None


def _quotes(run: Run, dataset: Dataset) -> Iterator[EventBatch]:
    """The events that a run saw, batch by batch.

    Raises:
        _Unreadable: they are damaged.
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
            raise _Unreadable from error
        if events is None:
            return
        yield events if left is None else events.select(slice(0, left))
        if left is not None:
            left -= len(events)
