"""Orders, fills and accounts of one run, chunk by chunk.

Events lie in a window. ``follow`` links their quotes as they come; ``answer`` takes the strategy's
answers in the order in which they become ready; ``advance`` trades what is ready; ``settle`` is
told what has become final. Nothing depends on how the run is cut into calls. ``target_venue``
trades towards target positions, ``order_venue`` lets orders rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading.account_tables import Books, close_positions
from backtest.trading.confirmations import Confirmations
from backtest.trading.limits import LimitKeeper
from backtest.trading.orders import Confirmation, Latency
from backtest.trading.quote_links import QuoteLinks
from backtest.trading.refusals import refusal
from backtest.trading.terms import Terms, session_times


class Venue(ABC):
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
    }

    _trading: Any
    """What trading keeps, with ``state``, ``queue`` and ``fills`` among it."""

    def __init__(self, window: Window, terms: Terms) -> None:
        from backtest.trading import answer_loops, booking_loops

        self._booking, self._answers = booking_loops, answer_loops
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
        self._newest = np.full((symbols, 3), -1, dtype=np.int64)
        self._now = at.NO_TIME
        self._confirmations = Confirmations()
        self._reported = 0
        self._keeper = LimitKeeper(terms.limits, self._instruments, window)
        self._account = (self._instruments, self.books.sums, self.books.booked, self._ends)

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
        self._follow_latency("entry", self.terms.entry, first, stop)
        self._follow_latency("response", self.terms.response, first, stop)
        self._quotes.follow(stop, last=last)

    def _follow_latency(self, name: str, latency: Latency, first: int, stop: int) -> None:
        """Note the latency of messages from some events, where each has its own."""
        if callable(latency):
            self._window[name][self._window.rows(first, stop)] = latency(first, stop)

    @property
    @abstractmethod
    def needs(self) -> int:
        """The oldest event whose row is still read."""

    @property
    @abstractmethod
    def positions(self) -> Int64Array:
        """Signed lots held of each symbol, int64 [S]."""

    @abstractmethod
    def answer(self, events: Int64Array, forecast: Float32Array) -> None:
        """Take answers, in the order in which they are ready.

        Args:
            events: numbers of the events, which were followed and whose ``begun`` and ``ended`` are
                in the window, int64 [k].
            forecast: what was answered, float32 [k].

        Raises:
            RunError: what makes orders of them gave something other than whole numbers.
        """

    @abstractmethod
    def _trade(self, now: int, frontier: int) -> None:
        """Trade what is ready before ``now``, as far as events before ``frontier`` are known."""

    @abstractmethod
    def _close(self) -> None:
        """Finish what only the end of the window can."""

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
        self._close()
        if terms.reports:
            self._report()  # what closes is not confirmed to anybody
        close_positions(terms, books, self.positions)
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
        done = self._are_final(fills[:, at.FILLED])
        rows = np.flatnonzero(done)
        rows = rows[by_arrival(fills[rows, at.FILLED], fills[rows, at.SYMBOL])]
        taken = np.empty((at.KNOWN, len(rows)), dtype=np.int64)
        self._booking.take_columns(fills, rows, taken)
        left = fills[~done]
        fills[: len(left)] = left
        state[at.FILLS] = state[at.ATTRIBUTED] = self._reported = len(left)
        return taken

    def take_log(self) -> Int64Array | None:
        """What the venue reported that nothing later can precede; ``None``: it keeps no log."""
        return None

    def take_breaches(self) -> Int64Array:
        """What limits did since this was last asked, in order, int64 [n, BREACH_SIZE]."""
        return self._keeper.take()

    def limit_figures(self) -> dict[str, Any]:
        """After the end: how often each limit that is set held something back, and how many orders
        came after a switch was thrown."""
        return self._keeper.figures() | {"kept_out": int(self._trading.state[at.KEPT_OUT])}

    def confirmed(self, now: int) -> list[Confirmation]:
        """Fills that became known by ``now`` since this was last asked, by when they did."""
        self._report()
        return self._confirmations.take(now)

    def _are_final(self, times: Int64Array) -> BoolArray:
        """Whether nothing that is yet to come can precede what happened at some instants, [n]."""
        # What has not traded yet is ready, and what is in transit arrives, no earlier than this.
        bound = min(self._now, self._checked)
        return (times < bound) | (bound == at.LATEST)

    def _opinions(self, events: Int64Array, forecast: Float32Array) -> BoolArray:
        """Which of some events decide on something, bool [k]."""
        window, asked = self._window, np.empty(len(events), dtype=np.bool_)
        self._answers.find_opinions(
            window.first, self.terms.warmup, events, forecast, window["symbol"], window["mid"],
            self._tradable, asked,
        )  # fmt: skip
        return asked

    def _reserve_answers(self, count: int) -> None:
        """Make room for answers at the end of the queue: where those were that are done."""
        state, queue = self._trading.state, self._trading.queue
        if state[at.TAIL] + count <= len(queue):
            return
        waiting = queue[state[at.HEAD] : state[at.TAIL]]
        size = 2 * (len(waiting) + count)
        if size > len(queue):
            queue = np.empty((size, queue.shape[1]), dtype=np.int64)
            self._trading = self._trading._replace(queue=queue)
        queue[: len(waiting)] = waiting  # numpy copies overlapping rows as if by a buffer
        self._base += int(state[at.HEAD])
        state[at.HEAD], state[at.TAIL] = 0, len(waiting)

    def _book(self) -> None:
        """Attribute the fills that are new, and add them to the books."""
        trading, books = self._trading, self.books
        self._check(
            self._booking.book(
                trading.state, trading.fills, self._rules, self._instruments, books.sums,
                books.booked, self._ends,
            )
        )  # fmt: skip

    def _report(self) -> None:
        """Keep what will be confirmed of the fills that are new."""
        count = int(self._trading.state[at.FILLS])
        self._confirmations.add(self._trading.fills[self._reported : count])
        self._reported = count

    def _reserve_fills(self, count: int) -> None:
        while self._trading.state[at.FILLS] + count > len(self._trading.fills):
            self._trading = self._trading._replace(fills=grown(self._trading.fills))

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


def grown(array: Int64Array) -> Int64Array:
    """The same rows, with room for as many more."""
    return np.concatenate([array, np.empty_like(array)])
