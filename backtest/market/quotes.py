"""Quotes at points of a stream, as sizing rules see them."""

from __future__ import annotations

from dataclasses import dataclass

from backtest.core.arrays import Int32Array, Int64Array

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
