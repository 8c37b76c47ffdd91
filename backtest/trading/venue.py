"""Orders, fills and accounts of one run, chunk by chunk.

Events lie in a window. ``follow`` links their quotes as they come; ``answer`` takes the strategy's
answers in the order in which they become ready, and sizes them; ``advance`` trades what is ready;
``settle`` is told what has become final. Nothing depends on how the run is cut into calls.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading.account_tables import Books, close_positions
from backtest.trading.confirmations import Confirmations
from backtest.trading.orders import Confirmation
from backtest.trading.quote_links import QuoteLinks
from backtest.trading.refusals import refusal
from backtest.trading.sizing import target_lots
from backtest.trading.terms import Terms, session_times

_ROWS = 1 << 12
"""Rows of arrays that grow, at the beginning."""


class Venue:
    """Trades a run's answers against the quotes of its window.

    Args:
        window: holds the events, with the columns ``COLUMNS``.
        terms: what is fixed.

    Attributes:
        COLUMNS: the columns that the window must have; sizes that no data give are ``UNLIMITED``.
        books: what was added up; complete after ``finish``.
    """

    COLUMNS: ClassVar[dict[str, Any]] = {
        "symbol": np.int32,
        "ts_event": np.int64,
        "bid": np.int64,
        "ask": np.int64,
        "bid_size": np.int64,
        "ask_size": np.int64,
        "received": np.int64,
        "begun": np.int64,
        "ended": np.int64,
        "status": np.uint8,
        "entry": np.int64,
        "response": np.int64,
        "next_quote": np.int32,
        "mid": np.int64,
        "bid_since": np.int64,
        "ask_since": np.int64,
        "target": np.int64,
    }

    def __init__(self, window: Window, terms: Terms) -> None:
        from backtest.trading import booking_loops, ideal_loops, venue_loops

        self._loops, self._booking, self._ideal = venue_loops, booking_loops, ideal_loops
        self._window = window
        self.terms = terms
        self._tradable = terms.tradable()
        symbols = len(terms.symbols)
        self.books = Books.empty(symbols, len(terms.ends))
        self._rules = terms.rule_table()
        self._instruments = terms.instrument_table()
        self._sessions = session_times(terms.rules.sessions)
        self._ends = np.ascontiguousarray(terms.ends)
        self._quotes = QuoteLinks(window, symbols, terms.ends, self.books.marks)
        self._checked = at.NO_TIME
        self._settled = 0
        self._base = 0
        self._now = at.NO_TIME
        self._newest = np.full((symbols, 3), -1, dtype=np.int64)
        self._pending = np.full((symbols, at.PENDING_SIZE), at.SILENT, dtype=np.int64)
        self._trading = self._nothing_traded(symbols)
        self._confirmations = Confirmations()
        self._reported = 0

    def _nothing_traded(self, symbols: int) -> Any:
        book = np.zeros((symbols, at.BOOK_SIZE), dtype=np.int64)
        book[:, [at.ORDERS, at.BOUGHT_SINCE, at.SOLD_SINCE]] = -1
        book[:, at.POINTER :] = -1
        book[:, at.ARRIVED] = at.NO_TIME
        state = np.zeros(at.TRADE_STATE, dtype=np.int64)
        return self._loops.Trading(
            state=state,
            queue=np.empty((_ROWS, at.QUEUE_SIZE), dtype=np.int64),
            book=book,
            orders=_free_orders(_ROWS, 0),
            transit=np.empty((_ROWS, at.TRANSIT_SIZE), dtype=np.int64),
            fills=np.empty((_ROWS, at.FILL_SIZE), dtype=np.int64),
        )

    @property
    def _ideal_rules(self) -> tuple[Any, ...]:
        return (self._rules[at.BAND], self._rules[at.ALWAYS_OPEN], *self._sessions)

    @property
    def needs(self) -> int:
        """The oldest event whose row is still read."""
        trading, oldest = self._trading, self._settled
        waiting = trading.queue[trading.state[at.HEAD] : trading.state[at.TAIL], at.ANSWER_EVENT]
        in_transit = trading.transit[: trading.state[at.TRANSITS], at.TRANSIT_EVENT]
        for events in (waiting, in_transit):
            if len(events):
                oldest = min(oldest, int(events.min()))
        return oldest

    def follow(self, first: int, stop: int, *, last: bool = False) -> None:
        """Link the quotes of the events ``first`` to ``stop - 1``, which the window has taken in.

        Args:
            last: no event comes after them, so all quotes are known.

        Raises:
            RunError: more events are in flight than can be linked.
        """
        if last:
            self._quotes.frontier = at.LATEST
        if first == stop:
            return
        window, terms = self._window, self.terms
        for name, latency in (("entry", terms.entry), ("response", terms.response)):
            if callable(latency):
                window[name][window.rows(first, stop)] = latency(first, stop)
        self._quotes.follow(stop, last=last)

    def answer(self, events: Int64Array, forecast: Float32Array) -> None:
        """Size answers, which come in the order in which they are ready, and queue them.

        Args:
            events: numbers of the events, which were followed and whose ``begun`` and ``ended`` are
                in the window, int64 [k].
            forecast: what was answered, float32 [k].

        Raises:
            RunError: the sizing rule gave something other than whole lots.
        """
        if not len(events):
            return
        window, trading = self._window, self._trading
        targets = self._wanted(events, forecast, self._opinions(events, forecast))
        queue = self._queue_for(len(events))
        self._loops.enqueue(
            window.first, self._base, events, targets, window["symbol"], window["ended"],
            window["target"], self._newest, trading.state, queue,
        )  # fmt: skip

    def settle(
        self,
        first: int,
        stop: int,
        forecast: Float32Array,
        undropped: Float32Array | None = None,
    ) -> None:
        """The outcomes of the events ``first`` to ``stop - 1`` are final.

        Those of them that are answered were given to ``answer`` before.

        Args:
            forecast: what was answered, float32 [stop - first]; anything where it was not.
            undropped: what would have been answered had every event been; with ``ideal`` alone. The
                same array as ``forecast`` where the answers do not depend on it.

        Raises:
            RunError: as for ``answer``, or the ideal accounts do not fit 64 bits.
        """
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
        self._settled = stop
        self._quotes.forget(self.needs)

    def advance(self, now: int) -> None:
        """Trade the answers that are ready before ``now``, as far as the quotes are known.

        Args:
            now: no answer that is yet to come is ready before this instant, ns.

        Raises:
            RunError: a fill is worth more, or a position larger, than 64 bits hold.
        """
        self._now = now
        self._trade(now, self._quotes.frontier)

    def finish(self) -> None:
        """Trade what is left once the window is over, and close what is open.

        Raises:
            RunError: as for ``advance``; or a position cannot be closed, since no two-sided quote
                lies inside a session.
        """
        terms, books, state = self.terms, self.books, self._trading.state
        self._now = at.LATEST
        self._trade(at.LATEST, at.LATEST)
        self._quotes.finish()
        if terms.ideal:
            code = self._ideal.finish_ideally(state, self._pending, books.held, *self._ideal_rules)
            self._check(code, ideal=True)
        if terms.reports:
            self._report()  # what closes is not confirmed to anybody
        close_positions(terms, books, self._trading.book[:, at.POSITION])
        count = int(state[at.FILLS])
        self._reserve_fills(len(books.closing))
        self._reported = state[at.FILLS] = state[at.ATTRIBUTED] = count + len(books.closing)
        self._trading.fills[count : self._reported] = books.closing

    def take_fills(self) -> Int64Array:
        """The fills that no later one can precede, by (arrival, symbol), int64 [KNOWN, k]:
        the columns of ``layout`` before ``KNOWN``."""
        trading = self._trading
        state, fills = trading.state, trading.fills[: trading.state[at.FILLS]]
        if self.terms.reports:
            self._report()
        # What has not traded yet is ready, and what is in transit arrives, no earlier than this.
        bound = min(self._now, self._checked)
        done = fills[:, at.T4] < bound if bound < at.LATEST else np.ones(len(fills), dtype=np.bool_)
        rows = np.flatnonzero(done)
        rows = rows[by_arrival(fills[rows, at.T4], fills[rows, at.SYMBOL])]
        taken = np.empty((at.KNOWN, len(rows)), dtype=np.int64)
        self._booking.take_columns(fills, rows, taken)
        left = fills[~done]
        fills[: len(left)] = left
        state[at.FILLS] = state[at.ATTRIBUTED] = self._reported = len(left)
        return taken

    def confirmed(self, now: int) -> list[Confirmation]:
        """Fills that became known by ``now`` since this was last asked, by when they did."""
        self._report()
        return self._confirmations.take(now)

    def _report(self) -> None:
        """Keep what will be confirmed of the fills that are new."""
        count = int(self._trading.state[at.FILLS])
        self._confirmations.add(self._trading.fills[self._reported : count])
        self._reported = count

    def _opinions(self, events: Int64Array, forecast: Float32Array) -> BoolArray:
        """Which of some events decide on something, bool [k]."""
        window, asked = self._window, np.empty(len(events), dtype=np.bool_)
        self._loops.find_opinions(
            window.first, self.terms.warmup, events, forecast, window["symbol"], window["mid"],
            self._tradable, asked,
        )  # fmt: skip
        return asked

    def _wanted(self, events: Int64Array, forecast: Float32Array, asked: BoolArray) -> Int64Array:
        """Clipped targets of the events that are asked, ``SILENT`` elsewhere, int64 lots [k]."""
        if asked.all():
            return self._sized(events, forecast)
        targets = np.full(len(events), at.SILENT, dtype=np.int64)
        targets[asked] = self._sized(events[asked], forecast[asked])
        return targets

    def _sized(self, events: Int64Array, forecast: Float32Array) -> Int64Array:
        terms = self.terms
        targets = target_lots(terms.sizing, forecast, self._quotes.at(events))
        targets = terms.rules.clip(targets)
        return np.require(targets, requirements=["C", "W"])

    def _queue_for(self, count: int) -> Int64Array:
        """The queue with room for more answers at its end."""
        state, queue = self._trading.state, self._trading.queue
        if state[at.TAIL] + count > len(queue):
            waiting = queue[state[at.HEAD] : state[at.TAIL]]
            size = max(len(queue), 2 * (len(waiting) + count))
            moved = queue if size == len(queue) else np.empty((size, at.QUEUE_SIZE), dtype=np.int64)
            moved[: len(waiting)] = waiting
            self._base += int(state[at.HEAD])
            state[at.HEAD], state[at.TAIL] = 0, len(waiting)
            self._trading = self._trading._replace(queue=moved)
        return cast(Int64Array, self._trading.queue)

    def _trade(self, now: int, frontier: int) -> None:
        window, state = self._window, self._trading.state
        if frontier != self._checked:  # orders in transit may meet quotes that are known now
            state[at.CHECKED] = state[at.KEPT] = 0
            self._checked = frontier
        columns = [window[name] for name in self._loops.Market._fields[:-1]]
        columns.append(self._quotes.stale)
        market = self._loops.Market(*columns)
        while True:
            code = self._loops.trade(
                now, frontier, window.first, market, self._trading, self._rules, *self._sessions
            )
            if code != at.FULL:
                break
            self._grow()
        self._check(code)
        self._check(
            self._booking.book(
                state, self._trading.fills, self._rules, self._instruments, self.books.sums,
                self.books.booked, self._ends,
            )
        )  # fmt: skip

    def _grow(self) -> None:
        """Enlarge whatever is full."""
        trading = self._trading
        self._reserve_fills(1)
        if trading.state[at.FREE] < 0:
            count = len(trading.orders)
            trading.state[at.FREE] = count
            orders = np.concatenate([trading.orders, _free_orders(count, count)])
            self._trading = self._trading._replace(orders=orders)
        if trading.state[at.KEPT] == len(trading.transit):
            self._trading = self._trading._replace(transit=_grown(trading.transit))

    def _reserve_fills(self, count: int) -> None:
        while self._trading.state[at.FILLS] + count > len(self._trading.fills):
            self._trading = self._trading._replace(fills=_grown(self._trading.fills))

    def _check(self, code: int, ideal: bool = False) -> None:
        if code != at.DONE:
            raise refusal(code, self.terms, self._trading.state, ideal=ideal)


def by_arrival(arrived: Int64Array, symbol: Int64Array) -> Int64Array:
    """The order by arrival, then symbol; what is nearly in order is quickly sorted."""
    if not len(arrived):
        return np.empty(0, dtype=np.int64)
    since, symbols = arrived - arrived.min(), int(symbol.max()) + 1
    if int(since.max()) >= at.LATEST // symbols:
        return np.lexsort((symbol, arrived))
    return np.argsort(since * symbols + symbol, kind="stable")


def _free_orders(count: int, first: int) -> Int64Array:
    """Free entries with the numbers ``first`` on, each naming the next, the last one none."""
    orders = np.zeros((count, at.ORDER_SIZE), dtype=np.int64)
    orders[:, at.ORDER_NEXT] = np.arange(first + 1, first + count + 1)
    orders[-1, at.ORDER_NEXT] = -1
    return orders


def _grown(array: Int64Array) -> Int64Array:
    """The same rows, with room for as many more."""
    return np.concatenate([array, np.empty_like(array)])
