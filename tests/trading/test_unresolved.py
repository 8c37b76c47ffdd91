"""What may still be filled of the orders that were sent, against plain bookkeeping."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from backtest.trading import layout as at
from tests import order_engine
from tests.oracle import NoClosingQuote
from tests.order_markets import OrderMarket, random_market
from tests.order_oracle import Result
from tests.order_oracle import simulate_orders as oracle
from tests.order_records import Message, OrderRules, Row
from tests.unresolved import Known, known_at

QUOTE = Row(0, 0, 100, 102, 50, 50)


def test_an_order_counts_until_its_end_is_heard() -> None:
    rows = [replace(QUOTE, ts=t) for t in range(0, 60, 10)]
    rows[3] = replace(rows[3], trade_price=100, trade_size=53, aggressor=-1)
    messages = [
        Message(0, 1, "new", 1, 1, 100, 8, latency=4, response=4),
        Message(0, 11, "new", 2, -1, 103, 5, latency=1, response=2),
        Message(0, 31, "cancel", 1, latency=2, response=4),
    ]
    market = small_market(rows, messages)
    told = [(known.confirmed, known.unresolved(1), known.unresolved(-1)) for known in seen(market)]
    # Before each message goes out, and at the end; the fill of 3 at 30 is known at 37.
    assert told == [(0, 0, 0), (0, 8, 0), (0, 8, 5), (3, 0, 5)]
    agree(market, 1)


def test_of_a_replacement_under_way_the_larger_total_counts() -> None:
    rows = [replace(QUOTE, ts=t) for t in range(0, 60, 10)]
    messages = [
        Message(0, 1, "new", 1, 1, 99, 4, latency=1, response=1),
        Message(0, 11, "replace", 1, 0, 99, 9, latency=6, response=6),
        Message(0, 21, "replace", 1, 0, 99, 2, latency=1, response=6),
        Message(0, 25, "cancel_all", latency=8),
        Message(0, 31, "cancel_all", latency=0),
        Message(0, 40, "new", 2, 1, 99, 1),
    ]
    market = small_market(rows, messages)
    # The first replacement is known at 23, the second at 28.
    assert [known.unresolved(1) for known in seen(market)] == [0, 4, 9, 9, 2, 0, 1]
    agree(market, 1)


def test_random_lists_leave_the_same_unresolved() -> None:
    compared = 0
    for seed in range(400):
        random = Random(seed)
        compared += agree(random_market(random), random.choice((1, 3, 7)))
    assert compared > 4000


def test_what_is_held_lies_within_what_is_confirmed_and_unresolved() -> None:
    for seed in range(300):
        market = random_market(Random(seed))
        try:
            result = market.run(oracle)
        except NoClosingQuote:
            continue
        for symbol in range(len(market.value)):
            sent = [m for m in market.messages if m.symbol == symbol]
            reports = [r for r in result.reports if r.symbol == symbol]
            for number, message in enumerate(sent):
                if number > 0 and sent[number - 1].sent == message.sent:
                    continue
                before = message.sent - 1
                known = known_at(sent, reports, number, before)
                fills = [f for f in result.fills if f.symbol == symbol and f.ts <= before]
                held = sum(fill.lots for fill in fills)
                least = known.confirmed - known.unresolved(-1)
                assert least <= held <= known.confirmed + known.unresolved(1)


def small_market(rows: list[Row], messages: list[Message]) -> OrderMarket:
    market = random_market(Random(0))
    return replace(
        market, rows=tuple(rows), messages=tuple(messages), rules=OrderRules(end=100),
        response_of_row=(7,) * len(rows), value=(1,),
    )  # fmt: skip


def seen(market: OrderMarket) -> list[Known]:
    """What is known before each message, and after the last one."""
    reports, sent = market.run(oracle).reports, [*market.messages]
    found = [known_at(sent, reports, k, m.sent) for k, m in enumerate(sent)]
    return [*found, known_at(sent, reports, len(sent), market.rules.end - 1)]


def agree(market: OrderMarket, chunk: int) -> int:
    """Compare both sides of each symbol after each piece; returns how many numbers differ from 0.

    The engine hears up to a symbol's latest message.
    """
    market = replace(market, messages=tuple(replace(m, instants=None) for m in market.messages))
    try:
        result: Result = market.run(oracle)
    except NoClosingQuote:
        return 0
    compared = 0
    drive = order_engine._pieces

    def pieces(venue, rows, answers, feed, chunk):  # type: ignore[no-untyped-def]
        nonlocal compared
        for _ in drive(venue, rows, answers, feed, chunk):
            limit = min(venue._now, venue._checked)
            for symbol in range(len(market.value)):
                sent = [m for m in market.messages if m.symbol == symbol]
                reports = [r for r in result.reports if r.symbol == symbol]
                done = [m for m in sent if m.sent < limit]
                if not done or done[-1].sent >= market.rules.end:
                    continue
                known = known_at(sent, reports, len(done) - 1, done[-1].sent)
                known.send(len(done) - 1, done[-1])
                mine = venue._trading.unresolved[symbol].tolist()
                assert mine == [known.unresolved(1), known.unresolved(-1)]
                assert venue._trading.books[symbol, at.CONFIRMED] == known.confirmed
                compared += sum(number != 0 for number in mine)
            yield

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(order_engine, "_pieces", pieces)
        market.run(lambda *a, **k: order_engine.simulate_orders(*a, **k, chunk=chunk))
    return compared
