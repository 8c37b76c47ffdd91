"""A run in New York's hours over the end of daylight saving time, for the tests of its clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from backtest.api import run
from backtest.data.canonical import write_canonical
from backtest.data.card import Calendar, Card
from backtest.market.events import EventBatch
from backtest.runs.folder import Run

ZONE = "America/New_York"
FIRST, LAST = date(2024, 10, 14), date(2024, 11, 29)
CLOSED = {date(2024, 11, 28)}
"""Thanksgiving; clocks were set back on 3 November."""


def instant(day: date, clock: time) -> int:
    """When New York's clocks show a time, ns."""
    return int(datetime.combine(day, clock, ZoneInfo(ZONE)).timestamp()) * 10**9


def trading_days(first: date = FIRST, last: date = LAST) -> list[date]:
    """Weekdays on which the market opens."""
    days = (first + timedelta(days=k) for k in range((last - first).days + 1))
    return [day for day in days if day.weekday() < 5 and day not in CLOSED]


def sessions(first: date = FIRST, last: date = LAST) -> list[tuple[int, int]]:
    """From 9:30 to 16:00, ns."""
    return [
        (instant(day, time(9, 30)), instant(day, time(16))) for day in trading_days(first, last)
    ]


def write_dataset(folder: Path, *, zone: str | None = ZONE, closes: bool = True) -> Path:
    """Quotes of two symbols in every session, and some in the night after it."""
    random = np.random.default_rng(11)
    times = np.concatenate(
        [
            np.sort(
                np.append(
                    random.integers(opens, closes_at, 120),
                    random.integers(closes_at, closes_at + 3 * 3600 * 10**9, 6),
                )
            )
            for opens, closes_at in sessions()
        ]
    )
    n = len(times)
    bid = 5000 + np.cumsum(random.integers(-3, 4, n))
    batch = EventBatch(
        symbol=random.integers(0, 2, n).astype(np.int32),
        ts_event=times,
        bid=bid,
        ask=bid + 1,
        bid_size=random.integers(1, 9, n),
        ask_size=random.integers(1, 9, n),
    )
    hours: dict[str, Any] = {} if zone is None else {"zone": zone}
    if closes:
        shown = [
            [f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}" for ns in session]
            for session in sessions()
        ]
        hours["sessions"] = shown
    card = Card(name="york", symbols=("A", "B"), calendar=Calendar.model_validate(hours))
    write_canonical(folder, card, [batch])
    return folder


def make_run(runs: Path, dataset: Path, **settings: Any) -> Run:
    """A run that trades there."""
    return run(
        runs=runs,
        dataset=str(dataset),
        **{
            "strategy": "imbalance",
            "sizing": "proportional:gain=5",
            "accountant": "market:bucket=50min",
            "latency": {"service": "constant:1s", "entry": "constant:20ms"},
            **settings,
        },
    )
