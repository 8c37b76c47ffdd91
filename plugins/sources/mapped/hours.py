"""Sessions of exchanges by name, half days and breaks included, from ``exchange-calendars``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from backtest.core.arrays import Int64Array
from backtest.core.text import suggestion
from backtest.core.times import format_utc
from backtest.core.zones import DAY_NS
from backtest.data.card import Calendar
from backtest.errors import DataError, UsageError
from backtest.plugins.sources.mapped.mapping import Mapping

_MARGIN = 7 * DAY_NS
"""A calendar is made for this much more than the span of the events, so that it has a session."""


def calendar_of(
    mapping: Mapping, first: Sequence[int | None], last: Sequence[int | None]
) -> Calendar:
    """The calendar that a mapping states, for the days of its events.

    Args:
        mapping: names the exchange, or none.
        first, last: ts_event of the first and last event of each file, ns; ``None``: it has none.

    Raises:
        UsageError: exchange-calendars is not installed, or knows no such exchange.
        DataError: it does not know the days of the events.
    """
    zone, hours = mapping.time.zone, mapping.calendar
    if hours is None:
        return Calendar(zone=zone)
    start = min(instant for instant in first if instant is not None)
    end = max(instant for instant in last if instant is not None)
    found = exchange_sessions(hours.exchange, start, end).tolist()
    sessions: Any = tuple((format_utc(opens), format_utc(closes)) for opens, closes in found)
    return Calendar(zone=zone, sessions=sessions, session_breaks=hours.session_breaks)


def exchange_sessions(name: str, start: int, end: int) -> Int64Array:
    """Sessions of an exchange on the days of a span of time, int64 ns [k, 2].

    A session with a break becomes two.

    Args:
        name: of the calendar in ``exchange-calendars``, such as ``XNYS`` or ``CMES``.
        start, end: instants, ns; the sessions found are all those of trading days that have a
            part of the span.

    Raises:
        UsageError: as for ``calendar_of``.
        DataError: as for ``calendar_of``.
    """
    try:
        import exchange_calendars
    except ImportError:
        raise UsageError(
            "calendars of exchanges need the package exchange-calendars",
            place="[calendar] exchange",
            remedy="Install it: pip install 'ticktoll[calendars]'.",
        ) from None
    known = exchange_calendars.get_calendar_names()
    if name not in known:
        raise UsageError(
            f"exchange-calendars knows no {name!r}",
            place="[calendar] exchange",
            remedy=suggestion(name, known) or "Its names are those of ISO 10383, such as XNYS.",
        )
    days = [str(np.datetime64(t // DAY_NS, "D")) for t in (start - _MARGIN, end + _MARGIN)]
    try:
        calendar = exchange_calendars.get_calendar(name, start=days[0], end=days[1])
    except ValueError as error:
        raise DataError(
            f"the calendar {name!r} does not reach the days of the events: {error}",
            place="[calendar] exchange",
            remedy="Write the sessions into the card of the dataset.",
        ) from None
    schedule = calendar.schedule
    names = ("open", "break_start", "break_end", "close")
    spans: list[tuple[Any, Any]] = []
    for opens, pauses, resumes, closes in zip(
        *(_instants(schedule[n]) for n in names), strict=True
    ):
        if closes <= start or opens > end:
            continue
        if pauses is None or resumes is None:
            spans.append((opens, closes))
        else:
            spans += [(opens, pauses), (resumes, closes)]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def _instants(column: Any) -> list[Any]:
    """Timestamps of a schedule as ns; ``None`` where there is none."""
    return [None if time is None else int(time) for time in _as_arrow(column).to_pylist()]


def _as_arrow(column: Any) -> pa.Array:
    return pa.array(column).cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
