"""The newest quote of each symbol that has been received, whether or not it was answered."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market.events import ABSENT, NO_TIME, locked
from backtest.market.quotes import Quotes
from backtest.market.window import Window
from backtest.timing.server import Server

_COLUMNS = ("ts_event", "bid", "ask", "bid_size", "ask_size")


class ReceivedQuotes:
    """Follows what a server receives.

    Args:
        server: receives.
        window: holds the events.
        symbols: size of the symbol table.

    Attributes:
        newest: number of the newest event that was received; -1: none was.
    """

    def __init__(self, server: Server, window: Window, symbols: int) -> None:
        self._server, self._window = server, window
        self._quotes = {
            name: np.full(symbols, ABSENT.get(name, NO_TIME), dtype=np.int64) for name in _COLUMNS
        }
        self._symbols = locked(np.arange(symbols, dtype=np.int32))
        self.newest = -1

    def take(self) -> None:
        """Take note of what has been received since the last time.

        To be called for each batch, and before the window gives up rows.
        """
        numbers = self._server.take_received()
        if not len(numbers):
            return
        numbers = np.sort(numbers)
        self.newest = max(self.newest, int(numbers[-1]))
        rows = numbers - self._window.first
        symbols = self._window["symbol"][rows]
        for name, column in self._quotes.items():
            # Within a symbol no event overtakes another, so of several the last stays.
            column[symbols] = self._window[name][rows]

    @property
    def quotes(self) -> Quotes:
        """A copy of them [S], which cannot be written to."""
        copies: dict[str, Int64Array] = {n: locked(c.copy()) for n, c in self._quotes.items()}
        assert {"symbol", *copies} == {f.name for f in fields(Quotes)}
        return Quotes(symbol=self._symbols, **copies)
