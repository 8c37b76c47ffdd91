"""The engine's venue of resting orders is the oracle's: every fill, every report, all money."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings

from tests.oracle import NoClosingQuote
from tests.order_cases import A_SIDE_AT_A_TIME, CASES
from tests.order_engine import simulate_orders as engine
from tests.order_engine import simulate_quotes as quoting_engine
from tests.order_markets import OrderMarket, order_markets, random_market
from tests.order_mirror import mirrored
from tests.order_oracle import Result
from tests.order_oracle import simulate_orders as oracle
from tests.quote_markets import QuoteMarket, quote_markets, random_quotes

PROPERTIES = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def sent_at_once(market: OrderMarket) -> OrderMarket:
    """The market with messages whose instants are all that of sending, as those of a list."""
    return replace(market, messages=tuple(replace(m, instants=None) for m in market.messages))


def seen(result: Result) -> dict[str, object]:
    """What the engine knows of a result."""
    return {
        "fills": [replace(f, row=None, depth=None, impact_half_ticks=0) for f in result.fills],
        "closes": result.closes,
        "reports": [replace(report, number=None) for report in result.reports],
        "by_symbol": result.by_symbol,
        "total": result.total,
        "standing": result.standing,
    }


def agree(market: OrderMarket, chunk: int) -> None:
    market = sent_at_once(market)

    def in_chunks(*arguments: object, **options: object) -> Result:
        return engine(*arguments, **options, chunk=chunk)  # type: ignore[arg-type]

    compare(lambda: market.run(oracle), lambda: market.run(in_chunks))


def quotes_agree(market: QuoteMarket, chunk: int) -> None:
    market = replace(market, response=market.market.response_of_row)

    def in_chunks(*arguments: object, **options: object) -> Result:
        return quoting_engine(*arguments, **options, chunk=chunk)  # type: ignore[arg-type]

    compare(market.run, lambda: market.run(in_chunks))


def compare(expected: Callable[[], Result], found: Callable[[], Result]) -> None:
    """Hold one result against the other."""
    try:
        theirs = seen(expected())
    except NoClosingQuote:
        with pytest.raises(NoClosingQuote):
            found()
        return
    mine = seen(found())
    for name, values in theirs.items():
        assert mine[name] == values, name


OF_SEVERAL_INSTANTS = {"a_replace_takes_and_rests", "where_the_money_went"}
"""Cases whose messages have instants before they are sent, which those of a list have not; the
quotes below have them."""


@pytest.mark.parametrize("name", sorted(CASES.keys() - OF_SEVERAL_INSTANTS))
def test_case(name: str) -> None:
    CASES[name](engine)


@pytest.mark.parametrize("name", sorted(CASES.keys() - OF_SEVERAL_INSTANTS - A_SIDE_AT_A_TIME))
def test_case_mirrored(name: str) -> None:
    CASES[name](mirrored(engine))


@pytest.mark.one_python
def test_random_lists_agree() -> None:
    for seed in range(1500):
        random = Random(seed)
        agree(random_market(random), random.choice((1, 3, 7, 64)))


@PROPERTIES
@given(market=order_markets())
def test_drawn_lists_agree(market: OrderMarket) -> None:
    agree(market, 5)


@pytest.mark.one_python
def test_random_quotes_agree() -> None:
    for seed in range(800):
        random = Random(seed)
        quotes_agree(random_quotes(random), random.choice((1, 3, 7, 64)))


@PROPERTIES
@given(market=quote_markets())
def test_drawn_quotes_agree(market: QuoteMarket) -> None:
    quotes_agree(market, 5)
