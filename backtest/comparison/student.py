"""Student's t for a whole number of degrees of freedom, without a library of statistics."""

from __future__ import annotations

from functools import lru_cache
from math import atan, cos, pi, sin, sqrt


def two_sided(t: float, freedom: int) -> float:
    """Probability of a value at least as far from 0 as ``t``.

    Abramowitz and Stegun (1964), 26.7.3 and 26.7.4: finite sums for whole degrees of freedom.
    """
    angle = atan(abs(t) / sqrt(freedom))
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for k in range(freedom // 2):
        total += term
        term *= cos(angle) ** 2 * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
    inside = 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
    return min(max(1 - inside, 0.0), 1.0)


@lru_cache
def critical(confidence: float, freedom: int) -> float:
    """The value that t exceeds in either direction with probability 1 - ``confidence``."""
    low, high = 0.0, 1.0
    while two_sided(high, freedom) > 1 - confidence:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 1 - confidence else (low, middle)
    return high
