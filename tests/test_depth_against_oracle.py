"""The engine's venue on depth is the oracle's, on levels and on single orders, fill by fill."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given

from tests.depth_cases import CASES
from tests.depth_markets import (
    depth_quote_markets,
    level_markets,
    order_depth_markets,
    random_depth_quotes,
    random_levels,
    random_orders,
)
from tests.order_engine import simulate_orders as engine
from tests.order_markets import OrderMarket
from tests.order_mirror import mirrored
from tests.quote_markets import QuoteMarket
from tests.test_orders_against_oracle import PROPERTIES, agree, quotes_agree

CHUNKS = (1, 3, 7, 64)


@pytest.mark.parametrize("name", sorted(CASES))
def test_case(name: str) -> None:
    CASES[name](engine)


@pytest.mark.parametrize("name", sorted(CASES))
def test_case_mirrored(name: str) -> None:
    CASES[name](mirrored(engine))


def test_random_lists_agree_on_levels() -> None:
    for seed in range(600):
        random = Random(seed)
        agree(random_levels(random), random.choice(CHUNKS))


def test_random_lists_agree_on_single_orders() -> None:
    for seed in range(800):
        random = Random(seed)
        agree(random_orders(random), random.choice(CHUNKS))


def test_random_quotes_agree_on_depth() -> None:
    for seed in range(400):
        random = Random(seed)
        quotes_agree(random_depth_quotes(random), random.choice(CHUNKS))


@PROPERTIES
@given(market=level_markets())
def test_drawn_lists_agree_on_levels(market: OrderMarket) -> None:
    agree(market, 5)


@PROPERTIES
@given(market=order_depth_markets())
def test_drawn_lists_agree_on_single_orders(market: OrderMarket) -> None:
    agree(market, 5)


@PROPERTIES
@given(market=depth_quote_markets())
def test_drawn_quotes_agree_on_depth(market: QuoteMarket) -> None:
    quotes_agree(market, 5)
