"""Portfolios against plain targets, and what a portfolio rule is told and may say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import PluginError, RunError
from backtest.market.events import NO_PRICE
from backtest.market.instruments import Instrument
from backtest.market.quotes import Quotes
from backtest.market.window import Window
from backtest.plugins.sizing import LongShort
from backtest.runs.venues import _AT_ONCE, venues
from backtest.trading import order_layout as ol
from backtest.trading.account_tables import figures
from backtest.trading.order_venue import OrderVenue
from backtest.trading.portfolio_venue import PortfolioVenue
from backtest.trading.sizing import KEEP, PortfolioRule, SizingRule, portfolio_lots
from backtest.trading.terms import Terms
from backtest.trading.venue import Venue
from tests.chain import Ran, three_passes
from tests.markets import Market, long_market, markets
from tests.oracle import NoClosingQuote
from tests.order_engine import _result, _terms, columns_of
from tests.order_markets import random_market
from tests.order_oracle import ORDER_TERMS, Result
from tests.order_records import Row
from tests.portfolio_oracle import Answer, Told, simulate_portfolio
from tests.venue_driver import countable


@dataclass(frozen=True)
class OneByOne(PortfolioRule):
    """The targets of the events that are answered, which forecasts are the numbers of."""

    wanted: dict[int, int]
    seen: dict[int, float] = field(default_factory=dict)

    def rebalance(
        self,
        now: int,
        forecasts: Float32Array,
        quotes: Quotes,
        positions: Int64Array,
        outstanding: Int64Array,
        instruments: Sequence[Instrument],
    ) -> Int64Array:
        targets = np.full(len(forecasts), KEEP, dtype=np.int64)
        for symbol in np.flatnonzero(~np.isnan(forecasts)).tolist():
            number = float(forecasts[symbol])
            if self.seen.get(symbol) != number:
                self.seen[symbol] = number
                targets[symbol] = self.wanted[int(number)]
        return targets


def portfolio(window: Window, terms: Terms) -> Venue:
    venue, bracket = venues(window, terms)
    assert isinstance(venue, PortfolioVenue)
    assert not bracket
    return venue


def agree(market: Market, piece: int) -> int:
    """Hold targets by way of a portfolio against the venue of targets; how many fills there are."""
    market = replace(market, response=(market.response[0],) * len(market.response))
    numbers = [np.nan if lots is None else k for k, lots in enumerate(market.targets)]
    wanted = {k: lots for k, lots in enumerate(market.targets) if lots is not None}

    def as_portfolio() -> Ran:
        return three_passes(
            market, forecast=np.array(numbers, dtype=np.float32), venue_of=portfolio,
            sizing=OneByOne(wanted), ideal=False, piece=piece,
        )  # fmt: skip

    try:
        plain = three_passes(market, ideal=False)
    except RunError:
        with pytest.raises(RunError, match="no two-sided quote inside a session"):
            as_portfolio()
        return 0
    found = as_portfolio()
    names = [name for name in plain.fills.column_names if name != "order"]
    assert found.fills.select(names).to_pydict() == plain.fills.select(names).to_pydict()
    assert found.account.metrics == plain.account.metrics
    assert found.account.tables["equity"].equals(plain.account.tables["equity"])
    orders = found.fills.filter(found.fills["event"].to_numpy() >= 0)["order"].to_pylist()
    assert all(number > 0 for number in orders)
    return len(orders)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(markets(), st.sampled_from([100, 1, 2, 3, 7]))
def test_targets_by_way_of_a_portfolio_are_those_of_the_target_venue(
    market: Market, piece: int
) -> None:
    agree(countable(market), piece)


@pytest.mark.parametrize("seed", range(6))
def test_so_are_those_of_longer_markets(seed: int) -> None:
    assert agree(countable(long_market(seed)), 50) > 20


class Drawn:
    """Draws targets, and keeps what it is told."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.calls: list[Told] = []

    def __call__(self, told: Told) -> list[int | None]:
        self.calls.append(told)
        return [self._random.choice((None, -4, -1, 0, 0, 2, 5)) for _ in told.forecasts]


