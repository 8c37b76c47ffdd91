"""The tear sheet against a reference library, and by hand."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backtest.comparison import figures
from backtest.comparison.profits import Profits
from backtest.core.arrays import Float64Array

UNPAID: Any = SimpleNamespace(metrics={"account": {}})

PERIODS = 252.0
CAPITAL = 1e7  # so much that compounding, which the library assumes, does not matter


@pytest.fixture(params=range(3))
def gained(request: pytest.FixtureRequest) -> Float64Array:
    """Profits of 400 buckets."""
    return np.random.default_rng(request.param).normal(0.05, 1.0, 400).round(2)


def test_ratios_agree_with_a_reference_library(gained: Float64Array) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own, on import
        empyrical = pytest.importorskip("empyrical")
    returns = gained / CAPITAL
    known = {"annualization": PERIODS}
    assert figures.sharpe(gained, PERIODS) == pytest.approx(
        empyrical.sharpe_ratio(returns, **known)
    )
    assert figures.sortino(gained, PERIODS) == pytest.approx(
        empyrical.sortino_ratio(returns, **known)
    )
    drawdown = figures.max_drawdown(np.cumsum(gained))
    assert drawdown == pytest.approx(-empyrical.max_drawdown(returns) * CAPITAL, rel=1e-3)
    assert float(gained.mean()) * PERIODS / drawdown == pytest.approx(
        empyrical.calmar_ratio(returns, **known), rel=1e-3
    )


def test_ratios_without_anything_to_divide_by() -> None:
    flat = np.ones(5)
    assert figures.sharpe(flat, PERIODS) is None
    assert figures.sharpe(np.ones(1), PERIODS) is None
    assert figures.sortino(flat, PERIODS) is None
    assert figures.profit_factor(flat) is None
    assert figures.hit_rate(np.zeros(3)) is None


def test_by_hand() -> None:
    gained = np.array([2.0, -1.0, 0.0, -2.0, 4.0])
    assert figures.hit_rate(gained) == 0.5
    assert figures.profit_factor(gained) == 2.0
    assert figures.max_drawdown(np.cumsum(gained)) == 3.0
    assert figures.max_drawdown(np.array([-1.0, -2.0])) == 2.0


def earned(hours: float, gained: Float64Array) -> Profits:
    length = round(hours * 3.6e12 / len(gained))
    return Profits(length * np.arange(1, len(gained) + 1), np.cumsum(gained), "USD")


@pytest.mark.parametrize(
    ("hours", "decided", "reason"),
    [
        (220 / 3600, 500, "3.7 minutes, fewer than 20 days"),
        (19.9 * 24, 500, "19.9 days, fewer than 20 days"),
        (400 * 24, 19, "only 19 buckets"),
        (20 * 24, 20, None),
    ],
)
def test_short_windows_are_not_annualised(hours: float, decided: int, reason: str | None) -> None:
    gained = np.zeros(500)
    gained[:decided] = np.random.default_rng(0).normal(1.0, 2.0, decided)
    profits = earned(hours, gained)
    found = figures.tear_sheet(UNPAID, profits)
    said = figures.not_annualised(profits)
    if reason is None:
        assert said is None
        assert all(found[name] is not None for name in figures.ANNUALISED)
        expected = figures.sharpe(gained, 365.25 * 24 / hours * 500)
        assert found["sharpe"] == pytest.approx(expected)
    else:
        assert said is not None
        assert reason in said
        assert all(found[name] is None for name in figures.ANNUALISED)
    assert found["hit_rate"] is not None


def test_nothing_earned_is_not_annualised() -> None:
    none = Profits(np.empty(0, dtype=np.int64), np.empty(0), "USD")
    assert figures.not_annualised(none) is not None
    assert (none.start, none.open_ns) == (0, 0)
