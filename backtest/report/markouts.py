"""How the mid moved after the fills of a run, while the quotes that it saw stream by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array
from backtest.core.arrow import Codes, integers
from backtest.data.dataset import Dataset
from backtest.market.events import EventBatch
from backtest.report.seen_events import Standing, numbers_of
from backtest.runs.folder import Run
from backtest.trading.fill_table import CLOSING, closing

HORIZONS_NS = np.concatenate([[0], np.logspace(6, 10.5, 28)]).astype(np.int64)
"""Where markouts are read: 1 ms to about 30 s after the fill."""

_FILLS = (*CLOSING, "symbol", "lots", "ts_venue")


class Markouts:
    """Adds up a run's markouts, in half ticks at ``HORIZONS_NS``.

    Raises:
        DataError: now or later, a table of the run cannot be read.
    """

    def __init__(self, run: Run, dataset: Dataset) -> None:
        self._pieces = _fills(run, dataset)
        self._more = True
        self._standing = Standing(len(dataset.symbols))
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


def _fills(run: Run, dataset: Dataset) -> Iterator[Int64Array]:
    """Fills of orders, as ``Markouts`` holds them, piece by piece."""
    codes = Codes()
    for piece in run.pieces("fills", _FILLS):
        code = codes(piece["symbol"])
        symbol = numbers_of(codes.names, dataset, run)[code]
        columns = (symbol, integers(piece["lots"]), integers(piece["ts_venue"]))
        yield np.array([*columns, np.zeros_like(symbol)])[:, ~closing(piece)]
