"""Limits of an account that trades towards targets: the engine against the oracle."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from random import Random
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from backtest.core.arrays import Int64Array
from backtest.trading import layout as at
from backtest.trading.account_tables import equity_table, figures
from backtest.trading.fill_table import FillTable
from tests import oracle
from tests.limit_markets import random_limits
from tests.limits_engine import breaches_of, limits_of
from tests.limits_oracle import Breach, Group, LimitRules
from tests.markets import Market, long_market
from tests.plain_python import passed_as_plain_python
from tests.target_limits_oracle import LimitedAccount
from tests.trading.test_venue import overtaking
from tests.venue_driver import Driver, compare, countable, terms_of


def limited(
    market: Market, timing: oracle.Timing, rules: LimitRules, answers: list[int]
) -> LimitedAccount:
    """What the oracle makes of a market within limits."""
    rows = {s: oracle.Rows(market.events, s) for s in {e.symbol for e in market.events}}

    def target(i: int) -> int | None:
        symbol, lots = market.events[i].symbol, market.targets[i]
        silent = lots is None or i < market.warmup or not market.tradable[symbol]
        if lots is None or silent or not rows[symbol].is_quoted_at(i):
            return None
        return lots if market.limit is None else max(-market.limit, min(market.limit, lots))

    def instants(i: int) -> tuple[int, int, int, int]:
        return market.events[i].ts_event, timing.t1[i], timing.t2[i] or 0, timing.t3[i] or 0

    made = LimitedAccount(
        market.events, [instants(i) for i in range(len(market.events))], target, market.entry,
        market.response, rules, market.end, market.value, market.scale, market.band,
        market.impact, market.fee, market.sessions,
    )  # fmt: skip
    made.run(answers)
    return made


def agree(
    market: Market, timing: oracle.Timing, rules: LimitRules, chunk: int, seed: int
) -> list[Breach]:
    """Compare fills, money and breaches; returns these."""
    limits = limits_of(rules, len(market.value))
    terms, pieces = terms_of(market, limits=limits), list[Int64Array]()
    with patch("backtest.trading.limits._ROWS", 2):
        driver = Driver(market, timing, terms, chunk=chunk, seed=seed)
    take = driver._take

    def taken() -> None:
        take()
        pieces.append(driver.venue.take_breaches())

    driver._take = taken  # type: ignore[method-assign]
    try:
        unlimited = market.account(timing)
        expected = limited(market, timing, rules, driver.answers)
        account = expected.account(unlimited)
    except oracle.NoClosingQuote:
        return []  # that the engine refuses it is tested without limits
    venue = driver.run()
    table = FillTable(terms.symbols, terms.instruments, rests=True)
    fills = pa.Table.from_batches([table.rows(some) for some in driver.fills])
    assert breaches_of(pieces, limits) == expected.breaches
    compare(account, figures(terms, venue.books), equity_table(terms, venue.books), fills)
    assert venue._trading.state[at.KEPT_OUT] == expected.kept_out
    switched = sum(o.by_switch for orders in expected.orders.values() for o in orders)
    assert fills["order"].to_pylist().count(-2) == switched
    return expected.breaches


def case(seed: int) -> tuple[Market, oracle.Timing, LimitRules, int, int]:
    """A market of three symbols, its timing and limits."""
    random = Random(seed)
    market = countable(long_market(seed, 120))
    rules = random_limits(random, market.value, market.events[-1].ts_event - 1000)
    days = tuple(day + 1000 for day in rules.days)
    rules = LimitRules(**{**vars(rules), "days": days})
    return market, overtaking(market, random), rules, random.choice((1, 7, 64, 1000)), seed


def test_random_targets_within_limits_agree() -> None:
    met: Counter[str] = Counter()
    for seed in range(250):
        met.update(breach.limit for breach in agree(*case(seed)))
    names = ("position", "gross_by_symbol", "gross", "net", "groups.some.gross", "groups.some.net")
    assert min(met[n] for n in (*names, "orders_per_second", "daily_loss", "drawdown")) > 5, met


def test_some_targets_agree_as_plain_python() -> None:
    for seed in range(1000, 1020):
        agree(*case(seed))


def test_the_same_source_runs_as_plain_python() -> None:
    assert "1 passed" in passed_as_plain_python(__file__, "-k", "some_targets_agree")


def test_late_reports_never_let_exposure_grow_beyond_its_limit() -> None:
    """Where quotes stand still, so that what is at stake is known to the last unit."""
    beyond: Counter[str] = Counter()
    for seed in range(60):
        market, timing, _, chunk, _ = case(seed)
        events = [replace(e, bid=100, ask=102, bid_size=9, ask_size=9) for e in market.events]
        late = (500_000_000,) * len(events)
        market = replace(market, events=tuple(events), response=late, impact=Fraction(0))
        lot = 202 * max(market.value)
        bounds = {"gross": 5 * lot, "net": 3 * lot}
        rules = LimitRules(groups=(Group("", frozenset(range(3)), **bounds),))
        for limits in (None, limits_of(rules, 3)):
            driver = Driver(market, timing, terms_of(market, limits=limits), chunk=chunk, seed=seed)
            driver.run()
            held: Counter[int] = Counter()
            for fill in np.concatenate(driver.fills, axis=1).T:
                if fill[at.ORDER] == fill[at.EVENT] == -1:
                    continue  # at the end
                held[fill[at.SYMBOL]] += fill[at.LOTS]
                at_stake = [lots * 202 * market.value[s] for s, lots in held.items()]
                now = {"gross": sum(map(abs, at_stake)), "net": abs(sum(at_stake))}
                for name, most in bounds.items():
                    assert limits is None or now[name] <= most
                    beyond[name] += limits is None and now[name] > most
    assert min(beyond.values()) > 20, beyond
