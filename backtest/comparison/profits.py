"""What a run earned over time, in the unit that its accountant pays in."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array

if TYPE_CHECKING:
    from backtest.runs.folder import Run

_BUCKETS = 500


@dataclass(frozen=True, slots=True)
class Profits:
    """Cumulative profits at the ends of time buckets.

    Attributes:
        ends: ns, ascending, int64 [n].
        net: cumulated profit, float64 [n], in ``unit``.
        unit: a currency, or points.
    """

    ends: Int64Array
    net: Float64Array
    unit: str

    def at(self, ends: Int64Array) -> Float64Array:
        """Cumulative profit at other instants: that of the last bucket that ended by then."""
        found = np.searchsorted(self.ends, ends, side="right")
        return np.append(0.0, self.net)[found]

    @property
    def start(self) -> int:
        """When the first bucket began, ns: a bucket's length before its end, if that is known."""
        if len(self.ends) < 2:
            return int(self.ends[0]) if len(self.ends) else 0
        return int(2 * self.ends[0] - self.ends[1])

    @property
    def hours(self) -> float:
        """What the buckets span."""
        return float(self.ends[-1] - self.start) / 3.6e12 if len(self.ends) else 0.0


def profits(run: Run) -> Profits:
    """From the run's equity table, or from its points.

    Raises:
        DataError: a table cannot be read.
    """
    import polars as pl

    account = run.metrics["account"]
    if "net_points" in account:
        points = run.table("points")
        times = points["ts"].cast(pl.Int64).to_numpy()
        first, last = int(times[0]), int(times[-1]) + 1
        length = max(-(-(last - first) // _BUCKETS), 1)
        bucket = (times - first) // length
        count = int(bucket[-1]) + 1
        gained = np.bincount(bucket, weights=points["points"].to_numpy(), minlength=count)
        ends = first + length * np.arange(1, count + 1, dtype=np.int64)
        return Profits(ends, np.cumsum(gained), "points")
    unit = str(account.get("currency") or "")
    # The total of many symbols may take more than 64 bits, in which a sum would wrap.
    total = pl.col("net").cast(pl.Float64).sum()
    curve = run.table("equity").group_by("ts").agg(total).sort("ts")
    net = curve["net"].to_numpy() / money_units(run)
    return Profits(curve["ts"].cast(pl.Int64).to_numpy(), net, unit)


def money_units(run: Run) -> int:
    """How many units of a run's money make one of its currency."""
    return int(1 / Decimal(run.metrics["account"].get("money_unit", "1e-9")))


def in_currency(run: Run, money: int | None) -> float | None:
    """An amount of a run's money in its currency; ``None`` for none."""
    return None if money is None else money / money_units(run)


def gains(series: list[Profits]) -> Float64Array:
    """Profit of each series in the buckets of all of them, float64 [series, n]."""
    ends = reduce(np.union1d, (s.ends for s in series))
    return np.stack([np.diff(s.at(ends), prepend=0.0) for s in series])
