"""From DBN records by order (``mbo``) to trades, quotes of the book, and rows of depth."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.reading.decode import Columns
from backtest.market.depth import ADD, BOTH, CANCEL, CLEAR, EXECUTE, LAST, MODIFY, SNAPSHOT
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.databento.files import F_LAST, F_MAYBE_BAD_BOOK, F_SNAPSHOT, F_TOB
from backtest.plugins.sources.databento.rows import (
    BAD_BOOK,
    TRADE_WITHOUT,
    Chunk,
    Grids,
    in_ticks,
)
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.market_rows import MarketRows
from backtest.plugins.sources.shared.order_books import ASK, BID, NO_QUOTE, OrdersBook, Quote

_SIDES = {ord("B"): BID, ord("A"): ASK}
_NO_ORDER = "order without a price, a side or a size"
_UNKNOWN = "cancel of an order that is not in the book"
_PRINT = 0
"""The order of an execution that touched no displayed order."""

_TOP = {BID: -1, ASK: -2}
"""The orders that stand for the top of a side, where a venue shows no single ones."""


@dataclass
class _Book:
    """One symbol's book, and what the venue's event did so far.

    Attributes:
        filled: of each order, lots filled but not taken from the book yet, price and side.
        prints: lots traded less those of orders that were named as filled, by price and side.
        written: the last quote that became an event.
        known: all orders are there, since the book was cleared or a snapshot ended; ``None`` before
            the first record.
    """

    book: OrdersBook = field(default_factory=OrdersBook)
    filled: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    prints: dict[tuple[int, int], int] = field(default_factory=dict)
    written: Quote = NO_QUOTE
    known: bool | None = None


@dataclass(slots=True)
class _Record:
    """What a record says; ``sign`` is its side, 0 for none, ``mark`` the flags of rows of depth."""

    kind: str
    sign: int
    price: int
    size: int
    order: int
    flags: int
    signed: bool

    @property
    def mark(self) -> int:
        if not self.flags & F_SNAPSHOT:
            return 0
        return SNAPSHOT | (LAST if self.flags & F_LAST else 0)

    @property
    def priced(self) -> bool:
        return self.price > 0 or (self.signed and self.price != NO_PRICE)


class OrderRows:
    """Rows of the schema ``mbo``.

    A fill (``F``) does not change the book; the cancel or the smaller size that follows it for the
    same order does, and is written as the execution of as many lots. What was traded without an
    order of the book is an execution that touches no displayed order.

    Args:
        grids: of the symbols.
        counts: take what becomes of records.
    """

    def __init__(self, grids: Grids, counts: Counts) -> None:
        self._grids = grids
        self._counts = counts
        self._books: dict[int, _Book] = defaultdict(_Book)

    def rows(self, chunk: Chunk) -> Columns:
        """The events and rows of depth of some records."""
        data = chunk.records.data
        # 64 bits hold every order's number, those above 2^63 as negative ones.
        order: Int64Array = np.ascontiguousarray(data["order_id"]).view(np.int64)
        price = in_ticks(chunk, "price", self._grids)
        heads = chunk.symbol, chunk.ts, chunk.recv
        values = data["action"], data["side"], price, data["size"], order, data["flags"]
        out = MarketRows(orders=True)
        signed = self._grids.signed.tolist()
        rows = zip(*(column.tolist() for column in (*heads, *values)), strict=True)
        for symbol, ts, recv, action, side, ticks, size, number, flags in rows:
            out.at(symbol, ts, recv)
            sign = _SIDES.get(side, 0)
            record = _Record(chr(action), sign, ticks, size, number, flags, signed[symbol])
            self._record(out, self._books[symbol], record)
        return out.columns()

    def _record(self, out: MarketRows, state: _Book, record: _Record) -> None:
        reason = None
        if state.known is None:
            state.known = False
            if record.kind != "R":
                out.depth(BOTH, 0, 0, CLEAR, _PRINT, ADD)
        if record.kind == "T":
            reason = self._trade(out, state, record)
        elif record.kind == "F":
            self._fill(state, record)
        elif record.kind == "R":
            state.book.clear()
            # An empty book is known as a whole; a snapshot's is once it ends.
            mark = record.mark or SNAPSHOT | LAST
            state.known = not record.flags & F_SNAPSHOT
            out.depth(BOTH, 0, 0, CLEAR | mark, _PRINT, ADD)
        elif record.kind in ("A", "M", "C"):
            reason = self._change(out, state, record)
        else:
            reason = f"record with the action {record.kind!r}"
        if record.flags & F_LAST:
            state.known = state.known or bool(record.flags & F_SNAPSHOT)
            self._end(out, state, record.flags)
        if reason is not None:
            self._counts.refused[reason] += 1
        elif record.kind != "T":
            self._counts.depth += 1

    def _trade(self, out: MarketRows, state: _Book, record: _Record) -> str | None:
        if not record.priced or not record.size:
            return TRADE_WITHOUT
        out.trade(record.price, record.size, record.sign)
        if record.sign:
            place = record.price, -record.sign
            state.prints[place] = state.prints.get(place, 0) + record.size
        return None

    @staticmethod
    def _fill(state: _Book, record: _Record) -> None:
        """Lots of a resting order are filled; whatever takes them from the book comes later."""
        earlier = state.filled.get(record.order, (0, 0, 0))[0]
        state.filled[record.order] = earlier + record.size, record.price, record.sign
        place = record.price, record.sign
        state.prints[place] = state.prints.get(place, 0) - record.size

    def _change(self, out: MarketRows, state: _Book, record: _Record) -> str | None:
        if record.flags & F_TOB:
            return self._top(out, state, record)
        known = state.book.orders.get(record.order)
        if record.kind == "C":
            if known is None:
                return _UNKNOWN
            self._shrink(out, state, record, min(record.size, known[2]))
            return None
        sign = record.sign or (known[0] if known else 0)
        if not sign or not record.priced or (not record.size and known is None):
            return _NO_ORDER
        if known is not None and record.order in state.filled:
            # What was filled goes first: the rest of an iceberg order joins the level anew.
            self._shrink(out, state, record, min(known[2], state.filled[record.order][0]))
            known = state.book.orders.get(record.order)
        if known is not None and known[:2] == (sign, record.price) and known[2] >= record.size:
            if known[2] > record.size:
                self._shrink(out, state, record, known[2] - record.size)
            return None
        if not record.size:
            return None
        state.book.set(record.order, sign, record.price, record.size)
        action = ADD if known is None else MODIFY
        out.depth(sign, record.price, record.size, record.mark, record.order, action)
        return None

    @staticmethod
    def _shrink(out: MarketRows, state: _Book, record: _Record, size: int) -> None:
        """Take lots from an order: as executions those that were filled, the others as cancels."""
        sign, price, _ = state.book.orders[record.order]
        filled, *place = state.filled.pop(record.order, (0, 0, 0))
        executed = min(filled, size)
        if filled > executed:
            state.filled[record.order] = filled - executed, place[0], place[1]
        state.book.reduce(record.order, size)
        for lots, action in ((executed, EXECUTE), (size - executed, CANCEL)):
            if lots:
                out.depth(sign, price, lots, record.mark, record.order, action)

    @staticmethod
    def _top(out: MarketRows, state: _Book, record: _Record) -> str | None:
        """A side of which only the top is shown: what was there is replaced."""
        if not record.sign:
            return _NO_ORDER
        state.known = True
        state.book.clear(record.sign)
        out.depth(record.sign, 0, 0, CLEAR, _PRINT, ADD)
        if record.kind != "C" and record.priced and record.size:
            order = _TOP[record.sign]
            state.book.set(order, record.sign, record.price, record.size)
            out.depth(record.sign, record.price, record.size, 0, order, ADD)
        return None

    def _end(self, out: MarketRows, state: _Book, flags: int) -> None:
        """The venue's event is over: prints without an order, and the touch if it changed."""
        for lots, price, sign in state.filled.values():
            state.prints[price, sign] = state.prints.get((price, sign), 0) + lots
        for (price, sign), lots in state.prints.items():
            if lots > 0 and sign and price != NO_PRICE:
                out.depth(sign, price, lots, 0, _PRINT, EXECUTE)
        state.filled.clear()
        state.prints.clear()
        quote = state.book.quote() if state.known else NO_QUOTE
        if flags & F_MAYBE_BAD_BOOK:
            self._counts.repaired[BAD_BOOK] += 1
            quote = NO_QUOTE
        if quote != state.written:
            out.quote(quote)
            self._counts.quotes += 1
            state.written = quote
