"""What a run earned over time, in the unit that its accountant pays in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array
from backtest.core.arrow import integers
from backtest.market.calendar import BUCKETS, MarketHours

if TYPE_CHECKING:
    from backtest.runs.folder import Run


@dataclass(frozen=True, slots=True)
class Profits:
    """Cumulative profits at the ends of time buckets.

    Attributes:
        ends: ns, ascending, int64 [n].
        net: cumulated profit, float64 [n], in ``unit``.
        unit: a currency, or points.
        hours: when the market was open.
        begun: when the first bucket began, ns; ``None``: when the market first opened, or, where it
            never closes, as long before its end as the second.
    """

    ends: Int64Array
    net: Float64Array
    unit: str
    hours: MarketHours = field(default_factory=MarketHours)
    begun: int | None = None

    def while_open(self) -> Profits:
        """The same in buckets of open time, of which statistics are made; all of the profit stays.

        A bucket that ends while the market is closed ends at the close before. One without open
        time is none: what was earned in it belongs to the next one, or after the last close to the
        last one. Where the market was never open, all buckets stay.
        """
        if self.hours.always or not len(self.ends):
            return self
        kept = np.flatnonzero(self.hours.spans(self.start, self.ends) > 0)
        if not len(kept):
            return replace(self, hours=MarketHours(self.hours.zone))
        net = self.net[kept]
        net[-1] = self.net[-1]
        ends = self.hours.last_open(self.ends[kept])
        return replace(self, ends=ends, net=net, begun=self.start)

    def at(self, ends: Int64Array) -> Float64Array:
        """Cumulative profit at other instants: that of the last bucket that ended by then."""
        found = np.searchsorted(self.ends, ends, side="right")
        return np.append(0.0, self.net)[found]

    @property
    def start(self) -> int:
        """When the first bucket began, ns, as far as is known."""
        if self.begun is not None:
            return self.begun
        sessions = self.hours.sessions
        if sessions is not None and len(self.ends) and sessions[0, 0] < self.ends[0]:
            return int(sessions[0, 0])
        if len(self.ends) < 2:
            return int(self.ends[0]) if len(self.ends) else 0
        return int(2 * self.ends[0] - self.ends[1])

    @property
    def open_ns(self) -> int:
        """How long the market was open in the buckets."""
        if not len(self.ends):
            return 0
        return int(self.hours.spans(self.start, self.ends[-1:])[0])

    @property
    def days(self) -> float:
        """The same in days: those on which the market opens, as long as they are on average."""
        return self.open_ns / self.hours.day_ns

    @property
    def bucket_ns(self) -> int:
        """The open time of a bucket: of the second, or the mean where the market closes.

        A mean and a variance over buckets of several lengths are those of the time that they span,
        by this length, as far as profits of distinct stretches are independent.
        """
        if len(self.ends) < 2:
            return 1
        if self.hours.always:
            return int(self.ends[1] - self.ends[0])
        return max(self.open_ns // len(self.ends), 1)

    @property
    def periods(self) -> float:
        """How many such buckets a year has."""
        return self.hours.year_ns / self.bucket_ns


def profits(run: Run) -> Profits:
    """From the run's equity table, or from its points.

    Raises:
        DataError: a table cannot be read.
    """
    account = run.metrics["account"]
    if "net_points" in account:
        return _points(run)
    ends, net = np.empty(0, dtype=np.int64), np.empty(0)
    for piece in run.pieces("equity", ("ts", "net")):
        # The total of many symbols may take more than 64 bits, in which a sum would wrap.
        amounts = piece["net"].cast("float64").to_numpy()
        times, of = np.unique(integers(piece["ts"]), return_inverse=True)
        joined = np.union1d(ends, times)
        total = np.zeros(len(joined))
        total[np.searchsorted(joined, ends)] = net
        total[np.searchsorted(joined, times)] += np.bincount(of, weights=amounts)
        ends, net = joined, total
    unit = str(account.get("currency") or "")
    return Profits(ends, net / money_units(run), unit, run.hours)


def _points(run: Run) -> Profits:
    """Points, which are paid by the event, summed in buckets that do not include their end."""
    first, last = run.extent("points", "ts")
    span = last + 1 - first
    length = max(-(-span // BUCKETS), 1)
    ends = run.hours.bucket_ends(first, first + length * -(-span // length))
    gained = np.zeros(len(ends))
    for piece in run.pieces("points", ("ts", "points")):
        bucket = np.searchsorted(ends, integers(piece["ts"]), side="right")
        gained += np.bincount(bucket, weights=piece["points"].to_numpy(), minlength=len(ends))
    return Profits(ends, np.cumsum(gained), "points", run.hours)


def money_units(run: Run) -> int:
    """How many units of a run's money make one of its currency."""
    return int(1 / Decimal(run.metrics["account"].get("money_unit", "1e-9")))


def in_currency(run: Run, money: int | None) -> float | None:
    """An amount of a run's money in its currency; ``None`` for none."""
    return None if money is None else money / money_units(run)


def gains(series: list[Profits]) -> Float64Array:
    """Profit of each series in the buckets of open time of all of them, float64 [series, n]."""
    series = [s.while_open() for s in series]
    ends = reduce(np.union1d, (s.ends for s in series))
    return np.stack([np.diff(s.at(ends), prepend=0.0) for s in series])
