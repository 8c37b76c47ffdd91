"""Where profits fall through zero as latency grows, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.comparison.intervals import CONFIDENCE, t_of_mean, why_none
from backtest.comparison.student import critical
from backtest.core.arrays import Float64Array

_STEPS = 32
"""Points between two latency scales at which a break-even is tested."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where profits fall through zero as a setting rises.

    Attributes:
        at: the setting, interpolated between those that were run; ``None``: nowhere among them.
        low, high: interval at ``CONFIDENCE``; ``None`` if it is open on that side, or unknown.
        reason: why there is no interval; ``None`` if there is one.
    """

    at: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def text(self) -> str:
        """Such as ``at 2.1 times the latency (95 %: 1.7 to 2.6)``, for a latency scale."""
        if self.at is None:
            return "none in this range"
        within = self.within() if self.reason else f"95 %: {self.within()}"
        return f"at {self.at:.3g} times the latency ({within})"

    def within(self) -> str:
        """The interval, such as ``1.7 to 2.6``, or why there is none; empty without a crossing."""
        if self.at is None:
            return ""
        if self.reason is not None:
            return f"no interval: {self.reason}"
        if self.low is not None and self.high is not None:
            return f"{self.low:.3g} to {self.high:.3g}"
        if self.low is not None:
            return f"above {self.low:.3g}"
        if self.high is not None:
            return f"below {self.high:.3g}"
        return "anywhere in this range"


def crossing(settings: Sequence[float], gains: Float64Array) -> Crossing:
    """The first setting at which total profit falls from positive to zero or below.

    Between two settings profits are taken to be linear. The interval holds the settings around the
    crossing at which a mean profit of 0 is not rejected (as in Fieller, 1954, "Some problems in
    interval estimation"). It is open where that is still so at the last setting on that side.

    Args:
        settings: ascending [m].
        gains: profits in the same buckets at each setting [m, n].
    """
    at = _first_fall(settings, gains.sum(axis=1))
    if at is None:
        return Crossing(None)
    share = np.linspace(0, 1, _STEPS, endpoint=False)
    grid = np.append((np.arange(len(settings) - 1)[:, None] + share).ravel(), len(settings) - 1.0)
    ratios = []
    for place in grid:
        k = min(int(place), len(settings) - 2)
        x = gains[k] + (place - k) * (gains[k + 1] - gains[k])
        if not x.any():
            ratios.append(0.0)
            continue
        reason = why_none(x)
        if reason:
            return Crossing(at, reason=reason)
        t, freedom, _ = t_of_mean(x)
        ratios.append(t / critical(CONFIDENCE, freedom))
    where = np.interp(grid, np.arange(len(settings)), settings)
    below = np.flatnonzero((where <= at) & (np.abs(ratios) > 1))
    above = np.flatnonzero((where >= at) & (np.abs(ratios) > 1))
    low = _edge(where, ratios, int(below[-1]), 1) if len(below) else None
    high = _edge(where, ratios, int(above[0]), -1) if len(above) else None
    return Crossing(at, low, high)


def _first_fall(settings: Sequence[float], totals: Float64Array) -> float | None:
    for k in range(1, len(settings)):
        high, low = float(totals[k - 1]), float(totals[k])
        if high > 0 >= low:
            return settings[k - 1] + (settings[k] - settings[k - 1]) * high / (high - low)
    return None


def _edge(where: Float64Array, ratios: Sequence[float], outside: int, step: int) -> float:
    """Where the test's ratio passes 1 or -1 between a rejected point and its neighbour."""
    inside = outside + step
    bound = np.sign(ratios[outside])
    share = (ratios[outside] - bound) / (ratios[outside] - ratios[inside])
    return float(where[outside] + share * (where[inside] - where[outside]))