@dataclass(frozen=True)
class Telling(PortfolioRule):
    """Asks a rule of the oracle."""

    rule: Drawn

    def rebalance(
        self,
        now: int,
        forecasts: Float32Array,
        quotes: Quotes,
        positions: Int64Array,
        outstanding: Int64Array,
        instruments: Sequence[Instrument],
    ) -> Int64Array:
        assert len(instruments) == len(forecasts)
        sides = zip(quotes.bid.tolist(), quotes.ask.tolist(), strict=True)
        targets = self.rule(
            Told(
                now,
                tuple(None if np.isnan(f) else float(f) for f in forecasts),
                tuple(None if bid == NO_PRICE else (bid, ask) for bid, ask in sides),
                tuple(positions.tolist()),
                tuple(outstanding.tolist()),
            )
        )
        return np.array([KEEP if lots is None else lots for lots in targets], dtype=np.int64)


def answered(rows: Sequence[Row], rnd: Random) -> list[Answer]:
    """Answers to most rows, several of which are ready at once."""
    answers, ready = [], 0
    for k, row in enumerate(rows):
        t1 = row.ts + rnd.choice((0, 0, 1))
        t2 = max(t1 + rnd.choice((0, 0, 2)), ready)
        ready = t2 + rnd.choice((0, 0, 1, 3))
        forecast = float(rnd.randint(-9, 9)) if rnd.random() < 0.9 else None
        if rnd.random() < 0.8:
            answers.append(Answer(k, t1, t2, ready, forecast))
    return answers


class Case:
    """A random market with answers, latencies, a limit and a band."""

    def __init__(self, seed: int) -> None:
        rnd = Random(seed)
        self.market = random_market(rnd)
        self.rows = [*self.market.rows]
        self.rules = replace(self.market.rules, model="through")
        self.answers = [a for a in answered(self.rows, rnd) if a.t3 <= self.rules.end]
        self.entry = [rnd.choice((0, 1, 3)) for _ in self.rows]
        self.response = [rnd.choice((0, 1, 3)) for _ in self.rows]
        self.limit, self.band = rnd.choice((None, 3)), rnd.choice((0, 0, 1))
        self.chunk = rnd.choice((1, 3, 7, 64))

    def oracle(self, rule: Drawn) -> tuple[Result, list[Told]]:
        market = self.market
        return simulate_portfolio(
            self.rows, len(market.value), self.answers, rule, self.rules, self.entry,
            self.response, limit=self.limit, band=self.band, impact=market.impact,
            value=[*market.value], maker_fee=market.maker, taker_fee=market.taker,
        )  # fmt: skip

    def engine(self, rule: Drawn) -> Result:
        market = self.market
        terms = _terms(
            self.rows, self.rules, self.response, market.impact, market.value,
            (market.maker, market.taker), _AT_ONCE, sizing=Telling(rule),
            entry=lambda a, b: np.array(self.entry[a:b], dtype=np.int64), limit=self.limit,
            band=self.band,
        )  # fmt: skip
        return _run_portfolio(terms, self.rows, self.answers, self.chunk, market.value)


def test_random_portfolios_are_the_oracles() -> None:
    fills = others = 0
    for seed in range(500):
        case, mine = Case(seed), Drawn(seed)
        try:
            expected, calls = case.oracle(Drawn(seed))
        except NoClosingQuote:
            with pytest.raises(NoClosingQuote):
                case.engine(mine)
            continue
        found = case.engine(mine)
        assert mine.calls == calls
        assert [replace(f, impact_half_ticks=0) for f in expected.fills] == found.fills
        assert expected.closes == found.closes
        assert expected.by_symbol == found.by_symbol
        assert expected.total == found.total
        fills += len(found.fills)
        instants = {(a.t3, case.rows[a.event].symbol) for a in case.answers}
        others += sum((fill.t3, fill.symbol) not in instants for fill in found.fills)
    assert fills > 1000
    assert others > 200  # of symbols that were not answered then


