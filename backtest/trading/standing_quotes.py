"""The last two-sided quotes at some rows of a window, as a sizing rule reads them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market.quotes import Quotes
from backtest.market.window import Window
from backtest.trading.layout import (
    STALE_ASK,
    STALE_ASK_SIZE,
    STALE_BID,
    STALE_BID_SIZE,
    STALE_EVENT,
    STALE_TIME,
)

_STALE = {
    "ts_event": STALE_TIME,
    "bid": STALE_BID,
    "ask": STALE_ASK,
    "bid_size": STALE_BID_SIZE,
    "ask_size": STALE_ASK_SIZE,
}


class QuotesInWindow:
    """The last two-sided quotes at some events, each column taken when it is first asked for.

    It reads as ``Quotes`` does; most sizing rules look at few columns or none.

    Args:
        window: holds the events.
        events: their numbers, int64 [n]; each has a two-sided quote at or before it.
        stale: the rows that are not two-sided with the last quote that was, [k, STALE_SIZE].
    """

    def __init__(self, window: Window, events: Int64Array, stale: Int64Array) -> None:
        self._window = window
        self._rows = events - window.first
        # Where the row itself is one-sided or crossed, the quote is older, and kept apart.
        self._places = self._kept = np.empty(0, dtype=np.int64)
        if len(stale):
            found = np.searchsorted(stale[:, STALE_EVENT], events)
            found = np.minimum(found, len(stale) - 1)
            self._places = np.flatnonzero(stale[found, STALE_EVENT] == events)
            self._kept = stale[found[self._places]]

    def __getattr__(self, name: str) -> Any:
        if name not in {f.name for f in fields(Quotes)}:
            raise AttributeError(f"quotes have no {name!r}")
        taken = self._window[name][self._rows]
        if len(self._places) and name in _STALE:
            taken[self._places] = self._kept[:, _STALE[name]]
        setattr(self, name, taken)
        return taken

    @property
    def doubled_mid(self) -> Int64Array:
        """Bid + ask, the mid in half ticks, int64 [n]."""
        return self.bid + self.ask

    def take(self, rows: Int64Array) -> Quotes:
        """The quotes at some of them."""
        return Quotes(*(getattr(self, f.name)[rows] for f in fields(Quotes)))
