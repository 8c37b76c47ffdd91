"""How far answers lie from what should have been predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Float64Array, chunks
from backtest.core.room import Room
from backtest.inference.answers import Answers

_ACCURACY = ("correlation", "rmse", "mean_absolute_error", "max_absolute_error")


def accuracy(
    answers: Answers,
    reference: Float32Array,
    reference_forecast: Float32Array,
    warmup: int,
    room: Room | None = None,
) -> dict[str, Any]:
    """How far answers lie from reference predictions, over the answered events after warm-up.

    Args:
        answers: predictions [n, outputs].
        reference: what should have been predicted, float32 [n, outputs].
        reference_forecast: the same, folded, float32 [n].
        warmup: events at the beginning to leave out.
        room: of the columns, released as they are read.

    Returns:
        ``correlation`` (Pearson, of the forecasts), ``rmse`` of the forecasts, and by output
        ``mean_absolute_error`` and ``max_absolute_error``.
    """
    outputs = reference.shape[1]
    if answers.predictions is reference and answers.forecast is reference_forecast:
        return _faultless(answers, outputs, warmup)
    count = 0
    sums, squares = np.zeros(2), 0.0
    total, largest = np.zeros(outputs), np.zeros(outputs)
    least, most = np.full(2, np.inf), np.full(2, -np.inf)

    def pieces() -> Iterator[tuple[BoolArray, Float64Array, slice]]:
        for first, last in chunks(len(reference), room):
            rows = slice(first, last)
            chosen = answers.answered[rows].copy()
            chosen[: max(warmup - first, 0)] = False
            both = (answers.forecast[rows][chosen], reference_forecast[rows][chosen])
            yield chosen, np.array(both, dtype=np.float64), rows

    for chosen, both, rows in pieces():
        if not both.shape[1]:
            continue
        error = np.abs(
            answers.predictions[rows][chosen].astype(np.float64) - reference[rows][chosen]
        )
        count += both.shape[1]
        sums += both.sum(axis=1)
        squares += float(((both[0] - both[1]) ** 2).sum())
        least, most = np.minimum(least, both.min(axis=1)), np.maximum(most, both.max(axis=1))
        total += error.sum(axis=0)
        largest = np.maximum(largest, error.max(axis=0))
    if not count:
        return dict.fromkeys(_ACCURACY)
    products = np.zeros((2, 2))
    for _, both, _ in pieces():
        centred = both - (sums / count)[:, None]
        products += centred @ centred.T
    varies = count > 1 and (most > least).all()
    spread = float(np.sqrt(products[0, 0] * products[1, 1]))
    found: tuple[Any, ...] = (
        float(products[0, 1] / spread) if varies and spread else None,
        float(np.sqrt(squares / count)),
        (total / count).tolist(),
        largest.tolist(),
    )
    return dict(zip(_ACCURACY, found, strict=True))


def _faultless(answers: Answers, outputs: int, warmup: int) -> dict[str, Any]:
    """The accuracy of answers that are the reference itself, without reading more than it takes."""
    seen: set[float] = set()
    for first, last in chunks(len(answers.answered)):
        chosen = answers.answered[first:last].copy()
        chosen[: max(warmup - first, 0)] = False
        forecast = answers.forecast[first:last][chosen]
        if len(forecast):
            seen |= {float(forecast.min()), float(forecast.max())}
        if len(seen) > 1:
            break
    if not seen:
        return dict.fromkeys(_ACCURACY)
    found = (1.0 if len(seen) > 1 else None, 0.0, [0.0] * outputs, [0.0] * outputs)
    return dict(zip(_ACCURACY, found, strict=True))


def correlation(x: Any, y: Any) -> float | None:
    """Pearson's correlation; ``None`` where one side does not vary."""
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
