"""The oracle of resting orders on depth, held to cases worked by hand and to what must hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings

from tests.depth_cases import CASES
from tests.depth_fifo import market_of, random_street
from tests.depth_markets import (
    level_markets,
    order_depth_markets,
    random_depth_quotes,
    random_levels,
    random_orders,
)
from tests.depth_play import level, split
from tests.depth_properties import CHECKS, filled_by, fixed_orders, repeated
from tests.depth_records import Depth, DepthRow
from tests.depth_truth import late_orders, taken_out
from tests.oracle import NoClosingQuote
from tests.order_book import STEP
from tests.order_cases import q, sold
from tests.order_markets import OrderMarket
from tests.order_mirror import mirrored
from tests.order_oracle import simulate_orders
from tests.order_records import Message, OrderRules, Place, Row
from tests.quote_oracle import simulate_quotes

PROPERTIES = settings(max_examples=20, deadline=None, derandomize=True, database=None)

MARKETS = {"levels": random_levels, "orders": random_orders}

DRAWN = {"levels": level_markets(), "orders": order_depth_markets()}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    CASES[name](simulate_orders)


@pytest.mark.parametrize("name", CASES)
def test_case_mirrored(name: str) -> None:
    CASES[name](mirrored(simulate_orders))


def test_l3_needs_orders() -> None:
    for depth in (None, Depth()):
        with pytest.raises(ValueError, match="l3 needs depth with orders"):
            simulate_orders([q(0)], [], OrderRules(model="l3"), [0], depth=depth)


def held(check: Callable[..., None], market: OrderMarket) -> None:
    """Hold a market to a property, unless it cannot be closed."""
    try:
        check(market, simulate_orders)
    except NoClosingQuote:
        return


@pytest.mark.parametrize("kind", MARKETS)
@pytest.mark.parametrize("name", CHECKS)
def test_property(name: str, kind: str) -> None:
    for seed in range(80):
        held(CHECKS[name], MARKETS[kind](Random(seed)))


@pytest.mark.parametrize("name", CHECKS)
@PROPERTIES
@given(market=DRAWN["levels"] | DRAWN["orders"])
def test_property_of_drawn_markets(name: str, market: OrderMarket) -> None:
    held(CHECKS[name], market)


@pytest.mark.parametrize("kind", MARKETS)
def test_places_only_advance(kind: str) -> None:
    """While an order keeps its place; and nobody is behind more than is displayed."""
    kept = 0
    for seed in range(250):
        market = MARKETS[kind](Random(seed))
        places: dict[tuple[int, int], list[Place]] = {}
        try:
            result = market.run(simulate_orders)
        except NoClosingQuote:
            continue
        for place in result.places:
            places.setdefault((place.symbol, place.place), []).append(place)
        for track in places.values():
            for before, after in pairwise(track):
                if before.ahead is not None and after.ahead is not None:
                    kept += 1
                    assert after.ahead <= before.ahead
                assert before.ahead is None or after.ahead is not None, "once known, always known"
            for place in track:
                if place.ahead is not None:
                    assert place.ahead * STEP % 1 == 0
                    if place.displayed is not None and market.rules.model != "through":
                        assert 0 <= place.ahead <= place.displayed
    assert kept > 10_000


@pytest.mark.parametrize("snapshots", [0, 0.05])
def test_l3_fills_no_later_than_trades(snapshots: float) -> None:
    """One fixed order in queues that are first in, first out, whether told by orders or levels."""
    orders = filled = 0
    for seed in range(100):
        random = Random(seed)
        street = random_street(random, snapshots=snapshots)
        by_order = market_of(street.by_order, orders=True)
        by_level = market_of(street.by_level, orders=False)
        for order in fixed_orders(random, by_order, 4):
            exact = filled_by(by_order, order, "l3", simulate_orders)
            least = filled_by(by_order, order, "through", simulate_orders)
            trades = filled_by(by_order, order, "trades", simulate_orders)
            collapsed = filled_by(by_level, order, "trades", simulate_orders)
            most = filled_by(by_order, order, "optimistic", simulate_orders)
            for lower, upper in pairwise((least, collapsed, trades, exact, most)):
                assert all(a <= b for a, b in zip(lower, upper, strict=True))
            orders += 1
            filled += exact[-1]
    assert orders == 400
    assert filled > 250


def test_orders_taken_out_of_the_market_are_filled_as_they_were() -> None:
    """Row by row, under l3: one order at a time, and several that queue among each other."""
    executed = 0
    for seed in range(300):
        random = Random(seed)
        street = random_street(random, apart=True)
        late = late_orders(street)
        for k in (1, 3):
            numbers = frozenset(random.sample(late, min(k, len(late))))
            market, expected = taken_out(street, numbers)
            fills = market.run(simulate_orders).fills
            found = {n: [(f.ts, abs(f.lots)) for f in fills if f.id == n] for n in numbers}
            assert found == expected
            executed += sum(map(len, expected.values()))
    assert executed > 500


def test_after_a_snapshot_orders_taken_out_are_filled_no_earlier() -> None:
    """Who of those restated stood ahead is not known any more."""
    executed = filled = 0
    for seed in range(600):
        random = Random(seed)
        street = random_street(random, apart=True, snapshots=0.15)
        numbers = frozenset(late_orders(street)[:1])
        market, expected = taken_out(street, numbers)
        number = min(numbers, default=0)
        fills = [(f.ts, abs(f.lots)) for f in market.run(simulate_orders).fills]
        for t in {ts for ts, _ in fills}:
            found = sum(lots for ts, lots in fills if ts <= t)
            assert found <= sum(lots for ts, lots in expected[number] if ts <= t)
        executed += sum(lots for _, lots in expected.get(number, ()))
        filled += sum(lots for _, lots in fills)
    assert executed > 200
    assert filled > executed / 2


def test_depth_that_repeats_the_quotes_changes_nothing() -> None:
    """Where no order rests behind the touch, and no side is absent."""
    fills = 0
    for seed in range(400):
        without, with_depth = repeated(Random(seed))
        try:
            expected = without.run(simulate_orders)
        except NoClosingQuote:
            continue
        found = with_depth.run(simulate_orders)
        assert found.fills == expected.fills
        assert found.reports == expected.reports
        fills += len(found.fills)
    assert fills > 1000


def test_where_depth_that_repeats_the_quotes_says_more() -> None:
    """Why the test before leaves these out: there, the rules with and without depth differ."""

    def filled(*steps: Row | DepthRow, model: str) -> tuple[int, int]:
        """Lots that an order of 9 at 100 gets without depth and with it."""
        rows, depth = split(steps)
        order, rules = [Message(0, 1, "new", 1, 1, 100, 9)], OrderRules(model=model, end=50)
        lots = []
        for known in (None, depth):
            found = simulate_orders(rows, order, rules, [0] * len(rows), depth=known)
            lots.append(sum(fill.lots for fill in found.fills))
        return lots[0], lots[1]

    # A touch without lots is no level, and where none is, the place is not known.
    empty = q(0, b=0), level(0, 100, 0), sold(10, 100, 3, b=0)
    assert filled(*empty, model="trades") == (3, 0)
    # A bid that is gone takes its level with it; without depth that says nothing of the queue.
    gone = q(0), level(0, 100, 10), q(5, bid=None), sold(10, 100, 3, bid=None)
    assert filled(*gone, model="trades") == (0, 3)
    # A touch that comes back smaller only caps; with depth, its level has fallen meanwhile.
    back = q(0), q(2, b=20), q(5, bid=101), q(8, b=12), level(8, 100, 12), sold(10, 100, 9)
    assert filled(*back, model="power:1") == (0, 3)


def test_what_a_desk_sends_is_an_order_list() -> None:
    fills = 0
    for seed in range(100):
        quotes = random_depth_quotes(Random(seed))
        try:
            quoted = quotes.run(simulate_quotes)
        except NoClosingQuote:
            continue
        messages = tuple(message for _, message in quoted.messages)
        replayed = replace(quotes.market, messages=messages).run(simulate_orders)
        assert replayed.fills == quoted.fills
        assert replayed.reports == quoted.reports
        fills += len(quoted.fills)
    assert fills > 100


MATTERS = {
    "levels": {
        "budget used up at the price", "cross displayed", "cross full", "depth: capped",
        "depth: capped by a snapshot", "depth: clear", "depth: credit", "depth: crossed a level",
        "depth: gone by a quote", "depth: joined behind the touch", "depth: joined unknown",
        "depth: joined without a touch", "depth: snapshot ends", "depth: stated by a quote",
        "depth: took behind the touch", "depth: took what was left of a level",
        "depth: unknown becomes 0", "depth: unknown becomes known",
        "depth: unknown until a snapshot", "filled at the price", "fok killed", "paid consumed",
        "paid unknown", "taken by fok", "taken by gtc", "taken by ioc", "taken by replace",
        "through", "through, full",
    },
    "orders": {
        "cross displayed", "depth: capped", "depth: capped by a snapshot", "depth: clear",
        "depth: credit", "depth: crossed a level", "depth: joined behind the touch",
        "depth: joined unknown", "depth: joined without a touch", "depth: snapshot ends",
        "depth: took behind the touch", "depth: took what was left of a level",
        "depth: unknown until a snapshot", "filled at the price", "l3: advanced",
        "l3: left from behind", "l3: at an unknown place", "l3: behind", "l3: past those ahead",
        "l3: through", "l3: through, full", "orders: joined a part of a level", "paid consumed",
        "taken by fok", "taken by gtc", "taken by ioc", "taken by replace",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", MARKETS)
def test_the_markets_reach_every_branch(kind: str) -> None:
    counts: Counter[str] = Counter()
    for seed in range(800):
        try:
            counts += MARKETS[kind](Random(seed)).run(simulate_orders).counts
        except NoClosingQuote:
            continue
    assert {name for name in MATTERS[kind] if counts[name] < 5} == set()
