"""What a single run's equity tells: how much it held over time, and when it earned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from backtest.comparison.profits import Profits
from backtest.core.arrays import Float64Array, Int64Array
from backtest.core.arrow import Codes, integers
from backtest.core.zones import DAY_NS, HOUR_NS, to_clock
from backtest.runs.folder import Run
from backtest.runs.frames import lot_worth

SHOWN_SYMBOLS = 8
"""Symbols whose positions are drawn."""

MOST_DAYS = 62
"""Days that are shown one by one; a longer window is shown by month."""


@dataclass(frozen=True)
class Exposure:
    """Positions at the ends of time buckets.

    Attributes:
        times: s since 1970, float64 [n].
        gross, net: values of all positions at the mid, without and with their signs, in currency,
            float64 [n]; ``None`` for a run whose tables hold no mids.
        symbols: the largest by the mean of their positions without a sign, the largest first:
            name, and its value in currency, or lots where values are not known, float64 [n].
        traded: how many symbols traded.
    """

    times: Float64Array
    gross: Float64Array | None
    net: Float64Array | None
    symbols: list[tuple[str, Float64Array]]
    traded: int


def exposure(run: Run, earned: Profits) -> Exposure | None:
    """Positions over time; ``None`` where nothing was traded.

    Args:
        run: it.
        earned: its profits, which have the time buckets.

    Raises:
        DataError: its equity table cannot be read.
    """
    if not run.has_table("equity") or not len(earned.ends):
        return None
    held = _Held(run, earned.ends)
    codes, count = held.codes, len(earned.ends)
    gross, net, sizes = np.zeros(count), np.zeros(count), np.zeros(0)
    for bucket, symbol, values in held.pieces():
        gross += np.bincount(bucket, weights=np.abs(values), minlength=count)
        net += np.bincount(bucket, weights=values, minlength=count)
        sizes = np.pad(sizes, (0, len(codes.names) - len(sizes)))
        sizes += np.bincount(symbol, weights=np.abs(values), minlength=len(sizes))
    order = np.argsort(-sizes, kind="stable")[:SHOWN_SYMBOLS]
    drawn = {int(s): np.zeros(count) for s in order if sizes[s]}
    for bucket, symbol, values in held.pieces():
        for s, line in drawn.items():
            line[bucket[symbol == s]] = values[symbol == s]
    return Exposure(
        earned.ends / 1e9,
        gross if held.valued else None,
        net if held.valued else None,
        [(codes.names[s], values) for s, values in drawn.items()],
        len(codes.names),
    )


class _Held:
    """Reads positions piece by piece.

    Attributes:
        codes: gives symbols their numbers.
        valued: whether their values in currency are known.
    """

    def __init__(self, run: Run, ends: Int64Array) -> None:
        self.codes = Codes()
        self._run, self._ends = run, ends
        self._worth = lot_worth(run.folder / "equity.parquet") or {}
        self.valued = bool(self._worth) and "mid" in run.columns("equity")

    def pieces(self) -> Iterator[tuple[Int64Array, Int64Array, Float64Array]]:
        """Bucket, symbol, and signed value in currency, or lots where values are not known [n]."""
        names = ["ts", "symbol", "position", *(["mid"] if self.valued else [])]
        for piece in self._run.pieces("equity", names):
            symbol = self.codes(piece["symbol"])
            values = integers(piece["position"]).astype(np.float64)
            if self.valued:
                mid = piece["mid"].fill_null(0.0).to_numpy(zero_copy_only=False)
                worth = np.array([self._worth[name] for name in self.codes.names])
                values *= mid * worth[symbol]
            yield np.searchsorted(self._ends, integers(piece["ts"])), symbol, values


def gains_by_day(earned: Profits) -> dict[int, float]:
    """Profit by day since 1970 in its market: a bucket of open time counts on the day it ends."""
    return _gains(earned.while_open(), lambda clock: clock // DAY_NS)


def gains_by_hour(earned: Profits) -> dict[int, float] | None:
    """Profit by hour of the day in its market: a bucket of open time counts where it ends.

    ``None`` where buckets are longer than an hour.
    """
    earned = earned.while_open()
    if len(earned.ends) < 2 or earned.bucket_ns > HOUR_NS:
        return None
    return _gains(earned, lambda clock: clock % DAY_NS // HOUR_NS)


def _gains(earned: Profits, key: Callable[[Int64Array], Int64Array]) -> dict[int, float]:
    """Profit by a key of what the market's clocks show just before a bucket ends."""
    clock = to_clock(earned.ends - 1, earned.hours.zone)
    found, place = np.unique(key(clock), return_inverse=True)
    gained = np.bincount(place, weights=np.diff(earned.net, prepend=0.0))
    return dict(zip(found.tolist(), gained.tolist(), strict=True))


def day_label(day: int, *, month: bool = False) -> str:
    """A day since 1970 as text, or its month."""
    return datetime.fromtimestamp(day * DAY_NS / 1e9, UTC).strftime(
        "%Y-%m" if month else "%Y-%m-%d"
    )
