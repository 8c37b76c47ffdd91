"""When a market is open: its sessions, how long a year of them is, and the zone of its clocks.

A dataset's card states them, a run's manifest records those of its window, and comparisons read
them from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.zones import DAY_NS, midnight, to_clock

YEAR_NS = 1461 * DAY_NS // 4
"""365.25 days of 24 hours: the year of a market that is always open."""

BUCKETS = 500
"""Time buckets of a window, about."""

_WEEK = 7
_WEEKS_A_YEAR = 365.25 / _WEEK


@dataclass(frozen=True, slots=True)
class MarketHours:
    """Hours of trading.

    Attributes:
        zone: of the market's clocks; an IANA name.
        sessions: int64 ns [k, 2], half-open, in order, apart; ``None``: always open.
        day_ns: open time of a day on which the market opens, on average.
        year_ns: open time of a year.
    """

    zone: str = "UTC"
    sessions: Int64Array | None = field(default=None, compare=False)
    day_ns: int = DAY_NS
    year_ns: int = YEAR_NS

    @classmethod
    def of_sessions(cls, zone: str, sessions: Int64Array | None) -> MarketHours:
        """With the lengths that all sessions of a calendar come to.

        Sessions are cut at midnight in the zone. Of the days from the first on which the market
        opens to the last, the first whole weeks (or all of them, if they are fewer than 7) tell
        how long it is open a week, and a year has 365.25 / 7 weeks. A day is the mean of all days
        on which the market opens.

        Raises:
            ValueError: the zone is unknown.
        """
        if sessions is None or not len(sessions):
            return cls(zone, sessions)
        days, spans = _by_day(sessions, zone)
        weeks = max((int(days[-1] - days[0]) + 1) // _WEEK, 1)
        first = int(spans[days < days[0] + _WEEK * weeks].sum())
        day = round(int(spans.sum()) / len(np.unique(days)))
        return cls(zone, sessions, day, round(first / weeks * _WEEKS_A_YEAR))

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> MarketHours:
        """From what ``record`` gave; ``None``: always open, with the clocks of UTC.

        Without a session in the window, nothing tells when the market is open.
        """
        if record is None:
            return cls()
        if not record["sessions"]:
            return cls(record["zone"])
        sessions = np.array(record["sessions"], dtype=np.int64)
        return cls(record["zone"], sessions, record["open_ns_a_day"], record["open_ns_a_year"])

    def record(self, start: int, end: int) -> dict[str, Any]:
        """As JSON, with the parts of sessions within a window [start, end), ns."""
        kept = None if self.sessions is None else self._within(start, end).tolist()
        return {
            "zone": self.zone,
            "sessions": kept,
            "open_ns_a_day": self.day_ns,
            "open_ns_a_year": self.year_ns,
        }

    @property
    def always(self) -> bool:
        """Whether it is open all the time, as far as is known."""
        return self.sessions is None

    def open_before(self, instants: Int64Array) -> Int64Array:
        """Open time before each instant from an arbitrary one on, ns [n]; differences count."""
        if self.sessions is None:
            return instants
        opens, closes = self.sessions[:, 0], self.sessions[:, 1]
        before = np.append(0, np.cumsum(closes - opens))
        begun = np.searchsorted(opens, instants, side="left")
        # Of the session begun last, what has passed.
        last = np.maximum(begun - 1, 0)
        left = np.where(begun > 0, np.maximum(closes[last] - instants, 0), 0)
        found: Int64Array = before[begun] - left
        return found

    def spans(self, start: int, ends: Int64Array) -> Int64Array:
        """Open time of the buckets that end at ``ends``, the first begun at ``start``, ns [n]."""
        found: Int64Array = np.diff(self.open_before(np.append(start, ends)))
        return found

    def span(self, start: int, end: int) -> int:
        """Open time between two instants, ns."""
        return int(self.spans(start, np.array([end], dtype=np.int64))[0])

    def bucket_ends(self, start: int, end: int, length: int | None = None) -> Int64Array:
        """Cuts the open time of a window in buckets: when each ends, int64 ns, ascending.

        One ends at each close, so that none has open time on both sides of a closed stretch; the
        last one ends at ``end``. Where the market is never open in the window, it is cut as if it
        always were.

        Args:
            start, end: of the window, ns.
            length: open time of a bucket, ns; the last of a session is shorter where the session
                is no multiple of it. ``None``: about a 500th of all open time, and each session is
                cut in equal buckets.
        """
        sessions = None if self.sessions is None else self._within(start, end)
        if sessions is None or not len(sessions):
            length = length or max(-(-(end - start) // BUCKETS), 1)
            return np.append(np.arange(start + length, end, length, dtype=np.int64), end)
        total = int((sessions[:, 1] - sessions[:, 0]).sum())
        parts = []
        for opens, closes in sessions.tolist():
            if length is not None:
                parts.append(np.arange(opens + length, closes, length, dtype=np.int64))
            else:
                count = max(round(BUCKETS * (closes - opens) / total), 1)
                count = min(count, closes - opens)
                each, rest = divmod(closes - opens, count)
                k = np.arange(1, count, dtype=np.int64)
                parts.append(opens + each * k + rest * k // count)
            parts.append(np.array([closes], dtype=np.int64))
        ends = np.concatenate(parts)
        ends[-1] = end
        return ends

    def _within(self, start: int, end: int) -> Int64Array:
        """The parts of sessions within a window, int64 ns [k, 2]."""
        assert self.sessions is not None
        clipped = self.sessions.clip(start, end)
        return clipped[clipped[:, 0] < clipped[:, 1]]

    def last_open(self, instants: Int64Array) -> Int64Array:
        """Each instant, or the close before it where the market is closed, ns [n].

        A close belongs to its session; before the first session nothing changes.
        """
        if self.sessions is None:
            return instants
        opens, closes = self.sessions[:, 0], self.sessions[:, 1]
        begun = np.searchsorted(opens, instants, side="left")
        last = closes[np.maximum(begun - 1, 0)]
        found: Int64Array = np.where(begun > 0, np.minimum(last, instants), instants)
        return found


def _by_day(sessions: Int64Array, zone: str) -> tuple[Int64Array, Int64Array]:
    """The days since 1970, in a zone, on which sessions lie, and their lengths there, ns [n]."""
    days: list[int] = []
    spans: list[int] = []
    clocks = to_clock(np.stack([sessions[:, 0], sessions[:, 1] - 1]), zone) // DAY_NS
    for (opens, closes), first, last in zip(sessions.tolist(), *clocks.tolist(), strict=True):
        cuts = [opens, *(midnight(day, zone) for day in range(first + 1, last + 1)), closes]
        days += range(first, last + 1)
        spans += [b - a for a, b in pairwise(cuts)]
    return np.array(days, dtype=np.int64), np.array(spans, dtype=np.int64)
