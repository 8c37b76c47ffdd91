"""The rows of depth of the oracle of resting limit orders: levels (L2) or single orders (L3).

Prices are ticks, sizes lots, times ns. ``side`` is +1 for bids and -1 for asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

OrderAction = Literal["add", "execute", "cancel", "modify"]


@dataclass(frozen=True)
class DepthRow:
    """What a level displays from now on or, with an ``action``, what became of an order.

    It lies after event number ``follows`` - 1 of the market and before event number ``follows``.
    ``clear`` takes all levels of the side, of both where ``side`` is 0, and states none.
    ``snapshot`` restates what was there; with ``last`` beside it the snapshot ends.
    """

    symbol: int
    ts: int
    follows: int
    side: int
    price: int = 0
    size: int = 0
    snapshot: bool = False
    clear: bool = False
    last: bool = False
    order_id: int = 0
    action: OrderAction | None = None


@dataclass(frozen=True)
class Depth:
    """All rows of a market, in bus order; with ``orders`` they are of single orders (L3)."""

    rows: tuple[DepthRow, ...] = ()
    orders: bool = False

    def each(self, change: Callable[[DepthRow], DepthRow]) -> Depth:
        """The same with every row changed."""
        return replace(self, rows=tuple(change(row) for row in self.rows))

    def mirrored(self) -> Depth:
        """Bids for asks, every price negated."""
        return self.each(lambda row: replace(row, side=-row.side, price=-row.price))

    def shifted(self, by: int) -> Depth:
        """All prices that many ticks up."""
        return self.each(lambda row: replace(row, price=row.price + by))

    def scaled(self, k: int) -> Depth:
        """All sizes k-fold."""
        return self.each(lambda row: replace(row, size=k * row.size))

    def renamed(self, names: Callable[[int], int]) -> Depth:
        """Other names for the orders of the market."""
        return self.each(lambda row: replace(row, order_id=names(row.order_id)))

    def of_symbol(self, symbol: int, kept: Sequence[int]) -> Depth:
        """One symbol's rows, where of all events only those with the numbers ``kept`` are left."""
        rows = [row for row in self.rows if row.symbol == symbol]
        return replace(
            self,
            rows=tuple(
                replace(row, follows=sum(number < row.follows for number in kept)) for row in rows
            ),
        )
