"""Charts keep extremes, stay inside their frame, and let nothing escape."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from backtest.report.charts import Chart, Series, downsample, waterfall
from backtest.report.scales import Axis, Scale, number


def test_downsampling_keeps_ends_and_extremes() -> None:
    random = np.random.default_rng(0)
    x = np.sort(random.uniform(0, 1, 100_000))
    y = random.normal(size=100_000)
    y[12_345], y[77_777] = 99.0, -99.0
    xs, ys = downsample(x, y, 100)
    assert len(xs) <= 400
    assert (xs[0], xs[-1]) == (x[0], x[-1])
    assert {99.0, -99.0} <= set(ys)
    assert all(a < b for a, b in pairwise(xs))
    edges = np.linspace(x[0], x[-1], 101)
    for a, b in pairwise(edges[1:-1]):
        inside, kept = (x >= a) & (x < b), (xs >= a) & (xs < b)
        assert y[inside].max() == ys[kept].max()
        assert y[inside].min() == ys[kept].min()


def test_short_series_are_drawn_whole() -> None:
    x = np.arange(10.0)
    assert downsample(x, x, 3) == (x, x)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1,234"), (-0.5, "-0.5"), (0.000012, "1.2e-05"), (3e8, "3e+08"),
     (12.345, "12.3")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.5, 700.0], [np.nan, 2.0], []])
def test_scales_hold_their_values(values: list[float], log: bool) -> None:
    scale = Scale.over(Axis("x", log=log), np.array(values), 0.0, 100.0)
    for value in values:
        if np.isfinite(value):
            assert -1e-9 <= scale(value) <= 100 + 1e-9
    assert all(-1e-6 <= scale(v) <= 100 + 1e-6 for v, _ in scale.ticks())


def test_a_log_axis_within_one_decade_has_ticks_all_the_same() -> None:
    scale = Scale.over(Axis("x", log=True), np.array([6.1, 8.9]), 0.0, 100.0)
    assert len(scale.ticks()) >= 2


def test_names_of_points_do_not_cover_one_another() -> None:
    x = np.ones(1)
    close = [Series(f"variant {k}", k, (1 + k % 2 / 100) * x, x * (1 + k / 100)) for k in range(9)]
    far = Series("elsewhere", 9, 2 * x, 1.2 * x)
    chart = Chart("", Axis("", roomy=True), Axis("", roomy=True), [*close, far], names=True)
    found = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', chart.render())
    near = sorted(float(y) for left, y in found if float(left) < 360)
    assert len(near) == 9
    assert all(b - a >= 12.9 for a, b in pairwise(near))
    assert all(0 < y < 300 for y in near)


def test_every_chart_is_well_formed_and_escaped() -> None:
    name = "</svg><script>alert(1)</script>\"'&"
    x = np.array([1.0, 2.0, 3.0])
    chart = Chart(
        name,
        Axis(name),
        Axis(name, log=True),
        [Series(name, 0, x, np.array([1.0, np.nan, 0.0])), Series("b", 9, x, x)],
        spans=[(1.5, 2.0)],
        note=name,
        names=True,
        zero=True,
    )
    for svg in (chart.render(), waterfall(name, [(name, 5.0, True), ("b", -9.0, False)], name)):
        ElementTree.fromstring(svg)
        assert "<script" not in svg
        assert "nan" not in svg


def test_a_waterfall_is_described_in_words() -> None:
    drawn = waterfall(
        "w", [("ideal", 10.0, True), ("spread", -4.0, False), ("net", 6.0, True)], "USD"
    )
    assert "spread: -4 USD" in drawn
    heights = [float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)"', drawn)]
    assert heights[0] == pytest.approx(heights[1] + heights[2], abs=0.2)
