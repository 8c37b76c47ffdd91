"""Pass 3 at machine speed: targets, orders, fills and equity of the market accountant.

Columns are read chunk by chunk: quotes are followed and targets set through a chunk, then orders
are filled as far as the quotes that they meet are known. Fills leave in order of arrival as soon as
no earlier one can come, so memory does not grow with the history. What the loops cannot do (answers
that overtake each other, fees in fractions of a money unit, numbers beyond 64 bits) is left to
plain Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from backtest.core.arrays import CHUNK, BoolArray, Int32Array, Int64Array, chunks, writable
from backtest.core.columnar import Frame, arrow_table
from backtest.core.compiled import INT64, Uncompiled
from backtest.core.prefetch import ahead
from backtest.core.room import Room
from backtest.inference.answers import Answers
from backtest.market.events import EventBatch
from backtest.trading.account_tables import Books, equity, figures, fill_frame
from backtest.trading.accountant import Ledger
from backtest.trading.compiled_trader import ALWAYS, Trader, sized
from backtest.trading.orders import OrderRules

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Settlement:
    """The market accountant's result; ``fills`` is ``None`` where the ledger's sink has them."""

    metrics: dict[str, Any]
    fills: pa.Table | None
    equity: pa.Table


def settle(ledger: Ledger, rules: OrderRules, ends: Int64Array) -> Settlement:
    """Settle a run.

    Args:
        ledger: the run.
        rules: of orders.
        ends: ends of the time buckets of the equity table, ns, ascending.

    Raises:
        Uncompiled: plain Python has to do it.
        RunError: the sizing rule gave something other than whole lots.
    """
    desk = Desk(ledger, rules, ends)
    pieces: list[pa.Table] = []
    for frame in desk.fills():
        if ledger.sink is None:
            pieces.append(arrow_table(frame))
        else:
            ledger.sink.write("fills", frame)
    fills = None
    if ledger.sink is None:
        import pyarrow as pa

        fills = pa.concat_tables(pieces)
    metrics = figures(ledger, desk.books, desk.closing)
    return Settlement(metrics, fills, equity(ledger, desk.books, desk.closing, ends))


class Desk:
    """Settles one run.

    Attributes:
        books: what was added up, once all fills are given.
        closing: the fills that close what is open at the end.
    """

    def __init__(self, ledger: Ledger, rules: OrderRules, ends: Int64Array) -> None:
        from backtest.trading import loops

        self._loops = loops
        self._ledger = ledger
        self._rules = rules
        self._ends = ends
        self._room = ledger.room or Room(len(ledger.events))
        symbols = len(ledger.symbols)
        self.books = Books.empty(symbols, len(ends))
        self.closing: list[list[int]] = []
        self._tradable = np.array([i.tradable for i in ledger.instruments], dtype=np.bool_)
        self._link: Int32Array = self._room.column(np.int32)
        self._wanted: Int64Array = self._room.column(np.int64)
        self._current, self._latest = (np.zeros((symbols, 2), dtype=np.int64) for _ in range(2))
        self._current[:, 0] = self._latest[:, 0] = -1
        self._pending = np.zeros((symbols, 4), dtype=np.int64)
        self._clock = np.zeros(1, dtype=np.int64)
        size = min(CHUNK, len(ledger.events))
        self._standing, self._mids, self._out = (np.empty(size, dtype=np.int64) for _ in range(3))
        self._flags = np.empty(size, dtype=np.uint8)

    def fills(self) -> Iterator[Frame]:
        """Send and fill every order and close what is open, in pieces by arrival; at least one.

        Raises:
            Uncompiled: plain Python has to do it.
        """
        ledger, loops = self._ledger, self._loops
        self._look_ahead()
        trader = Trader(ledger, self._rules, self._link, self._wanted, self.books.mids,
                        self._ends, self.books.sums, self.books.booked)  # fmt: skip
        count, ts_event = len(ledger.events), ledger.events.ts_event
        # Another thread follows the quotes through the next chunk while this one is traded on. What
        # it links or silences in rows before lies at or after the frontier, where nobody looks.
        for _, last in ahead(self._decided(), 1):
            trader.run_to(last, ALWAYS if last == count else int(ts_event[last]))
            if last == count:
                self._finish()
                trader.keep(np.concatenate([trader.fills, self._closed(trader.book)]))
                done = np.ones(len(trader.fills), dtype=np.bool_)
            else:
                # No order of an event arrives before the event.
                done = trader.fills[:, loops.T4] < ts_event[trader.row]
            if done.any() or last == count:
                yield fill_frame(ledger.symbols, trader.fills, np.flatnonzero(done))
                trader.keep(trader.fills[~done])
            self._room.release()
            ledger.progress(last)

    def _decided(self) -> Iterator[tuple[int, int]]:
        for first, last in chunks(len(self._ledger.events)):
            self._decide(first, last)
            yield first, last

    def _look_ahead(self) -> None:
        """The mids at the end, which every fill's decision is measured by."""
        events = self._ledger.events
        known = np.zeros(len(self.books.mids), dtype=np.bool_)
        for first, last in reversed([*chunks(len(events))]):
            _, quotes = _columns(events, slice(first, last))
            symbol = writable(events.symbol[first:last])
            if self._loops.final_mids(symbol, *quotes, known, self.books.mids):
                break
            self._room.release()

    def _decide(self, first: int, last: int) -> None:
        """Follow the quotes through some rows, and set the target of every event with a say."""
        ledger, loops, rows, count = self._ledger, self._loops, slice(first, last), last - first
        answers, undropped, timing = ledger.answers, ledger.undropped, ledger.timing
        standing, mids, flags = self._standing[:count], self._mids[:count], self._flags[:count]
        columns, quotes = _columns(ledger.events, rows)
        if not loops.stand(
            first, ledger.warmup, *columns, *quotes,
            writable(timing.status[rows]), writable(timing.ended[rows]), self._link, self._wanted,
            self._current, self._latest, self._tradable, self._ends, self.books.marks,
            self._clock, standing, mids, flags,
        ):  # fmt: skip
            raise Uncompiled
        # Where both are made of the same forecasts, the targets of all are those of some.
        shared = undropped is not None and undropped.forecast is answers.forecast
        every = loops.QUOTED if shared else loops.QUOTED | loops.SAYS
        targets = self._targets(answers, first, standing, flags & every == every)
        loops.wish(flags, targets, self._wanted[rows])
        if undropped is None:
            return
        if not shared:
            targets = self._targets(undropped, first, standing, flags & loops.QUOTED > 0)
        band = self._rules.no_trade_band
        paper = (*columns, flags, targets, mids, self._pending, self.books.held, band)
        if not loops.paper(*paper):
            raise Uncompiled

    def _targets(
        self, answers: Answers, first: int, standing: Int64Array, say: BoolArray
    ) -> Int64Array:
        """Target positions of the rows that have a say; anything where not."""
        ledger, rules = self._ledger, self._rules
        if say.all():
            forecast = answers.forecast[first : first + len(say)]
            return writable(sized(ledger, rules, forecast, standing))
        rows, out = np.flatnonzero(say), self._out[: len(say)]
        out[rows] = sized(ledger, rules, answers.forecast[first + rows], standing[rows])
        return out

    def _finish(self) -> None:
        """What is due after the last event."""
        loops, books = self._loops, self.books
        loops.finish_marks(self._current, books.marks, self._clock)
        if not loops.finish_paper(self._pending, books.held, self._rules.no_trade_band):
            raise Uncompiled

    def _closed(self, book: Int64Array) -> Int64Array:
        """Fills that close what is open at the end, at the last valid touch."""
        loops, ledger, end = self._loops, self._ledger, self._rules.end
        for s, instrument in enumerate(ledger.instruments):
            held = int(book[s, loops.POSITION])
            if not held:
                continue
            at, mid = (int(v) for v in self._current[s])
            touch = cast(Any, ledger.events.bid if held > 0 else ledger.events.ask)[at]
            price = 2 * int(touch)
            worth, fee = instrument.half_tick_lot, instrument.fee(-held, price)
            costs = [0, 0, 0, 0, -held * (price - mid) * worth, 0, fee]
            row = [-1, s, -held, price, *[end] * 5, held * price * worth - fee, 0, *costs]
            if max(map(abs, row)) > INT64:
                raise Uncompiled
            self.closing.append(row)
        return np.array(self.closing, dtype=np.int64).reshape(-1, loops.FILL_SIZE)


