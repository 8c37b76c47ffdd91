"""Draws, scaling, and the sizes of the model calls that serve a batch."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.latency import Draws, pass_sizes, scaled


def test_a_draw_depends_on_seed_stream_and_number_alone() -> None:
    draws = Draws(7, "service")
    order = [9000, 0, 4095, 4096, 5, 0]
    first = Draws(7, "service").first(9001)
    assert [draws[k] for k in order] == [float(first[k]) for k in order]
    assert ((first >= 0) & (first < 1)).all()
    assert Draws(8, "service")[0] != draws[0] != Draws(7, "feed")[0]


def test_fewer_first_draws_are_a_prefix_of_more() -> None:
    assert np.array_equal(Draws(1, "entry").first(10), Draws(1, "entry").first(5000)[:10])
    assert len(Draws(1, "entry").first(0)) == 0


def test_draws_are_uniform() -> None:
    draws = Draws(3, "response").first(100_000)
    # Deviations of a mean and a variance of 1e5 uniforms: 0.0009 and 0.0002; five of each.
    assert draws.mean() == pytest.approx(0.5, abs=0.0046)
    assert draws.var() == pytest.approx(1 / 12, abs=0.0012)


def test_scaling_rounds_halves_to_even() -> None:
    spans = np.array([0, 1, 3, 5, 10**15], dtype=np.int64)
    assert scaled(spans, 0.5).tolist() == [0, 0, 2, 2, 5 * 10**14]


@pytest.mark.parametrize(
    ("symbols", "rounds"),
    [([4], (1,)), ([1, 2, 3], (3,)), ([1, 1, 1], (1, 1, 1)), ([1, 2, 1, 3, 1, 2], (3, 2, 1))],
)
def test_passes_of_a_batch(symbols: list[int], rounds: tuple[int, ...]) -> None:
    assert pass_sizes(symbols, "rounds") == rounds
    assert pass_sizes(symbols, "packed") == (len(symbols),)
