"""Intervals for quantiles, such as the 99th percentile of latencies, from order statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil, floor, sqrt
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from backtest.comparison.intervals import CONFIDENCE, variance_of_mean
from backtest.comparison.student import critical
from backtest.core.arrays import Float64Array, Int64Array
from backtest.core.arrow import integers
from backtest.core.quantiles import Quantiles
from backtest.runs.folder import Run
from backtest.timing.outcomes import Status

GROUPS = 500
"""Groups of consecutive values that show how far neighbours go together."""

Values: TypeAlias = Float64Array | Int64Array


def quantile_ranks(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Ranks, from 1, of the values between which a quantile lies, whatever the distribution.

    How many of n independent values are below their quantile is binomial (David and Nagaraja, 2003,
    "Order statistics", section 7.1). Each side is missed with a probability of at most
    (1 - ``confidence``) / 2.

    Returns:
        ``None`` if n values are too few: the quantile may be beyond all of them.
    """
    tail = (1 - confidence) / 2
    reach = 12 * sqrt(n * q * (1 - q)) + 12
    counts = np.arange(max(floor(n * q - reach), 0), min(ceil(n * q + reach), n) + 1)
    # Ratios of neighbouring probabilities; beyond the reach there is nothing to be seen.
    steps = np.log((n - counts[:-1]) / (counts[:-1] + 1) * (q / (1 - q)))
    logs = np.append(0.0, np.cumsum(steps))
    chances = np.exp(logs - logs.max())
    up_to = np.cumsum(chances) / chances.sum()
    low = int(counts[np.searchsorted(up_to, tail, side="right")])
    at = int(np.searchsorted(up_to, 1 - tail))
    if low < 1 or at >= len(counts) or counts[at] >= n:
        return None
    return low, int(counts[at]) + 1


def ranks_in_time(n: int, q: float, shares: Float64Array) -> tuple[int, int] | None:
    """Ranks, from 1, of the values between which a quantile lies, of values in the order of time.

    Neighbouring latencies are much alike, since they waited in one queue, so that n of them tell
    less than n independent ones would. How much less is measured by the share of values below the
    quantile in groups of neighbours, as in ``intervals``; the ranks are those for so many values
    (Woodruff, 1952, "Confidence intervals for medians and other position measures").

    Args:
        n: number of values.
        q: the quantile.
        shares: of values at or below the quantile in ``GROUPS`` consecutive groups, or in as many
            as there are values if these are fewer, float64 [groups].

    Returns:
        ``None`` if there are too few values, or too few independent stretches.
    """
    if quantile_ranks(n, q) is None:
        return None
    found = variance_of_mean(shares)
    if found is None:
        return None
    variance, freedom = found
    # The variance is an estimate itself: with few degrees of freedom it counts for more.
    variance *= (critical(CONFIDENCE, freedom) / NormalDist().inv_cdf((1 + CONFIDENCE) / 2)) ** 2
    told = min(n, round(q * (1 - q) / variance))
    ranks = quantile_ranks(told, q) if told else None
    if ranks is None:
        return None
    low, high = floor(ranks[0] * n / told), ceil(ranks[1] * n / told)
    return max(low, 1), min(high, n)


def quantile_interval(values: Values, q: float) -> tuple[float, float] | None:
    """The interval of a quantile at ``CONFIDENCE``, from values in the order of time [n].

    Returns:
        ``None`` as for ``ranks_in_time``.
    """
    n = len(values)
    if not n:
        return None
    ordered = np.sort(values)
    shares = SharesBelow(ordered[ceil(q * n) - 1], n)
    shares.add(values)
    ranks = ranks_in_time(n, q, shares.shares())
    return None if ranks is None else (float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1]))


def p99_intervals(
    delays: Mapping[str, Quantiles], again: Iterable[tuple[str, Int64Array]]
) -> dict[str, tuple[float, float] | None]:
    """The interval of each 99th percentile at ``CONFIDENCE``, ms, within a 4096th.

    Args:
        delays: all delays by name, ns.
        again: the same delays in the order of time, piece by piece; not read if there are none.

    Returns:
        ``None`` for a name as for ``ranks_in_time``.
    """
    bounds = {name: of.at(np.array([0.99])) for name, of in delays.items()}
    shares = {
        name: SharesBelow(int(bound[0]), delays[name].count)
        for name, bound in bounds.items()
        if bound is not None
    }
    for name, values in again if shares else ():
        shares[name].add(values)
    found: dict[str, tuple[float, float] | None] = dict.fromkeys(delays)
    for name, below in shares.items():
        ranks = ranks_in_time(delays[name].count, 0.99, below.shares())
        if ranks is not None:
            low, high = delays[name].ranked(np.array(ranks)) / 1e6
            found[name] = float(low), float(high)
    return found


def sojourn_interval(run: Run) -> tuple[float, float] | None:
    """The interval of the 99th percentile of a run's sojourn times, ms, from two passes over them.

    Raises:
        DataError: its table of timing cannot be read.
    """

    def sojourns() -> Iterable[tuple[str, Int64Array]]:
        for rows in run.pieces("timing", ("ts_received", "ts_ended", "status")):
            answered = integers(rows["status"]) == Status.ANSWERED
            stayed = integers(rows["ts_ended"]) - integers(rows["ts_received"])
            yield "sojourn", stayed[answered]

    counted = Quantiles()
    for _, values in sojourns():
        counted.add(values)
    return p99_intervals({"sojourn": counted}, sojourns())["sojourn"]


class SharesBelow:
    """Shares of values at or below a bound in consecutive groups of nearly equal size.

    Args:
        bound: the bound.
        count: how many values there will be; at least 1.
    """

    def __init__(self, bound: float, count: int) -> None:
        self._bound, self._count = bound, count
        self._groups = min(count, GROUPS)
        self._below: Int64Array = np.zeros(self._groups, dtype=np.int64)
        self._seen: Int64Array = np.zeros(self._groups, dtype=np.int64)
        self._stop = 0

    def add(self, values: Values) -> None:
        """Take the next values [n]."""
        numbers = np.arange(self._stop, self._stop + len(values), dtype=np.int64)
        self._stop += len(values)
        group = numbers * self._groups // self._count
        self._seen += np.bincount(group, minlength=self._groups)
        self._below += np.bincount(group[values <= self._bound], minlength=self._groups)

    def shares(self) -> Float64Array:
        """The share of each group, float64 [groups]; after the last value."""
        return self._below / self._seen
