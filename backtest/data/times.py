"""Instants as text: ISO 8601 in UTC, exact to the nanosecond."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

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
_EPOCH = datetime(1970, 1, 1)
_INT64_MAX = 2**63 - 1


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
