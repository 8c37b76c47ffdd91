"""Axes: from values to pixels, and the positions of ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.core.arrays import Float64Array


@dataclass(frozen=True)
class Axis:
    """One axis: its title with the unit, and whether it is logarithmic.

    ``ticks`` gives labels at places of one's own choice; ``low`` and ``high`` widen its range;
    ``roomy`` leaves a margin around the data.
    """

    title: str
    log: bool = False
    ticks: Sequence[tuple[float, str]] | None = None
    low: float | None = None
    high: float | None = None
    roomy: bool = False


@dataclass(frozen=True)
class Scale:
    """From values to pixels."""

    axis: Axis
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, axis: Axis, values: Float64Array, start: float, end: float) -> Scale:
        """A scale that holds all finite values, or (log) all positive ones."""
        known = values[np.isfinite(values) & ((values > 0) | (not axis.log))]
        given = [v for v in (axis.low, axis.high) if v is not None]
        known = np.append(known, given)
        if not len(known):
            known = np.array([1.0, 10.0])
        low, high = float(known.min()), float(known.max())
        if axis.log:
            if high / low < 1.5:
                low, high = low / 1.5, high * 1.5
        elif high == low:
            low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
        if axis.roomy and axis.log:
            margin = (high / low) ** 0.08
            low, high = low / margin, high * margin
        elif axis.roomy:
            low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
        return cls(axis, low, high, start, end)

    def __call__(self, value: Any) -> Any:
        low, high, at = self.low, self.high, np.asarray(value, dtype=np.float64)
        if self.axis.log:
            low, high, at = math.log10(low), math.log10(high), np.log10(np.maximum(at, 1e-300))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of the ticks within the range."""
        if self.axis.ticks is not None:
            found = list(self.axis.ticks)
        elif self.axis.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1, 2, 5) if last - first <= 3 else (1,)
            values = [s * 10.0**e for e in range(first, last + 1) for s in steps]
            if sum(self.low <= v <= self.high for v in values) < 2:
                values = _nice(self.low, self.high)
            found = [(v, number(v)) for v in values]
        else:
            found = [(v, number(v)) for v in _nice(self.low, self.high)]
        slack = 1e-9 * (self.high - self.low)
        return [(v, t) for v, t in found if self.low - slack <= v <= self.high + slack]


def number(value: float) -> str:
    """A number for people: thousands grouped, at least three figures of it."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        return f"{value:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _nice(low: float, high: float) -> list[float]:
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s for s in (1, 2, 2.5, 5, 10) if s * power >= raw) * power
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
