"""The rows, messages, orders, fills and reports of the oracle of resting limit orders.

Prices of orders and quotes are ticks, prices of fills half ticks, sizes lots, times ns. ``side`` is
+1 for buys and -1 for sells.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from tests.oracle import Event, Sessions

FLATTENED = -2
"""In place of an order's id: a switch did it."""

Action = Literal["new", "cancel", "cancel_all", "replace"]
Tif = Literal["gtc", "ioc", "fok"]
PostOnly = Literal["no", "reject", "slide"]
Kind = Literal["accepted", "rejected", "filled", "cancelled", "replaced", "expired", "late"]


@dataclass(frozen=True)
class Row:
    """A row of a market in bus order: first a print, if it has one, then the quote after it.

    ``aggressor`` is +1 for the buyer, -1 for the seller; 0 and ``None`` are unknown.
    """

    symbol: int
    ts: int
    bid: int | None
    ask: int | None
    bid_size: int
    ask_size: int
    trade_price: int | None = None
    trade_size: int = 0
    aggressor: int | None = None

    def event(self) -> Event:
        """The quote of the row."""
        return Event(self.symbol, self.ts, self.bid, self.ask, self.bid_size, self.ask_size)


@dataclass(frozen=True)
class Message:
    """What a trader sends; ``instants`` are t0 to t3, all ``sent`` where they are not given.

    ``side`` is 0 for both sides in ``cancel_all``; ``latency`` is that of this message to the venue
    and ``response`` that of the venue's reports on it.
    """

    symbol: int
    sent: int
    action: Action
    id: int = 0
    side: int = 0
    price: int = 0
    total: int = 0
    tif: Tif = "gtc"
    post_only: PostOnly = "no"
    latency: int = 0
    response: int = 0
    instants: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class OrderRules:
    """How the venue fills.

    ``model`` is through, trades, power:1 to power:4, optimistic or, where there is depth with
    orders, l3.
    """

    model: str = "trades"
    through_fill: Literal["volume", "full"] = "volume"
    cross: Literal["displayed", "none", "full"] = "displayed"
    inside: Literal["none", "both"] = "none"
    pairing: int = 0
    stp: Literal["cancel-resting", "reject"] = "cancel-resting"
    sessions: Sessions | None = None
    end: int = 2**62


@dataclass(frozen=True)
class Fill:
    """A fill, in signed lots; the terms from ``cash`` on are money, 0 until they are booked.

    ``row`` is the number of the row that filled a resting order, or at which a switch flattened,
    whose ``id`` is ``FLATTENED``; ``None`` for takers and for the position that the window's end
    closes, whose ``id`` is 0. Where a row of depth did, ``depth`` is its number and ``row`` that of
    the first event after it, which may be beyond the last.
    """

    symbol: int
    id: int
    ts: int
    lots: int
    price_half_ticks: int
    maker: bool
    t0: int
    t1: int
    t2: int
    t3: int
    t4: int
    impact_half_ticks: int = 0
    row: int | None = None
    depth: int | None = None
    cash: int = 0
    decision: int = 0
    feed: int = 0
    queueing: int = 0
    service: int = 0
    entry: int = 0
    rest: int = 0
    spread: int = 0
    impact: int = 0
    fees: int = 0
    ahead: int | None = None
    """Of a maker: lots that were ahead when its place became known; ``None``: it never was."""
    printed: int | None = None
    """Lots printed at its price since then, those of this fill's row included."""


@dataclass(frozen=True)
class Report:
    """What the trader hears at ``known``; ``price`` in ticks, ``lots`` unsigned.

    ``lots`` is the total of an order accepted or replaced, the lots of a fill, and the open lots of
    an order cancelled or expired; lots and price are 0 in rejected and late. ``number`` is that of
    the message, counted by symbol from 0, that this answers or results from; ``None`` for fills of
    resting orders and for expiry.
    """

    symbol: int
    ts: int
    known: int
    id: int
    kind: Kind
    lots: int = 0
    price: int = 0
    maker: bool = False
    number: int | None = None


@dataclass
class Order:
    """An open order; what is below ``place`` belongs to its place in the queue."""

    id: int
    side: int
    price: int
    total: int
    post_only: PostOnly
    close: int | None
    instants: tuple[int, int, int, int]
    filled: int = 0
    arrival: int = 0
    place: int = -1
    """Order of arrival of the message that gave the place."""
    ahead: Fraction | None = None
    """Lots before it at its price; ``None`` while unknown."""
    seen: int = 0
    traded: int = 0
    away: bool = True
    paid: Fraction | float = 0
    """Lots by which quotes lowered ``ahead`` and that a print may still explain; may be inf."""
    fallen: int = 0
    paid_until: int = 0
    moment: int = 0
    """How many rows of depth there had been when it took its place."""
    joined: int | None = None
    """``ahead`` when it became known, where anything fills at the order's price."""
    printed: int = 0
    """Lots printed at its price since then."""

    @property
    def open(self) -> int:
        """Lots that are not filled."""
        return self.total - self.filled


@dataclass(frozen=True)
class Place:
    """Where an order stood in the queue after row ``row`` or, on joining, after the row before."""

    symbol: int
    id: int
    place: int
    row: int
    ahead: Fraction | None
    displayed: int | None
    """Size shown at its price; ``None`` where its price is not the valid touch."""


@dataclass(frozen=True)
class Stood:
    """How own orders of a side stood from ``ts`` on: the best one against the touch, and all lots.

    ``where`` is at, behind, better (than the touch, or than none) or none.
    """

    ts: int
    where: str
    lots: int


def standing(stood: list[Stood]) -> dict[str, int]:
    """ns spent at the touch, behind it and better than it, and the sum of open lots x ns."""
    found = {"at": 0, "behind": 0, "better": 0, "none": 0, "lot_ns": 0}
    for here, there in pairwise(stood):
        found[here.where] += there.ts - here.ts
        found["lot_ns"] += here.lots * (there.ts - here.ts)
    del found["none"]
    return found
