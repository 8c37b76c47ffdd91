"""Moments that are added up piece by piece, against numpy on everything at once."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.core.arrays import Float64Array
from backtest.core.moments import GroupedCorrelation, JointMoments
from backtest.core.quantiles import Quantiles
from backtest.core.rows import Rows


def in_pieces(columns: Float64Array, *cuts: int) -> JointMoments:
    moments = JointMoments(len(columns))
    for piece in np.split(columns, cuts, axis=1):
        moments.add(piece)
    return moments


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize("cuts", [(), (1,), (0, 5, 5, 600)])
def test_joint_moments_agree_with_numpy(cuts: tuple[int, ...], offset: float) -> None:
    random = np.random.default_rng(0)
    x = offset + random.normal(size=1000)
    columns = np.array([x, 0.5 * x + random.normal(size=1000), np.full(1000, 0.1)])
    moments = in_pieces(columns, *cuts)
    assert moments.correlation(0, 1) == pytest.approx(np.corrcoef(columns)[0, 1], rel=1e-9)
    assert moments.slope(0, 1) == pytest.approx(np.polyfit(x - offset, columns[1], 1)[0], rel=1e-9)
    right = 1 - ((columns[1] - x) ** 2).sum() / ((columns[1] - columns[1].mean()) ** 2).sum()
    assert moments.explained(0, 1) == pytest.approx(right, rel=1e-9)
    for one, other in ((0, 2), (2, 0)):
        assert moments.correlation(one, other) is None
        assert moments.explained(one, other) is None
    assert moments.slope(2, 0) is None


def test_correlation_within_groups() -> None:
    random = np.random.default_rng(1)
    group, x = random.integers(0, 5, 3000), 1e4 + random.normal(size=3000)
    y = np.where(group == 2, 7.0, (group - 2.5) * x + random.normal(size=3000))
    found = GroupedCorrelation()
    for rows in np.split(np.arange(3000), [1, 2, 1500]):
        found.add(group[rows], x[rows], y[rows])
    for k, value in enumerate(found.correlations()):
        of = group == k
        expected = None if k == 2 else pytest.approx(np.corrcoef(x[of], y[of])[0, 1], rel=1e-6)
        assert value == expected


def test_quantiles_are_values_that_occurred() -> None:
    random = np.random.default_rng(2)
    values = np.exp(random.uniform(0, 40, 5000)).astype(np.int64)
    values[:500] = 35_800_123
    found = Quantiles()
    assert found.at(np.array([0.5])) is None
    for piece in np.split(values, [10, 2000]):
        found.add(piece)
    at = np.array([0.0, 0.25, 0.5, 0.99, 1.0])
    right = np.quantile(values, at, method="inverted_cdf")
    got = found.at(at)
    assert got is not None
    assert np.isin(got, values).all()
    assert (got >= right).all()
    np.testing.assert_allclose(got, right, rtol=1 / 4096)
    small = Quantiles()
    small.add(np.arange(8000))
    right = np.quantile(np.arange(8000), at, method="inverted_cdf")
    np.testing.assert_array_equal(small.at(at), right)


@pytest.mark.parametrize("lengths", [(1, 2, 3, 4), (10,), (0, 0, 10, 0), (4, 6)])
def test_rows_are_cut_anew(lengths: tuple[int, ...]) -> None:
    rows = np.arange(20).reshape(10, 2)
    pieces = np.split(rows, np.cumsum(lengths)[:-1])
    taken = Rows(iter(pieces), rows[:0])
    assert taken.take(0).shape == (0, 2)
    assert [len(taken.take(n)) for n in (3, 0, 6)] == [3, 0, 6]
    assert taken.take(1).tolist() == [[18, 19]]
    with pytest.raises(EOFError):
        taken.take(1)
