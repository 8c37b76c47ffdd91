"""Drawdowns and the rolling Sharpe ratio against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.comparison.drawdowns import drawdowns, rolling_sharpe
from backtest.comparison.figures import max_drawdown
from backtest.comparison.profits import Profits

HOUR = 3600 * 10**9


def profits(net: list[float] | np.ndarray, bucket: int = HOUR) -> Profits:
    net = np.asarray(net, dtype=np.float64)
    return Profits(bucket * np.arange(1, len(net) + 1), net, "USD")


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=40))
def test_drawdowns_are_those_of_a_plain_loop(gains: list[int]) -> None:
    net = np.cumsum(gains)
    found = drawdowns(profits(net), most=100)
    curve = [0, *net.tolist()]
    expected: list[tuple[float, int, int, int | None]] = []
    top = 0
    lowest: int | None = None
    for k in range(1, len(curve)):
        if curve[k] >= curve[top]:
            if lowest is not None:
                expected.append((curve[top] - curve[lowest], top, lowest, k))
            top, lowest = k, None
        elif lowest is None or curve[k] < curve[lowest]:
            lowest = k
    if lowest is not None:
        expected.append((curve[top] - curve[lowest], top, lowest, None))
    expected.sort(key=lambda d: (-d[0], d[1]))
    assert [
        (
            d.depth,
            d.begin // HOUR,
            d.bottom // HOUR,
            None if d.recovery is None else d.recovery // HOUR,
        )
        for d in found
    ] == expected
    assert all(d.end == (len(net) * HOUR if d.recovery is None else d.recovery) for d in found)
    assert max((d.depth for d in found), default=0) == max_drawdown(net)
    assert drawdowns(profits(net), most=2) == found[:2]


def test_without_profits_there_is_no_drawdown() -> None:
    assert drawdowns(profits([])) == []


def test_rolling_sharpe() -> None:
    random = np.random.default_rng(0)
    gains = random.normal(1, 10, 3000)  # 125 days of hours
    found = rolling_sharpe(profits(np.cumsum(gains)))
    assert not isinstance(found, str)
    assert found.days == 20
    count = 20 * 24
    assert found.ends[0] == count * HOUR
    assert found.ends[-1] == 3000 * HOUR
    assert len(found.ends) == 500
    for end, ratio in zip(found.ends, found.ratio, strict=True):
        window = gains[end // HOUR - count : end // HOUR]
        expected = window.mean() / window.std(ddof=1) * np.sqrt(365.25 * 24)
        assert ratio == pytest.approx(expected, rel=1e-9)


def test_a_long_run_rolls_over_a_tenth_of_it() -> None:
    gains = np.random.default_rng(0).normal(0, 1, 600)
    found = rolling_sharpe(profits(np.cumsum(gains), bucket=24 * HOUR))
    assert not isinstance(found, str)
    assert found.days == 60


@pytest.mark.parametrize(
    ("count", "reason"),
    [(24 * 3, "the window spans 3.0 days, fewer than 20 days"),
     (24 * 30, "the window spans 30 days, fewer than twice 20 days")],
)  # fmt: skip
def test_a_short_run_has_none(count: int, reason: str) -> None:
    gains = np.random.default_rng(0).normal(0, 1, count)
    assert rolling_sharpe(profits(np.cumsum(gains))) == reason


def test_a_run_that_hardly_traded_has_none() -> None:
    assert "only 1 buckets have a profit or a loss" in str(rolling_sharpe(profits([1.0] * 1000)))
