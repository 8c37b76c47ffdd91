"""Round trips: what was earned between flat and flat, or between two changes of side.

Since a round trip begins and ends without a position, first in, first out and average cost give the
same profit; prices of entry and exit are averages over lots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backtest.core.arrays import BoolArray, Float64Array, Int64Array
from backtest.core.arrow import Codes, integers
from backtest.trading.layout import LIMIT

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("symbol", "lots", "cash", "fees", "ts_venue")
"""The columns of the table ``fills`` that round trips are made of."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Some round trips.

    Attributes:
        symbol: number in ``RoundTripFollower.names``, int64 [n].
        side: 1 long, -1 short, int64 [n].
        entry, exit: ts_venue of the first and the last fill, ns, int64 [n].
        is_open: whether the position has not been closed, so that ``exit`` means nothing, bool [n].
        peak: the largest position in lots, without a sign, int64 [n].
        fills: how many, int64 [n]; one that goes through zero is in two round trips.
        position: signed lots that are still held, int64 [n].
        lots_in, lots_out: lots that entered and left, float64 [n].
        money_in, money_out: what they brought in before fees, units of money, float64 [n].
        gross, fees, net: profit before fees, fees and profit after them, units of money, float64
            [n]; of an open one, gross and net are the cash so far.
    """

    symbol: Int64Array
    side: Int64Array
    entry: Int64Array
    exit: Int64Array
    is_open: BoolArray
    peak: Int64Array
    fills: Int64Array
    position: Int64Array
    lots_in: Float64Array
    lots_out: Float64Array
    money_in: Float64Array
    money_out: Float64Array
    gross: Float64Array
    fees: Float64Array
    net: Float64Array

    def __len__(self) -> int:
        return len(self.symbol)


class RoundTripFollower:
    """Follows the position of each symbol through a run's fills, piece by piece.

    Its memory grows with the symbols alone.
    """

    def __init__(self) -> None:
        from backtest.trading import round_trip_loops as loops

        self._loops = loops
        self._codes = Codes()
        self._trips = np.zeros((0, loops.TRIP_SIZE), dtype=np.int64)
        self._amounts = np.zeros((0, 2, loops.AMOUNT_SIZE), dtype=np.int64)

    @property
    def names(self) -> list[str]:
        """The symbols so far, by number."""
        return self._codes.names

    def numbers(self, symbols: pa.Array) -> Int64Array:
        """The numbers of some symbols in ``names``, int64 [n]."""
        return self._codes(symbols)

    def add(self, fills: pa.RecordBatch) -> RoundTrips:
        """The round trips that end with some fills, in this order.

        Args:
            fills: the next rows of the table, with ``COLUMNS``.
        """
        loops, count = self._loops, len(fills)
        symbol = self._codes(fills["symbol"])
        self._grow(len(self.names))
        numbers = [np.require(integers(fills[name]), requirements="W") for name in COLUMNS[1:]]
        ended = np.empty((count, loops.TRIP_SIZE), dtype=np.int64)
        amounts = np.empty((count, 2, loops.AMOUNT_SIZE), dtype=np.int64)
        found = loops.follow(symbol, *numbers, self._trips, self._amounts, ended, amounts)
        return self._round_trips(ended[:found], amounts[:found])

    def rest(self) -> RoundTrips:
        """The positions that are still open after the last fill, by symbol.

        The market accountant closes all of them at the end of the window.
        """
        chosen = self._trips[:, self._loops.POSITION] != 0
        return self._round_trips(self._trips[chosen], self._amounts[chosen])

    def _grow(self, symbols: int) -> None:
        more = symbols - len(self._trips)
        if more > 0:
            room = max(more, len(self._trips))
            self._trips = np.pad(self._trips, ((0, room), (0, 0)))
            self._amounts = np.pad(self._amounts, ((0, room), (0, 0), (0, 0)))

    def _round_trips(self, trips: Int64Array, amounts: Int64Array) -> RoundTrips:
        at = self._loops

        def total(column: int) -> Float64Array:
            """The rest and how many whole ``LIMIT``s as one number each, float64 [n]."""
            return amounts[:, 0, column] + float(LIMIT) * amounts[:, 1, column]

        return RoundTrips(
            symbol=trips[:, at.SYMBOL],
            side=trips[:, at.SIDE],
            entry=trips[:, at.ENTRY],
            exit=trips[:, at.EXIT],
            is_open=trips[:, at.POSITION] != 0,
            peak=trips[:, at.PEAK],
            fills=trips[:, at.FILLS],
            position=trips[:, at.POSITION],
            lots_in=total(at.LOTS_IN),
            lots_out=total(at.LOTS_OUT),
            money_in=total(at.MONEY_IN),
            money_out=total(at.MONEY_OUT),
            gross=total(at.GROSS),
            fees=total(at.FEES),
            net=total(at.NET),
        )
