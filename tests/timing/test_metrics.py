"""Figures of a run, where they are known without reading everything."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.inference.accuracy import accuracy
from backtest.inference.answers import Answers
from backtest.timing.outcomes import Status, Timing


@pytest.mark.parametrize("warmup", [0, 3, 5, 9])
@pytest.mark.parametrize("varies", [False, True])
def test_answers_that_are_the_reference_have_no_error(warmup: int, varies: bool) -> None:
    predictions = np.zeros((6, 2), dtype=np.float32)
    predictions[4:] = varies
    forecast = predictions[:, 0]
    answered = np.array([True, True, False, True, True, False])
    answers = Answers(predictions, forecast, answered)
    found = accuracy(answers, predictions, forecast, warmup)
    assert found == accuracy(answers, predictions.copy(), forecast.copy(), warmup)
    assert (found["rmse"] is None) == (warmup >= 5)
    assert (found["correlation"] is None) == (warmup >= 5 or not varies)


@pytest.mark.parametrize(
    ("status", "unbroken"),
    [
        ("", True),
        ("000000", True),
        ("400000", False),
        ("000004", True),
        ("000041", True),  # the last of each line
        ("010101", True),  # one line answers, the other never
        ("000100", False),
        ("100000", False),
        ("111111", True),
    ],
)
def test_whether_what_is_missing_is_missing_from_the_end(
    status: str, unbroken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.array([int(c) for c in status], dtype=np.uint8)
    unknown = np.empty(len(codes), dtype=np.int64)
    timing = Timing(unknown, unknown, unknown, codes, unknown)
    lines = np.arange(len(codes), dtype=np.int32) % 2
    for stretch in (1, 2, 3, 100):
        monkeypatch.setattr("backtest.timing.outcomes._STRETCH", stretch)
        assert timing.unbroken(lines) == unbroken
        assert timing.unbroken(np.zeros_like(lines)) == (
            "0" not in status[(codes == Status.ANSWERED).sum() :]
        )
