"""Intervals: known answers, when there are none, and how often they hold the true value."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from backtest.comparison.intervals import (
    FEWEST,
    Estimate,
    independent_buckets,
    mean_estimate,
    sharpe_estimate,
    total_difference,
)
from backtest.core.arrays import Float64Array
from benchmarks.coverage import (
    HARD,
    MEASURES,
    SERIES,
    SIZES,
    Coverage,
    coverage,
    marked,
    measure,
    table,
)

ROOT = Path(__file__).resolve().parents[2]


def autoregressive(seed: int, strength: float, n: int = 400) -> Float64Array:
    x = np.random.default_rng(seed).normal(size=n)
    for k in range(1, n):
        x[k] += strength * x[k - 1]
    return x


def ends(found: Estimate | None) -> tuple[float, float]:
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.reason is None
    return found.low, found.high


def test_a_mean_has_the_interval_of_the_papers_formula() -> None:
    n, terms = 100, 6  # 100 ** 0.4 = 6.3
    x = autoregressive(3, 0.3, n)
    # Written once more, sum by sum, from Lazarus, Lewis, Stock and Watson (2018), section 3.
    squares = [
        (2 / n) * sum(v * np.cos(np.pi * j * (t + 0.5) / n) for t, v in enumerate(x)) ** 2
        for j in range(1, terms + 1)
    ]
    r = float(np.sum((x[1:] - x.mean()) * (x[:-1] - x.mean())) / np.sum((x - x.mean()) ** 2))
    r += (1 + 3 * r) / n
    r += ((1 - r**2) / n) ** 0.5
    ratios = [
        (1 + r**2 - 2 * r * np.cos(np.pi * j / n)) / (1 - r) ** 2 for j in range(1, terms + 1)
    ]
    error = (np.mean(np.multiply(squares, ratios)) / n) ** 0.5
    low, high = ends(mean_estimate(x))
    assert r > 0
    assert low == pytest.approx(x.mean() - 2.446912 * error, rel=1e-6)
    assert high == pytest.approx(x.mean() + 2.446912 * error, rel=1e-6)


def test_a_clear_difference_is_found_and_a_missing_one_is_not() -> None:
    random = np.random.default_rng(4)
    market = random.normal(size=500) * 10  # shared, so that pairing removes it
    y = market + random.normal(size=500)
    clear = total_difference(market + random.normal(size=500) + 0.5, y)
    assert clear.value == pytest.approx(250, abs=70)
    low, high = ends(clear)
    assert 0 < low < clear.value < high
    assert clear.p is not None
    assert clear.p < 0.001
    none = total_difference(market + random.normal(size=500), y)
    assert none.p is not None
    assert none.p > 0.05


def test_equal_series_differ_by_nothing() -> None:
    x = np.random.default_rng(2).normal(size=200)
    found = total_difference(x, x)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    "x",
    [
        np.arange(5.0),
        np.full(100, 2.0),
        np.append(np.zeros(486), np.arange(FEWEST - 1.0) + 1),
        np.cumsum(np.random.default_rng(1).normal(size=1_000)),
    ],
    ids=["short", "constant", "mostly zero", "random walk"],
)
def test_where_no_interval_would_hold_there_is_none_and_the_reason_is_given(
    x: Float64Array,
) -> None:
    found = mean_estimate(x)
    assert found.value == pytest.approx(x.mean())
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.reason is not None
    assert re.search(r"\d+ .*buckets", found.reason)
    ratio = sharpe_estimate(x)
    assert ratio is None or ratio.low is None


def test_differences_of_running_totals_count_as_zero_despite_rounding() -> None:
    totals = np.cumsum(np.random.default_rng(3).normal(size=300) * 1e4)
    shifted = totals + np.where(np.arange(300) >= 150, 7.0, 0.0)
    found = total_difference(np.diff(shifted, prepend=0), np.diff(totals, prepend=0))
    assert found.value == pytest.approx(7)
    assert found.low is None  # they differ in one bucket only


def test_a_sharpe_ratio_is_annualised_with_its_interval_and_does_not_depend_on_the_unit() -> None:
    x = autoregressive(5, 0.3) + 0.2
    plain, yearly = sharpe_estimate(x), sharpe_estimate(1e6 * x, periods=400)
    assert plain is not None
    assert yearly is not None
    assert plain.value == pytest.approx(x.mean() / x.std(ddof=1))
    assert [yearly.value, *ends(yearly)] == pytest.approx(
        [20 * v for v in (plain.value, *ends(plain))]
    )
    assert plain.p == pytest.approx(yearly.p)
    assert sharpe_estimate(np.full(90, 0.1)) is None
    assert sharpe_estimate(np.array([1.0])) is None


def test_the_ends_of_a_sharpe_interval_are_the_ratios_that_are_just_rejected() -> None:
    """For a series whose probability is exactly 5 % at an end, the end is 0."""
    x = np.random.default_rng(6).normal(size=200) + 0.3
    for shift in np.linspace(0.0, 0.6, 61):
        found = sharpe_estimate(x - shift)
        assert found is not None
        assert found.p is not None
        low, high = ends(found)
        assert (low <= 0 <= high) == (found.p >= 0.05)


def test_correlated_buckets_count_as_fewer() -> None:
    counts = [np.mean([independent_buckets(autoregressive(s, r, 1_000)) for s in range(20)])
              for r in (-0.5, 0.0, 0.5, 0.8)]  # fmt: skip
    assert counts[0] == 1_000
    assert counts[1:] == pytest.approx([1_000, 1_000 / 3, 1_000 / 9], rel=0.08)


def test_an_interval_of_1000_buckets_takes_milliseconds() -> None:
    x = autoregressive(1, 0.5, 1_000)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        mean_estimate(x)
        sharpe_estimate(x)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("name", SERIES)
def test_intervals_hold_about_as_often_as_they_say(name: str, n: int) -> None:
    """The quick form of the table in docs/reports.md: three standard errors about 93 to 97 %."""
    for measure_name, found in coverage(SERIES[name], n, 300).items():
        if (name, n) == ("90 % zeros", 50):
            assert found.given < 0.02
            continue
        if (name, n) == ("AR(1) 0.8", 50):
            continue  # hardly six independent stretches: in the table, without a promise
        assert found.given > (0.8 if name == "90 % zeros" else 0.97), measure_name
        error = 3 * np.sqrt(0.95 * 0.05 / found.count)
        assert 0.93 - error <= found.held <= min(0.97 + error, 1), measure_name


@pytest.mark.slow
def test_the_table_of_the_docs_is_what_is_measured_and_all_promised_cells_hold() -> None:
    """4,000 replications: a standard error of 0.35 %."""
    found = measure(4_000)
    for (name, n), cells in found.items():
        for cell in cells.values():
            if name in HARD or (name, n) in {("90 % zeros", 50), ("AR(1) 0.8", 50)}:
                continue
            assert 0.93 <= cell.held <= 0.97, (name, n)
            assert cell.given > (0.9 if name == "90 % zeros" else 0.98), (name, n)
    page = (ROOT / "docs" / "reports.md").read_text()
    written = marked(page)
    measured = table(found)
    number = re.compile(r"\d+(?:\.\d)?(?= %)")
    assert number.sub("#", written) == number.sub("#", measured)
    # Another numpy may round elsewhere.
    assert [float(v) for v in number.findall(written)] == pytest.approx(
        [float(v) for v in number.findall(measured)], abs=0.5
    )


def test_the_table_of_the_docs_names_every_series_and_size() -> None:
    written = marked((ROOT / "docs" / "reports.md").read_text())
    none = dict.fromkeys(MEASURES, Coverage(0.95, 1.0, 100))
    empty = table({(name, n): none for name in SERIES | HARD for n in SIZES})
    names = [line.split("|")[1] for line in empty.splitlines()]
    assert [line.split("|")[1] for line in written.splitlines()] == names
