"""Intervals of quantiles: exact ranks, when there are none, and coverage in a queue."""

from __future__ import annotations

from math import comb, log

import numpy as np
import pytest

from backtest.comparison.quantiles import quantile_interval, quantile_ranks
from backtest.core.arrays import Float64Array


@pytest.mark.parametrize("n", [6, 7, 20, 100, 400])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_ranks_are_the_closest_that_each_miss_with_at_most_half_the_risk(n: int, q: float) -> None:
    chances = [comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]

    def missed_low(rank: int) -> float:
        """The value of this rank is above the quantile: fewer than that many are below it."""
        return sum(chances[:rank])

    def missed_high(rank: int) -> float:
        return sum(chances[rank:])

    lows = [rank for rank in range(1, n + 1) if missed_low(rank) <= 0.025]
    highs = [rank for rank in range(1, n + 1) if missed_high(rank) <= 0.025]
    expected = (max(lows), min(highs)) if lows and highs else None
    assert quantile_ranks(n, q) == expected


def test_too_few_values_have_none() -> None:
    # 0.99 ** n <= 0.025 from 368 on: below, the 99th percentile may exceed all values.
    assert quantile_ranks(367, 0.99) is None
    assert quantile_ranks(368, 0.99) == (360, 368)
    assert quantile_interval(np.arange(300.0), 0.99) is None
    assert quantile_interval(np.empty(0), 0.5) is None


def test_many_values_have_ranks_as_the_normal_approximation_has_them() -> None:
    n, q = 10_000_000, 0.999
    low, high = quantile_ranks(n, q) or (0, 0)
    reach = 1.959964 * (n * q * (1 - q)) ** 0.5
    assert low == pytest.approx(n * q - reach, abs=2)
    assert high == pytest.approx(n * q + reach, abs=2)


def waiting_times(random: np.random.Generator, rows: int, n: int) -> Float64Array:
    """Sojourn times in a queue with one server, half of the time busy, float64 [rows, n]."""
    arrivals, services = random.exponential(1, (rows, n)), random.exponential(0.5, (rows, n))
    waits = np.zeros((rows, n))
    for k in range(1, n):
        waits[:, k] = np.maximum(waits[:, k - 1] + services[:, k - 1] - arrivals[:, k], 0)
    return waits + services


def test_the_interval_of_a_p99_holds_it_where_events_wait_for_one_another() -> None:
    truth = -log(0.01) / (1 / 0.5 - 1)  # sojourn times of M/M/1 are exponential
    found = [
        quantile_interval(x, 0.99) for x in waiting_times(np.random.default_rng(0), 200, 20_000)
    ]
    given = [ends for ends in found if ends is not None]
    assert len(given) >= 190
    held = np.mean([low <= truth <= high for low, high in given])
    assert held >= 0.95 - 3 * (0.95 * 0.05 / len(given)) ** 0.5


def test_the_interval_is_wider_than_independent_values_would_have_it() -> None:
    x = waiting_times(np.random.default_rng(1), 1, 50_000)[0]
    low, high = quantile_interval(x, 0.99) or (0.0, 0.0)
    ranks = quantile_ranks(len(x), 0.99)
    assert ranks is not None
    ordered = np.sort(x)
    assert low < ordered[ranks[0] - 1] < np.quantile(x, 0.99) < ordered[ranks[1] - 1] < high
    mixed = np.random.default_rng(2).permutation(x)
    narrow = quantile_interval(mixed, 0.99)
    assert narrow is not None
    assert narrow[1] - narrow[0] < 0.7 * (high - low)


def test_one_burst_is_too_little_to_tell_a_p99_from() -> None:
    x = np.random.default_rng(3).exponential(size=10_000)
    x[4_000:4_150] += 100
    assert quantile_interval(x, 0.99) is None
