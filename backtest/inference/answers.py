"""What pass 2 hands on: a strategy's predictions, and which events they are for."""

from __future__ import annotations

from dataclasses import dataclass

from backtest.core.arrays import BoolArray, Float32Array


@dataclass(frozen=True, slots=True)
class Answers:
    """A strategy's predictions for ``n`` events.

    Attributes:
        predictions: float32 [n, outputs]; meaningless where not answered.
        forecast: what sizing reads, float32 [n].
        answered: bool [n].
    """

    predictions: Float32Array
    forecast: Float32Array
    answered: BoolArray
