"""Break-evens: interpolation, the ends of intervals, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.comparison.break_even import Crossing, crossing
from backtest.comparison.intervals import mean_estimate
from backtest.core.arrays import Float64Array

pytestmark = pytest.mark.one_python


def linear_market(seed: int, n: int = 300) -> tuple[list[float], Float64Array]:
    """Profits that fall linearly with the latency scale, through 0 at a scale of 2."""
    random = np.random.default_rng(seed)
    scales = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]
    shared = np.random.default_rng(seed + 10_000).normal(size=n)
    for k in range(1, n):
        shared[k] += 0.5 * shared[k - 1]
    own = random.normal(size=(len(scales), n)) * 0.2
    steep = 0.4 + 0.2 * random.normal(size=n)  # what latency costs differs by bucket, too
    return scales, np.stack([0.8 - steep * s for s in scales]) + shared + own


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        ([10, 5, -5], 1.5),
        ([10, 0, -5], 1.0),
        ([10, 5, 1], None),
        ([-1, 5, -5, 3, -3], 1.5),
        ([-3, -2, -1], None),
        ([4, -4, 4, -4], 0.5),
    ],
)
def test_the_first_fall_through_zero(net: list[float], expected: float | None) -> None:
    # Half of each profit in either of two buckets.
    gains = np.repeat(np.array(net)[:, None] / 2, 2, axis=1)
    assert crossing(list(range(len(net))), gains).at == expected


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Crossing(None), "none in this range"),
        (Crossing(2.0, 1.5, 2.25), "at 2 times the latency (95 %: 1.5 to 2.25)"),
        (Crossing(2.0, 1.5), "at 2 times the latency (95 %: above 1.5)"),
        (Crossing(2.0, None, 2.25), "at 2 times the latency (95 %: below 2.25)"),
        (Crossing(2.0), "at 2 times the latency (95 %: anywhere in this range)"),
        (Crossing(2.0, reason="few"), "at 2 times the latency (no interval: few)"),
    ],
)
def test_a_break_even_in_words(found: Crossing, text: str) -> None:
    assert found.text() == text


def test_a_break_even_has_the_ends_at_which_zero_is_just_rejected() -> None:
    scales, gains = linear_market(0)
    found = crossing(scales, gains)
    assert found.at is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.at < found.high
    for end in (found.low, found.high):
        k = int(np.searchsorted(scales, end)) - 1
        share = (end - scales[k]) / (scales[k + 1] - scales[k])
        x = (1 - share) * gains[k] + share * gains[k + 1]
        assert mean_estimate(x).p == pytest.approx(0.05, abs=2e-3)


def test_a_break_even_is_open_where_the_last_setting_may_still_be_even() -> None:
    scales, gains = linear_market(0)
    wide, cut = crossing(scales, gains), crossing(scales[2:4], gains[2:4])
    assert wide.at == cut.at
    assert wide.high is not None
    assert wide.high > scales[3]
    assert (cut.high, cut.reason) == (None, None)
    short = crossing(scales, linear_market(0, 10)[1])
    assert short.at is None or short.reason is not None


def test_intervals_of_a_break_even_hold_it() -> None:
    held = given = 0
    for seed in range(400):
        found = crossing(*linear_market(seed))
        if found.at is None or found.reason is not None:
            continue
        given += 1
        held += (found.low or 0.0) <= 2 <= (found.high or np.inf)
    assert given >= 390
    assert abs(held / given - 0.95) < 0.02 + 3 * np.sqrt(0.95 * 0.05 / given)
