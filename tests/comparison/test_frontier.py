"""Who is dominated: by what means something, not by rounding."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.comparison.frontier import (
    Point,
    amount_tolerance,
    correlation_tolerance,
    frontier,
)
from backtest.comparison.intervals import total_difference

EXACT, CLOSE = correlation_tolerance("exact"), correlation_tolerance("close")


@pytest.mark.parametrize("apart", [1e-16, 1e-9, 0.9 * EXACT])
def test_rounding_does_not_dominate(apart: float) -> None:
    slow, fast = Point(20.0, 1.0, EXACT), Point(10.0, 1.0 - apart, EXACT)
    assert frontier([slow, fast]) == [1]
    equally_fast = Point(10.0, 1.0, EXACT)
    assert frontier([equally_fast, fast]) == [0, 1]


def test_what_is_beyond_the_class_counts() -> None:
    right, wrong = Point(20.0, 1.0, EXACT), Point(10.0, 1.0 - 2 * EXACT, EXACT)
    assert frontier([right, wrong]) == [0, 1]
    assert frontier([Point(10.0, 1.0, EXACT), Point(10.0, 1.0 - 2 * EXACT, EXACT)]) == [0]
    # The wider tolerance of the two decides.
    assert frontier([Point(10.0, 1.0, EXACT), Point(10.0, 1.0 - 2 * EXACT, CLOSE)]) == [0, 1]
    assert correlation_tolerance(None) == correlation_tolerance("approximate") < EXACT < CLOSE


def test_amounts_differ_by_more_than_the_order_of_a_sum() -> None:
    amounts = [1e6, 1e6 * (1 + 1e-15), 1e6 + 0.01]
    points = [Point(10.0, value, amount_tolerance(value)) for value in amounts]
    assert frontier(points[:2]) == [0, 1]
    assert frontier(points) == [2]


def test_a_difference_that_is_rounding_is_none() -> None:
    earned = np.random.default_rng(0).normal(size=500)
    rounded = earned * (1 + 1e-16) + 1e-16
    found = total_difference(rounded, earned)
    assert (found.value, found.p) == (0.0, 1.0)
    assert total_difference(earned + 1e-6, earned).value == pytest.approx(5e-4)
