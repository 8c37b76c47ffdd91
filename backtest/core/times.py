"""Instants and spans of time as text, exact to the nanosecond."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array

_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?(?:Z|\+00:00)"
)
_SPANS = (
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("µs", 1000),
)
_NS_PER_UNIT = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]{1,2})?)\s*([a-zµ]+)")
_EPOCH = datetime(1970, 1, 1)
_INT64_MAX = 2**63 - 1

EPOCH_1980 = 315_532_800_000_000_000


def in_another_unit(ts: Int64Array, reference: int) -> BoolArray:
    """Instants 500 times larger or smaller than the reference, one of the two after 1980, bool [n].

    Args:
        ts: int64 ns [n].
        reference: ns.
    """
    here, there = ts.astype(np.float64), float(reference)
    apart: BoolArray = (here < there / 500) | (here / 500 > there)
    # Two instants before 1980 may well be that far apart, in a made-up dataset.
    return apart & (np.maximum(here, there) >= EPOCH_1980)


def parse_utc(text: str) -> int:
    """Nanoseconds since the Unix epoch from text such as ``2025-09-01T14:30:00.25Z``.

    Raises:
        ValueError: not an ISO 8601 instant in UTC, or outside the years that int64 ns can hold.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an instant in UTC, such as 2025-09-01T14:30:00Z")
    try:
        since = datetime.fromisoformat(f"{match[1]}T{match[2]}") - _EPOCH
    except ValueError as error:
        raise ValueError(f"{text!r} is not an instant: {error}") from None
    fraction = int((match[3] or "").ljust(9, "0"))
    ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + fraction
    if abs(ns) > _INT64_MAX:
        raise ValueError(f"{text!r} is outside the years 1678 to 2262 that int64 ns can hold")
    return ns


def format_utc(ns: int) -> str:
    """The text that ``parse_utc`` reads back, with as many decimals as needed."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else f"{text}Z"


def format_span(ns: int) -> str:
    """A span of time in three digits or so, for reading: ``4.59 ms``."""
    for unit, scale in _SPANS:
        if abs(ns) >= scale:
            return (
                f"{ns / scale:.3g} {unit}" if abs(ns) < 1000 * scale else f"{ns / scale:.0f} {unit}"
            )
    return f"{ns} ns"


def parse_duration(text: str) -> int:
    """Nanoseconds from text such as ``35.8ms``, exactly.

    Raises:
        ValueError: no unit, an unknown unit, a fraction of a nanosecond, or more than int64 holds.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or match[2] not in _NS_PER_UNIT:
        raise ValueError(f"{text!r} is not a time span; write a number and a unit, as in 250us")
    try:
        ns = Fraction(match[1]) * _NS_PER_UNIT[match[2]]
    except ValueError:
        raise ValueError(f"{text!r} is not a time span; {match[1]!r} is not a number") from None
    if ns.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of nanoseconds")
    if abs(ns) > _INT64_MAX:
        raise ValueError(f"{text!r} is longer than the 292 years that 64 bits of nanoseconds hold")
    return int(ns)


def format_duration(ns: int) -> str:
    """Text that ``parse_duration`` reads back, in the largest unit that fits: ``35.8ms``."""
    for unit in ("s", "ms", "us"):
        scale = _NS_PER_UNIT[unit]
        if ns and abs(ns) >= scale:
            return f"{Decimal(ns) / scale:f}{unit}"
    return f"{ns}ns"
