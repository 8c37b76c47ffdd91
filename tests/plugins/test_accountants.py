"""The accountants' own arithmetic; the market's rules are held against the oracle elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from math import exp

import numpy as np
import pytest

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import DataError, RunError, UsageError
from backtest.inference.answers import Answers
from backtest.market.events import NO_TIME, EventBatch
from backtest.market.instruments import Instrument
from backtest.market.quotes import Quotes
from backtest.plugins.accountants.challenge import ChallengeAccountant
from backtest.plugins.accountants.market import MarketAccountant
from backtest.plugins.sizing import Proportional, Sign
from backtest.timing.outcomes import Status, Timing
from backtest.trading.accountant import Ledger
from backtest.trading.sizing import SizingRule


def ledger() -> Ledger:
    """Three events of one symbol; the last is not answered. Sojourn times 100 and 400 ms."""
    ms = 1_000_000
    times = np.array([0, 1000 * ms, 2000 * ms])
    quotes = np.array([100, 102, 104])
    answered = np.array([True, True, False])
    timing = Timing(
        received=times,
        begun=np.array([0, 1100 * ms, NO_TIME]),
        ended=np.array([100 * ms, 1400 * ms, NO_TIME]),
        status=np.array([Status.ANSWERED, Status.ANSWERED, Status.DROPPED], dtype=np.uint8),
        batch=np.array([0, 1, -1]),
    )
    predictions = np.array([[0.5, 0.1], [0.2, -0.1], [0, 0]], dtype=np.float32)
    return Ledger(
        symbols=["A"],
        instruments=[Instrument()],
        events=EventBatch(
            np.zeros(3, dtype=np.int32),
            times,
            bid=quotes,
            ask=quotes + 1,
            bid_size=np.full(3, 9),
            ask_size=np.full(3, 9),
        ),
        timing=timing,
        answers=Answers(predictions, predictions.mean(axis=1), answered),
        undropped=None,
        targets=np.array([[0.4, 0.1], [0.2, 0.2], [1, 1]], dtype=np.float32),
        sizing=Sign(),
        entry=np.zeros(3, dtype=np.int64),
        response=np.zeros(3, dtype=np.int64),
        sessions=None,
        warmup=0,
        end=3000 * ms,
    )


def test_challenge_pays_for_accuracy_and_charges_for_time_and_silence() -> None:
    accountant = ChallengeAccountant(2.0, 0.1, 1_000_000_000, 3.0)
    metrics = accountant.account(ledger()).metrics
    # Mean absolute errors 0.05 and 0.15, sojourn 0.1 s and 0.4 s.
    earned = 2 * (exp(-0.5) - 0.1) + 2 * (exp(-1.5) - 0.4)
    assert metrics["points_answered"] == pytest.approx(earned, rel=1e-6)
    assert metrics["points_silence"] == -3.0
    assert metrics["net_points"] == pytest.approx(earned - 3.0, rel=1e-6)


def test_challenge_says_what_its_evaluator_says() -> None:
    metrics = ChallengeAccountant().account(ledger()).metrics
    assert metrics["total_requests"] == 3
    assert metrics["total_responses"] == 2
    assert metrics["response_rate"] == pytest.approx(2 / 3)
    assert metrics["average_latency_ms"] == pytest.approx(250.0)
    assert metrics["max_absolute_error"] == pytest.approx([0.1, 0.3], abs=1e-6)
    assert metrics["mean_absolute_error"] == pytest.approx([0.05, 0.15], abs=1e-6)


def test_challenge_pays_nothing_for_warm_up() -> None:
    metrics = ChallengeAccountant(silence=5.0).account(replace(ledger(), warmup=3)).metrics
    assert metrics["net_points"] == 0
    assert metrics["total_requests"] == 0
    assert metrics["response_rate"] is None


def test_challenge_needs_a_prediction_for_each_target() -> None:
    four = np.zeros((3, 4), dtype=np.float32)
    with pytest.raises(UsageError, match="2 outputs per event, the dataset 4"):
        ChallengeAccountant().account(replace(ledger(), targets=four))


def test_market_by_hand() -> None:
    # Bought 1 at 101 ticks (M = 201) for the event at M0 = 201; still long at the second answer;
    # closed at the bid 104 (M = 209). Net 2 x 104 - 2 x 101 = 6 half ticks of 0.005.
    metrics = MarketAccountant().account(ledger()).metrics
    assert metrics["net"] == 6 * 5_000_000
    assert metrics["decision"] == 8 * 5_000_000
    assert metrics["spread"] == 2 * 5_000_000
    assert metrics["fills"] == 2
    assert metrics["ideal"] is None
    assert metrics["missed"] is None


def test_market_refuses_what_it_cannot_account_for() -> None:
    with pytest.raises(UsageError, match="displayed sizes"):
        MarketAccountant(impact=0.5).account(
            replace(ledger(), events=replace(ledger().events, bid_size=None, ask_size=None))
        )
    euro = Instrument(currency="EUR")
    with pytest.raises(DataError, match="EUR, USD"):
        MarketAccountant().account(
            replace(ledger(), symbols=["A", "B"], instruments=[Instrument(), euro])
        )
    MarketAccountant().account(
        replace(
            ledger(), symbols=["A", "B"], instruments=[Instrument(), replace(euro, tradable=False)]
        )
    )


class Fractional(SizingRule):
    """A rule that breaks the contract: lots are whole."""

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        return np.full(len(forecast), 0.5)


def test_market_refuses_fractions_of_a_lot() -> None:
    with pytest.raises(RunError, match="Fractional"):
        MarketAccountant().account(replace(ledger(), sizing=Fractional()))


@dataclass(frozen=True)
class Large(SizingRule):
    """A rule that wants a position of so many lots, whatever the forecast."""

    lots: int

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        return np.full(len(forecast), self.lots)


@pytest.mark.parametrize("lots", [2**53 + 1, -(2**53) - 1, -(2**63)])
def test_market_refuses_positions_that_no_market_has(lots: int) -> None:
    with pytest.raises(RunError, match=f"Large: it wants a position of {lots} lots"):
        MarketAccountant().account(replace(ledger(), sizing=Large(lots)))
    assert MarketAccountant().account(replace(ledger(), sizing=Large(2**53)))


def test_fees_round_up_for_each_fill() -> None:
    # 201 half ticks are 1.005 of the currency: a tenth of a billionth of that rounds up to 1.
    costly = Instrument(fee_rate=Decimal("1e-10"), fee_per_lot=Decimal("0.25"))
    metrics = MarketAccountant().account(replace(ledger(), instruments=[costly])).metrics
    assert metrics["fees"] == 2 * (250_000_000 + 1)


def test_sizing_rules() -> None:
    forecast = np.array([0.3, -0.3, 0.1, 0.0, 2.6], dtype=np.float32)
    empty = np.zeros(5, dtype=np.int64)
    quotes = Quotes(empty.astype(np.int32), empty, empty, empty, empty, empty)
    assert Sign(3, 0.2).targets(forecast, quotes).tolist() == [3, -3, 0, 0, 3]
    assert Proportional(10.0).targets(forecast, quotes).tolist() == [3, -3, 1, 0, 26]
