"""The quote that stands: for each symbol, the last valid one at an instant.

Valid means two-sided and not crossed. A row is the number of the event that set the quote; -1 means
that none stands yet. A quote stands from its ``ts_event`` on, whether or not its event is answered.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from backtest.core.arrays import Int32Array, Int64Array
from backtest.market.events import NO_PRICE, EventBatch

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


class QuotesAt:
    """The quotes that some rows of events set, each column taken when it is first asked for.

    It reads as ``Quotes`` does; most sizing rules look at few columns or none.
    """

    def __init__(self, events: EventBatch, rows: Int64Array) -> None:
        self._events = events
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        if name not in {f.name for f in fields(Quotes)}:
            raise AttributeError(f"quotes have no {name!r}")
        column = getattr(self._events, name)
        absent = UNLIMITED if name.endswith("_size") else NO_PRICE
        taken = np.full(len(self._rows), absent) if column is None else column[self._rows]
        setattr(self, name, taken)
        return taken

    @property
    def doubled_mid(self) -> Int64Array:
        """Bid + ask, the mid in half ticks, int64 [n]."""
        return self.bid + self.ask

    def take(self, rows: Int64Array) -> Quotes:
        """The quotes at some rows."""
        return Quotes(*(getattr(self, f.name)[rows] for f in fields(Quotes)))


class StandingQuotes:
    """All quotes of a window, found by symbol and instant."""

    def __init__(self, events: EventBatch, symbols: int) -> None:
        count = len(events)
        absent = np.full(count, NO_PRICE, dtype=np.int64)
        unlimited = np.full(count, UNLIMITED, dtype=np.int64)
        self.all = Quotes(
            events.symbol,
            events.ts_event,
            absent if events.bid is None else events.bid,
            absent if events.ask is None else events.ask,
            unlimited if events.bid_size is None else events.bid_size,
            unlimited if events.ask_size is None else events.ask_size,
        )
        valid = np.flatnonzero(events.valid_quote())
        self._rows = [valid[events.symbol[valid] == s] for s in range(symbols)]
        self._times = [events.ts_event[rows] for rows in self._rows]

    def at_times(self, symbol: int, times: Int64Array) -> Int64Array:
        """Rows of a symbol's quotes standing at ``times`` (ns), those set at that instant too."""
        return self._pick(symbol, np.searchsorted(self._times[symbol], times, side="right"))

    def at_events(self, symbol: int, numbers: Int64Array) -> Int64Array:
        """Rows of a symbol's quotes standing right after the events ``numbers``, in bus order."""
        return self._pick(symbol, np.searchsorted(self._rows[symbol], numbers, side="right"))

    def mids(self, symbol: int, times: Int64Array) -> Int64Array:
        """M(s, t): bid + ask at ``times``, half ticks; a quote must stand at each."""
        rows = self.at_times(symbol, times)
        return self.all.bid[rows] + self.all.ask[rows]

    def book(self, symbol: int) -> SymbolBook:
        """One symbol's quotes for a loop."""
        return SymbolBook(self.all.take(self._rows[symbol]))

    def _pick(self, symbol: int, counts: Int64Array) -> Int64Array:
        rows = self._rows[symbol]
        if not len(rows):
            return np.full(len(counts), -1, dtype=np.int64)
        return np.where(counts > 0, rows[counts - 1], -1)


class SymbolBook:
    """One symbol's valid quotes as lists: ticks, lots and ns."""

    def __init__(self, quotes: Quotes) -> None:
        self.times: list[int] = quotes.ts_event.tolist()
        self.bid: list[int] = quotes.bid.tolist()
        self.ask: list[int] = quotes.ask.tolist()
        self.bid_size: list[int] = quotes.bid_size.tolist()
        self.ask_size: list[int] = quotes.ask_size.tolist()

    def standing(self, time: int) -> int:
        """Position of the quote standing at ``time``, or -1."""
        return bisect_right(self.times, time) - 1
