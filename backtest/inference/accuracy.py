"""How far answers lie from what should have been predicted."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.core.arrays import Float32Array, Float64Array
from backtest.inference.answers import Answers

_FIGURES = ("correlation", "rmse", "mean_absolute_error", "max_absolute_error")


class AccuracyTally:
    """Figures over answered events after the warm-up, added up stretch by stretch.

    Sums of centred products are merged as Chan, Golub and LeVeque (1979, "Updating formulae and a
    pairwise algorithm for computing sample variances") do, so that nothing is read twice.

    Args:
        outputs: predictions an event.
    """

    def __init__(self, outputs: int) -> None:
        self._count = 0
        self._means: Float64Array = np.zeros(2)
        self._products: Float64Array = np.zeros((2, 2))
        self._squares = 0.0
        self._total: Float64Array = np.zeros(outputs)
        self._largest: Float64Array = np.zeros(outputs)
        self._least: Float64Array = np.full(2, np.inf)
        self._most: Float64Array = np.full(2, -np.inf)

    def add(self, answers: Answers, reference: Float32Array, forecast: Float32Array) -> None:
        """Add answered events [n].

        Args:
            answers: what was predicted.
            reference: what should have been, float32 [n, outputs].
            forecast: the same, folded, float32 [n].
        """
        count = len(forecast)
        if not count:
            return
        both = np.array([answers.forecast, forecast], dtype=np.float64)  # [2, n]
        error = np.abs(answers.predictions.astype(np.float64) - reference)  # [n, outputs]
        self._squares += float(((both[0] - both[1]) ** 2).sum())
        self._total += error.sum(axis=0)
        self._largest = np.maximum(self._largest, error.max(axis=0))
        self._least = np.minimum(self._least, both.min(axis=1))
        self._most = np.maximum(self._most, both.max(axis=1))
        means = both.mean(axis=1)
        centred = both - means[:, None]
        apart = means - self._means
        total = self._count + count
        self._products += centred @ centred.T + np.outer(apart, apart) * self._count * count / total
        self._means += apart * count / total
        self._count = total

    def add_same(self, forecast: Float32Array) -> None:
        """Add answered events [n] whose answers are the reference itself."""
        if len(forecast):
            self._count += len(forecast)
            self._least = np.minimum(self._least, forecast.min())
            self._most = np.maximum(self._most, forecast.max())

    def figures(self) -> dict[str, Any]:
        """``correlation`` (Pearson, of the forecasts) and ``rmse`` of the forecasts, and by output
        ``mean_absolute_error`` and ``max_absolute_error``; ``None`` where there is none."""
        if not self._count:
            return dict.fromkeys(_FIGURES)
        found: tuple[Any, ...] = (
            self._correlation(),
            float(np.sqrt(self._squares / self._count)),
            (self._total / self._count).tolist(),
            self._largest.tolist(),
        )
        return dict(zip(_FIGURES, found, strict=True))

    def _correlation(self) -> float | None:
        if self._count < 2 or not (self._most > self._least).all():
            return None
        if not self._squares:
            return 1.0  # the same numbers, whatever rounding makes of their products
        spread = float(np.sqrt(self._products[0, 0] * self._products[1, 1]))
        if not spread:
            return None
        return min(max(float(self._products[0, 1]) / spread, -1.0), 1.0)


def correlation(x: Any, y: Any) -> float | None:
    """Pearson's correlation; ``None`` where one side does not vary."""
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
