"""Clock times of a time zone: the one place where instants become what clocks there show.

Instants are int64 ns since 1970, UTC, everywhere else. A zone's way: the card (``[calendar]``), the
run's manifest (``calendar``), ``Run.hours``, then ``Material.zone`` for pages, and for frames
``runs/frames.py``, where polars converts.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.times import format_utc

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS

_QUARTER_NS = HOUR_NS // 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_zone(name: str) -> tzinfo:
    """The zone of an IANA name such as ``America/New_York``; ``UTC`` needs no zone data.

    Raises:
        ValueError: there is no such zone, or this machine has no zone data.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        pass
    if not available_timezones():
        raise ValueError(
            f"this machine has no time zone data, so {name!r} is unknown: install the package"
            " tzdata"
        )
    raise ValueError(f"{name!r} is not a time zone, such as America/New_York")


def known_zone(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: as ``time_zone``.
    """
    time_zone(name)
    return name


def to_clock(ts: Int64Array, zone: str) -> Int64Array:
    """What a zone's clocks show at instants, as ns since 1970-01-01 00:00 on them, int64 [n].

    Raises:
        ValueError: as ``time_zone``.
    """
    if zone == "UTC":
        return ts
    # Clocks are set forward and back at whole quarters of an hour, UTC, since 1972 everywhere.
    quarters, place = np.unique(ts // _QUARTER_NS, return_inverse=True)
    offsets = [_offset_ns(quarter, zone) for quarter in quarters.tolist()]
    return ts + np.array(offsets, dtype=np.int64)[place]


def clock_text(ns: int, zone: str, length: int = 19) -> str:
    """What a zone's clocks show at an instant, in so many characters: 19 are up to its second.

    Raises:
        ValueError: as ``time_zone``.
    """
    shown = int(to_clock(np.array([ns], dtype=np.int64), zone)[0])
    return format_utc(shown).replace("T", " ").removesuffix("Z")[:length]


def midnight(day: int, zone: str) -> int:
    """When a day since 1970 begins in a zone, ns; where clocks skip midnight, with the offset
    before.

    Raises:
        ValueError: as ``time_zone``.
    """
    local = datetime.combine(date(1970, 1, 1) + timedelta(days=day), time(0), time_zone(zone))
    return (local - _EPOCH) // timedelta(microseconds=1) * 1000


@lru_cache(maxsize=1 << 16)
def _offset_ns(quarter: int, zone: str) -> int:
    """How far a zone's clocks are ahead of UTC in a quarter of an hour since 1970, ns."""
    offset = (_EPOCH + timedelta(minutes=15 * quarter)).astimezone(time_zone(zone)).utcoffset()
    assert offset is not None  # it is of a zone
    return offset // timedelta(microseconds=1) * 1000
