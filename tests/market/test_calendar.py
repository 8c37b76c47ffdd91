"""Open time against plain sums, and years of calendars whose hours are known."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.core.zones import DAY_NS, HOUR_NS
from backtest.market.calendar import YEAR_NS, MarketHours
from tests.new_york import ZONE, instant, sessions

START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 10**9

SESSIONS = st.lists(st.integers(0, 60), min_size=2, max_size=16, unique=True).map(
    lambda cuts: np.array(sorted(cuts)[: len(cuts) // 2 * 2]).reshape(-1, 2)
)


@given(SESSIONS, st.lists(st.integers(-5, 65), min_size=1, max_size=20))
def test_open_time_is_a_plain_sum(held: np.ndarray, asked: list[int]) -> None:
    hours = MarketHours("UTC", held)
    instants = np.array(sorted(asked))
    opened = [t for opens, closes in held.tolist() for t in range(opens, closes)]
    assert hours.open_before(instants).tolist() == [
        sum(t < ns for t in opened) for ns in instants.tolist()
    ]
    for ns, last in zip(instants.tolist(), hours.last_open(instants).tolist(), strict=True):
        before = [t + 1 for t in opened if t < ns]
        assert last == (before[-1] if before else ns)
    start, end = int(instants[0]), int(instants[-1])
    kept = hours.record(start, end)["sessions"]
    assert [t for opens, closes in kept for t in range(opens, closes)] == [
        t for t in opened if start <= t < end
    ]


@given(
    SESSIONS,
    st.integers(-5, 60),
    st.integers(0, 70),
    st.one_of(st.none(), st.integers(1, 20)),
)
def test_buckets_are_cut_within_sessions(
    held: np.ndarray, start: int, span: int, length: int | None
) -> None:
    hours, end = MarketHours("UTC", held), start + span
    ends = hours.bucket_ends(start, end, length)
    inside = [
        (max(opens, start), min(closes, end))
        for opens, closes in held.tolist()
        if max(opens, start) < min(closes, end)
    ]
    assert ends.dtype == np.int64
    assert ends[-1] == end
    if not inside:
        assert ends.tolist() == MarketHours().bucket_ends(start, end, length).tolist()
        return
    assert (np.diff(ends) > 0).all()
    assert {closes for _, closes in inside[:-1]} <= set(ends.tolist())
    spans = hours.spans(start, ends).tolist()
    assert min(spans) > 0
    left = iter(spans)
    for opens, closes in inside:
        lengths: list[int] = []
        while sum(lengths) < closes - opens:
            lengths.append(next(left))
        assert sum(lengths) == closes - opens  # none has open time of two sessions
        if length is None:
            assert max(lengths) - min(lengths) <= 1
        else:
            assert set(lengths[:-1]) <= {length}
            assert lengths[-1] <= length
    assert next(left, None) is None


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.one_of(st.none(), st.integers(10**12)))
def test_buckets_of_a_market_that_never_closes(start: int, span: int, length: int | None) -> None:
    """A 500th of the window each, rounded up; digests of earlier runs rest on it."""
    each = max(-(-span // 500), 1) if length is None else length
    expected = [*range(start + each, start + span, each), start + span]
    assert MarketHours().bucket_ends(start, start + span, length).tolist() == expected


def test_about_500_buckets_for_any_number_of_sessions() -> None:
    for count, most in ((1, 500), (3, 501), (34, 510), (400, 400), (1300, 1300)):
        opens = np.arange(count) * DAY_NS
        hours = MarketHours("UTC", np.stack([opens, opens + 8 * HOUR_NS], axis=1))
        assert len(hours.bucket_ends(0, count * DAY_NS)) == most


def test_a_market_that_never_closes() -> None:
    always = MarketHours.of_sessions("Asia/Tokyo", None)
    instants = np.array([5, 9])
    assert always.always
    assert (always.day_ns, always.year_ns) == (24 * HOUR_NS, 365.25 * 24 * HOUR_NS)
    assert always.open_before(instants).tolist() == always.last_open(instants).tolist() == [5, 9]
    assert MarketHours.from_record(always.record(0, 10)) == always
    assert MarketHours.from_record(None) == MarketHours()


def test_a_year_of_new_york() -> None:
    """From January to December 2024, with both changes of the clocks in it."""
    year = sessions(date(2024, 1, 2), date(2024, 12, 31))
    found = MarketHours.of_sessions(ZONE, np.array(year))
    assert found.day_ns == 6.5 * HOUR_NS
    # The 365 days from 2 January on hold 52 whole weeks, of which one weekday is closed.
    assert found.year_ns == pytest.approx((52 * 5 - 1) / 52 * 365.25 / 7 * 6.5 * HOUR_NS, rel=1e-12)
    assert MarketHours.from_record(found.record(0, 2**62)) == found


@pytest.mark.parametrize("days", [1, 3, 5])
def test_less_than_a_week_counts_as_one(days: int) -> None:
    some = sessions(date(2024, 3, 4), date(2024, 3, 4) + timedelta(days=days - 1))
    found = MarketHours.of_sessions(ZONE, np.array(some))
    assert found.day_ns == 6.5 * HOUR_NS
    assert found.year_ns == pytest.approx(days * 6.5 * 365.25 / 7 * HOUR_NS, rel=1e-12)


def test_sessions_over_midnight_are_cut_there() -> None:
    """Currencies: from Sunday 17:00 to Friday 17:00, six days of which two are short."""
    weeks = [date(2024, 1, 7) + timedelta(weeks=k) for k in range(10)]
    held = [
        (instant(sunday, time(17)), instant(sunday + timedelta(days=5), time(17)))
        for sunday in weeks
    ]
    found = MarketHours.of_sessions(ZONE, np.array(held))
    assert found.day_ns == pytest.approx(20 * HOUR_NS, rel=1e-2)
    # Nine whole weeks; clocks are set forward on 10 March, on a Sunday before the market opens.
    assert found.year_ns == pytest.approx(120 * 365.25 / 7 * HOUR_NS, rel=1e-12)


def test_days_that_lie_end_to_end_make_a_calendar_year() -> None:
    edges = START + DAY_NS * np.arange(71)
    for held in (np.stack([edges[:-1], edges[1:]], axis=1), np.array([[edges[0], edges[-1]]])):
        found = MarketHours.of_sessions("UTC", held)
        assert (found.day_ns, found.year_ns) == (DAY_NS, YEAR_NS)
