"""The oracle of resting orders, held to cases worked by hand and to what must always hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings

from tests.oracle import NoClosingQuote
from tests.order_book import STEP
from tests.order_cases import A_SIDE_AT_A_TIME, CASES
from tests.order_markets import OrderMarket, order_markets, random_market
from tests.order_mirror import mirrored
from tests.order_oracle import simulate_orders
from tests.order_properties import CHECKS
from tests.order_records import Message, OrderRules, Place, Row
from tests.quote_cases import QUOTE_CASES
from tests.quote_markets import QuoteMarket, quote_markets, random_quotes
from tests.quote_oracle import simulate_quotes

pytestmark = pytest.mark.one_python

PROPERTIES = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    CASES[name](simulate_orders)


@pytest.mark.parametrize("name", sorted(CASES.keys() - A_SIDE_AT_A_TIME))
def test_case_mirrored(name: str) -> None:
    CASES[name](mirrored(simulate_orders))


@pytest.mark.parametrize("name", CHECKS)
def test_property(name: str) -> None:
    for seed in range(300):
        CHECKS[name](random_market(Random(seed)), simulate_orders)


@pytest.mark.parametrize("name", CHECKS)
@PROPERTIES
@given(market=order_markets())
def test_property_of_drawn_markets(name: str, market: OrderMarket) -> None:
    try:
        CHECKS[name](market, simulate_orders)
    except NoClosingQuote:
        return


@pytest.mark.parametrize("name", QUOTE_CASES)
def test_quote_case(name: str) -> None:
    QUOTE_CASES[name](simulate_quotes)


OF_QUOTES = (
    "resting_fills_take_what_was_printed_or_shown",
    "reports_and_fills_agree",
    "money_adds_up",
    "terms_are_what_they_say",
)


@PROPERTIES
@given(market=quote_markets())
def test_what_the_desk_sends_is_an_order_list(market: QuoteMarket) -> None:
    quoted = market.run()
    messages = tuple(message for _, message in quoted.messages)
    listed = replace(market.market, messages=messages)
    replayed = listed.run(simulate_orders)
    assert replayed.fills == quoted.fills
    assert replayed.reports == quoted.reports
    assert replayed.total == quoted.total
    for name in OF_QUOTES:
        CHECKS[name](listed, simulate_orders)


def test_places_only_advance() -> None:
    """While an order keeps its place; and nobody is behind more than is displayed."""
    kept = 0
    for seed in range(1000):
        market = random_market(Random(seed))
        places: dict[tuple[int, int], list[Place]] = {}
        for place in market.run(simulate_orders).places:
            places.setdefault((place.symbol, place.place), []).append(place)
        for track in places.values():
            for before, after in pairwise(track):
                if before.ahead is not None and after.ahead is not None:
                    kept += 1
                    assert after.ahead <= before.ahead
                assert before.ahead is None or after.ahead is not None, "once known, always known"
            if market.rules.model != "through":
                for place in track:
                    if place.displayed is not None and place.ahead is not None:
                        assert 0 <= place.ahead <= place.displayed
                        assert place.ahead * STEP % 1 == 0
    assert kept > 10_000


MATTERS = {
    "budget used up at the price", "budget used up through", "cancelled",
    "cancelled by cancel all", "capped", "credit", "cross displayed", "cross full",
    "crossed without an increase", "expired at a close", "expired at the end",
    "fall explained later", "filled at the price", "fok killed", "ioc rest cancelled",
    "joined above the touch", "joined at the touch", "joined unknown",
    "joined unknown, no touch", "jumped behind", "late cancel", "late replace", "paid consumed",
    "paid unknown", "print at a price that cannot fill", "queue used up",
    "rejected new: id is open", "rejected new: no quote", "rejected new: no session",
    "rejected new: post-only", "rejected new: self-trade", "rejected replace: post-only",
    "rejected replace: self-trade", "replaced by nothing", "replaced in place",
    "rest of a taker rests", "returned", "returned, capped", "self-trade cancelled", "slid",
    "slid by replace", "stood at", "stood behind", "stood better", "stood better than no touch",
    "taken by fok", "taken by gtc", "taken by ioc", "taken by replace",
    "through", "through, full", "unknown becomes known",
}  # fmt: skip

MATTERS_TO_THE_DESK = {
    "clipped", "no opinion", "one under way", "requoted", "resized", "sent cancel", "sent new",
    "sent replace", "silent side", "too soon", "uncrossed", "within the bands",
}  # fmt: skip


def test_the_markets_reach_every_branch() -> None:
    counts: Counter[str] = Counter()
    for seed in range(1000):
        counts += random_market(Random(seed)).run(simulate_orders).counts
    assert {name for name in MATTERS if counts[name] < 5} == set()


def test_the_quoting_markets_reach_every_branch() -> None:
    counts: Counter[str] = Counter()
    for seed in range(300):
        counts += random_quotes(Random(seed)).run().counts
    wanted = MATTERS_TO_THE_DESK | {"late cancel", "late replace", "slid", "replaced in place"}
    assert {name for name in wanted if counts[name] < 20} == set()


def test_a_position_that_cannot_be_closed_is_an_error() -> None:
    market = random_market(Random(0))
    rows = (Row(0, 0, 100, 101, 5, 5),)
    rules = OrderRules(sessions=((10, 30),), end=40)
    bought = (Message(0, 12, "new", 1, 1, 101, 1),)
    market = replace(market, rows=rows, messages=bought, rules=rules, response_of_row=(0,))
    with pytest.raises(NoClosingQuote):  # the quote stood before the session
        market.run(simulate_orders)
