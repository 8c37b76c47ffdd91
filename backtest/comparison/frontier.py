"""Which runs no other run beats in both speed and another figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backtest.strategies.base import ERROR_BOUNDS

ROUNDING = 1e-6
"""What a correlation of float32 answers may be off by, whatever the class of the strategy."""


@dataclass(frozen=True, slots=True)
class Point:
    """A run on the plane of latency and another figure.

    Attributes:
        latency: the less, the better.
        value: the more, the better.
        tolerance: how far ``value`` may be off without meaning anything.
    """

    latency: float
    value: float
    tolerance: float

    def beats(self, other: Point) -> bool:
        """Whether it is as good in both, and better in one by more than either tolerance."""
        apart = max(self.tolerance, other.tolerance)
        if self.latency > other.latency or self.value < other.value - apart:
            return False
        return self.latency < other.latency or self.value > other.value + apart


def correlation_tolerance(conformance: str | None) -> float:
    """How far correlations of two strategies of a class may lie apart though they do the same.

    Answers whose error has a root mean square of e standard deviations change a correlation with
    anything by at most about e.
    """
    return ERROR_BOUNDS.get(conformance or "", ROUNDING)


def amount_tolerance(amount: float) -> float:
    """How far an amount may be off for the order in which it was added up."""
    return 1e-9 * abs(amount)


def frontier(points: Sequence[Point]) -> list[int]:
    """Positions of the points that no other point beats."""
    return [k for k, point in enumerate(points) if not any(o.beats(point) for o in points)]