def quote_chain(ledger: Ledger, room: Room) -> tuple[Int32Array, Int64Array, Int64Array]:
    """For trading as one goes: what stands when.

    Returns:
        The chain of valid quotes [n], the row standing at each event [n] (-1: none yet), and the
        doubled mids at the end [S].
    """
    from backtest.trading import loops

    events, symbols = ledger.events, len(ledger.symbols)
    link, standing = room.column(np.int32), room.column(np.int64)
    current, latest = (np.zeros((symbols, 2), dtype=np.int64) for _ in range(2))
    current[:, 0] = -1
    nothing, marks = np.empty(0, dtype=np.int64), np.empty((0, symbols), dtype=np.int64)
    clock, tradable = np.zeros(1, dtype=np.int64), np.zeros(symbols, dtype=np.bool_)
    for first, last in chunks(len(events)):
        columns, quotes = _columns(events, slice(first, last))
        unanswered = np.ones(last - first, dtype=np.uint8)
        mids = np.empty(last - first, dtype=np.int64)
        loops.stand(
            first, 0, *columns, *quotes, unanswered, nothing, link, nothing, current, latest,
            tradable, nothing, marks, clock, standing[first:last], mids, unanswered.copy(),
        )  # fmt: skip
    return link, standing, np.ascontiguousarray(current[:, 1])


def _columns(events: EventBatch, rows: slice) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Symbols and instants, bids and asks of some rows, for the loops."""
    some = events.select(rows)
    return (
        (writable(some.symbol), writable(some.ts_event)),
        (writable(some.bid), writable(some.ask)),
    )
