"""Runs a market of the oracle through the venue, in calls as an engine makes them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import RunError
from backtest.market.events import NO_PRICE
from backtest.market.instruments import MONEY_UNIT, Instrument
from backtest.market.quotes import Quotes
from backtest.market.window import Window
from backtest.timing.outcomes import Status
from backtest.trading.account_tables import drawdown, equity_table, figures
from backtest.trading.fill_table import FillTable
from backtest.trading.layout import COSTS, LATEST
from backtest.trading.orders import Confirmation, OrderRules
from backtest.trading.sizing import SizingRule
from backtest.trading.target_venue import TargetVenue
from backtest.trading.terms import ClosingQuotes, Terms
from tests import oracle
from tests.market_server import events_of, within_window
from tests.markets import Market

_STATUS = {status.name.lower(): int(status) for status in Status}

_FIGURES = ("net", "decision", *COSTS, "ideal", "missed", "silence", "liquidity")

_FILL = ("event", "symbol", "lots", "displayed", "taken", "price_half_ticks", *COSTS)


@dataclass(frozen=True)
class Wanted(SizingRule):
    """The oracle's targets, carried as forecasts; the quotes are checked to be two-sided."""

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        assert (quotes.bid != NO_PRICE).all()
        assert (quotes.bid <= quotes.ask).all()
        assert len(quotes.symbol) == len(quotes.bid_size) == len(forecast)
        return forecast.astype(np.int64)


def countable(market: Market) -> Market:
    """The market without events after its window, its rates as the decimals that cards hold."""
    return replace(
        within_window(market),
        fee_rate=round(market.fee_rate, 9),
        impact=Fraction(str(float(market.impact))),
    )


def terms_of(market: Market, **others: Any) -> Terms:
    """The terms of a market, its closing quotes looked up three rows at a time."""
    rules = OrderRules(market.limit, market.band, market.impact, market.sessions, market.end)
    closing = ClosingQuotes(len(market.value), rules)
    columns = columns_of(market)
    names = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    for stop in range(len(market.events), 0, -3):
        rows = slice(max(stop - 3, 0), stop)
        if closing.look_back([columns[name][rows] for name in names]):
            break
    start = market.events[0].ts_event if market.events else market.end

    def scaled(spans: tuple[int, ...]) -> Any:
        exact = np.array([oracle.scaled(span, market.scale) for span in spans], dtype=np.int64)
        if len(set(exact.tolist())) == 1:
            return int(exact[0])
        return lambda first, stop: exact[first:stop]

    given: dict[str, Any] = {
        "symbols": [f"S{k}" for k in range(len(market.value))],
        "instruments": [
            Instrument(
                tick_size=2 * value * MONEY_UNIT,
                fee_rate=Decimal(market.fee_rate.numerator) / market.fee_rate.denominator,
                fee_per_lot=market.fee_per_lot * MONEY_UNIT,
                tradable=tradable,
            )
            for value, tradable in zip(market.value, market.tradable, strict=True)
        ],
        "rules": rules,
        "sizing": Wanted(),
        "entry": scaled(market.entry),
        "response": scaled(market.response),
        "warmup": market.warmup,
        "ends": np.append(np.arange(start + 7, market.end, 7), market.end).astype(np.int64),
        "closing": closing,
        "ideal": True,
    }
    return Terms(**{**given, **others})


def columns_of(market: Market) -> dict[str, Any]:
    """The market's events in columns."""
    events = events_of(market)
    names = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    return {name: getattr(events, name) for name in names}


