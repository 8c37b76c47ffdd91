"""Small random markets with depth, made so that its rows collide with quotes, prints and orders.

Levels (L2) and single orders (L3) repeat what quotes say, contradict it or say more: stale levels
better than the touch, falls before and after the print that explains them, snapshots that are cut
off, ids that nobody knows. Others are those of a venue, where all of this fits together.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from tests.depth_fifo import random_street, told
from tests.depth_makers import LevelMaker, OrderMaker
from tests.depth_play import split
from tests.depth_records import Depth
from tests.order_markets import (
    MODELS,
    OrderMarket,
    random_market,
    random_messages,
    random_rules,
)
from tests.quote_markets import QuoteMarket, random_quotes


def with_depth(rnd: Random, market: OrderMarket, *, orders: bool) -> OrderMarket:
    """The market with random depth; ``l3`` is a model then too, where orders are known."""
    maker = (OrderMaker if orders else LevelMaker)(rnd, market.rows)
    rules = market.rules
    if orders:
        rules = replace(rules, model=rnd.choice((*MODELS, "l3", "l3", "l3", "l3")))
    return replace(market, rules=rules, depth=Depth(maker.between(), orders))


def on_streets(rnd: Random, market: OrderMarket, *, orders: bool) -> OrderMarket:
    """In its place a market of queues that are first in, first out, with messages of its own."""
    streets = [random_street(rnd, symbol, snapshots=0.04) for symbol in range(len(market.value))]
    rows, depth = split(told(streets, orders=orders), orders=orders)
    rules = random_rules(rnd, rows)
    if orders:
        rules = replace(rules, model=rnd.choice((*MODELS, "l3", "l3", "l3", "l3")))
    return replace(
        market,
        rows=tuple(rows),
        messages=tuple(random_messages(rnd, rows, rnd.randint(1, 40))),
        rules=rules,
        response_of_row=tuple(rnd.choice((0, 0, 1, 3)) for _ in rows),
        depth=depth,
    )


def named_anyhow(rnd: Random, market: OrderMarket) -> OrderMarket:
    """The market whose orders have other names: integers of 64 bits, far apart or close."""
    assert market.depth is not None
    start, step = rnd.choice((0, -20, 2**31 - 20, rnd.getrandbits(64))), 1
    if rnd.random() < 0.5:
        step += 2 * rnd.getrandbits(62)  # odd, so that no two names are the same

    def name(number: int) -> int:
        return (start + step * number + 2**63) % 2**64 - 2**63

    return replace(market, depth=market.depth.renamed(name))


def random_depth(rnd: Random, *, orders: bool) -> OrderMarket:
    """A market with depth and a list of messages."""
    market = random_market(rnd)
    market = (on_streets if rnd.random() < 0.4 else with_depth)(rnd, market, orders=orders)
    return named_anyhow(rnd, market) if orders and rnd.random() < 0.5 else market


def random_levels(rnd: Random) -> OrderMarket:
    """A market with levels and a list of messages."""
    return random_depth(rnd, orders=False)


def random_orders(rnd: Random) -> OrderMarket:
    """A market with single orders and a list of messages."""
    return random_depth(rnd, orders=True)


def random_depth_quotes(rnd: Random) -> QuoteMarket:
    """A market with depth of either kind and a quoting desk."""
    quotes = random_quotes(rnd)
    return replace(quotes, market=with_depth(rnd, quotes.market, orders=rnd.random() < 0.5))


def level_markets() -> st.SearchStrategy[OrderMarket]:
    """Markets with levels, drawn and shrunk by hypothesis."""
    return st.builds(random_levels, st.randoms(use_true_random=False))


def order_depth_markets() -> st.SearchStrategy[OrderMarket]:
    """Markets with single orders, drawn and shrunk by hypothesis."""
    return st.builds(random_orders, st.randoms(use_true_random=False))


def depth_quote_markets() -> st.SearchStrategy[QuoteMarket]:
    """Quoting markets with depth, drawn and shrunk by hypothesis."""
    return st.builds(random_depth_quotes, st.randoms(use_true_random=False))
