"""How far answers lie from a reference, added up stretch by stretch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from backtest.core.arrays import Float32Array
from backtest.inference.accuracy import AccuracyTally
from backtest.inference.answers import Answers

NOTHING = dict.fromkeys(("correlation", "rmse", "mean_absolute_error", "max_absolute_error"))


def figures(predictions: Float32Array, reference: Float32Array, cuts: tuple[int, ...] = ()) -> Any:
    """The figures of predictions whose forecast is the first output, in some pieces."""
    tally = AccuracyTally(predictions.shape[1])
    for first, stop in pairwise((0, 0, *cuts, len(predictions))):
        some, right = predictions[first:stop], reference[first:stop]
        tally.add(Answers(some, some[:, 0]), right, right[:, 0])
    return tally.figures()


@pytest.mark.parametrize("count", [0, 1, 2, 6])
@pytest.mark.parametrize("varies", [False, True])
def test_answers_that_are_the_reference_have_no_error(count: int, varies: bool) -> None:
    predictions = np.zeros((count, 2), dtype=np.float32)
    predictions[count // 2 :] = 0.1 * varies
    found = figures(predictions, predictions.copy())
    if not count:
        assert found == NOTHING
        return
    assert found["rmse"] == 0
    assert found["mean_absolute_error"] == found["max_absolute_error"] == [0, 0]
    assert found["correlation"] == (1 if varies and count > 1 else None)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("cuts", [(), (1,), (400, 401), (10, 20, 30, 900)])
def test_figures_are_those_of_all_answers_at_once(cuts: tuple[int, ...], offset: float) -> None:
    random = np.random.default_rng(0)
    reference = (offset + random.normal(size=(1000, 3))).astype(np.float32)
    predictions = (reference + random.normal(scale=0.3, size=(1000, 3))).astype(np.float32)
    found = figures(predictions, reference, cuts)
    error = np.abs(predictions.astype(np.float64) - reference)
    assert found["max_absolute_error"] == error.max(axis=0).tolist()
    assert found["mean_absolute_error"] == pytest.approx(error.mean(axis=0), rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt((error[:, 0] ** 2).mean()), rel=1e-12)
    both = np.corrcoef(predictions[:, 0].astype(np.float64), reference[:, 0].astype(np.float64))
    assert found["correlation"] == pytest.approx(both[0, 1], rel=1e-9)


def test_what_does_not_vary_has_no_correlation() -> None:
    varying = np.random.default_rng(1).normal(size=(50, 1)).astype(np.float32)
    constant = np.full((50, 1), 0.1, dtype=np.float32)
    for one, other in ((varying, constant), (constant, varying), (constant, 2 * constant)):
        assert figures(one, other, (7,))["correlation"] is None
    assert figures(varying, -varying, (7,))["correlation"] == pytest.approx(-1)
