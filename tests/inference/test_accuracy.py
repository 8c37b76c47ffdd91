"""How far answers lie from a reference, added up stretch by stretch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from backtest.core.arrays import Float32Array
from backtest.inference.accuracy import AccuracyTally, TargetTally
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


def against_targets(predictions: Float32Array, targets: Float32Array, *cuts: int) -> Any:
    """Figures of predictions whose forecast is their mean, in some pieces."""
    names = tuple(f"in_{k}s" for k in range(targets.shape[1]))
    tally = TargetTally(predictions.shape[1], names)
    for first, stop in pairwise((0, *cuts, len(predictions))):
        some = predictions[first:stop]
        tally.add(Answers(some, some.mean(axis=1, dtype=np.float32)), targets[first:stop])
    return tally.figures()


@pytest.mark.parametrize(("outputs", "targets"), [(3, 3), (1, 4), (4, 1), (2, 3)])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_ic_and_r2_agree_with_numpy(outputs: int, targets: int, offset: float) -> None:
    random = np.random.default_rng(4)
    truth = (offset + random.normal(size=(2000, targets))).astype(np.float32)
    weights = random.normal(size=(targets, outputs))
    noise = random.normal(size=(2000, outputs))
    answers = (0.3 * (truth - offset) @ weights + noise + offset).astype(np.float32)
    found = against_targets(answers, truth, 1, 700, 700)
    x = np.column_stack([answers, answers.mean(axis=1, dtype=np.float32)]).astype(np.float64)
    y = truth.astype(np.float64)
    pairs = []
    for k in range(targets):
        of = found["by_target"][f"in_{k}s"]
        assert len(of["outputs"]) == outputs
        for j, pair in enumerate((*of["outputs"], of["forecast"])):
            error, spread = (
                ((x[:, j] - y[:, k]) ** 2).sum(),
                ((y[:, k] - y[:, k].mean()) ** 2).sum(),
            )
            assert pair["ic"] == pytest.approx(np.corrcoef(x[:, j], y[:, k])[0, 1], rel=1e-6)
            assert pair["r2"] == pytest.approx(1 - error / spread, rel=1e-6)
        pairs.append(of["outputs"][k] if outputs == targets else of["forecast"])
    for name in ("ic", "r2"):
        assert found[name] == pytest.approx(np.mean([pair[name] for pair in pairs]))


def test_figures_that_are_not_defined_are_absent() -> None:
    truth = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    answers = np.column_stack([np.full(50, 0.1), truth[:, 1]]).astype(np.float32)
    found = against_targets(answers, truth, 7)
    assert "ic" not in found
    assert "r2" not in found
    assert found["by_target"]["in_0s"]["outputs"][0] == {}
    assert found["by_target"]["in_1s"]["outputs"][1] == {
        "ic": pytest.approx(1), "r2": pytest.approx(1)
    }  # fmt: skip
    constant = against_targets(truth, np.ones((50, 2), dtype=np.float32))
    nothing = against_targets(truth[:0], truth[:0])
    for of in (constant, nothing):
        assert set(of) == {"by_target"}
        assert of["by_target"]["in_0s"] == {"forecast": {}, "outputs": [{}, {}]}


def test_a_wrong_model_agrees_with_itself_and_with_nothing_else() -> None:
    truth = np.random.default_rng(0).normal(size=(500, 1)).astype(np.float32)
    assert figures(-truth, -truth.copy())["correlation"] == 1
    found = against_targets(-truth, truth)
    assert found["ic"] == pytest.approx(-1)
    assert found["r2"] == pytest.approx(-3, abs=0.1)
