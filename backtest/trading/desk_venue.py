"""The venue of a strategy that sends its own orders, and hears what becomes of them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.market.window import Window
from backtest.strategies.messages import Messages
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.depth_window import DepthWindow
from backtest.trading.order_venue import OrderVenue
from backtest.trading.orders import Latency
from backtest.trading.terms import Terms

_REPORTS = 1 << 8
"""Reports that are heard at once that there is room for at the beginning."""


class DeskVenue(OrderVenue):
    """Takes messages as a closed loop makes them.

    Args:
        window: holds the events, with the columns ``COLUMNS``.
        terms: what is fixed; ``orders`` among it.
        depth: rows of depth, where the dataset has them.
    """

    follows_all: ClassVar[bool] = True

    def __init__(self, window: Window, terms: Terms, depth: DepthWindow | None = None) -> None:
        super().__init__(window, terms, depth)
        from backtest.trading import desk_loops

        self._desk_loops = desk_loops
        heard = np.zeros((_REPORTS, ol.REPORT_SIZE), dtype=np.int64)
        self._trading = self._trading._replace(heard=heard)

    @property
    def tradable(self) -> BoolArray:
        """Which symbols trade, bool [S]."""
        return self._tradable

    @property
    def held(self) -> Int64Array:
        """Lots held of each symbol, as far as fills were heard of, int64 [S]."""
        taken: Int64Array = self._trading.books[:, at.CONFIRMED].copy()
        return taken

    @property
    def unresolved(self) -> Int64Array:
        """Lots of buys and sells that may still be filled as far as was heard, int64 [S, 2]."""
        taken: Int64Array = self._trading.unresolved.copy()
        return taken

    def hear(self, now: int) -> Int64Array:
        """What becomes known by ``now`` and was not heard before, int64 [n, REPORT_SIZE].

        By when it does, then by symbol, then as it was made. All that happens up to ``now``,
        messages included that are sent and arrive at that instant, happens first.

        Raises:
            RunError: as for ``advance``.
        """
        self._now = now
        self._checked = self._quotes.frontier
        self._work(min(now + 1, self._quotes.frontier))
        self._reserve_heard(0)
        self._desk_loops.listen(now, self._trading)
        state = self._trading.state
        heard = self._trading.heard[: state[ol.HEARD]]
        state[ol.HEARD] = 0
        return heard[np.lexsort((heard[:, ol.H_SYMBOL], heard[:, ol.R_KNOWN]))]

    def send(
        self, messages: Messages, ready: int, instants: Int64Array, events: Int64Array, draw: int
    ) -> None:
        """Take messages that leave at an instant, none earlier than those before.

        Args:
            ready: when, ns.
            instants: of each its event, its receipt and the dispatch of its batch, ns [n, 3].
            events: numbers of the events that they follow from, -1: of none, int64 [n].
            draw: number of the event whose latencies those take that follow from none.
        """
        commands = self._send(messages, slice(0, len(messages)))
        commands[:, ol.C_READY], commands[:, ol.C_EVENT] = ready, events
        commands[:, ol.C_T0 : ol.C_T2 + 1] = instants
        rows = events - self._window.first
        named: tuple[tuple[str, Latency], ...] = (
            ("entry", self.terms.entry),
            ("cancel", self._orders.cancel),
            ("replace", self._orders.replace),
            ("response", self.terms.response),
        )
        alone = events < 0
        for k, (name, latency) in enumerate(named):
            column = commands[:, ol.C_ENTRY + k]
            if alone.any():
                column[:] = latency(draw, draw + 1)[0] if callable(latency) else latency
            column[~alone] = self._window[name][rows[~alone]]
