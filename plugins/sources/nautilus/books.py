"""From order book deltas of a NautilusTrader catalogue to quotes and rows of depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from backtest.core.arrays import Int64Array
from backtest.data.reading.decode import Columns
from backtest.market.depth import ADD, ASK, BID, BOTH, CANCEL, CLEAR, LAST, MODIFY, SNAPSHOT
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.market_rows import MarketRows
from backtest.plugins.sources.shared.order_books import NO_QUOTE, LevelBook, OrdersBook, Quote

F_LAST, F_SNAPSHOT = 128, 32
_ADD, _UPDATE, _DELETE, _CLEAR = 1, 2, 3, 4
_SIDES = {1: BID, 2: ASK}

BAD = "delta without a side, or with a price or size that is none"
GONE = "delta that removes an order that is not there"


@dataclass(frozen=True)
class Deltas:
    """Rows of one file, int64 [n]; prices in ticks (``NO_PRICE`` where none), sizes in lots."""

    ts: Int64Array
    recv: Int64Array
    action: Int64Array
    side: Int64Array
    price: Int64Array
    size: Int64Array
    order: Int64Array
    flags: Int64Array


@dataclass
class DeltaBook:
    """The book of one instrument, built from its deltas.

    Args:
        symbol: its place among the card's symbols.
        orders: deltas are of orders, not of levels.
        ends: the files say where an event of the venue ends (``F_LAST``).
        signed: prices may be 0 or negative.
        counts: take what becomes of rows.
    """

    symbol: int
    orders: bool
    ends: bool
    signed: bool
    counts: Counts
    _orders: OrdersBook = field(default_factory=OrdersBook)
    _levels: LevelBook = field(default_factory=LevelBook)
    _written: Quote = NO_QUOTE
    _known: bool = False
    _first: bool = True
    _open: tuple[int, int] | None = None
    """Times of the last row whose event has not ended."""

    def rows(self, deltas: Deltas) -> Columns:
        """The events and rows of depth of some deltas."""
        out = MarketRows(orders=self.orders)
        columns = (deltas.ts, deltas.recv, deltas.action, deltas.side, deltas.price, deltas.size)
        rows = zip(
            *(column.tolist() for column in (*columns, deltas.order, deltas.flags)), strict=True
        )
        for ts, recv, action, side, price, size, order, flags in rows:
            if not self.ends and self._open is not None and self._open[0] != ts:
                self._end(out, *self._open)
            out.at(self.symbol, ts, recv)
            self._apply(out, action, _SIDES.get(side, 0), price, size, order, flags)
            self._open = ts, recv
            if flags & F_LAST:
                self._known = self._known or bool(flags & F_SNAPSHOT)
                if self.ends:
                    self._end(out, ts, recv)
        return out.columns()

    def rest(self) -> Iterator[Columns]:
        """What is due once there are no more deltas."""
        if not self.ends and self._open is not None:
            out = MarketRows(orders=self.orders)
            self._end(out, *self._open)
            yield out.columns()

    def _apply(
        self, out: MarketRows, action: int, sign: int, price: int, size: int, order: int, flags: int
    ) -> None:
        mark = 0
        if flags & F_SNAPSHOT:
            mark = SNAPSHOT | (LAST if flags & F_LAST else 0)
        tail = (0, ADD) if self.orders else ()
        if self._first and action != _CLEAR and self.orders:
            out.depth(BOTH, 0, 0, CLEAR, *tail)  # orders from before the file are not known
        self._first = False
        self.counts.depth += 1
        if action == _CLEAR:
            (self._orders if self.orders else self._levels).clear(sign)
            self._known = self._known or sign == 0
            out.depth(sign, 0, 0, CLEAR | mark, *tail)
            return
        priced = price != NO_PRICE and (price > 0 or self.signed)
        if action not in (_ADD, _UPDATE, _DELETE) or not sign or (action != _DELETE and not priced):
            self._refuse(BAD)
        elif not self.orders:
            lots = 0 if action == _DELETE else size
            if not priced:
                self._refuse(BAD)
                return
            self._levels.side(sign).put(price, lots)
            out.depth(sign, price, lots, mark)
        else:
            self._order(out, sign, price, 0 if action == _DELETE else size, order, mark)

    def _order(
        self, out: MarketRows, sign: int, price: int, size: int, order: int, mark: int
    ) -> None:
        known = self._orders.orders.get(order)
        if size:
            self._orders.set(order, sign, price, size)
            out.depth(sign, price, size, mark, order, ADD if known is None else MODIFY)
        elif known is None:
            self._refuse(GONE)
        else:
            self._orders.remove(order)
            out.depth(*known[:2], known[2], mark, order, CANCEL)

    def _refuse(self, reason: str) -> None:
        self.counts.depth -= 1
        self.counts.refused[reason] += 1

    def _end(self, out: MarketRows, ts: int, recv: int) -> None:
        """The venue's event is over: the touch, if it changed."""
        self._open = None
        quote = (self._orders if self.orders else self._levels).quote() if self._known else NO_QUOTE
        if quote != self._written:
            out.at(self.symbol, ts, recv)
            out.quote(quote)
            self._written = quote
            self.counts.quotes += 1


def of_orders(order: Int64Array, side: Int64Array, price: Int64Array, seen: dict[int, int]) -> bool:
    """Some level has several orders; ``seen`` carries a level's order from call to call.

    Args:
        order, side, price: of deltas that put something there, int64 [n].
    """
    for key, number in zip((price * 4 + side).tolist(), order.tolist(), strict=True):
        if seen.setdefault(key, number) != number:
            return True
    return False
