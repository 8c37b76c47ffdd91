"""Tests of many strategies at once, against another implementation where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backtest.comparison.intervals import mean_estimate
from backtest.comparison.multiple_testing import best_of_many, block_length, holm
from backtest.core.arrays import Float64Array

pytestmark = pytest.mark.one_python


def autoregressive(seed: int, strength: float, shape: tuple[int, ...] = (400,)) -> Float64Array:
    x = np.random.default_rng(seed).normal(size=shape)
    for k in range(1, shape[-1]):
        x[..., k] += strength * x[..., k - 1]
    return x


def test_holm() -> None:
    # Worked by hand: 3 x 0.01, then 2 x 0.02, then 1 x 0.03 raised to the one before it.
    assert holm([0.03, 0.01, None, 0.02]) == pytest.approx([0.04, 0.03, None, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.fixture
def arch() -> Any:
    return pytest.importorskip("arch.bootstrap", reason="arch is not installed")


@pytest.mark.parametrize(
    ("seed", "strength", "expected"),
    [(0, 0.0, 1.0), (1, 0.25, 1.6964814), (2, 0.5, 4.5761502), (3, 0.75, 16.0755969)],
)
def test_block_length_is_about_that_of_another_implementation(
    seed: int, strength: float, expected: float
) -> None:
    # arch 8.0.0: arch.bootstrap.optimal_block_length(x)["stationary"]. It begins to look for small
    # correlations one lag later than the paper.
    assert block_length(autoregressive(seed, strength)) == pytest.approx(expected, abs=1.5)


def test_block_length_of_degenerate_series() -> None:
    assert block_length(np.zeros(100)) == 1
    assert block_length(np.arange(4.0)) == 1
    assert block_length(np.arange(30.0)) <= 10


def strategies(seed: int, best: float, worst: float = -0.4) -> Float64Array:
    """20 strategies whose true means rise from ``worst`` to ``best``, float64 [20, 300]."""
    means = np.linspace(worst, best, 20)[:, None]
    return autoregressive(seed, 0.3, (20, 300)) + means


@pytest.mark.parametrize(("seed", "best"), [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)])
def test_p_values_are_those_of_another_implementation(seed: int, best: float, arch: Any) -> None:
    gains, resamples = strategies(seed, best), 4_000
    mine = best_of_many(gains, block=5, published=True, resamples=resamples)
    assert mine is not None

    def theirs(profits: Float64Array) -> Any:
        # It tests losses, and does not studentise: it is given studentised gains for Hansen's test.
        test = arch.SPA(
            np.zeros(profits.shape[1]), -profits.T, block_size=5, reps=resamples, seed=1
        )
        test.compute()
        return test

    plain = theirs(gains)
    deviation = np.sqrt(plain._loss_diff_var)[:, None]
    hansen = theirs(gains / deviation).pvalues["consistent"]
    error = 4 * np.sqrt(2 * 0.25 / resamples)
    assert mine.reality_check == pytest.approx(plain.pvalues["upper"], abs=error)
    assert mine.spa == pytest.approx(hansen, abs=error)


def plainly(gains: Float64Array, block: float, resamples: int, seed: int) -> tuple[float, float]:
    """Both tests once more, from the papers, index by index."""
    random = np.random.default_rng(seed)
    k, n = gains.shape
    mean = gains.mean(axis=1)
    drawn = []
    for _ in range(resamples):
        at = [int(random.integers(n))]
        while len(at) < n:
            begins = random.random() < 1 / block
            at.append(int(random.integers(n)) if begins else (at[-1] + 1) % n)
        drawn.append(gains[:, at].mean(axis=1))
    means = np.array(drawn)
    deviation = np.sqrt(n) * means.std(axis=0)
    reality = np.mean([np.sqrt(n) * (m - mean).max() > np.sqrt(n) * mean.max() for m in means])
    statistic = max(0.0, *(np.sqrt(n) * mean[j] / deviation[j] for j in range(k)))
    above = 0
    for m in means:
        best = 0.0
        for j in range(k):
            keeps = np.sqrt(n) * mean[j] / deviation[j] >= -np.sqrt(2 * np.log(np.log(n)))
            z = m[j] - mean[j] * keeps
            best = max(best, float(np.sqrt(n) * z / deviation[j]))
        above += best > statistic
    return float(reality), above / resamples


@pytest.mark.parametrize(("seed", "best", "worst"), [(0, 0.1, -0.1), (1, 0.15, -1.0)])
def test_p_values_are_those_of_a_plain_computation(seed: int, best: float, worst: float) -> None:
    gains, resamples = strategies(seed, best, worst)[::4, :120], 1_500
    mine = best_of_many(gains, block=4, published=True, resamples=resamples)
    assert mine is not None
    reality, spa = plainly(gains, 4, resamples, seed)
    error = 4 * np.sqrt(2 * 0.25 / resamples)
    assert mine.reality_check == pytest.approx(reality, abs=error)
    assert mine.spa == pytest.approx(spa, abs=error)
    again = best_of_many(gains, block=4, published=True, resamples=resamples)
    assert mine == again


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_the_best_of_many_worthless_strategies_is_seldom_taken_for_a_good_one(
    strength: float,
) -> None:
    trials = [autoregressive(s, strength, (10, 200)) for s in range(120)]
    found = [best_of_many(x, resamples=200) for x in trials]
    for name in ("reality_check", "spa"):
        wrong = np.mean([getattr(f, name) < 0.05 for f in found])
        assert wrong <= 0.05 + 3 * (0.05 * 0.95 / len(trials)) ** 0.5
    # The best one alone looks good far more often.
    naive = [(x.mean(axis=1) / x.std(axis=1) * np.sqrt(200)).max() > 1.645 for x in trials]
    assert np.mean(naive) > 0.3


def test_one_strategy_has_the_probability_of_its_t_test() -> None:
    for seed, mean in ((0, 0.05), (1, 0.1), (2, 0.0)):
        x = autoregressive(seed, 0.4, (300,)) + mean
        alone, plain = best_of_many(x[None], resamples=4_000), mean_estimate(x)
        assert alone is not None
        assert plain.p is not None
        one_sided = plain.p / 2 if plain.value > 0 else 1 - plain.p / 2
        assert alone.reality_check == pytest.approx(one_sided, abs=0.04)


def test_hopeless_strategies_do_not_hide_a_good_one_from_hansens_test() -> None:
    random = np.random.default_rng(0)
    good = random.normal(size=(1, 300)) + 0.15
    noisy = 5 * random.normal(size=(30, 300)) - 3
    found = best_of_many(np.concatenate([good, noisy]), published=True)
    assert found is not None
    assert found.spa < 0.05 < found.reality_check


def test_nothing_to_test_gives_nothing() -> None:
    assert best_of_many(np.zeros((3, 100))) is None
    assert best_of_many(np.ones((3, 5)) * np.arange(5)) is None
    alone = best_of_many(np.stack([np.zeros(100), np.random.default_rng(0).normal(size=100)]))
    assert alone is not None
    assert 0 <= alone.spa <= 1
