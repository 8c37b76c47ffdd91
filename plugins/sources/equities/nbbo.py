"""The national best bid and offer, from rows that quote one side at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array

ABSENT_BID = -1
ABSENT_ASK = 2**62


@dataclass(frozen=True)
class QuoteRows:
    """Rows of a quote file, in order.

    Attributes:
        time: any unit, int64 [n].
        bid, ask: price; 0 where the row does not quote that side, int64 [n].
        bid_size, ask_size: int64 [n]; 0 beside a price withdraws the side.
        exchange: number of the exchange, int64 [n].
    """

    time: Int64Array
    bid: Int64Array
    bid_size: Int64Array
    ask: Int64Array
    ask_size: Int64Array
    exchange: Int64Array

    def __len__(self) -> int:
        return len(self.time)

    def slice(self, start: int, stop: int | None) -> QuoteRows:
        """Rows from ``start`` up to ``stop``, as views."""
        return QuoteRows(*(column[start:stop] for column in self._columns()))

    def followed_by(self, later: QuoteRows) -> QuoteRows:
        """These rows and the later ones."""
        pairs = zip(self._columns(), later._columns(), strict=True)
        return QuoteRows(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> tuple[Int64Array, ...]:
        return self.time, self.bid, self.bid_size, self.ask, self.ask_size, self.exchange

    def withdraw_all(self) -> BoolArray:
        """Rows of zeros, which withdraw both sides."""
        return (self.bid == 0) & (self.ask == 0)


@dataclass(frozen=True)
class Best:
    """The best bid and ask after each row, [n]; ``ABSENT_BID`` and ``ABSENT_ASK`` if none."""

    bid: Int64Array
    bid_size: Int64Array
    ask: Int64Array
    ask_size: Int64Array


@dataclass
class Book:
    """The NBBO of one symbol, brought forward a chunk of rows at a time.

    Args:
        rule: as ``UsEquitiesTicks.quotes``.
    """

    rule: Literal["national", "exchange"]
    _last: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)

    def update(self, rows: QuoteRows) -> Best:
        """The NBBO after each of the rows, those of earlier calls included."""
        if self.rule == "national":
            return self._own(rows, 0, np.ones(len(rows), dtype=np.bool_))
        # Each exchange's quote is held at every row, and the best of them all is kept.
        best = Best(*(np.zeros(len(rows), dtype=np.int64) for _ in range(4)))
        best.bid[:], best.ask[:] = ABSENT_BID, ABSENT_ASK
        for exchange in sorted({*self._last, *np.unique(rows.exchange).tolist()}):
            own = self._own(rows, exchange, rows.exchange == exchange)
            _join(best.bid, best.bid_size, own.bid, own.bid_size, own.bid > best.bid)
            _join(best.ask, best.ask_size, own.ask, own.ask_size, own.ask < best.ask)
        return best

    def _own(self, rows: QuoteRows, exchange: int, quoted: BoolArray) -> Best:
        """One exchange's quote after each row, of which some are its own."""
        bid, bid_size, ask, ask_size = self._last.get(exchange, (ABSENT_BID, 0, ABSENT_ASK, 0))
        both = rows.withdraw_all()
        side = (quoted & ((rows.bid > 0) | both), quoted & ((rows.ask > 0) | both))
        # A price without a size withdraws the side.
        shown = np.where(rows.bid_size > 0, rows.bid, ABSENT_BID)
        bids = _held(shown, side[0], bid), _held(rows.bid_size, side[0], bid_size)
        shown = np.where(rows.ask_size > 0, rows.ask, ABSENT_ASK)
        asks = _held(shown, side[1], ask), _held(rows.ask_size, side[1], ask_size)
        if len(rows):
            bid, bid_size, ask, ask_size = (int(column[-1]) for column in (*bids, *asks))
            self._last[exchange] = bid, bid_size, ask, ask_size
        return Best(*bids, *asks)


def half_quoted(rows: QuoteRows, rule: Literal["national", "exchange"]) -> BoolArray:
    """Bid rows whose ask row follows in the same instant, bool [n - 1]."""
    now, then = rows.slice(0, -1), rows.slice(1, None)
    pair = (now.time == then.time) & (now.bid > 0) & (now.ask == 0)
    pair &= (then.bid == 0) & (then.ask > 0)
    return pair if rule == "national" else pair & (now.exchange == then.exchange)


def _held(values: Int64Array, quoted: BoolArray, last: int) -> Int64Array:
    """The newest quoted value at each row, [n]."""
    # The running maximum of row numbers is the last row that quotes the side, or -1 if none yet.
    row = np.maximum.accumulate(np.where(quoted, np.arange(len(values)), -1))
    return np.where(row >= 0, values[row], last)


def _join(
    best: Int64Array, size: Int64Array, own: Int64Array, own_size: Int64Array, better: BoolArray
) -> None:
    """Bring one exchange's side into the best: a better price replaces it, an equal one adds."""
    size += np.where(own == best, own_size, 0)
    size[better] = own_size[better]
    best[better] = own[better]
