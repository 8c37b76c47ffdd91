"""Paired differences: known answers, coverage, and the correction for many comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.comparison.bootstrap import block_length, holm, paired_difference
from backtest.core.arrays import Float64Array


def autoregressive(seed: int, strength: float, n: int = 400) -> Float64Array:
    x = np.random.default_rng(seed).normal(size=n)
    for k in range(1, n):
        x[k] += strength * x[k - 1]
    return x


@pytest.mark.parametrize(
    ("seed", "strength", "expected"),
    [(0, 0.0, 0.324), (1, 0.25, 1.94), (2, 0.5, 5.24), (3, 0.75, 18.4)],
)  # fmt: skip
def test_block_length_agrees_with_another_implementation(
    seed: int, strength: float, expected: float
) -> None:
    # arch 8.0.0: arch.bootstrap.optimal_block_length(x)["circular"].
    length = block_length(autoregressive(seed, strength))
    assert length == pytest.approx(max(1.0, expected), abs=2)


def test_block_length_of_degenerate_series() -> None:
    assert block_length(np.zeros(100)) == 1
    assert block_length(np.arange(4.0)) == 1
    assert block_length(np.arange(30.0)) <= 10


def test_a_clear_difference_is_found_and_a_missing_one_is_not() -> None:
    random = np.random.default_rng(4)
    market = random.normal(size=500) * 10  # shared, so that pairing removes it
    y = market + random.normal(size=500)
    clear = paired_difference(market + random.normal(size=500) + 0.5, y)
    assert clear.total == pytest.approx(250, abs=70)
    assert clear.low is not None
    assert clear.high is not None
    assert clear.p is not None
    assert 0 < clear.low < clear.total < clear.high
    assert clear.p < 0.001
    none = paired_difference(market + random.normal(size=500), y)
    assert none.p is not None
    assert none.p > 0.05


def test_the_same_seed_gives_the_same_interval() -> None:
    x, y = np.random.default_rng(2).normal(size=(2, 200))
    assert paired_difference(x, y) == paired_difference(x, y)
    assert paired_difference(x, y).low != paired_difference(x, y, seed=1).low


def test_equal_series_differ_by_nothing() -> None:
    x = np.random.default_rng(2).normal(size=200)
    found = paired_difference(x, x)
    assert (found.total, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_too_short_a_series_is_not_judged() -> None:
    found = paired_difference(np.arange(5.0), np.zeros(5))
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.total == 10


def test_intervals_have_about_their_nominal_coverage() -> None:
    covered = 0
    for seed in range(60):
        found = paired_difference(autoregressive(seed, 0.3, 300) + 1, np.zeros(300), seed=seed)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 300 <= found.high
    assert 50 <= covered <= 60  # 57 expected; three standard deviations are 5


def test_holm() -> None:
    # Worked by hand: 3 x 0.01, then 2 x 0.02, then 1 x 0.03 raised to the one before it.
    assert holm([0.03, 0.01, None, 0.02]) == pytest.approx([0.04, 0.03, None, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
