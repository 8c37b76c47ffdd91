"""What a strategy that sends its own orders knows: positions, working orders, quotes, reports."""

from __future__ import annotations

from dataclasses import dataclass, fields

from backtest.core.arrays import BoolArray, Int64Array
from backtest.market.order_codes import REPORTS
from backtest.market.quotes import Quotes


@dataclass(frozen=True, slots=True, eq=False)
class WorkingOrders:
    """Orders that work as far as reports have told, by symbol and then by id, int64 [n].

    Attributes:
        symbol: index into the session's symbols.
        id: unique among a symbol's orders.
        side: +1 buy, -1 sell.
        price: ticks.
        total: lots of the order, those that are filled included.
        filled: lots.
    """

    symbol: Int64Array
    id: Int64Array
    side: Int64Array
    price: Int64Array
    total: Int64Array
    filled: Int64Array

    def __len__(self) -> int:
        return len(self.id)

    @property
    def open(self) -> Int64Array:
        """Lots that are not filled, int64 [n]."""
        return self.total - self.filled

    def select(self, rows: Int64Array | BoolArray) -> WorkingOrders:
        """Some of them."""
        return WorkingOrders(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Desk:
    """What the trader knows at an instant; the arrays cannot be written to.

    Attributes:
        position: lots held as far as fills have been reported, int64 [S].
        unresolved: lots of buys and of sells that may still be filled as far as is known, int64
            [S, 2]: of all orders that were sent and of whose end no report has told.
        working: orders that work.
        quotes: each symbol's newest quote that has been received, [S]: a side that is absent is
            ``NO_PRICE``, and ``ts_event`` is ``NO_TIME`` where none has come.
    """

    position: Int64Array
    unresolved: Int64Array
    working: WorkingOrders
    quotes: Quotes


@dataclass(frozen=True, slots=True, eq=False)
class Reports:
    """What the venue has reported, by when it became known, then by symbol, int64 [n].

    Attributes:
        known: when the report arrived, ns.
        symbol: index into the session's symbols.
        kind: index into ``backtest.market.order_codes.REPORTS``; see ``are``.
        id: of the order; -2 of what a switch of the limits has flattened.
        side: of the order, +1 buy, -1 sell; 0 of a cancel that came too late.
        lots: of a fill, those filled; of an order cancelled or expired, those left; else its total.
        price: ticks; of ``took`` what was paid, impact not included, else the order's.
        total: lots of the order, those that are filled included.
    """

    known: Int64Array
    symbol: Int64Array
    kind: Int64Array
    id: Int64Array
    side: Int64Array
    lots: Int64Array
    price: Int64Array
    total: Int64Array

    def __len__(self) -> int:
        return len(self.known)

    def are(self, *kinds: str) -> BoolArray:
        """Which of them are of some kinds, bool [n].

        Args:
            kinds: ``accepted``, ``rejected``, ``filled``, ``took``, ``cancelled``, ``replaced``,
                ``expired``, ``late`` or ``flattened``.

        Raises:
            ValueError: there is no such kind.
        """
        found: BoolArray = self.kind < 0
        for kind in kinds:
            found = found | (self.kind == REPORTS.index(kind))
        return found

    @property
    def fills(self) -> BoolArray:
        """Which of them are fills, of orders that rested or took or of a switch, bool [n]."""
        return self.are("filled", "took", "flattened")

    def select(self, rows: Int64Array | BoolArray) -> Reports:
        """Some of them."""
        return Reports(*(getattr(self, f.name)[rows] for f in fields(self)))
