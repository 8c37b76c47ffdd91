"""The accountants' own arithmetic; the market's rules are held against the oracle elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import exp
from typing import Any

import numpy as np
import pytest

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import DataError, RunError, UsageError
from backtest.inference.answers import Answers
from backtest.market.calendar import MarketHours
from backtest.market.events import NO_TIME, EventBatch
from backtest.market.instruments import Instrument
from backtest.market.quotes import Quotes
from backtest.market.window import Window
from backtest.plugins.accountants.challenge import ChallengeAccountant
from backtest.plugins.accountants.market import MarketAccountant
from backtest.plugins.sizing import Proportional, Sign
from backtest.timing.outcomes import Status, Timing
from backtest.trading.accountant import Accountant, RunTerms, SettledEvents
from backtest.trading.sizing import SizingRule
from backtest.trading.target_venue import TargetVenue
from backtest.trading.terms import ClosingQuotes, Terms

MS = 1_000_000
END = 3000 * MS


class Sink:
    """Takes the tables that are written piece by piece."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Any]] = {}

    def write(self, name: str, rows: Any) -> None:
        """Take rows."""
        self.tables.setdefault(name, []).append(rows)


def three_events() -> SettledEvents:
    """Events of one symbol; the last is not answered. Sojourn times 100 and 400 ms."""
    times = np.array([0, 1000 * MS, 2000 * MS])
    quotes = np.array([100, 102, 104])
    timing = Timing(
        received=times,
        begun=np.array([0, 1100 * MS, NO_TIME]),
        ended=np.array([100 * MS, 1400 * MS, NO_TIME]),
        status=np.array([Status.ANSWERED, Status.ANSWERED, Status.DROPPED], dtype=np.uint8),
        batch=np.array([0, 1, -1]),
    )
    predictions = np.array([[0.5, 0.1], [0.2, -0.1], [0, 0]], dtype=np.float32)
    return SettledEvents(
        0,
        EventBatch(
            np.zeros(3, dtype=np.int32),
            times,
            bid=quotes,
            ask=quotes + 1,
            bid_size=np.full(3, 9),
            ask_size=np.full(3, 9),
        ),
        timing,
        np.array([True, True, False]),
        Answers(predictions, predictions.mean(axis=1)),
        np.array([[0.4, 0.1], [0.2, 0.2], [1, 1]], dtype=np.float32),
    )


def run_terms(**others: Any) -> RunTerms:
    """What an accountant learns before these events."""
    given: dict[str, Any] = {
        "symbols": ["A"], "instruments": [Instrument()], "sessions": None, "warmup": 0,
        "start": 0, "end": END, "outputs": 2, "targets": 2, "has_sizes": True, "sink": Sink(),
    }  # fmt: skip
    return RunTerms(**{**given, **others})


def settled(accountant: Accountant, cuts: Sequence[int] = (3,), **others: Any) -> Mapping[str, Any]:
    """The figures of an accountant that needs no venue; the events come in pieces."""
    settlement, whole, first = accountant.open(run_terms(**others)), three_events(), 0
    for stop in cuts:
        rows = slice(first, stop)
        assert whole.targets is not None
        settlement.add(
            SettledEvents(
                first,
                whole.events.select(rows),
                Timing(*(column[rows] for column in timing_columns(whole.timing))),
                whole.answered[rows],
                Answers(*(column[rows] for column in whole.answers)),
                whole.targets[rows],
            )
        )
        first = stop
    return settlement.finish().metrics


def timing_columns(timing: Timing) -> Iterator[Any]:
    """The columns of a timing in the order of its constructor."""
    return (getattr(timing, name) for name in ("received", "begun", "ended", "status", "batch"))


def traded(
    accountant: MarketAccountant,
    *,
    sizing: SizingRule | None = None,
    instruments: Sequence[Instrument] = (Instrument(),),
) -> Mapping[str, Any]:
    """The figures of the market accountant, with a venue that is given the events at once."""
    whole = three_events()
    rules = accountant.order_rules(None, END)
    closing = ClosingQuotes(len(instruments), rules)
    window = Window(TargetVenue.COLUMNS)
    rows = window.extend(3)
    for columns in (whole.events, whole.timing):
        for name in TargetVenue.COLUMNS:
            if hasattr(columns, name):
                window[name][rows] = getattr(columns, name)
    names = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    closing.look_back([window[name][rows] for name in names])
    symbols = [chr(ord("A") + k) for k in range(len(instruments))]
    terms = Terms(
        symbols, instruments, rules, sizing or Sign(), 0, 0, 0,
        accountant.bucket_ends(0, END, MarketHours()), closing,
    )  # fmt: skip
    venue = TargetVenue(window, terms)
    settlement = accountant.open(run_terms(symbols=symbols, instruments=instruments, venue=venue))
    forecast = whole.answers.forecast
    venue.follow(0, 3, last=True)
    venue.answer(np.flatnonzero(whole.answered), forecast[whole.answered])
    venue.settle(0, 3, forecast)
    venue.finish()
    return settlement.finish().metrics


