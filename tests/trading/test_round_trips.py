"""Round trips against a plain account that follows every lot by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.trading.layout import LIMIT
from backtest.trading.round_trips import COLUMNS, RoundTripFollower

WORTH = 5
"""Money of a half-tick-lot."""

SYMBOLS = ("AAA", "BBB")


@dataclass(frozen=True)
class Fill:
    """A fill at a time that is its place in the list."""

    symbol: str
    lots: int
    price: int
    fee: int

    @property
    def cash(self) -> int:
        return -self.lots * self.price * WORTH - self.fee


@dataclass
class Trip:
    """One round trip, lot by lot."""

    symbol: str
    side: int
    entry: int
    exit: int = -1
    peak: int = 0
    lots: int = 0
    fills: int = 0
    gross: int = 0
    queue: deque[int] = field(default_factory=deque)  # prices of the lots held, the oldest first


FILLS = st.lists(
    st.builds(
        Fill,
        st.sampled_from(SYMBOLS),
        st.integers(-4, 4).filter(bool),
        st.integers(-3, 9),
        st.integers(-5, 11),
    ),
    max_size=40,
)


def plain(fills: Sequence[Fill]) -> tuple[list[Trip], list[Trip]]:
    """Round trips that ended, in order, and those that are open: first in, first out."""
    held: dict[str, Trip] = {}
    ended: list[Trip] = []
    for when, fill in enumerate(fills):
        seen: list[Trip] = []
        side = 1 if fill.lots > 0 else -1
        for _ in range(abs(fill.lots)):
            trip = held.get(fill.symbol)
            if trip is None:
                trip = held[fill.symbol] = Trip(fill.symbol, side, when)
            if not any(trip is other for other in seen):
                seen.append(trip)
                trip.fills += 1
            if trip.side == side:
                trip.queue.append(fill.price)
                trip.lots += 1
                trip.peak = max(trip.peak, len(trip.queue))
            else:
                trip.gross += trip.side * (fill.price - trip.queue.popleft()) * WORTH
                if not trip.queue:
                    trip.exit = when
                    ended.append(held.pop(fill.symbol))
    return ended, [*held.values()]


def rows(fills: Sequence[Fill], first: int = 0) -> pa.RecordBatch:
    names = [fill.symbol for fill in fills]
    columns = (
        pa.array(names, pa.string()).dictionary_encode(),
        *(pa.array([getattr(f, name) for f in fills], pa.int64()) for name in ("lots", "cash")),
        pa.array([fill.fee for fill in fills], pa.int64()),
        pa.array(range(first, first + len(fills)), pa.int64()).cast(pa.timestamp("ns", "UTC")),
    )
    return pa.RecordBatch.from_arrays(list(columns), list(COLUMNS))


@given(FILLS, st.integers(1, 41))
def test_round_trips_are_those_of_a_plain_account(fills: list[Fill], piece: int) -> None:
    follower = RoundTripFollower()
    found = [follower.add(rows(fills[k : k + piece], k)) for k in range(0, len(fills), piece)]
    ended, still_open = plain(fills)
    mine = [
        (follower.names[s], side, entry, exit, peak, lots, count, gross)
        for trips in found
        for s, side, entry, exit, peak, lots, count, gross in zip(
            trips.symbol, trips.side, trips.entry, trips.exit, trips.peak, trips.lots_in,
            trips.fills, trips.gross, strict=True,
        )
    ]  # fmt: skip
    assert mine == [
        (t.symbol, t.side, t.entry, t.exit, t.peak, t.lots, t.fills, t.gross) for t in ended
    ]
    rest = follower.rest()
    left = {t.symbol: t.side * len(t.queue) for t in still_open}
    held = zip(rest.symbol, rest.position, strict=True)
    assert {follower.names[s]: lots for s, lots in held} == left
    assert rest.is_open.all()
    assert not any(trips.is_open.any() for trips in found)
    # Nothing is lost or counted twice: what was earned and what is tied up is the cash.
    for name, whole in (("net", "cash"), ("fees", "fee")):
        total = sum(getattr(trips, name).sum() for trips in [*found, rest])
        assert total == sum(getattr(fill, whole) for fill in fills)


def test_a_fill_through_zero_is_split_by_lots() -> None:
    follower = RoundTripFollower()
    trips = follower.add(rows([Fill("AAA", 2, 10, 0), Fill("AAA", -5, 12, 7)]))
    assert trips.gross.tolist() == [2 * 2 * WORTH]
    assert trips.fees.tolist() == [2]  # 7 x 2 / 5, rounded towards zero
    rest = follower.rest()
    assert (rest.position.tolist(), rest.fees.tolist()) == ([-3], [5])
    assert rest.money_in.tolist() == [3 * 12 * WORTH]


def test_sums_may_be_longer_than_64_bits() -> None:
    """Each fill fits, and so does what the round trip earns; what entered does not."""
    money = LIMIT - 2**53
    columns = [
        pa.array(["AAA"] * 8).dictionary_encode(),
        pa.array([1] * 4 + [-1] * 4, pa.int64()),
        pa.array([-money] * 4 + [money, money, money, money + 2**20], pa.int64()),
        pa.array([0] * 8, pa.int64()),
        pa.array(range(8), pa.int64()),
    ]
    trips = RoundTripFollower().add(pa.RecordBatch.from_arrays(columns, list(COLUMNS)))
    assert trips.net.tolist() == [2**20]
    assert trips.money_in[0] == pytest.approx(-4 * money)
    assert np.abs(trips.money_in[0]) > 2**63
