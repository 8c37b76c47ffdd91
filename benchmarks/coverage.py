"""How often the intervals of ``backtest.comparison`` hold the true value: part of docs/reports.md.

``python -m benchmarks.coverage`` measures it (a minute) and writes the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backtest.comparison.intervals import Estimate, mean_estimate, sharpe_estimate, total_difference
from backtest.core.arrays import Float64Array

Draw = Callable[[np.random.Generator, int, int], Float64Array]
"""Series of mean 0 and standard deviation 1, float64 [replications, n]."""

SHARPE = 0.15
"""The true ratio of the series, a bucket."""

SIZES = (50, 200, 1_000)
REPLICATIONS = 4_000
START, END = "<!-- coverage -->", "<!-- /coverage -->"
WARM_UP = 100
MEASURES = ("mean", "difference", "Sharpe ratio")


def _autoregressive(innovations: Float64Array, strength: float) -> Float64Array:
    x = innovations.copy()
    for k in range(1, x.shape[1]):
        x[:, k] += strength * x[:, k - 1]
    return x[:, WARM_UP:] * np.sqrt(1 - strength**2)


def _student(random: np.random.Generator, shape: tuple[int, int]) -> Float64Array:
    return random.standard_t(3, shape) / np.sqrt(3)


SERIES: dict[str, Draw] = {
    "independent, normal": lambda random, r, n: random.normal(size=(r, n)),
    "AR(1) 0.5": lambda random, r, n: _autoregressive(random.normal(size=(r, n + WARM_UP)), 0.5),
    "AR(1) 0.8": lambda random, r, n: _autoregressive(random.normal(size=(r, n + WARM_UP)), 0.8),
    "Student's t, 3 degrees of freedom": lambda random, r, n: _student(random, (r, n)),
    "AR(1) 0.5 of such t": lambda random, r, n: _autoregressive(
        _student(random, (r, n + WARM_UP)), 0.5
    ),
    "skewed: exponential": lambda random, r, n: random.exponential(size=(r, n)) - 1,
    "90 % zeros": lambda random, r, n: (
        random.normal(size=(r, n)) * (random.random((r, n)) < 0.1) / np.sqrt(0.1)
    ),
}
"""Series whose intervals hold what they say, where one is given."""

HARD: dict[str, Draw] = {
    "very skewed: log-normal, σ 1": lambda random, r, n: (
        (random.lognormal(size=(r, n)) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    ),
    "AR(1) 0.95": lambda random, r, n: _autoregressive(random.normal(size=(r, n + WARM_UP)), 0.95),
}
"""Series that short windows cannot tell from kinder ones."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of one measure over many replications of a series.

    Attributes:
        held: share of the intervals given that hold the true value; NaN if none was given.
        given: share of the replications with an interval.
        count: how many intervals were given.
    """

    held: float
    given: float
    count: int


def coverage(draw: Draw, n: int, replications: int, seed: int = 0) -> dict[str, Coverage]:
    """By measure in ``MEASURES``, for series of ``n`` buckets."""
    random = np.random.default_rng(seed)
    found: dict[str, list[tuple[bool, bool]]] = {name: [] for name in MEASURES}
    market = random.normal(size=n) * 10
    for x in draw(random, replications, n):
        for name, estimate, truth in _estimates(x + SHARPE, market):
            given = estimate is not None and estimate.low is not None
            held = given and estimate.low <= truth <= estimate.high  # type: ignore[union-attr,operator]
            found[name].append((given, held))
    return {name: _share(pairs) for name, pairs in found.items()}


def _estimates(
    x: Float64Array, market: Float64Array
) -> Iterator[tuple[str, Estimate | None, float]]:
    yield "mean", mean_estimate(x), SHARPE
    yield "difference", total_difference(x + market, market), SHARPE * len(x)
    yield "Sharpe ratio", sharpe_estimate(x), SHARPE


def _share(pairs: list[tuple[bool, bool]]) -> Coverage:
    given = sum(g for g, _ in pairs)
    held = sum(h for _, h in pairs)
    return Coverage(held / given if given else float("nan"), given / len(pairs), given)


def measure(replications: int) -> dict[tuple[str, int], dict[str, Coverage]]:
    """The coverage of each measure, by series and size."""
    return {
        (name, n): coverage(draw, n, replications)
        for name, draw in (SERIES | HARD).items()
        for n in SIZES
    }


def table(found: dict[tuple[str, int], dict[str, Coverage]]) -> str:
    """As Markdown: of 95 % intervals, how many hold; in brackets how often one is given."""
    sizes = " | ".join(f"{n:,}" for n in SIZES)
    lines = [f"| profits | of | {sizes} buckets |", f"|---|---|{'---:|' * len(SIZES)}"]
    for name in SERIES | HARD:
        for kind, measures in (("mean, difference", MEASURES[:2]), ("Sharpe ratio", MEASURES[2:])):
            cells = [_cell([found[name, n][m] for m in measures]) for n in SIZES]
            lines.append(f"| {name} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: list[Coverage]) -> str:
    # The mean and the difference rest on one rule: the one further from 95 % is shown.
    worst = max(found, key=lambda c: abs(c.held - 0.95) if c.count else 0.0)
    if worst.given < 0.01:
        return "none given"
    given = "" if worst.given > 0.995 else f" ({100 * worst.given:.0f} % given)"
    return f"{100 * worst.held:.1f} %{given}"


def marked(page: str) -> str:
    """The table in a page of the docs."""
    return page.partition(START)[2].partition(END)[0].strip()


def main() -> None:
    """Measure, and write the table into docs/reports.md."""
    page = Path(__file__).resolve().parent.parent / "docs" / "reports.md"
    before, _, rest = page.read_text().partition(START)
    after = rest.partition(END)[2]
    text = table(measure(REPLICATIONS))
    page.write_text(f"{before}{START}\n{text}\n{END}{after}")
    print(text)  # noqa: T201 - a command's output


if __name__ == "__main__":
    main()