def _run_portfolio(
    terms: Terms, rows: Sequence[Row], answers: Sequence[Answer], chunk: int, worth: Sequence[int]
) -> Result:
    """Drive the engine's venue as ``tests.order_engine`` does."""
    columns = OrderVenue.COLUMNS
    with patch("backtest.trading.order_venue._ROWS", 2):
        venue = PortfolioVenue(Window(columns, rows=4), terms)
    window, given, count = venue._window, columns_of(rows), len(rows)
    waiting = sorted(answers, key=lambda answer: answer.t3)
    fills = []

    def give(ready: Sequence[Answer]) -> None:
        for answer in ready:
            row = answer.event - window.first
            window["received"][row], window["begun"][row] = answer.t1, answer.t2
            window["ended"][row] = answer.t3
        forecast = [np.nan if a.forecast is None else a.forecast for a in ready]
        numbers = np.array([answer.event for answer in ready], dtype=np.int64)
        venue.answer(numbers, np.array(forecast, dtype=np.float32))

    try:
        for first in range(0, count, chunk):
            stop = min(first + chunk, count)
            places = window.extend(stop - first)
            for name, column in given.items():
                window[name][places] = column[first:stop]
            venue.follow(first, stop, last=stop == count)
            now = rows[stop - 1].ts
            give([answer for answer in waiting if answer.t3 < now])
            waiting = [answer for answer in waiting if answer.t3 >= now]
            settled = min([stop, *(answer.event for answer in waiting)])
            venue.settle(0, settled, np.zeros(settled, dtype=np.float32))
            venue.advance(now)
            fills.append(venue.take_fills().T)
            venue.take_log()
            window.release(venue.needs)
        give(waiting)
        venue.settle(0, count, np.zeros(count, dtype=np.float32))
        venue.finish()
    except RunError as error:
        raise NoClosingQuote(str(error)) from None
    fills.append(venue.take_fills().T)
    result = _result(rows, np.concatenate(fills), np.empty((0, ol.LOG_SIZE), np.int64), worth)
    account = figures(terms, venue.books)
    for s in sorted({row.symbol for row in rows}):
        of = account["by_symbol"][f"S{s}"]
        result.by_symbol[s] = {name: of[name] for name in ("net", *ORDER_TERMS)}
    result.total = {name: account[name] for name in ("net", *ORDER_TERMS)}
    return result


@dataclass(frozen=True)
class Wrong(PortfolioRule):
    """Gives what it was told to give."""

    given: Any

    def rebalance(self, *told: Any) -> Int64Array:
        return np.asarray(self.given)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([1.0, 2.0], r"it gave float64 \[2\], not whole lots \[2\]"),
        ([1], r"it gave int64 \[1\], not whole lots \[2\]"),
        ([0, 2**54], r"a position of 18014398509481984 lots of symbol number 1"),
        ([0, KEEP + 1], "symbol number 1"),
    ],
)
def test_what_is_no_target_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        portfolio_lots(Wrong(given), 0, np.zeros(2, dtype=np.float32), *[None] * 4)  # type: ignore[arg-type]


def test_a_scope_without_its_base_class_is_refused() -> None:
    with pytest.raises(PluginError, match="'Loose' has the scope 'market'") as told:
        type("Loose", (SizingRule,), {"scope": "market", "rebalance": None})
    assert told.value.remedy is not None
    assert "PortfolioRule" in told.value.remedy
    with pytest.raises(PluginError, match="'Tight' has the scope 'symbol'"):
        type("Tight", (PortfolioRule,), {"scope": "symbol"})


def test_long_short_pairs_the_highest_with_the_lowest() -> None:
    def held(rule: LongShort, *forecasts: float, fixed: int | None = None) -> list[int]:
        instruments = [
            Instrument(tick_size=Decimal(1), tradable=k != fixed) for k in range(len(forecasts))
        ]
        nothing: Any = None
        given = np.array(forecasts, dtype=np.float32)
        lots = rule.rebalance(0, given, nothing, nothing, nothing, instruments).tolist()
        return [99 if n == KEEP else n for n in lots]

    nan = float("nan")
    assert held(LongShort(lots=3), 0.1, 0.5, -0.2, 0.3) == [0, 3, -3, 0]
    assert held(LongShort(count=2), 0.1, 0.5, -0.2, 0.3) == [-1, 1, -1, 1]
    assert held(LongShort(count=2, threshold=0.3), 0.1, 0.5, -0.2, 0.3) == [0, 1, -1, 0]
    assert held(LongShort(), nan, 0.5, -0.2) == [99, 1, -1]
    assert held(LongShort(), 0.9, 0.5, -0.2, fixed=0) == [99, 1, -1]
    assert held(LongShort(), nan, 0.5) == [99, 0]
    assert held(LongShort(), 0.5, 0.5) == [0, 0]
