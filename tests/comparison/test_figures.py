"""The tear sheet against a reference library, and by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from backtest.comparison import figures
from backtest.core.arrays import Float64Array

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
