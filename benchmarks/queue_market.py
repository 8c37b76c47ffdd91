"""A market of price-time priority, told order by order: what really became of every order in it.

Limit orders come at geometric distances from the other side's best price; most live for
milliseconds and some for seconds, so that the young cancel more; market orders take what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

START = 1_700_000_000_000_000_000

MIDDLE = 10_000


@dataclass
class Resting:
    """An order in the book; ``open`` lots are left, ``filled`` were executed."""

    id: int
    side: int
    price: int
    open: int
    filled: int = 0


@dataclass(frozen=True)
class Change:
    """A row of depth: ``action`` as ``add``, ``execute``, ``cancel`` or ``modify``."""

    ts: int
    action: str
    id: int
    side: int
    price: int
    size: int


@dataclass
class Market:
    """Makes the changes, each instant but that of one market order apart from all others."""

    random: Random
    changes: list[Change] = field(default_factory=list)
    levels: dict[int, dict[int, list[Resting]]] = field(default_factory=lambda: {1: {}, -1: {}})
    ts: int = START
    ids: int = 0

    def best(self, side: int) -> int:
        """The best price of a side; beyond the middle where there is none."""
        prices = self.levels[side]
        if not prices:
            return MIDDLE - side * 20
        return max(prices) if side > 0 else min(prices)

    def play(self, count: int) -> None:
        """Make about that many changes."""
        random, due = self.random, []
        while len(self.changes) < count:
            self.ts += 1 + int(random.expovariate(1 / 400_000))
            due.sort(key=lambda ends: -ends[0])
            while due and due[-1][0] <= self.ts:
                self._leave(due.pop()[1])
                self.ts += 1 + int(random.expovariate(1 / 400_000))
            if random.random() < 0.16:
                self._take(random.choice((1, -1)), 1 + int(random.expovariate(1 / 6)))
                continue
            order = self._add()
            mean = 20e6 if random.random() < 0.6 else 3e9
            due.append((self.ts + int(random.expovariate(1 / mean)), order))

    def _say(self, action: str, order: Resting, size: int) -> None:
        self.changes.append(Change(self.ts, action, order.id, order.side, order.price, size))

    def _add(self) -> Resting:
        random = self.random
        side, away = random.choice((1, -1)), 1
        while random.random() < 0.6 and away < 12:
            away += 1
        price = self.best(-side) - side * away
        self.ids += 1
        order = Resting(self.ids, side, price, 1 + int(random.expovariate(1 / 4)))
        self.levels[side].setdefault(price, []).append(order)
        self._say("add", order, order.open)
        return order

    def _remove(self, order: Resting) -> None:
        level = self.levels[order.side][order.price]
        level.remove(order)
        if not level:
            del self.levels[order.side][order.price]

    def _leave(self, order: Resting) -> None:
        """Most cancel, some cancel a part, some go to another price."""
        random = self.random
        if order.open == 0:
            return
        what = random.random()
        price = self.best(-order.side) - order.side * random.randint(1, 4)
        if what < 0.1 and order.open > 1:
            lots = random.randrange(1, order.open)
            order.open -= lots
            self._say("cancel", order, lots)
        elif what < 0.2 and price != order.price:
            self._remove(order)
            order.price = price
            self.levels[order.side].setdefault(price, []).append(order)
            self._say("modify", order, order.open)
        else:
            self._remove(order)
            self._say("cancel", order, order.open)
            order.open = 0

    def _take(self, side: int, lots: int) -> None:
        """A market order of a buyer (1) or a seller takes what rests, the best price first."""
        while lots > 0 and len(self.levels[-side]) > 1:
            order = self.levels[-side][self.best(-side)][0]
            some = min(lots, order.open)
            lots -= some
            order.open -= some
            order.filled += some
            self._say("execute", order, some)
            if order.open == 0:
                self._remove(order)


@dataclass(frozen=True)
class Sent:
    """A message about an order that was taken out: ``new``, ``replace`` or ``cancel``."""

    ts: int
    action: str
    id: int
    side: int
    price: int
    total: int


@dataclass(frozen=True)
class TakenOut:
    """A market without some of its orders.

    Attributes:
        changes: those of the other orders, and all executions.
        sent: what the trader of the orders taken out did.
        executed: (ts, lots) of each of them, in the order of time.
    """

    changes: Sequence[Change]
    sent: Sequence[Sent]
    executed: dict[int, list[tuple[int, int]]]


def take_out(changes: Iterable[Change], ids: frozenset[int]) -> TakenOut:
    """Take orders out; their executions stay, as ones of orders that nobody displayed."""
    kept, sent = [], []
    executed: dict[int, list[tuple[int, int]]] = {number: [] for number in ids}
    left: dict[int, int] = {}
    done = dict.fromkeys(ids, 0)
    for change in changes:
        number = change.id
        if number not in ids:
            kept.append(change)
        elif change.action == "add":
            left[number] = change.size
            sent.append(Sent(change.ts, "new", number, change.side, change.price, change.size))
        elif change.action == "execute":
            kept.append(change)
            left[number] -= change.size
            done[number] += change.size
            executed[number].append((change.ts, change.size))
        else:
            left[number] = change.size if change.action == "modify" else left[number] - change.size
            action = "replace" if left[number] else "cancel"
            total = done[number] + left[number]
            sent.append(Sent(change.ts, action, number, change.side, change.price, total))
    return TakenOut(kept, sent, executed)