def test_challenge_pays_for_accuracy_and_charges_for_time_and_silence() -> None:
    accountant = ChallengeAccountant(2.0, 0.1, 1_000_000_000, 3.0)
    metrics = settled(accountant)
    # Mean absolute errors 0.05 and 0.15, sojourn 0.1 s and 0.4 s.
    earned = 2 * (exp(-0.5) - 0.1) + 2 * (exp(-1.5) - 0.4)
    assert metrics["points_answered"] == pytest.approx(earned, rel=1e-6)
    assert metrics["points_silence"] == -3.0
    assert metrics["net_points"] == pytest.approx(earned - 3.0, rel=1e-6)
    for cuts in ([1, 3], [2, 3], [1, 2, 3]):
        pieces = settled(accountant, cuts)
        assert pieces.keys() == metrics.keys()
        for name, figure in metrics.items():
            assert pieces[name] == pytest.approx(figure, rel=1e-12), name


def test_challenge_says_what_its_evaluator_says() -> None:
    metrics = settled(ChallengeAccountant())
    assert metrics["total_requests"] == 3
    assert metrics["total_responses"] == 2
    assert metrics["response_rate"] == pytest.approx(2 / 3)
    assert metrics["average_latency_ms"] == pytest.approx(250.0)
    assert metrics["max_absolute_error"] == pytest.approx([0.1, 0.3], abs=1e-6)
    assert metrics["mean_absolute_error"] == pytest.approx([0.05, 0.15], abs=1e-6)


def test_challenge_pays_nothing_for_warm_up() -> None:
    metrics = settled(ChallengeAccountant(silence=5.0), warmup=3)
    assert metrics["net_points"] == 0
    assert metrics["total_requests"] == 0
    assert metrics["response_rate"] is None


def test_challenge_needs_a_prediction_for_each_target() -> None:
    with pytest.raises(UsageError, match="2 outputs per event, the dataset 4"):
        ChallengeAccountant().open(run_terms(targets=4))


def test_challenge_writes_the_points_of_each_event() -> None:
    sink = Sink()
    metrics = settled(ChallengeAccountant(silence=3.0), [1, 3], sink=sink)
    rows = [row for part in sink.tables["points"] for row in part.to_pylist()]
    assert [row["symbol"] for row in rows] == ["A"] * 3
    assert [row["ts"].value for row in rows] == [0, 1000 * MS, 2000 * MS]
    assert rows[2]["points"] == -3.0
    assert sum(row["points"] for row in rows) == pytest.approx(metrics["net_points"])


def test_market_by_hand() -> None:
    # Bought 1 at 101 ticks (M = 201) for the event at M0 = 201; still long at the second answer;
    # closed at the bid 104 (M = 209). Net 2 x 104 - 2 x 101 = 6 half ticks of 0.005.
    metrics = traded(MarketAccountant())
    assert metrics["net"] == 6 * 5_000_000
    assert metrics["decision"] == 8 * 5_000_000
    assert metrics["spread"] == 2 * 5_000_000
    assert metrics["fills"] == 2
    assert metrics["ideal"] is None
    assert metrics["missed"] is None


def test_market_refuses_what_it_cannot_account_for() -> None:
    with pytest.raises(UsageError, match="displayed sizes"):
        MarketAccountant(impact=0.5).open(run_terms(has_sizes=False))
    euro = Instrument(currency="EUR")
    with pytest.raises(DataError, match="EUR, USD"):
        traded(MarketAccountant(), instruments=[Instrument(), euro])
    both = [Instrument(), replace(euro, tradable=False)]
    assert traded(MarketAccountant(), instruments=both)["fills"] == 2


class Fractional(SizingRule):
    """A rule that breaks the contract: lots are whole."""

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        return np.full(len(forecast), 0.5)


def test_market_refuses_fractions_of_a_lot() -> None:
    with pytest.raises(RunError, match="Fractional"):
        traded(MarketAccountant(), sizing=Fractional())


@dataclass(frozen=True)
class Large(SizingRule):
    """A rule that wants a position of so many lots, whatever the forecast."""

    lots: int

    def targets(self, forecast: Float32Array, quotes: Quotes) -> Int64Array:
        return np.full(len(forecast), self.lots)


@pytest.mark.parametrize("lots", [2**53 + 1, -(2**53) - 1, -(2**63)])
def test_market_refuses_positions_that_no_market_has(lots: int) -> None:
    with pytest.raises(RunError, match=f"Large: it wants a position of {lots} lots"):
        traded(MarketAccountant(), sizing=Large(lots))
    # All that is displayed, twice, and the close.
    assert traded(MarketAccountant(), sizing=Large(2**53))["lots_traded"] == 9 + 9 + 18


def test_fees_round_up_for_each_fill() -> None:
    # 201 half ticks are 1.005 of the currency: a tenth of a billionth of that rounds up to 1.
    costly = Instrument(fee_rate=Decimal("1e-10"), fee_per_lot=Decimal("0.25"))
    metrics = traded(MarketAccountant(), instruments=[costly])
    assert metrics["fees"] == 2 * (250_000_000 + 1)


def test_sizing_rules() -> None:
    forecast = np.array([0.3, -0.3, 0.1, 0.0, 2.6], dtype=np.float32)
    empty = np.zeros(5, dtype=np.int64)
    quotes = Quotes(empty.astype(np.int32), empty, empty, empty, empty, empty)
    assert Sign(3, 0.2).targets(forecast, quotes).tolist() == [3, -3, 0, 0, 3]
    assert Proportional(10.0).targets(forecast, quotes).tolist() == [3, -3, 1, 0, 26]
