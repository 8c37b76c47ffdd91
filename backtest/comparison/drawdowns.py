"""How a run's profits went up and down: its drawdowns, and its Sharpe ratio over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.comparison.figures import FEWEST_DAYS, days_of, not_annualised, sharpe
from backtest.comparison.profits import Profits
from backtest.core.arrays import Float64Array, Int64Array

_POINTS = 500
"""Instants at which a rolling figure is computed, at most."""


@dataclass(frozen=True, slots=True)
class Drawdown:
    """A time below the highest so far.

    Attributes:
        begin: when the cumulated profit was last at its highest, ns.
        bottom: when it was lowest, ns.
        recovery: when it was as high again, ns; ``None``: not in the window.
        end: the recovery, or the window's end, ns.
        depth: from the highest to the lowest.
    """

    begin: int
    bottom: int
    recovery: int | None
    end: int
    depth: float


def drawdowns(earned: Profits, most: int = 10) -> list[Drawdown]:
    """The deepest drawdowns at the ends of time buckets, the deepest first.

    They do not overlap: each lasts until what was the highest before it is reached again.
    """
    if not len(earned.ends):
        return []
    times = np.append(earned.start, earned.ends)
    net = np.append(0.0, earned.net)
    below = net < np.maximum.accumulate(net)
    edges = np.diff(below.astype(np.int8), prepend=0, append=0)
    found = []
    for first, stop in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        bottom = first + int(np.argmin(net[first:stop]))
        recovery = int(times[stop]) if stop < len(times) else None
        end = int(times[-1]) if recovery is None else recovery
        depth = float(net[first - 1] - net[bottom])
        found.append(Drawdown(int(times[first - 1]), int(times[bottom]), recovery, end, depth))
    return sorted(found, key=lambda d: (-d.depth, d.begin))[:most]


@dataclass(frozen=True, slots=True)
class RollingSharpe:
    """The annualised Sharpe ratio of a window that ends at each instant.

    Attributes:
        ends: ns, int64 [n].
        ratio: float64 [n]; NaN where the profits of the window do not differ.
        days: length of the window, as ``Profits.days``.
    """

    ends: Int64Array
    ratio: Float64Array
    days: float


def rolling_sharpe(earned: Profits) -> RollingSharpe | str:
    """The Sharpe ratio over a tenth of the run, but no less than ``FEWEST_DAYS``; or why not.

    A window must not be shorter than what is annualised at all, and the run is twice as long, so
    that its ends share nothing.
    """
    reason = not_annualised(earned)
    if reason is not None:
        return reason
    earned = earned.while_open()
    day, bucket = earned.hours.day_ns, earned.bucket_ns
    count = max(len(earned.ends) // 10, -(-FEWEST_DAYS * day // bucket))
    if 2 * count > len(earned.ends):
        days, called = earned.days, days_of(earned)
        return f"the window spans {days:.0f} {called}, fewer than twice {FEWEST_DAYS} {called}"
    gained = np.diff(earned.net, prepend=0.0)
    stops = np.unique(np.linspace(count, len(gained), _POINTS).astype(np.int64))
    ratios = [sharpe(gained[stop - count : stop], earned.periods) for stop in stops]
    ratio = np.array([np.nan if value is None else value for value in ratios])
    return RollingSharpe(earned.ends[stops - 1], ratio, count * bucket / day)
