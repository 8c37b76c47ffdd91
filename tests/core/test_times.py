"""Instants as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.core.times import format_utc, parse_utc


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01 00:00:01.5+00:00", 1_500_000_000),
        ("2025-09-01T00:00:00.123456789Z", 1_756_684_800_123_456_789),
        ("1969-12-31T23:59:59.999999999Z", -1),
    ],
)
def test_reads_to_the_nanosecond(text: str, ns: int) -> None:
    assert parse_utc(text) == ns


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_reads_back_what_it_writes(ns: int) -> None:
    assert parse_utc(format_utc(ns)) == ns


@pytest.mark.parametrize(
    "text",
    [
        "2025-09-01",
        "2025-09-01T00:00:00",
        "2025-09-01T00:00:00+02:00",
        "2025-13-01T00:00:00Z",
        "2025-09-01T00:00:00.1234567890Z",
        "9999-01-01T00:00:00Z",
        "",
    ],
)
def test_refuses_what_is_no_instant_in_utc(text: str) -> None:
    with pytest.raises(ValueError, match=r"instant|outside"):
        parse_utc(text)
