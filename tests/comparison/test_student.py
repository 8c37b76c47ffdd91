"""Student's t against closed forms and printed tables."""

from __future__ import annotations

from math import atan, pi, sqrt

import pytest

from backtest.comparison.student import critical, two_sided


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 2.5, 40.0])
def test_probabilities_have_the_closed_forms_of_few_degrees_of_freedom(t: float) -> None:
    assert two_sided(t, 1) == pytest.approx(1 - 2 * atan(t) / pi, abs=1e-14)
    assert two_sided(t, 2) == pytest.approx(1 - t / sqrt(2 + t**2), abs=1e-14)
    of_three = 1 - 2 / pi * (atan(t / sqrt(3)) + sqrt(3) * t / (3 + t**2))
    assert two_sided(t, 3) == pytest.approx(of_three, abs=1e-14)
    assert two_sided(-t, 3) == two_sided(t, 3)


@pytest.mark.parametrize(
    ("freedom", "at_95", "at_99"),
    [(1, 12.706, 63.657), (4, 2.776, 4.604), (5, 2.571, 4.032), (16, 2.120, 2.921),
     (30, 2.042, 2.750), (120, 1.980, 2.617)],
)  # fmt: skip
def test_critical_values_are_those_of_printed_tables(
    freedom: int, at_95: float, at_99: float
) -> None:
    assert critical(0.95, freedom) == pytest.approx(at_95, abs=5e-4)
    assert critical(0.99, freedom) == pytest.approx(at_99, abs=5e-4)
