"""Counts by size against sorted values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.report.magnitudes import Magnitudes

VALUES = st.lists(st.integers(-(2**62), 2**62) | st.integers(-600, 600), min_size=1, max_size=60)


@given(VALUES, st.floats(0, 1), st.integers(1, 60))
def test_quantiles(values: list[int], q: float, piece: int) -> None:
    counted = Magnitudes()
    for k in range(0, len(values), piece):
        counted.add(np.array(values[k : k + piece], dtype=np.int64))
    found = counted.quantile(q)
    exact = float(np.quantile(np.array(values, dtype=float), q, method="inverted_cdf"))
    assert found is not None
    assert found in {float(value) for value in values}
    if abs(exact) < 512:
        assert found == exact
    else:
        assert found == pytest.approx(exact, rel=0.004)


def test_nothing_has_no_quantile() -> None:
    assert Magnitudes().quantile(0.5) is None


def test_a_histogram_loses_nothing() -> None:
    random = np.random.default_rng(0)
    values = random.integers(-500, 500, 10_000)
    counted = Magnitudes()
    counted.add(values)
    edges = np.linspace(-300, 300, 13)
    expected, _ = np.histogram(np.clip(values, -300, 299.999), edges)
    assert counted.histogram(edges).tolist() == expected.tolist()
