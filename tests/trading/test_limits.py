"""Limits that the venue holds: the engine against the oracle, and what they promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import pytest

from backtest.core.arrays import Int64Array
from tests.limit_markets import random_limits, slowed, slowed_limits, slowed_quotes
from tests.limits_engine import breaches_of, limits_of
from tests.limits_oracle import (
    SECOND,
    Breach,
    Group,
    LimitRules,
    simulate_limited_orders,
    simulate_limited_quotes,
)
from tests.oracle import NoClosingQuote
from tests.order_engine import simulate_orders, simulate_quotes
from tests.order_markets import OrderMarket, random_market
from tests.order_oracle import Result
from tests.order_records import FLATTENED
from tests.plain_python import passed_as_plain_python
from tests.quote_markets import QuoteMarket, random_quotes
from tests.test_orders_against_oracle import seen, sent_at_once

ALL = (
    *("position", "gross_by_symbol", "gross", "net", "groups.some.gross", "groups.some.net"),
    *("orders_per_second", "daily_loss", "drawdown"),
)


@dataclass
class Case:
    """A market with orders of a list or of a desk, within limits."""

    market: OrderMarket
    rules: LimitRules
    chunk: int
    quotes: QuoteMarket | None = None

    def engine(self, rules: LimitRules | None) -> tuple[Result, list[Breach]]:
        """Run it, in pieces of ``chunk`` rows; ``None``: without limits.

        Raises:
            NoClosingQuote: a symbol traded that nothing can be closed at.
        """
        limits = None if rules is None else limits_of(rules, len(self.market.value))
        pieces: list[Int64Array] = []
        how = {"limits": limits, "breaches": pieces, "chunk": self.chunk}
        lists: Any = partial(simulate_orders, **how)  # type: ignore[arg-type]
        desks: Any = partial(simulate_quotes, **how)  # type: ignore[arg-type]
        result = self.quotes.run(desks) if self.quotes is not None else self.market.run(lists)
        return result, [] if limits is None else breaches_of(pieces, limits)

    def oracle(self) -> tuple[Result, list[Breach]]:
        """What the oracle makes of it; raises as ``engine``."""
        breaches: list[Breach] = []

        def made(*given: Any, **options: Any) -> Result:
            simulate: Any = (
                simulate_limited_orders if self.quotes is None else (simulate_limited_quotes)
            )
            result, noted = simulate(*given, **options, limits=self.rules)
            breaches.extend(noted)
            return result

        result = self.market.run(made) if self.quotes is None else self.quotes.run(made)
        return result, breaches


def list_of(seed: int) -> Case:
    """In some cases a second is shorter than the whole."""
    random = Random(seed)
    market, by = sent_at_once(random_market(random)), random.choice((1, 125_000_000))
    rules = random_limits(random, market.value, market.rows[-1].ts)
    return Case(slowed(market, by), slowed_limits(rules, by), random.choice((1, 3, 7, 64)))


def quotes_of(seed: int) -> Case:
    """The same with a desk."""
    random = Random(seed)
    market, by = random_quotes(random), random.choice((1, 125_000_000))
    market = replace(market, response=market.market.response_of_row)
    rules = random_limits(random, market.market.value, market.market.rows[-1].ts)
    market = slowed_quotes(market, by)
    chunk = random.choice((1, 3, 7, 64))
    return Case(market.market, slowed_limits(rules, by), chunk, market)


def agree(case: Case) -> list[Breach]:
    """Compare engine and oracle, and check what limits promise; returns the breaches."""
    try:
        expected, breaches = case.oracle()
    except NoClosingQuote:
        with pytest.raises(NoClosingQuote):
            case.engine(case.rules)
        return []
    found, mine = case.engine(case.rules)
    for name, values in seen(expected).items():
        assert seen(found)[name] == values, name
    assert mine == breaches
    promised(case, expected, breaches)
    return breaches


def promised(case: Case, result: Result, breaches: Sequence[Breach]) -> None:
    """No position beyond its limit, no second with too many messages, no fill after a switch."""
    held: Counter[int] = Counter()
    for fill in sorted(result.fills, key=lambda fill: fill.ts):
        held[fill.symbol] += fill.lots
        if fill.id != FLATTENED:
            most = case.rules.position.get(fill.symbol)
            assert most is None or abs(held[fill.symbol]) <= most
    sent = sorted(message.sent for _, message in result.messages)
    sent = [t for t in sent if t <= case.market.rules.end]
    most = case.rules.orders_per_second
    for k, first in enumerate(sent):
        assert most is None or sum(t < first + SECOND for t in sent[k:]) <= most
    for breach in breaches:
        if breach.symbol is None:
            later = [day for day in case.rules.days if day > breach.ts]
            until = later[0] if breach.limit == "daily_loss" and later else 2**62
            after = [fill.id for fill in result.fills if breach.ts < fill.ts < until]
            assert set(after) <= {FLATTENED}
    for name, terms in [("total", result.total), *result.by_symbol.items()]:
        costs = sum(amount for term, amount in terms.items() if term not in ("net", "decision"))
        assert terms["net"] == terms["decision"] - costs, name


def test_random_lists_within_limits_agree() -> None:
    met: Counter[str] = Counter()
    for seed in range(600):
        met.update(breach.limit for breach in agree(list_of(seed)))
    assert min(met[name] for name in ALL) > 20, met


def test_random_quotes_within_limits_agree() -> None:
    met: Counter[str] = Counter()
    for seed in range(400):
        met.update(breach.limit for breach in agree(quotes_of(seed)))
    assert min(met[name] for name in ALL) > 20, met


def test_some_lists_agree_as_plain_python() -> None:
    for seed in range(1000, 1040):
        agree(list_of(seed))


def test_the_same_source_runs_as_plain_python() -> None:
    assert "1 passed" in passed_as_plain_python(__file__, "-k", "some_lists_agree")


def still(case: Case, response: int) -> Case:
    """The case with quotes whose prices never move, and reports that take long."""
    market = case.market
    rows = [
        replace(row, bid=100, ask=102, bid_size=max(row.bid_size, 1), ask_size=max(row.ask_size, 1))
        for row in market.rows
    ]
    late = (response,) * len(rows)
    messages = tuple(replace(m, response=response) for m in market.messages)
    market = replace(market, rows=tuple(rows), messages=messages, response_of_row=late)
    quotes = case.quotes and replace(case.quotes, market=market, response=late)
    return replace(case, market=market, quotes=quotes)


@pytest.mark.parametrize("of", [list_of, quotes_of])
def test_late_reports_never_let_exposure_grow_beyond_its_limit(of: Any) -> None:
    """A desk that keeps a limit itself goes beyond it while it has not heard of its fills."""
    beyond: Counter[str] = Counter()
    for seed in range(150):
        case = still(of(seed), 500_000_000)
        lot = 202 * max(case.market.value)
        every = frozenset(range(len(case.market.value)))
        bounds = {"gross": 4 * lot, "net": 3 * lot}
        rules = LimitRules(groups=(Group("", every, **bounds),))
        case = replace(case, rules=rules)
        free, _ = case.engine(None)
        for name, most in exposure(case, free).items():
            beyond[name] += most > bounds[name]
        within, _ = case.engine(rules)
        for name, most in exposure(case, within).items():
            assert most <= bounds[name], (seed, name)
    assert min(beyond["gross"], beyond["net"]) > 20, beyond


def exposure(case: Case, result: Result) -> dict[str, int]:
    """The most money that was ever at stake, gross and net."""
    held: Counter[int] = Counter()
    found = {"gross": 0, "net": 0}
    for fill in sorted(result.fills, key=lambda fill: fill.ts):
        held[fill.symbol] += fill.lots
        at_stake = [lots * 202 * case.market.value[s] for s, lots in held.items()]
        found["gross"] = max(found["gross"], sum(map(abs, at_stake)))
        found["net"] = max(found["net"], abs(sum(at_stake)))
    return found
