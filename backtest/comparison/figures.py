"""The figures of any tear sheet, from a run's equity and fills.

Profits are money per time bucket: no capital is assumed, so ratios are of money to money, and
nothing compounds. Buckets are those of open time, and annualised figures assume that the market's
year (``MarketHours.year_ns``) is made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtest.comparison.profits import Profits, in_currency
from backtest.core.arrays import Float64Array
from backtest.core.zones import HOUR_NS

if TYPE_CHECKING:
    from backtest.runs.folder import Run

ANNUALISED = ("sharpe", "sortino", "calmar")
"""Figures that scale what a window shows up to a year."""

FEWEST_DAYS, FEWEST_DECIDED = 20, 20
"""The shortest window that is annualised, in days (``Profits.days``), and the fewest buckets with a
profit or a loss in it.

The standard error of an annualised Sharpe ratio is about one over the root of the years (Lo, 2002,
"The Statistics of Sharpe Ratios"): 4 for 20 days, and ten times that for five hours.
"""

FIGURES = (
    "sharpe",
    "sortino",
    "calmar",
    "hit_rate",
    "profit_factor",
    "drawdown",
    "turnover",
    "exposure",
)
"""What ``tear_sheet`` gives: ``drawdown``, ``turnover`` and ``exposure`` in money."""


def annualisation(earned: Profits) -> str:
    """What annualised figures assume."""
    year = "365.25 days of 24 hours"
    if not earned.hours.always:
        year = f"{earned.hours.year_ns / HOUR_NS:,.0f} hours in which the market is open"
    return f"annualised to {year}; profits do not compound"


def days_of(earned: Profits) -> str:
    """What ``Profits.days`` are called."""
    return "days" if earned.hours.always else "trading days"


def not_annualised(earned: Profits) -> str | None:
    """Why profits are not scaled up to a year; ``None``: they are."""
    earned = earned.while_open()
    days, called = earned.days, days_of(earned)
    if days < FEWEST_DAYS:
        minutes = max(earned.open_ns, 0) * 60 / HOUR_NS
        shown = f"{days:.1f} {called}" if days >= 1 else f"{minutes:,.1f} minutes"
        return f"the window spans {shown}, fewer than {FEWEST_DAYS} {called}"
    decided = int(np.count_nonzero(np.diff(earned.net, prepend=0.0)))
    if decided < FEWEST_DECIDED:
        return f"only {decided} buckets have a profit or a loss, fewer than {FEWEST_DECIDED}"
    return None


def tear_sheet(run: Run, earned: Profits) -> dict[str, float | None]:
    """Figures by the names in ``FIGURES``; ``None`` where there is nothing to divide by.

    Those in ``ANNUALISED`` are ``None``, too, where ``not_annualised`` gives a reason.

    Args:
        run: its account gives turnover and exposure; one that was paid in points has neither.
        earned: its profits.
    """
    if not len(earned.ends):
        return dict.fromkeys(FIGURES)
    drawdown = max_drawdown(earned.net)
    earned = earned.while_open()
    gained, periods = np.diff(earned.net, prepend=0.0), earned.periods
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    if not_annualised(earned) is None:
        figures["sharpe"] = sharpe(gained, periods)
        figures["sortino"] = sortino(gained, periods)
        figures["calmar"] = float(gained.mean()) * periods / drawdown if drawdown else None
    figures |= {
        "hit_rate": hit_rate(gained),
        "profit_factor": profit_factor(gained),
        "drawdown": drawdown,
    }
    for name in ("turnover", "exposure"):
        figures[name] = in_currency(run, run.metrics["account"].get(name))
    return figures


def sharpe(gained: Float64Array, periods: float) -> float | None:
    """Mean over sample standard deviation of the profits [n], times the root of periods a year."""
    if len(gained) < 2:
        return None
    spread = float(gained.std(ddof=1))
    return float(gained.mean()) / spread * float(np.sqrt(periods)) if spread else None


def sortino(gained: Float64Array, periods: float) -> float | None:
    """Mean over the root mean square of the losses among the profits [n], annualised likewise."""
    downside = float(np.sqrt(np.mean(np.minimum(gained, 0.0) ** 2)))
    return float(gained.mean()) / downside * float(np.sqrt(periods)) if downside else None


def max_drawdown(net: Float64Array) -> float:
    """The deepest fall of cumulated profits [n] from their highest so far, beginning at 0."""
    curve = np.append(0.0, net)
    return float((np.maximum.accumulate(curve) - curve).max())


def hit_rate(gained: Float64Array) -> float | None:
    """Buckets with a profit among those with a profit or a loss."""
    decided = int(np.count_nonzero(gained))
    return int(np.count_nonzero(gained > 0)) / decided if decided else None


def profit_factor(gained: Float64Array) -> float | None:
    """Sum of the profits over the sum of the losses."""
    lost = -float(gained[gained < 0].sum())
    return float(gained[gained > 0].sum()) / lost if lost else None
