"""How far answers lie from what should have been predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backtest.core.arrays import Float32Array, Float64Array
from backtest.core.moments import JointMoments
from backtest.inference.answers import Answers


class OpinionTally:
    """How many answers of a strategy that may have no opinion are none."""

    def __init__(self) -> None:
        self._answers = self._silent = 0

    def add(self, forecast: Float32Array) -> None:
        """Add answered events after the warm-up [n]."""
        self._answers += len(forecast)
        self._silent += int(np.count_nonzero(np.isnan(forecast)))

    @property
    def share(self) -> float | None:
        """The share of no opinions; ``None`` without answers."""
        return self._silent / self._answers if self._answers else None


_FIGURES = ("correlation", "rmse", "mean_absolute_error", "max_absolute_error")


class AccuracyTally:
    """Figures over answered events after the warm-up, added up stretch by stretch.

    Those without an opinion are left out by the caller.

    Args:
        outputs: predictions an event.
    """

    def __init__(self, outputs: int) -> None:
        self._same = 0
        self._forecasts = JointMoments(2)
        self._squares = 0.0
        self._total: Float64Array = np.zeros(outputs)
        self._largest: Float64Array = np.zeros(outputs)
        self._range = (np.inf, -np.inf)

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
        self._forecasts.add(both)

    def add_same(self, forecast: Float32Array) -> None:
        """Add answered events [n] whose answers are the reference itself."""
        if len(forecast):
            self._same += len(forecast)
            least, most = self._range
            self._range = (min(least, float(forecast.min())), max(most, float(forecast.max())))

    def figures(self) -> dict[str, Any]:
        """``correlation`` (Pearson, of the forecasts) and ``rmse`` of the forecasts, and by output
        ``mean_absolute_error`` and ``max_absolute_error``; ``None`` where there is none."""
        count = self._same + self._forecasts.count
        if not count:
            return dict.fromkeys(_FIGURES)
        found: tuple[Any, ...] = (
            self._correlation(),
            float(np.sqrt(self._squares / count)),
            (self._total / count).tolist(),
            self._largest.tolist(),
        )
        return dict(zip(_FIGURES, found, strict=True))

    def _correlation(self) -> float | None:
        if self._squares:
            return self._forecasts.correlation(0, 1)
        # The same numbers, whatever rounding makes of their products.
        return 1.0 if self._range[0] < self._range[1] or self._forecasts.varies(0) else None


class TargetTally:
    """How answered events after the warm-up agree with the dataset's targets.

    The information coefficient (IC) is Pearson's correlation of answers with what came true
    (Grinold and Kahn, "Active Portfolio Management", 2nd edition, 2000, chapter 4); rank
    correlation would need every answer at once.

    Args:
        outputs: predictions an event.
        targets: names of the dataset's targets [T].
    """

    def __init__(self, outputs: int, targets: Sequence[str]) -> None:
        self._outputs = outputs
        self._targets = targets
        self._moments = JointMoments(outputs + 1 + len(targets))

    def add(self, answers: Answers, targets: Float32Array) -> None:
        """Add answered events [n] with their targets, float32 [n, T]."""
        columns = (*answers.predictions.T, answers.forecast, *targets.T)
        self._moments.add(np.array(columns, dtype=np.float64))

    def figures(self) -> dict[str, Any]:
        """``ic`` and ``r2`` of each pair that is meant to agree, on average, and ``by_target``.

        Where there are as many outputs as targets, each output is paired with its target;
        otherwise the forecast is, with every target. ``by_target`` holds, by name of the target,
        ``ic`` and ``r2`` of the ``forecast`` and of each of the ``outputs``. A figure that is not
        defined, such as that of a constant answer, is absent.
        """
        by_target: dict[str, Any] = {}
        for k, name in enumerate(self._targets):
            outputs = [self._pair(j, k) for j in range(self._outputs)]
            by_target[name] = {"forecast": self._pair(self._outputs, k), "outputs": outputs}
        paired = self._outputs == len(self._targets)
        pairs = [
            of["outputs"][k] if paired else of["forecast"]
            for k, of in enumerate(by_target.values())
        ]
        means = {
            name: float(np.mean([pair[name] for pair in pairs]))
            for name in ("ic", "r2")
            if all(name in pair for pair in pairs)
        }
        return means | {"by_target": by_target}

    def _pair(self, answer: int, target: int) -> dict[str, float]:
        column = self._outputs + 1 + target
        found = {
            "ic": self._moments.correlation(answer, column),
            "r2": self._moments.explained(answer, column),
        }
        return {name: value for name, value in found.items() if value is not None}
