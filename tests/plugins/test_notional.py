"""Positions of one worth, and what strategies are told of instruments and hours."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import backtest
from backtest.data.canonical import write_canonical
from backtest.data.card import Calendar, Card, InstrumentTable
from backtest.market.calendar import MarketHours
from backtest.market.events import NO_PRICE, EventBatch
from backtest.market.instruments import Instrument
from backtest.market.quotes import Quotes
from backtest.plugins.sizing import Notional
from backtest.strategies.base import Session

FUTURE = Instrument(tick_size=Decimal("0.25"), multiplier=Decimal(50))
COIN = Instrument(tick_size=Decimal("0.01"), lot_size=Decimal("0.001"))


def quotes(symbol: list[int], bid: list[int], ask: list[int]) -> Quotes:
    ts, size = np.zeros(len(bid), dtype=np.int64), np.ones(len(bid), dtype=np.int64)
    b, a = (np.array(side, dtype=np.int64) for side in (bid, ask))
    return Quotes(np.array(symbol, dtype=np.int32), ts, b, a, size, size)


def test_lots_of_one_amount() -> None:
    rule = Notional(amount=250_000.0, threshold=0.5)
    rule.bind([FUTURE, COIN])
    # A future at 5,000 is worth 250,000; a lot of the coin at 62,500 is worth 62.5.
    at = quotes([0, 0, 1, 1, 1], [19_999] * 2 + [6_249_999] * 3, [20_001] * 2 + [6_250_001] * 3)
    forecast = np.array([1.0, -2.0, 0.75, -1.0, 0.5], dtype=np.float32)
    assert rule.targets(forecast, at).tolist() == [1, -1, 4_000, -4_000, 0]


def test_prices_of_0_and_below_are_worth_their_size() -> None:
    rule = Notional(amount=1_000.0)
    rule.bind([Instrument(signed_prices=True)])
    at = quotes([0, 0], [-1_001, -1], [-999, 1])
    assert rule.targets(np.ones(2, dtype=np.float32), at).tolist() == [100, 0]


@pytest.mark.parametrize("amount", [0.0, -1.0, float("nan"), 1e300])
def test_amounts_that_are_none(amount: float) -> None:
    with pytest.raises(ValueError, match="amount"):
        Notional(amount=amount)


def test_a_session_has_instruments_of_its_own_accord() -> None:
    session = Session(("A", "B"))
    assert session.instruments == (Instrument(), Instrument())
    assert session.hours == MarketHours()


def test_runs_tell_strategies_and_sizing(tmp_path: Path) -> None:
    n = 200
    events = EventBatch(
        symbol=(np.arange(n) % 2).astype(np.int32),
        ts_event=1_723_161_600_000_000_000 + 1_000_000 * np.arange(n),
        bid=np.where(np.arange(n) % 2 == 0, 19_999, 6_249_999) + np.arange(n) % 7,
        ask=np.where(np.arange(n) % 2 == 0, 20_001, 6_250_001) + np.arange(n) % 7,
        bid_size=np.full(n, 10_000),
        ask_size=np.full(n, 10_000),
    )
    assert NO_PRICE not in events.bid  # type: ignore[operator]
    tables = {
        "ES": InstrumentTable(tick_size=Decimal("0.25"), multiplier=Decimal(50)),
        "BTC": InstrumentTable(tick_size=Decimal("0.01"), lot_size=Decimal("0.001")),
    }
    card = Card(
        name="two", symbols=("ES", "BTC"), instruments=tables, calendar=Calendar(zone="Asia/Tokyo")
    )
    write_canonical(tmp_path / "two", card, [events])
    plugin = tmp_path / "told.py"
    plugin.write_text(TOLD)
    run = backtest.run(
        dataset=str(tmp_path / "two"),
        strategy="told",
        sizing="notional:amount=250000",
        latency={"service": "constant:0ns", "entry": "constant:0ns"},
        plugins=[plugin],
        runs=tmp_path / "runs",
    )
    held = run.table("equity").group_by("symbol").agg(pl.col("position").abs().max())
    assert dict(held.iter_rows()) == {"ES": 1, "BTC": 4_000}


TOLD = """
from dataclasses import dataclass

import numpy as np

import backtest


@dataclass
class Told(backtest.Strategy):
    needs_features = False
    stateful = False

    def bind(self, session):
        assert [float(i.multiplier) for i in session.instruments] == [50.0, 1.0]
        assert session.hours.zone == "Asia/Tokyo"

    def predict(self, batch):
        return np.ones((len(batch), 1), dtype=np.float32)


@backtest.hookimpl
def backtest_register_strategies(register):
    register("told", Told)
"""
