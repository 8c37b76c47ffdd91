"""Clock times against the standard library, one instant at a time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pytest

from backtest.core import zones
from backtest.core.zones import DAY_NS, clock_text, midnight, to_clock

ZONES = ("America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Beirut", "UTC")
EPOCH = datetime(1970, 1, 1)


def instants(zone: str) -> np.ndarray:
    """Random ones since 1975, and those around every change of a year's clocks."""
    random = np.random.default_rng(0)
    start, end = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (1975, 2036))
    hours = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) + 3600 * np.arange(366 * 24)
    around = np.concatenate([hours - 1, hours, hours + 1799])
    return np.concatenate([random.integers(start, end, 3000), around]) * 10**9 + 123


@pytest.mark.parametrize("zone", ZONES)
def test_clocks_are_those_of_the_standard_library(zone: str) -> None:
    ts = instants(zone)
    for ns, found in zip(ts.tolist(), to_clock(ts, zone).tolist(), strict=True):
        local = datetime.fromtimestamp(ns // 10**9, ZoneInfo(zone)).replace(tzinfo=None)
        assert found == (local - EPOCH) // timedelta(seconds=1) * 10**9 + 123


@pytest.mark.parametrize("zone", ZONES)
def test_midnight_is_when_the_clocks_first_show_a_day(zone: str) -> None:
    for day in range(19_723, 19_723 + 366):
        ns = midnight(day, zone)
        plain = datetime.combine(date(1970, 1, 1) + timedelta(days=day), time(0), ZoneInfo(zone))
        assert ns == int(plain.timestamp()) * 10**9
        around = np.array([ns - 1, ns])
        assert (to_clock(around, zone) // DAY_NS).tolist() == [day - 1, day]


def test_text() -> None:
    ns = int(datetime(2024, 11, 3, 6, 30, 1, tzinfo=UTC).timestamp()) * 10**9 + 5_000
    assert clock_text(ns, "UTC") == "2024-11-03 06:30:01"
    assert clock_text(ns, "America/New_York", 26) == "2024-11-03 01:30:01.000005"
    assert clock_text(-1, "Asia/Kolkata") == "1970-01-01 05:29:59"


@pytest.mark.parametrize("name", ["Mars", "../UTC", "", "America/new york", "\0"])
def test_unknown_zones_are_named(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone, such as America/New_York"):
        zones.known_zone(name)


def test_a_machine_without_zone_data_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zones, "ZoneInfo", missing)
    monkeypatch.setattr(zones, "available_timezones", set)
    assert zones.known_zone("UTC") == "UTC"
    with pytest.raises(ValueError, match="no time zone data, so 'Asia/Tokyo' is unknown: install"):
        zones.known_zone("Asia/Tokyo")
