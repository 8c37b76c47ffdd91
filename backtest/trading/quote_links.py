"""The quotes of every symbol, followed through the rows of a window as they come."""

from __future__ import annotations

from typing import cast

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.errors import RunError
from backtest.market.quotes import Quotes
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading.standing_quotes import QuotesInWindow

_ROWS = 1 << 12
"""Rows that are not two-sided that there is room for at the beginning."""

_REACH = int(np.iinfo(np.int32).max)
"""The largest distance between two rows of a symbol."""

_COLUMNS = (
    "symbol",
    "ts_event",
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "next_quote",
    "mid",
    "bid_since",
    "ask_since",
)


class QuoteLinks:
    """Links each symbol's rows, and notes at each row what its quote is.

    Args:
        window: holds the events, with the columns of ``Venue``.
        symbols: size of the symbol table.
        ends: instants at which mids are marked, ns, ascending, int64 [k].
        marks: takes the doubled mids at these instants, int64 [k, S].

    Attributes:
        frontier: every event before this instant has been followed, ns.
    """

    def __init__(self, window: Window, symbols: int, ends: Int64Array, marks: Int64Array) -> None:
        from backtest.trading import quotes_loops

        self._loops = quotes_loops
        self._window = window
        self._ends, self._marks = np.ascontiguousarray(ends), marks
        self._state = np.zeros(3, dtype=np.int64)
        self._quotes = np.zeros((symbols, at.QUOTE_SIZE), dtype=np.int64)
        self._quotes[:, [at.Q_EVENT, at.Q_BID_SINCE, at.Q_ASK_SINCE]] = -1
        self._quotes[:, [at.Q_BID, at.Q_ASK, at.Q_LAST_BID, at.Q_LAST_ASK]] = at.NO_PRICE
        self._stale = np.empty((_ROWS, at.STALE_SIZE), dtype=np.int64)
        self.frontier = at.NO_TIME

    @property
    def stale(self) -> Int64Array:
        """Rows that are not two-sided, with the last quote that was, int64 [n, STALE_SIZE]."""
        return self._stale[: self._state[at.F_STALE]]

    def follow(self, stop: int, *, last: bool = False) -> None:
        """Follow the events up to ``stop - 1``, at least one.

        Args:
            last: no event comes after them.

        Raises:
            RunError: more events are in flight than can be linked.
        """
        window = self._window
        if window.count > _REACH:
            raise RunError(
                f"{window.count:,} events are in flight at once, more than can be counted",
                place="market accountant",
                remedy="Shorten the latencies, or the window of the run.",
            )
        columns = [window[name] for name in _COLUMNS]
        while True:
            code = self._loops.follow(
                self._state, stop, window.first, *columns, self._quotes, self._stale, self._ends,
                self._marks,
            )  # fmt: skip
            if code != at.FULL:
                break
            self._stale = np.concatenate([self._stale, np.empty_like(self._stale)])
        newest = int(window["ts_event"][stop - 1 - window.first])
        self.frontier = at.LATEST if last else newest

    def finish(self) -> None:
        """Take the marks that are due after the last event."""
        self._loops.finish_marks(self._state, self._quotes, self._marks)

    def at(self, events: Int64Array) -> Quotes:
        """The last two-sided quotes at some events, each of which has one."""
        return cast(Quotes, QuotesInWindow(self._window, events, self.stale))

    def forget(self, needs: int) -> None:
        """Give up what is kept of rows before the event ``needs``."""
        stale = self.stale
        gone = int(np.searchsorted(stale[:, at.STALE_EVENT], needs))
        if gone > len(self._stale) // 4:
            self._stale[: len(stale) - gone] = stale[gone:]
            self._state[at.F_STALE] = len(stale) - gone
