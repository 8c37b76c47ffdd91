"""Sharpe ratios after many trials: the papers' numbers, and plain computations."""

from __future__ import annotations

from itertools import combinations
from math import inf, log, sqrt

import numpy as np
import pytest

from backtest.comparison.overfitting import (
    deflated_benchmark,
    independent_trials,
    least_track_record,
    moments,
    overfitting_probability,
    probabilistic_sharpe,
)
from backtest.core.arrays import Float64Array


def test_the_example_of_the_paper_on_the_deflated_sharpe_ratio() -> None:
    """Bailey and López de Prado (2014): 1,250 daily returns, an annual ratio of 2.5 of 250 days."""
    ratio, variance = 2.5 / sqrt(250), 0.5 / 250
    of_100 = deflated_benchmark(variance, 100)
    assert of_100 == pytest.approx(0.1132, abs=5e-5)
    shape = {"skewness": -3.0, "kurtosis": 10.0}
    assert probabilistic_sharpe(ratio, 1_250, than=of_100, **shape) == pytest.approx(
        0.9004, abs=5e-5
    )
    of_46 = deflated_benchmark(variance, 46)
    assert probabilistic_sharpe(ratio, 1_250, than=of_46, **shape) == pytest.approx(
        0.9505, abs=5e-5
    )


@pytest.mark.parametrize(("periods", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_the_example_of_the_paper_on_track_records(periods: int, years: float) -> None:
    """Bailey and López de Prado (2012): an annual ratio of 2 exceeds 1, from normal returns."""
    count = least_track_record(2 / sqrt(periods), than=1 / sqrt(periods))
    assert count / periods == pytest.approx(years, abs=5e-3)
    enough = probabilistic_sharpe(2 / sqrt(periods), count, than=1 / sqrt(periods))
    assert enough == pytest.approx(0.95)


def test_a_ratio_that_does_not_exceed_the_benchmark_never_will() -> None:
    assert least_track_record(0.1, than=0.1) == inf
    assert probabilistic_sharpe(0.1, 100, than=0.1) == pytest.approx(0.5)


def test_the_probability_is_the_share_of_samples_when_the_truth_is_at_the_benchmark() -> None:
    random = np.random.default_rng(0)
    levels = []
    for _ in range(1_000):
        ratio, skewness, kurtosis = moments(random.exponential(size=250) - 0.9)
        levels.append(
            probabilistic_sharpe(ratio, 250, skewness=skewness, kurtosis=kurtosis, than=0.1)
        )
    assert np.mean(np.array(levels) > 0.95) == pytest.approx(0.05, abs=0.021)
    assert np.mean(np.array(levels) > 0.5) == pytest.approx(0.5, abs=0.048)


def test_the_deflated_benchmark_is_the_highest_ratio_of_worthless_trials() -> None:
    random = np.random.default_rng(1)
    for trials in (10, 100):
        highest = 0.2 * random.normal(size=(20_000, trials)).max(axis=1).mean()
        assert deflated_benchmark(0.04, trials) == pytest.approx(highest, rel=0.03)
    assert deflated_benchmark(0.04, 1) == 0


def test_moments_are_those_of_the_formulas() -> None:
    x = np.array([1.0, 2.0, 4.0, -3.0, 0.5])
    d = x - x.mean()
    s = sqrt(np.mean(d**2))
    expected = (x.mean() / x.std(ddof=1), np.mean(d**3) / s**3, np.mean(d**4) / s**4)
    assert moments(x) == pytest.approx(expected)


def test_correlated_trials_count_as_fewer() -> None:
    random = np.random.default_rng(2)
    own, shared = random.normal(size=(50, 2_000)), random.normal(size=2_000)
    assert independent_trials(own) == pytest.approx(50, abs=1)
    half = independent_trials(own + shared)  # correlations of 0.5
    assert half == pytest.approx(0.5 + 0.5 * 50, abs=1)
    assert independent_trials(np.tile(shared, (50, 1))) == pytest.approx(1)
    assert independent_trials(np.stack([shared, 0 * shared])) == 1
    assert independent_trials(np.zeros((3, 9))) == 0


def plainly(gains: Float64Array, groups: int) -> float:
    """The probability of overfitting once more, from the paper, step by step."""
    k, n = gains.shape
    size = n // groups
    parts = [gains[:, n - (groups - g) * size : n - (groups - g - 1) * size] for g in range(groups)]
    below = 0
    halves = list(combinations(range(groups), groups // 2))
    for half in halves:
        inside = np.concatenate([parts[g] for g in half], axis=1)
        outside = np.concatenate([parts[g] for g in range(groups) if g not in half], axis=1)
        best = int(np.argmax(inside.mean(axis=1) / inside.std(axis=1)))
        ratios = outside.mean(axis=1) / outside.std(axis=1)
        rank = 1 + sum(r < ratios[best] for r in ratios)
        share = rank / (k + 1)
        below += log(share / (1 - share)) <= 0
    return below / len(halves)


@pytest.mark.parametrize(("k", "n", "groups"), [(5, 101, 8), (8, 64, 6), (3, 80, 10)])
def test_the_probability_of_overfitting_is_that_of_a_plain_computation(
    k: int, n: int, groups: int
) -> None:
    gains = np.random.default_rng(k).normal(size=(k, n)) + np.linspace(0, 0.2, k)[:, None]
    assert overfitting_probability(gains, groups) == plainly(gains, groups)


def test_worthless_trials_are_overfitted_half_the_time_and_a_good_one_never() -> None:
    random = np.random.default_rng(3)
    found = [overfitting_probability(random.normal(size=(20, 240)), 10) for _ in range(40)]
    assert np.mean([f for f in found if f is not None]) == pytest.approx(0.5, abs=0.1)
    gains = random.normal(size=(20, 240))
    gains[7] += 1
    assert overfitting_probability(gains) == 0


def test_trials_that_are_all_alike_are_at_the_median() -> None:
    x = np.random.default_rng(4).normal(size=160)
    assert overfitting_probability(np.tile(x, (4, 1))) == 1
    assert overfitting_probability(np.zeros((4, 160))) == 1


def test_too_few_trials_or_buckets_have_no_probability_of_overfitting() -> None:
    x = np.random.default_rng(5).normal(size=(2, 40))
    assert overfitting_probability(x[:1]) is None
    assert overfitting_probability(x[:, :15]) is None
    assert overfitting_probability(x[:, :16]) is not None
    assert overfitting_probability(x, 4) == plainly(x, 4)
