"""Charts keep extremes, hold only what can be drawn, and let nothing escape."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from backtest.report.charts import MOST_POINTS, Axis, Chart, Series, downsample
from backtest.report.html import number


def data_of(chart: Chart) -> Any:
    """The JSON in a chart's figure."""
    found = re.search(r'<script type="application/json">(.*?)</script>', chart.render(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


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


def test_gaps_hide_no_extreme() -> None:
    x = np.arange(10_000.0)
    y = np.sin(x / 100)
    y[::7] = np.nan
    _, ys = downsample(x, y, 50)
    assert np.nanmax(ys) == np.nanmax(y)
    assert np.nanmin(ys) == np.nanmin(y)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1,234"), (-0.5, "-0.5"), (0.000012, "1.2e-05"), (3e8, "3e+08"),
     (12.345, "12.3")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_equal_places_are_written_once() -> None:
    x = np.linspace(0, 1, 50)
    series = [Series(f"run {k}", k, x.copy(), x * k) for k in range(5)]
    data = data_of(Chart("", Axis("x"), Axis("y"), [*series, Series("a", None, 2 * x, x)]))
    assert len(data["xs"]) == 2
    assert [s["x"] for s in data["series"]] == [0, 0, 0, 0, 0, 1]
    assert [s["entry"] for s in data["series"]] == [0, 1, 2, 3, 4, None]


def test_many_series_take_no_more_points_than_few() -> None:
    x = np.arange(5000.0)
    y = np.random.default_rng(0).normal(size=5000)
    for count in (1, 30, 300):
        series = [Series(str(k), k, x, y) for k in range(count)]
        data = data_of(Chart("", Axis("x"), Axis("y"), series))
        assert sum(len(s["y"]) for s in data["series"]) <= 1.05 * MOST_POINTS


def test_what_has_no_place_on_an_axis_is_a_gap() -> None:
    x = np.array([-1.0, 1.0, 2.0, np.nan, 4.0])
    y = np.array([1.0, 0.0, -3.0, 5.0, np.inf])
    data = data_of(Chart("", Axis("x"), Axis("y"), [Series("a", 0, x, y)]))
    assert data["xs"] == [[-1, 1, 2, 4]]
    assert data["series"][0]["y"] == [1, 0, -3, None]
    log = Axis("l", kind="log")
    data = data_of(Chart("", log, log, [Series("a", 0, x, y)]))
    assert data["xs"] == [[1, 2, 4]]
    assert data["series"][0]["y"] == [None, None, None]


def test_instants_keep_their_microseconds() -> None:
    x = np.array([1_756_742_400.0, 1_756_742_400.000001, 1_756_742_400.000002])
    data = data_of(Chart("", Axis("t", kind="time"), Axis("y"), [Series("a", 0, x, x * 0)]))
    assert data["xs"] == [[1756742400, 1756742400.000001, 1756742400.000002]]


def test_every_chart_is_escaped() -> None:
    name = "</script><script>alert(1)</script>\"'&<!--\u2028"
    x = np.array([1.0, 2.0, 3.0])
    chart = Chart(
        name,
        Axis(name),
        Axis(name, kind="log", ticks=[(1.0, name)]),
        [Series(name, 0, x, np.array([1.0, np.nan, 0.0])), Series("b", 9, x, x)],
        spans=[(1.5, 2.0)],
        note=name,
        zero=True,
    )
    text = chart.render()
    assert text.count("<script") == 1
    assert text.count("</script>") == 1
    assert "<!--" not in text
    data = data_of(chart)
    assert data["series"][0]["name"] == name
    assert data["y"]["ticks"] == [[1.0, name]]