class Driver:
    """Runs a market through a venue as an engine does: nothing is given before it is known.

    Args:
        chunk: events taken in at once.
        seed: of how answers of one instant are ordered and cut into calls.
        shared: the undropped forecasts are the same array as the others.
    """

    def __init__(
        self,
        market: Market,
        timing: oracle.Timing,
        terms: Terms,
        *,
        chunk: int,
        seed: int = 0,
        shared: bool = True,
    ) -> None:
        self.market, self.timing, self.terms = market, timing, terms
        self.chunk, self.random, self.shared = chunk, random.Random(seed), shared
        self.window = Window(TargetVenue.COLUMNS, rows=4)
        small = (
            patch(f"backtest.trading.{name}._ROWS", 2) for name in ("target_venue", "quote_links")
        )
        with next(small), next(small):  # so that everything has to grow
            self.venue = TargetVenue(self.window, terms)
        wanted = [np.nan if lots is None else lots for lots in market.targets]
        self.forecast = np.array(wanted, dtype=np.float32)
        answered = [i for i, status in enumerate(timing.status) if status == "answered"]
        self.random.shuffle(answered)
        self.answers = sorted(answered, key=self._ready)
        self.fills: list[Int64Array] = []
        self.confirmed: list[tuple[int, Confirmation]] = []
        self.asked: list[int] = []
        self.most_rows = 0

    def _ready(self, event: int) -> int:
        ready = self.timing.t3[event]
        assert ready is not None
        return ready

    def run(self) -> TargetVenue:
        """Run it to the end."""
        columns, times = columns_of(self.market), [e.ts_event for e in self.market.events]
        count = len(times)
        given = settled = 0
        now = self.market.events[0].ts_event if count else 0
        for first in range(0, count, self.chunk):
            stop = min(first + self.chunk, count)
            rows = self.window.extend(stop - first)
            for name, column in columns.items():
                self.window[name][rows] = column[first:stop]
            for name in ("received", "begun", "ended", "status", "mid", "next_quote", "target"):
                self.window[name][rows] = 99  # known later
            self.venue.follow(first, stop)
            # Another event may come at the instant of the last one, and a server may lag behind.
            now = max(now, times[stop - 1] - self.random.choice([0, 0, 4, 20]))
            ready = self._known(given, now, stop)
            given += len(ready)
            self._answer(ready)
            settled = self._settle(settled, stop, set(self.answers[given:]))
            self.venue.advance(now)
            self._confirm(now - 1)
            self._take()
            self.window.release(self.venue.needs)
            self.most_rows = max(self.most_rows, self.window.count)
        self._answer(self.answers[given:])
        self._settle(settled, count, set())
        self.venue.finish()
        self._confirm(LATEST)
        self._take()
        return self.venue

    def _known(self, given: int, now: int, stop: int) -> list[int]:
        """All answers that are ready before ``now``, and some that a server may know of already."""
        seen = now + self.random.choice([0, 0, 5, 30])
        ready = []
        for i in self.answers[given:]:
            if i >= stop or self._ready(i) >= seen:
                break
            ready.append(i)
        return ready

    def _answer(self, events: list[int]) -> None:
        window, timing = self.window, self.timing
        for i in events:
            row = i - window.first
            window["received"][row], window["begun"][row] = timing.t1[i], timing.t2[i]
            window["ended"][row], window["status"][row] = timing.t3[i], 0
        while events:
            some = self.random.randint(1, len(events))
            numbers = np.array(events[:some], dtype=np.int64)
            self.venue.answer(numbers, self.forecast[numbers])
            events = events[some:]

    def _settle(self, settled: int, stop: int, unknown: set[int]) -> int:
        final = min([stop, *unknown])
        for i in range(settled, final):
            self.window["status"][i - self.window.first] = _STATUS[self.timing.status[i]]
        forecast = self.forecast[settled:final].copy()
        undropped = forecast if self.shared else forecast.copy()
        self.venue.settle(settled, final, forecast, undropped if self.terms.ideal else None)
        return final

    def _confirm(self, now: int) -> None:
        if self.terms.reports:
            self.asked.append(now)
            self.confirmed += [(now, fill) for fill in self.venue.confirmed(now)]

    def _take(self) -> None:
        self.fills.append(self.venue.take_fills())


def check(
    market: Market,
    timing: oracle.Timing,
    *,
    chunk: int,
    seed: int = 0,
    shared: bool = True,
    wanted: Sequence[int | None] | None = None,
    **others: Any,
) -> Driver:
    """Run a market, and compare everything with the oracle.

    Args:
        wanted: what the sizing rule makes of the market's targets, where it changes them.
        others: terms that differ from the market's.
    """
    terms = terms_of(market, **others)
    driver = Driver(market, timing, terms, chunk=chunk, seed=seed, shared=shared)
    if wanted is not None:
        market = replace(market, targets=tuple(wanted))
    try:
        expected = market.account(timing)
    except oracle.NoClosingQuote:
        with pytest.raises(RunError, match="no two-sided quote inside a session"):
            driver.run()
        return driver
    venue = driver.run()
    account = figures(terms, venue.books)
    equity = equity_table(terms, venue.books)
    table = FillTable(terms.symbols, terms.instruments, rests=True)
    fills = pa.Table.from_batches([table.rows(some) for some in driver.fills])
    compare(expected, account, equity, fills)
    return driver


def compare(
    expected: oracle.Account, account: Mapping[str, Any], equity: pa.Table, fills: pa.Table
) -> None:
    """Hold figures, fills and equity against the oracle's.

    Args:
        account: figures as in ``metrics.json``.
        equity: mark to market at the end of each bucket.
        fills: all fills, by arrival and symbol.
    """
    for symbol, theirs in expected.by_symbol.items():
        mine = account["by_symbol"][f"S{symbol}"]
        assert {n: mine[n] for n in _FIGURES} == {n: getattr(theirs, n) for n in _FIGURES}
        assert mine["closing_lots_beyond_displayed"] == expected.closing_beyond[symbol]
    assert {n: account[n] for n in _FIGURES} == {n: getattr(expected.total, n) for n in _FIGURES}
    assert account["net"] == account["decision"] - sum(account[name] for name in COSTS)
    assert account["missed"] == account["silence"] + account["liquidity"]

    theirs_by_time = sorted(expected.fills, key=lambda f: (f.t4, f.symbol))
    assert [tuple(row[name] for name in _FILL) for row in fills.to_pylist()] == [
        (
            -1 if f.event is None else f.event,
            f"S{f.symbol}",
            f.lots,
            f.displayed,
            f.taken,
            f.price,
            *(getattr(f, name) for name in COSTS),
        )
        for f in theirs_by_time
    ]
    ends = equity["ts"].cast(pa.int64()).to_pylist()
    for end, symbol, net in zip(
        ends, equity["symbol"].to_pylist(), equity["net"].to_pylist(), strict=True
    ):
        assert net == expected.symbol_equity_at(int(symbol[1:]), end)
    curve = [0, *(expected.equity_at(end) for end in sorted(set(ends)))]
    deepest = max(max(curve[: k + 1]) - net for k, net in enumerate(curve))
    assert drawdown(equity) == deepest
