"""What a market with depth displays, one symbol's levels, apart from the engine.

With single orders (L3) a level is the sum of the orders in it; otherwise it is what rows of depth
and the touches of quotes have stated last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.depth_records import DepthRow


@dataclass(frozen=True)
class Resting:
    """An order in the book; ``moment`` is when it came to the end of its level's queue.

    One that was ``restated``, put there by a snapshot, may have come at any time before.
    """

    side: int
    price: int
    size: int
    moment: int
    restated: bool


def moves(before: Resting, after: Resting) -> bool:
    """Whether an order loses its place."""
    return (before.side, before.price) != (after.side, after.price) or after.size > before.size


@dataclass
class Levels:
    """What is displayed: (side, price) → lots, and what own fills have taken of it since."""

    orders: bool
    size: dict[tuple[int, int], int] = field(default_factory=dict)
    taken: dict[tuple[int, int], int] = field(default_factory=dict)
    resting: dict[int, Resting] = field(default_factory=dict)
    complete: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.complete = {1: self.orders, -1: self.orders}

    def state(self, side: int, price: int, size: int) -> None:
        """A level displays that many lots from now on; none: it is gone."""
        level = side, price
        if size != self.size.get(level, 0):
            self.taken.pop(level, None)
        self.size.pop(level, None)
        if size > 0:
            self.size[level] = size

    def clear(self, side: int) -> None:
        """All levels of a side, of both for 0, are gone, and what it displays is unknown."""
        for one in (1, -1):
            if side in (0, one):
                self.complete[one] = False
                for level in [level for level in self.size if level[0] == one]:
                    self.state(*level, 0)
                there = [n for n, order in self.resting.items() if order.side == one]
                for number in there:
                    del self.resting[number]

    def quote(self, side: int, touch: tuple[int, int] | None) -> None:
        """The quote states its touch: nothing is better, and without one there is no level."""
        for level in [level for level in self.size if level[0] == side]:
            if touch is None or side * (level[1] - touch[0]) > 0:
                self.state(*level, 0)
        if touch is not None:
            self.state(side, *touch)

    def ladder(self, side: int, touch: int, limit: int) -> Iterator[tuple[int, int, int]]:
        """(price, size, taken) of the levels from a touch to a taker's limit, the best first."""
        there = [price for one, price in self.size if one == side]
        for price in sorted(there, key=lambda price: -side * price):
            if side * (touch - price) >= 0 and side * (price - limit) >= 0:
                level = side, price
                yield price, self.size[level], self.taken.get(level, 0)

    def take(self, side: int, price: int, lots: int) -> None:
        """Own fills take lots of a level, if it is there."""
        if (side, price) in self.size:
            self.taken[side, price] = self.taken.get((side, price), 0) + lots

    # Single orders

    def put(self, number: int, order: Resting | None) -> None:
        """An order stands there from now on, or is gone."""
        before = self.resting.pop(number, None)
        if order is not None:
            self.resting[number] = order
        for changed in (before, order):
            if changed is not None:
                level = changed.side, changed.price
                at = [o.size for o in self.resting.values() if (o.side, o.price) == level]
                self.state(*level, sum(at))

    def after(self, row: DepthRow, moment: int) -> Resting | None:
        """What the order of a row is after it; ``None`` if it is gone or never was."""
        before = self.resting.get(row.order_id)
        if row.action in ("cancel", "execute"):
            if before is None or before.size <= row.size:
                return None
            return replace(before, size=before.size - row.size)
        if row.size == 0:
            return None
        after = Resting(row.side, row.price, row.size, moment, row.snapshot)
        if before is None or moves(before, after):
            return after
        return replace(before, size=row.size)
