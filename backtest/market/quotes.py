"""The prevailing quote: for each symbol, the last valid one at an instant.

Valid means two-sided and not crossed. A quote stands from its ``ts_event`` on, whether or not its
event is answered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Int32Array, Int64Array
from backtest.market.events import EventBatch

UNLIMITED = 2**62
"""Displayed size, in lots, of a dataset that records none."""


@dataclass(frozen=True, slots=True)
class Quotes:
    """Quotes at ``n`` points.

    Attributes:
        symbol: int32 [n].
        ts_event: when it was set, int64 ns [n].
        bid, ask: int64 ticks [n].
        bid_size, ask_size: displayed size, int64 lots [n].
    """

    symbol: Int32Array
    ts_event: Int64Array
    bid: Int64Array
    ask: Int64Array
    bid_size: Int64Array
    ask_size: Int64Array

    @property
    def doubled_mid(self) -> Int64Array:
        """Bid + ask, the mid in half ticks, int64 [n]."""
        return self.bid + self.ask

    def take(self, rows: Int64Array) -> Quotes:
        """The quotes at some rows."""
        return Quotes(
            self.symbol[rows],
            self.ts_event[rows],
            self.bid[rows],
            self.ask[rows],
            self.bid_size[rows],
            self.ask_size[rows],
        )


class StandingQuotes:
    """The mids of all valid quotes of some events, found by symbol and instant."""

    def __init__(self, events: EventBatch, symbols: int) -> None:
        valid = np.flatnonzero(events.valid_quote())
        some = events.select(valid)
        if some.bid is None or some.ask is None:
            mids = np.empty(0, dtype=np.int64)
        else:
            mids = some.bid + some.ask
        of = [some.symbol == s for s in range(symbols)]
        self._times = [some.ts_event[rows] for rows in of]
        self._mids = [mids[rows] for rows in of]

    def mids(self, symbol: int, times: Int64Array) -> Int64Array:
        """M(s, t): bid + ask at ``times`` (ns), half ticks; a quote must stand at each.

        Quotes that were set at that instant stand already.
        """
        before = np.searchsorted(self._times[symbol], times, side="right")
        return self._mids[symbol][before - 1]
