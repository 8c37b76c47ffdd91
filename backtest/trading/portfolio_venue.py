"""Portfolios: targets of all symbols at once, whose orders leave together and never rest."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.market.events import ABSENT, NO_TIME, locked
from backtest.market.quotes import Quotes
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.order_venue import OrderVenue
from backtest.trading.sizing import KEEP, portfolio_lots
from backtest.trading.terms import Terms

_QUOTES = ("ts_event", "bid", "ask", "bid_size", "ask_size")


class PortfolioVenue(OrderVenue):
    """Asks a portfolio rule for targets whenever answers become ready, and trades towards them.

    Args:
        window: holds the events, with the columns ``COLUMNS``.
        terms: what is fixed; ``sizing`` is a portfolio rule.
    """

    follows_all: ClassVar[bool] = True

    def __init__(self, window: Window, terms: Terms) -> None:
        super().__init__(window, terms)
        from backtest.trading import desk_loops

        self._desk_loops = desk_loops
        symbols = len(terms.symbols)
        self._every = np.ones(symbols, dtype=np.bool_)
        self._events = np.empty(0, dtype=np.int64)
        self._given = np.empty(0, dtype=np.float32)
        self._forecasts = np.full(symbols, np.nan, dtype=np.float32)
        self._standing: dict[str, Int64Array] = {
            name: np.full(symbols, ABSENT.get(name, NO_TIME), dtype=np.int64) for name in _QUOTES
        }
        self._symbols = locked(np.arange(symbols, dtype=np.int32))

    @property
    def needs(self) -> int:
        return min(super().needs, int(self._events.min(initial=self._settled)))

    def answer(self, events: Int64Array, forecast: Float32Array) -> None:
        self._events = np.concatenate([self._events, events])
        self._given = np.concatenate([self._given, forecast])

    def settle(self, first: int, stop: int, *answers: Any) -> None:
        times = self._window["ts_event"][self._events - self._window.first]
        self.keep_from = int(times.min(initial=at.LATEST))
        super().settle(first, stop, *answers)

    def _trade(self, now: int, frontier: int) -> None:
        self._checked = frontier
        limit = min(now, frontier)
        ended = self._window["ended"][self._events - self._window.first]
        stop = int(np.searchsorted(ended, limit))
        events, given = self._events[:stop], self._given[:stop]
        self._events, self._given = self._events[stop:], self._given[stop:]
        cuts = np.flatnonzero(np.diff(ended[:stop])) + 1
        for some, forecast in zip(np.split(events, cuts), np.split(given, cuts), strict=True):
            if len(some):
                self._rebalance(some, forecast)
        self._work(limit)

    def _rebalance(self, events: Int64Array, forecast: Float32Array) -> None:
        """Order what answers that are ready at one instant lead to."""
        window, order = self._window, np.argsort(events)
        events, forecast = events[order], forecast[order]
        asked = np.empty(len(events), dtype=np.bool_)
        self._answers.find_opinions(
            window.first, self.terms.warmup, events, forecast, window["symbol"], window["mid"],
            self._every, asked,
        )  # fmt: skip
        symbols = window["symbol"][events - window.first]
        newest = np.full(len(self._forecasts), -1, dtype=np.int64)
        newest[symbols] = events  # of several of a symbol the last stays
        asked &= newest[symbols] == events
        if not asked.any():
            return
        events, symbols = events[asked], symbols[asked]
        ready = int(window["ended"][events[0] - window.first])
        self._work(ready + 1)
        self._desk_loops.listen(ready, self._trading)
        self._forecasts[symbols] = forecast[asked]
        quotes = self._quotes.at(events)
        for name, column in self._standing.items():
            column[symbols] = getattr(quotes, name)
        self._aim(ready, symbols, events)

    def _aim(self, ready: int, symbols: Int64Array, events: Int64Array) -> None:
        """Ask for targets, and put them in the queue.

        Args:
            ready: when answers became ready, ns.
            symbols, events: those that were answered, in order, [k].
        """
        trading, window, terms = self._trading, self._window, self.terms
        assert terms.sizing is not None
        unresolved = trading.unresolved[:, 0] - trading.unresolved[:, 1]
        targets = portfolio_lots(
            terms.sizing,
            ready,
            locked(self._forecasts.copy()),
            Quotes(self._symbols, **{n: locked(c.copy()) for n, c in self._standing.items()}),
            locked(trading.books[:, at.CONFIRMED].copy()),
            locked(unresolved),
            terms.instruments,
        )
        quoted = self._standing["ts_event"] != NO_TIME
        wanted = np.flatnonzero((targets != KEEP) & self._tradable & quoted)
        if not len(wanted):
            return
        origin = np.full(len(targets), events[-1], dtype=np.int64)
        origin[symbols] = events
        rows = origin[wanted] - window.first
        commands = self._commands(len(wanted))
        commands[:, ol.C_READY], commands[:, ol.C_ACTION] = ready, ol.TARGET
        commands[:, ol.C_SYMBOL], commands[:, ol.C_EVENT] = wanted, origin[wanted]
        commands[:, ol.C_TOTAL] = terms.rules.clip(targets[wanted])
        for place, name in (
            (ol.C_T0, "ts_event"),
            (ol.C_T1, "received"),
            (ol.C_T2, "begun"),
            (ol.C_ENTRY, "entry"),
            (ol.C_RESPONSE, "response"),
        ):
            commands[:, place] = window[name][rows]

    def take_log(self) -> None:
        """Orders that never rest keep no log."""
        self._trading.state[ol.LOGGED] = 0
