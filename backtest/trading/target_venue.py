"""Targets: orders that bring a symbol's position to where an answer wants it, and never rest."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading.sizing import target_lots
from backtest.trading.terms import Terms
from backtest.trading.venue import Venue, grown

_ROWS = 1 << 12
"""Rows of arrays that grow, at the beginning."""


class TargetVenue(Venue):
    """Sizes answers, and trades the difference to what is held and under way.

    Orders take what the touch displays when they arrive, and the rest of them is cancelled.

    Args:
        window: holds the events, with the columns ``COLUMNS``.
        terms: what is fixed.
    """

    COLUMNS: ClassVar[dict[str, Any]] = Venue.COLUMNS | {"target": np.int64}

    def __init__(self, window: Window, terms: Terms) -> None:
        super().__init__(window, terms)
        from backtest.trading import ideal_loops, target_loops, target_switch_loops

        self._loops, self._ideal = target_loops, ideal_loops
        self._by_row = target_switch_loops
        symbols = len(terms.symbols)
        self._pending = np.full((symbols, at.PENDING_SIZE), at.SILENT, dtype=np.int64)
        self._trading = self._nothing_traded(symbols)

    def _nothing_traded(self, symbols: int) -> Any:
        book = np.zeros((symbols, at.BOOK_SIZE), dtype=np.int64)
        book[:, [at.ORDERS, at.BOUGHT_SINCE, at.SOLD_SINCE]] = -1
        book[:, at.POINTER :] = -1
        book[:, at.ARRIVED] = at.NO_TIME
        state = np.zeros(at.TRADE_STATE, dtype=np.int64)
        state[at.HALTED] = at.NO_TIME
        return self._loops.Trading(
            state=state,
            queue=np.empty((_ROWS, at.QUEUE_SIZE), dtype=np.int64),
            book=book,
            orders=_free_orders(_ROWS, 0),
            transit=np.empty((_ROWS, at.TRANSIT_SIZE), dtype=np.int64),
            fills=np.empty((_ROWS, at.FILL_SIZE), dtype=np.int64),
        )

    @property
    def positions(self) -> Int64Array:
        return cast(Int64Array, self._trading.book[:, at.POSITION])

    @property
    def _ideal_rules(self) -> tuple[Any, ...]:
        return (self._rules[at.BAND], self._rules[at.ALWAYS_OPEN], *self._sessions)

    @property
    def needs(self) -> int:
        trading, oldest = self._trading, self._keeper.oldest(self._settled)
        waiting = trading.queue[trading.state[at.HEAD] : trading.state[at.TAIL], at.ANSWER_EVENT]
        in_transit = trading.transit[: trading.state[at.TRANSITS], at.TRANSIT_EVENT]
        for events in (waiting, in_transit):
            if len(events):
                oldest = min(oldest, int(events.min()))
        return oldest

    def answer(self, events: Int64Array, forecast: Float32Array) -> None:
        if not len(events):
            return
        targets = self._wanted(events, forecast, self._opinions(events, forecast))
        self._reserve_answers(len(events))
        window, trading = self._window, self._trading
        self._loops.enqueue(
            window.first, self._base, events, targets, window["symbol"], window["ended"],
            window["target"], self._newest, trading.state, trading.queue,
        )  # fmt: skip

    def settle(
        self,
        first: int,
        stop: int,
        forecast: Float32Array,
        undropped: Float32Array | None = None,
    ) -> None:
        window, terms = self._window, self.terms
        if terms.ideal and first < stop:
            assert undropped is not None
            events, rows = np.arange(first, stop, dtype=np.int64), window.rows(first, stop)
            answered = window["status"][rows] == 0
            if undropped is not forecast:
                every = self._wanted(events, undropped, self._opinions(events, undropped))
            elif answered.all():  # then all targets are known
                every = window["target"][rows]
            else:
                asked = self._opinions(events, undropped) & ~answered
                others = self._wanted(events, undropped, asked)
                every = np.where(answered, window["target"][rows], others)
            self._check(
                self._ideal.trade_ideally(
                    window.first, first, stop,
                    *(window[name] for name in ("symbol", "ts_event", "status", "mid", "target")),
                    every, self._trading.state, self._pending, self.books.held,
                    *self._ideal_rules,
                ),
                ideal=True,
            )  # fmt: skip
        super().settle(first, stop, forecast, undropped)

    def _close(self) -> None:
        if self.terms.ideal:
            state, held = self._trading.state, self.books.held
            code = self._ideal.finish_ideally(state, self._pending, held, *self._ideal_rules)
            self._check(code, ideal=True)

    def _wanted(self, events: Int64Array, forecast: Float32Array, asked: BoolArray) -> Int64Array:
        """Clipped targets of the events that are asked, ``SILENT`` elsewhere, int64 lots [k]."""
        if asked.all():
            return self._sized(events, forecast)
        targets = np.full(len(events), at.SILENT, dtype=np.int64)
        targets[asked] = self._sized(events[asked], forecast[asked])
        return targets

    def _sized(self, events: Int64Array, forecast: Float32Array) -> Int64Array:
        terms = self.terms
        assert terms.sizing is not None
        targets = target_lots(terms.sizing, forecast, self._quotes.at(events))
        targets = terms.rules.clip(targets)
        return np.require(targets, requirements=["C", "W"])

    def _trade(self, now: int, frontier: int) -> None:
        window, state = self._window, self._trading.state
        if frontier != self._checked and not self._keeper.switches:
            state[at.CHECKED] = state[at.KEPT] = 0  # more quotes are known that orders may meet
        self._checked = frontier
        columns = [window[name] for name in self._loops.Market._fields[:-1]]
        columns.append(self._quotes.stale)
        market = self._loops.Market(*columns)
        self._keeper.follow_rows()
        while True:
            guard = self._keeper.given
            given = (window.first, market, self._trading, self._rules, *self._sessions, guard)
            if self._keeper.switches:
                code = self._by_row.trade_by_row(min(now, frontier), *given, self._account)
            else:
                code = self._loops.trade(now, frontier, *given)
            if code != at.FULL:
                break
            self._grow()
        self._check(code)
        self._keeper.pass_rows(min(now, frontier))
        self._book()

    def _grow(self) -> None:
        """Enlarge whatever is full."""
        trading = self._trading
        self._reserve_fills(1)
        self._keeper.reserve()
        if trading.state[at.FREE] < 0:
            count = len(trading.orders)
            trading.state[at.FREE] = count
            orders = np.concatenate([trading.orders, _free_orders(count, count)])
            self._trading = self._trading._replace(orders=orders)
        if trading.state[at.KEPT] == len(trading.transit):
            self._trading = self._trading._replace(transit=grown(trading.transit))


def _free_orders(count: int, first: int) -> Int64Array:
    """Free entries with the numbers ``first`` on, each naming the next, the last one none."""
    orders = np.zeros((count, at.ORDER_SIZE), dtype=np.int64)
    orders[:, at.ORDER_NEXT] = np.arange(first + 1, first + count + 1)
    orders[-1, at.ORDER_NEXT] = -1
    return orders
