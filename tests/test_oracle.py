"""The oracle itself, held to cases worked by hand and to the identities it must keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final, get_args

import pytest
from hypothesis import assume, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tests.markets import Market, Service, markets
from tests.oracle import (
    Account,
    Attribution,
    Event,
    Fill,
    NoClosingQuote,
    Order,
    Policy,
    PolicyName,
    Rows,
    Side,
    Status,
    Timing,
    is_crossed,
    is_open,
    round_sizes,
    scaled,
    shown,
    simulate_market,
    simulate_server,
)

ONE, ALL = Policy("one"), Policy("all")
ANSWERED: Final = "answered"
DROPPED: Final = "dropped"
EXPIRED: Final = "expired"
CONFLATED: Final = "conflated"
UNFINISHED: Final = "unfinished"
PROPERTIES = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def ticks(*rows: tuple[int, int]) -> list[Event]:
    """Events from (symbol, ts_event)."""
    return [Event(symbol, ts) for symbol, ts in rows]


def serve(
    events: Sequence[Event],
    policy: Policy = ONE,
    base: int = 10,
    per_event: int = 0,
    *,
    feed: Sequence[int] | None = None,
    end: int = 1_000,
    line: int = 100,
    max_batch: int | None = None,
    max_age: int | None = None,
    scale: float = 1.0,
) -> Timing:
    return simulate_server(
        events,
        feed or [0] * len(events),
        policy,
        Service("packed", base, per_event),
        end=end,
        line=line,
        max_batch=max_batch,
        max_age=max_age,
        scale=scale,
    )


class TestSpans:
    def test_halves_go_to_even(self) -> None:
        # 0.5 → 0, 1.5 → 2, 2.5 → 2, 3.5 → 4
        assert [scaled(ns, 0.5) for ns in (1, 3, 5, 7)] == [0, 2, 2, 4]

    def test_rounds_hold_distinct_symbols(self) -> None:
        # firsts: 0 1 2; seconds: 0 1; third: 0
        assert round_sizes([0, 1, 0, 0, 2, 1]) == [3, 2, 1]
        assert round_sizes([]) == []

    def test_service_by_composition(self) -> None:
        # rounds of 2, 1: (10 + 2·1) + (10 + 1·1) = 23; packed: 10 + 3·1 = 13
        assert Service("rounds", 10, 1)([0, 1, 0], 0) == 23
        assert Service("packed", 10, 1)([0, 1, 0], 0) == 13
        assert Service("packed", 10, 1, (0, 5))([0], 3) == 16

    def test_single_events_pay_the_base_each(self) -> None:
        # three passes of one: 3·(10 + 1·1) = 33; what is extra is added once a batch: 33 + 5
        assert Service("single", 10, 1)([0, 1, 0], 0) == 33
        assert Service("single", 10, 1, (0, 5))([0, 1, 2], 1) == 38


class TestServer:
    def test_one_at_a_time(self) -> None:
        # served 0-10, 10-20 (came at 3), idle, 30-40
        timing = serve(ticks((0, 0), (1, 3), (0, 30)))
        assert timing.t1 == [0, 3, 30]
        assert timing.t2 == [0, 10, 30]
        assert timing.t3 == [10, 20, 40]
        assert timing.batch == [0, 1, 2]

    def test_receipt_never_overtakes_within_a_symbol(self) -> None:
        # symbol 0: 0+9 = 9, then 1+2 = 3 but not before 9; symbol 1: 2+0 = 2, clock skew -4 → 0
        timing = serve(ticks((0, 0), (0, 1), (1, 2), (1, 5)), feed=[9, 2, 0, -4])
        assert timing.t1 == [9, 9, 2, 5]
        # by receipt: event 2 (2-12), 3 (12-22), 0 (22-32), 1 (32-42)
        assert timing.t2 == [22, 32, 2, 12]

    def test_completion_then_arrivals_then_dispatch(self) -> None:
        # At 10 the server comes free, yet event 2 arrives before event 1 leaves the line of one.
        timing = serve(ticks((0, 0), (0, 5), (0, 10)), line=1)
        assert timing.status == [ANSWERED, ANSWERED, DROPPED]
        # With all arrivals of an instant taken first, event 2 joins event 1's batch at 10.
        assert serve(ticks((0, 0), (0, 5), (0, 10)), ALL).batch == [0, 1, 1]

    def test_an_idle_server_does_not_widen_the_line(self) -> None:
        timing = serve(ticks((0, 0), (0, 0), (1, 0), (0, 0)), ALL, line=1)
        assert timing.status == [ANSWERED, DROPPED, ANSWERED, DROPPED]

    def test_lines_are_counted_by_symbol_without_those_in_service(self) -> None:
        # While 0 is served, 1 and 2 fill symbol 0's line of two; 3 is dropped; symbol 1 has room.
        timing = serve(ticks((0, 0), (0, 1), (0, 2), (0, 3), (1, 4)), line=2)
        assert timing.status == [ANSWERED, ANSWERED, ANSWERED, DROPPED, ANSWERED]

    def test_service_sees_symbols_and_batch_number(self) -> None:
        seen = []

        def service(symbols: list[int], batch: int) -> int:
            seen.append((symbols, batch))
            return 10

        events = ticks((2, 0), (1, 1), (0, 2), (1, 3))
        simulate_server(events, [0, 0, 0, 0], ALL, service, end=100)
        assert seen == [([2], 0), ([1, 0, 1], 1)]

    def test_at_most_takes_the_first_n(self) -> None:
        # 0 alone at 0; four wait at 10: three, then one at 20
        timing = serve(ticks((0, 0), (0, 1), (1, 1), (0, 2), (1, 2)), Policy("at-most", 3))
        assert timing.batch == [0, 1, 1, 1, 2]

    def test_max_batch_caps_every_policy(self) -> None:
        waiting = ticks((0, 0), (1, 0), (2, 0))
        names: list[PolicyName] = ["all", "one-per-symbol", "newest-per-symbol"]
        for name in names:
            assert serve(waiting, Policy(name), max_batch=2).batch == [0, 0, 1]
        assert serve(waiting, Policy("at-most", 3), max_batch=2).batch == [0, 0, 1]
        # Three wait, so n = 3 is met at 0; of the three only two ride, and the last waits 50.
        timing = serve(waiting, Policy("deadline", 3, 50), max_batch=2)
        assert timing.t2 == [0, 0, 50]

    def test_one_per_symbol_takes_the_oldest(self) -> None:
        # at 0 symbol 9 is served; at 10 wait 0a 0b 1a 0c 1b: {0a, 1a}, {0b, 1b}, {0c}
        timing = serve(
            ticks((9, 0), (0, 1), (0, 2), (1, 3), (0, 4), (1, 5)), Policy("one-per-symbol")
        )
        assert timing.batch == [0, 1, 2, 1, 3, 2]

    def test_newest_per_symbol_conflates_only_what_it_takes(self) -> None:
        # At 10 wait 0a 1a 1b 0b, newest in arrival order 1b (event 3), 0b (event 4). One may ride:
        # 1b, so 1a is conflated and both of symbol 0 stay. At 20 0b rides and 0a is conflated.
        timing = serve(
            ticks((9, 0), (0, 1), (1, 2), (1, 3), (0, 4)), Policy("newest-per-symbol"), max_batch=1
        )
        assert timing.status == [ANSWERED, CONFLATED, CONFLATED, ANSWERED, ANSWERED]
        assert timing.t2 == [0, None, None, 10, 20]

    def test_deadline_goes_by_count_or_by_age(self) -> None:
        # 0 and 1 make two at 4. 2 waits alone from 30 until 30+20 = 50.
        timing = serve(ticks((0, 0), (0, 4), (0, 30)), Policy("deadline", 2, 20))
        assert timing.t2 == [4, 4, 50]

    def test_deadline_that_passes_in_service_goes_at_completion(self) -> None:
        # Due at 0+5, served 5-35; event 1 (from 10) is due at 15 but the server is busy until 35.
        timing = serve(ticks((0, 0), (0, 10)), Policy("deadline", 9, 5), base=30)
        assert timing.t2 == [5, 35]

    def test_an_arrival_at_the_deadline_rides_along(self) -> None:
        assert serve(ticks((0, 0), (0, 20)), Policy("deadline", 9, 20)).t2 == [20, 20]

    def test_scale_multiplies_feed_service_deadline_and_age(self) -> None:
        # feed 4·3 = 12, deadline 5·3 = 15 → 27, service 10·3 = 30 → 57
        timing = serve(ticks((0, 0)), Policy("deadline", 2, 5), feed=[4], scale=3.0)
        assert (timing.t1, timing.t2, timing.t3) == ([12], [27], [57])
        # Event 1 has waited 25 when the service of 30 ends: too long for 8·3 = 24, not for 9·3.
        late = ticks((0, 0), (0, 5))
        assert serve(late, max_age=8, scale=3.0).status == [ANSWERED, EXPIRED]
        assert serve(late, max_age=9, scale=3.0).status == [ANSWERED, ANSWERED]

    def test_max_age_is_strict(self) -> None:
        # At 10 event 1 has waited 6, event 2 has waited 5.
        timing = serve(ticks((0, 0), (0, 4), (0, 5)), ALL, max_age=5)
        assert timing.status == [ANSWERED, EXPIRED, ANSWERED]

    def test_expiry_that_empties_the_line_forms_no_batch(self) -> None:
        timing = serve(ticks((0, 0), (0, 1), (0, 50)), max_age=5)
        assert timing.status == [ANSWERED, EXPIRED, ANSWERED]
        assert timing.batch == [0, None, 1]

    def test_what_expiry_leaves_goes_without_asking_the_deadline_again(self) -> None:
        # Two wait at 10 (n = 2); event 1 has waited 9 > 5 and expires; event 2 goes alone, at once.
        # Event 0 itself went at 0 because event 3 of another symbol made two.
        events = ticks((0, 0), (1, 0), (0, 1), (0, 8))
        timing = serve(events, Policy("deadline", 2, 100), max_age=5)
        assert timing.status == [ANSWERED, ANSWERED, EXPIRED, ANSWERED]
        assert timing.t2 == [0, 0, None, 10]

    def test_the_window_s_end(self) -> None:
        # Served 0-10, 10-20 and, had the window not ended at 20, 20-30.
        events = ticks((0, 0), (0, 1), (0, 2), (0, 15))
        timing = serve(events, end=20, feed=[0, 0, 0, 6])
        assert timing.status == [ANSWERED, ANSWERED, UNFINISHED, UNFINISHED]
        assert timing.t3 == [10, 20, 30, None]
        # One ns less and event 1 is not done; it holds the server, so event 2 never begins.
        timing = serve(events, end=19, feed=[0, 0, 0, 6])
        assert timing.status == [ANSWERED, UNFINISHED, UNFINISHED, UNFINISHED]
        assert (timing.t2, timing.batch) == ([0, 10, None, None], [0, 1, None, None])

    def test_nothing_is_dropped_or_expired_after_the_end(self) -> None:
        timing = serve(ticks((0, 0), (0, 1), (0, 2), (0, 9)), line=2, max_age=1, end=8)
        assert timing.status == [UNFINISHED] * 4

    def test_zero_service_completes_and_dispatches_in_the_same_instant(self) -> None:
        timing = serve(ticks((0, 5), (0, 5), (1, 5)), base=0)
        assert (timing.t2, timing.t3, timing.batch) == ([5, 5, 5], [5, 5, 5], [0, 1, 2])
        # Both arrivals of the instant were in line before the first left it.
        assert serve(ticks((0, 5), (0, 5)), base=0, line=1).status == [ANSWERED, DROPPED]

    def test_scale_zero_bypasses_the_server(self) -> None:
        # The line of one, the age of zero and the deadline do not exist either.
        timing = serve(
            ticks((0, 0), (0, 0), (0, 3)), Policy("deadline", 9, 9), feed=[5, 5, 5], line=1,
            max_age=0, scale=0.0,
        )  # fmt: skip
        assert timing.t1 == timing.t2 == timing.t3 == [0, 0, 3]
        assert timing.status == [ANSWERED] * 3
        assert serve(ticks((0, 0), (0, 8)), end=7, scale=0.0).status == [ANSWERED, UNFINISHED]


def quote(ts: int, bid: int | None, ask: int | None, size: int = 9, symbol: int = 0) -> Event:
    """An event with the same size on both sides."""
    return Event(symbol, ts, bid, ask, size, size)


def answered_at(events: Sequence[Event], t3: dict[int, int]) -> Timing:
    """Timing in which some events are answered; receipt and service begin at ts_event."""
    t0 = [event.ts_event for event in events]
    timing = Timing([*t0], [*t0], [None] * len(t0), [UNFINISHED] * len(t0), [None] * len(t0))
    for i, t in t3.items():
        timing.status[i], timing.t3[i] = ANSWERED, t
    return timing


def trade(
    events: Sequence[Event],
    t3: dict[int, int],
    targets: dict[int, int],
    *,
    entry: int | dict[int, int] = 0,
    response: int = 0,
    end: int = 1_000,
    scale: float = 1.0,
    limit: int | None = None,
    band: int = 0,
    impact: Fraction = Fraction(0),
    sessions: Sequence[tuple[int, int]] | None = None,
    tradable: Sequence[bool] | None = None,
    warmup: int = 0,
) -> Account:
    n = len(events)
    entries = [entry.get(i, 0) if isinstance(entry, dict) else entry for i in range(n)]
    return simulate_market(
        events,
        answered_at(events, t3),
        targets.get,
        entries,
        [response] * n,
        end=end,
        value=[1] * (1 + max(event.symbol for event in events)),
        scale=scale,
        limit=limit,
        band=band,
        impact=impact,
        sessions=sessions,
        tradable=tradable,
        warmup=warmup,
    )


def sent(account: Account) -> list[tuple[int, int, int]]:
    """(event, lots, filled) of every order."""
    return [(order.event, order.lots, order.filled) for order in account.orders]


class TestQuotes:
    def test_the_last_two_sided_quote_prevails(self) -> None:
        events = [
            quote(0, 10, 12), quote(5, 11, 12), quote(5, 11, 13), quote(6, 14, 13),
            quote(7, None, 13), quote(8, 20, 20, symbol=1), quote(9, 12, 12),
        ]  # fmt: skip
        assert Rows(events, 1).standing(7) is None
        # of the two at 5 the later; crossed (6) and one-sided (7) hide nothing; locked (9) counts
        rows = Rows(events, 0)
        assert [rows.mid(t) for t in (0, 4, 5, 8, 9)] == [22, 22, 24, 24, 24]
        numbers = [q.number for t in (5, 8, 9) if (q := rows.standing(t)) is not None]
        assert numbers == [2, 2, 6]

    def test_the_last_row_is_that_of_the_symbol(self) -> None:
        # rows of symbol 0 at 0, 5, 5, 9: places 0 to 3; the one at 7 is another symbol's
        events = [quote(0, 10, 12), quote(5, 11, 12), quote(5, None, 13)]
        events += [quote(7, 1, 2, symbol=1), quote(9, 12, 12)]
        assert [Rows(events, 0).last(t) for t in (-1, 0, 4, 5, 8, 9)] == [-1, 0, 0, 2, 2, 3]

    def test_a_side_counts_from_its_own_change_of_price_or_size(self) -> None:
        events = [
            Event(0, 0, 10, 12, 5, 7),
            Event(1, 1, 8, 9, 1, 1),
            Event(0, 2, 10, 13, 5, 7),  # the ask's price
            Event(0, 3, 10, 13, 4, 7),  # the bid's size
            Event(0, 4, None, 13, 0, 7),  # the bid is withdrawn
            Event(0, 5, None, 13, 9, 7),  # a size without a price is nothing
            Event(0, 6, 10, 13, 4, 7),  # the bid returns as it was
        ]
        rows = Rows(events, 0)
        assert [rows.since(place, "bid") for place in range(6)] == [0, 0, 2, 3, 3, 5]
        assert [rows.since(place, "ask") for place in range(6)] == [0, 1, 1, 1, 1, 1]

    def test_the_closing_quote_lies_inside_a_session(self) -> None:
        events = [quote(t, 10 + t, 12 + t) for t in (0, 4, 8)] + [quote(9, None, 12)]
        rows = Rows(events, 0)

        def number(sessions: Sequence[tuple[int, int]] | None, end: int) -> int | None:
            closing = rows.closing(sessions, end)
            return None if closing is None else closing.number

        assert (number(None, 20), number(None, 7)) == (2, 1)
        # A session has ended at its close; of two sessions the last quote in either counts.
        assert (number([(0, 8)], 20), number([(0, 9)], 20), number([(0, 9)], 7)) == (1, 2, 1)
        assert (number([(0, 1), (3, 5)], 20), number([(9, 20)], 20)) == (1, None)


class TestAttribution:
    def account(self) -> Account:
        """One buy whose every instant sees another mid, closed at the end; see the test."""
        events = [
            Event(0, 0, 100, 102, 8, 8),  # M = 202, t0
            Event(0, 10, 101, 103, 8, 8),  # M = 204, t1
            Event(0, 20, 101, 104, 8, 8),  # M = 205, t2
            Event(0, 30, 103, 104, 8, 8),  # M = 207, t3
            Event(0, 40, 104, 106, 8, 4),  # M = 210, t4: ask 106 for 4 lots, spread 4 half ticks
            Event(0, 50, 109, 111, 1, 1),  # M = 220, end
        ]
        timing = Timing(
            [10, 10, 20, 30, 40, 50],
            [20, None, None, None, None, None],
            [30, None, None, None, None, None],
            [ANSWERED, DROPPED, DROPPED, DROPPED, DROPPED, DROPPED],
            [0, None, None, None, None, None],
        )
        return simulate_market(
            events,
            timing,
            {0: 3}.get,
            [10] * 6,
            [7] * 6,
            end=60,
            value=[5],
            impact=Fraction(1, 2),
            fee=lambda symbol, lots, half_ticks: abs(lots) + half_ticks,
        )

    def test_fills(self) -> None:
        # Buy 3 of the 4 displayed at 106. Impact ceil(1/2 · 4 · 3/4) = ceil(1.5) = 2 half ticks a
        # lot; P = 2·106 + 2 = 214; fee 3 + 214 = 217; all else times 3 lots times value 5.
        buy, close = self.account().fills
        assert buy == Fill(
            0, 0, 3, 214, 2, 0, 10, 20, 30, 40, 47,
            cash=-3 * 214 * 5 - 217,  # -3427
            decision=15 * (220 - 202),  # 270
            feed=15 * (204 - 202),  # 30
            queueing=15 * (205 - 204),  # 15
            service=15 * (207 - 205),  # 30
            entry=15 * (210 - 207),  # 45
            spread=15 * (214 - 2 - 210),  # 30
            impact=15 * 2,  # 30
            fees=217, displayed=4, taken=0,
        )  # fmt: skip
        # Close: sell 3 at bid 109 though 1 is displayed, without impact: P = 218, fee 3 + 218.
        # Costs are positive: -15·(218 - 220) = 30.
        assert close == Fill(
            None, 0, -3, 218, 0, 60, 60, 60, 60, 60, 60,
            cash=3 * 218 * 5 - 221, decision=0, feed=0, queueing=0, service=0, entry=0,
            spread=30, impact=0, fees=221, displayed=1, taken=0,
        )  # fmt: skip

    def test_sums(self) -> None:
        # net = 15·(218 - 214) - 217 - 221 = -378
        #     = 270 - 30 - 15 - 30 - 45 - (30 + 30) - 30 - (217 + 221)
        # ideal: 3 lots from mid 202 to mid 220, times 5 = 270, all of it caught
        account = self.account()
        expected = Attribution(-378, 270, 30, 15, 30, 45, 60, 30, 438, 270, 0, 0, 0)
        assert account.by_symbol == {0: expected}
        assert account.total == expected

    def test_equity(self) -> None:
        account = self.account()
        assert account.equity_at(39) == 0
        # just bought: -3427 + 15·210; marked up from 50 on: -3427 + 15·220; closed: net
        assert [account.equity_at(t) for t in (40, 50, 59, 60)] == [-277, -127, -127, -378]

    def test_totals_add_symbols_and_their_values(self) -> None:
        # symbol 0 (value 1): +1 lot at ask 12 → 24, closed at bid 20 → 40: 16
        # symbol 1 (value 10): -1 lot at bid 30 → 60, closed at ask 33 → 66: -60
        events = [
            quote(0, 10, 12), quote(0, 30, 31, symbol=1),
            quote(5, 20, 22), quote(5, 31, 33, symbol=1),
        ]  # fmt: skip
        account = simulate_market(
            events, answered_at(events, {0: 1, 1: 1}), {0: 1, 1: -1}.get, [0] * 4, [0] * 4,
            end=9, value=[1, 10],
        )  # fmt: skip
        assert [account.by_symbol[s].net for s in (0, 1)] == [16, -60]
        assert account.total.net == -44
        # decision: 1·(42 - 22) = 20 and -1·(64 - 61)·10 = -30
        assert account.total.decision == -10


class TestOrders:
    FLAT = (quote(0, 10, 12), quote(10, 10, 12), quote(20, 10, 12), quote(30, 10, 12))

    def test_outstanding_orders_count_in_full(self) -> None:
        # Order 0 wants 5 at 5, sees 2 displayed, is confirmed at 5+15 = 20. At 12 it still counts
        # 5, so target 6 sends 1. At 20 order 0 counts the 2 that were filled and order 1 (until
        # 27) its 1: expected 3, so target 6 sends 3.
        events = [quote(0, 10, 12, 2), quote(10, 10, 12), quote(20, 10, 12)]
        account = trade(events, {0: 5, 1: 12, 2: 20}, {0: 5, 1: 6, 2: 6}, response=15)
        assert sent(account) == [(0, 5, 2), (1, 1, 1), (2, 3, 3)]

    def test_confirmed_in_the_instant_of_the_answer(self) -> None:
        # Confirmed at 5+7 = 12: then the 3 that were cancelled are known and sent again, at 11 not.
        events = [quote(0, 10, 12, 2), quote(10, 10, 12), quote(20, 10, 12)]
        assert sent(trade(events, {0: 5, 1: 12}, {0: 5, 1: 5}, response=7)) == [
            (0, 5, 2),
            (1, 3, 3),
        ]
        assert sent(trade(events, {0: 5, 1: 11}, {0: 5, 1: 5}, response=7)) == [(0, 5, 2)]

    def test_orders_do_not_overtake(self) -> None:
        # Event 0's order is under way until 5+40 = 45; event 1's (15+0) arrives no earlier.
        account = trade(self.FLAT, {0: 5, 1: 15}, {0: 1, 1: 3}, entry={0: 40}, response=2)
        assert account.orders == [Order(0, 0, 1, 1, 5, 45, 47), Order(1, 0, 2, 2, 15, 45, 47)]

    def test_an_answer_without_an_order_delays_nobody(self) -> None:
        # Event 0 wants what it has (0 lots), so its entry latency of 40 is never travelled.
        account = trade(self.FLAT, {0: 5, 1: 15}, {0: 0, 1: 3}, entry={0: 40})
        assert [order.t4 for order in account.orders] == [15]

    def test_entry_and_response_are_scaled(self) -> None:
        account = trade(self.FLAT, {0: 5}, {0: 1}, entry=4, response=3, scale=0.5)
        # 5 + 2, then + round(1.5) = 2
        assert [(order.t4, order.t5) for order in account.orders] == [(7, 9)]

    def test_depletion_adds_up_over_unchanged_quotes(self) -> None:
        # 1, 1 and 1 of the 3 displayed, then nothing, however often the quote is repeated
        events = [quote(t, 10, 12, 3) for t in range(5)]
        account = trade(events, {t: 5 + t for t in range(5)}, {t: 1 + t for t in range(5)})
        assert sent(account) == [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 0), (4, 2, 0)]

    def test_a_change_of_the_other_side_refreshes_nothing(self) -> None:
        # The bid moves at 1 (price) and 2 (size) while 3 are asked at 12 all along.
        events = [Event(0, 0, 10, 12, 5, 3), Event(0, 1, 11, 12, 5, 3), Event(0, 2, 11, 12, 6, 3)]
        account = trade(events, {0: 0, 1: 1, 2: 2}, {0: 2, 1: 4, 2: 5})
        assert sent(account) == [(0, 2, 2), (1, 2, 1), (2, 2, 0)]

    def test_a_new_price_or_size_refreshes_its_side(self) -> None:
        # 3 asked at 12, all taken; 2 asked at 12, taken; 2 asked at 13, taken; the 3 at 12 again.
        events = [
            quote(0, 10, 12, 3),
            quote(1, 10, 12, 2),
            quote(2, 10, 13, 2),
            quote(3, 10, 12, 3),
        ]
        account = trade(events, {t: t for t in range(4)}, dict.fromkeys(range(4), 20))
        assert sent(account) == [(0, 20, 3), (1, 17, 2), (2, 15, 2), (3, 13, 3)]

    def test_the_sides_are_depleted_apart(self) -> None:
        # Bought 3 of 3 asked at 0; sold 3 of 3 bid at 1; bid and ask stand unchanged: nothing more.
        events = [quote(t, 10, 12, 3) for t in range(4)]
        account = trade(events, {t: t for t in range(4)}, {0: 3, 1: -2, 2: -2, 3: 5})
        assert sent(account) == [(0, 3, 3), (1, -5, -3), (2, -2, 0), (3, 5, 0)]

    def test_a_side_that_was_withdrawn_returns_whole(self) -> None:
        # 2 of the 3 asked are taken at 0, nothing can be at 1 and 2, and 3 are there again at 3.
        events = [quote(0, 10, 12, 3), quote(1, 10, None, 3), quote(2, 10, None, 3)]
        events.append(quote(3, 10, 12, 3))
        account = trade(events, {t: t for t in range(4)}, {0: 2, 1: 9, 2: 9, 3: 9})
        assert sent(account) == [(0, 2, 2), (1, 7, 0), (2, 7, 0), (3, 7, 3)]

    def test_of_a_one_sided_quote_the_present_side_fills(self) -> None:
        # At 1 the ask alone stands, at 11: M4 is still that of 10/12 at 0, so the spread term is
        # 2·(2·11 - 22) = 0; impact is of the last two-sided spread: ceil(1 · 4 · 2/4) = 2.
        events = [quote(0, 10, 12), quote(1, None, 11, 4), quote(2, 12, 14)]
        account = trade(events, {0: 1}, {0: 2}, impact=Fraction(1))
        buy = account.fills[0]
        assert (buy.lots, buy.price, buy.impact_half_ticks) == (2, 24, 2)
        assert (buy.spread, buy.entry, buy.decision) == (0, 0, 2 * (26 - 22))
        # A sale at 1 finds no bid.
        assert sent(trade(events, {0: 1}, {0: -2})) == [(0, -2, 0)]

    def test_a_fill_through_the_last_mid_has_a_negative_spread(self) -> None:
        # 1 lot at the lone ask of 9 where the last mid is 22: 2·9 - 22 = -4
        events = [quote(0, 10, 12), quote(1, None, 9)]
        assert trade(events, {0: 1}, {0: 1}).fills[0].spread == -4

    def test_a_crossed_quote_fills_neither_side(self) -> None:
        events = [quote(0, 10, 12), quote(1, 13, 12), quote(2, 12, 12)]
        assert sent(trade(events, {0: 1}, {0: 1})) == [(0, 1, 0)]
        assert sent(trade(events, {0: 1}, {0: -1})) == [(0, -1, 0)]
        # A locked one fills both.
        assert sent(trade(events, {0: 2, 1: 3}, {0: 1, 1: -1})) == [(0, 1, 1), (1, -2, -2)]

    def test_depletion_outlasts_a_cross_by_the_other_side(self) -> None:
        # 2 of the 3 asked at 12 are taken; the bid crosses it at 1 and steps back at 2.
        events = [quote(0, 10, 12, 3), quote(1, 13, 12, 3), quote(2, 10, 12, 3)]
        account = trade(events, {0: 0, 1: 1, 2: 2}, {0: 2, 1: 4, 2: 4})
        assert sent(account) == [(0, 2, 2), (1, 2, 0), (2, 2, 1)]

    def test_of_an_instant_s_rows_the_last_fills(self) -> None:
        # The order of event 0 arrives at 5, where the ask goes from 12 to 13 and then away.
        events = [quote(0, 10, 12), quote(5, 10, 13), quote(5, 10, None)]
        assert sent(trade(events, {0: 5}, {0: 1})) == [(0, 1, 0)]
        assert [f.price for f in trade(events[:2], {0: 5}, {0: 1}).fills] == [26, 20]

    def test_impact_is_of_the_displayed_size_and_rounded_up(self) -> None:
        # Spread 3 ticks = 6 half ticks, c = 1/4, displayed 5.
        # Buy 2: ceil(6/4 · 2/5) = ceil(0.6) = 1, P = 2·13 + 1. Of the 7 wanted next 3 are left, and
        # impact is still of 5: ceil(6/4 · 3/5) = ceil(0.9) = 1, where of 3 it were ceil(1.5) = 2.
        # Sell 5: ceil(6/4 · 5/5) = 2, P = 2·10 - 2.
        events = [quote(t, 10, 13, 5) for t in range(3)]
        account = trade(
            events, {0: 5, 1: 6, 2: 7}, {0: 2, 1: 9, 2: 0}, impact=Fraction(1, 4), end=9
        )
        assert [(fill.lots, fill.price) for fill in account.fills] == [(2, 27), (3, 27), (-5, 18)]

    def test_no_opinion_leaves_target_and_orders_alone(self) -> None:
        # Event 1 has none: the order of event 0, under way until 15, is neither repeated nor
        # cancelled, and 3 lots are held until event 2 wants 1.
        account = trade(self.FLAT, {0: 5, 1: 11, 2: 21}, {0: 3, 2: 1}, entry=10, response=1)
        assert sent(account) == [(0, 3, 3), (2, -2, -2)]

    def test_only_the_newest_of_answers_ready_together_trades(self) -> None:
        assert sent(trade(self.FLAT, {0: 25, 1: 25, 2: 25}, {0: 1, 1: 2, 2: 3})) == [(2, 3, 3)]
        # If the newest has no opinion, nothing happens and an older one is not asked.
        assert sent(trade(self.FLAT, {0: 25, 1: 25}, {0: 1})) == []
        # An unanswered newer event is nobody.
        assert sent(trade(self.FLAT, {0: 25, 1: 25}, {0: 1, 1: 2, 2: 3})) == [(1, 2, 2)]

    def test_limit_clips_the_target(self) -> None:
        targets = {0: 7, 1: -7, 2: 2}
        account = trade(self.FLAT, {0: 1, 1: 11, 2: 21}, targets, limit=3)
        assert sent(account) == [(0, 3, 3), (1, -6, -6), (2, 5, 5)]

    def test_band_holds_back_small_orders(self) -> None:
        targets = {0: 2, 1: 3, 2: 0, 3: 5}
        account = trade(self.FLAT, {0: 1, 1: 11, 2: 21, 3: 31}, targets, band=2)
        # |2 - 0| ≤ 2, |3| > 2, |0 - 3| > 2, |5| > 2
        assert sent(account) == [(1, 3, 3), (2, -3, -3), (3, 5, 5)]

    def test_no_opinion_before_a_valid_quote_or_in_the_warm_up(self) -> None:
        # At 12 a quote stands for event 0's order, but at event 0 none did.
        events = [quote(0, None, 12), quote(10, 10, 12), quote(20, None, 12)]
        targets = {0: 1, 1: 2, 2: 3}
        account = trade(events, {0: 12, 1: 15, 2: 25}, targets)
        assert sent(account) == [(1, 2, 2), (2, 1, 1)]
        assert sent(trade(events, {0: 12, 1: 15, 2: 25}, targets, warmup=2)) == [(2, 3, 3)]

    def test_a_quote_later_in_the_same_instant_gives_no_opinion(self) -> None:
        # Event 0 precedes the quote of event 1 in bus order though not in time.
        events = [quote(0, None, 12), quote(0, 10, 12)]
        assert sent(trade(events, {0: 5}, {0: 1})) == []
        assert sent(trade(events, {1: 5}, {1: 1})) == [(1, 1, 1)]

    def test_sessions_are_half_open(self) -> None:
        # at 1 before the open; at 11 = open; at 21 = close; at 31 outside
        account = trade(
            self.FLAT, {0: 1, 1: 11, 2: 21, 3: 31}, {0: 1, 1: 1, 2: 2, 3: 2}, sessions=[(11, 21)]
        )
        assert sent(account) == [(0, 1, 0), (1, 1, 1), (2, 1, 0), (3, 1, 0)]
        # The close at the end takes place outside, at a quote from inside.
        assert [fill.lots for fill in account.fills] == [1, -1]

    def test_orders_that_arrive_after_the_end_are_cancelled(self) -> None:
        account = trade(self.FLAT, {0: 25, 1: 26}, {0: 1, 1: 3}, entry=10, end=35)
        # at the end itself the first still fills; the second, still unknown, counts the first
        assert sent(account) == [(0, 1, 1), (1, 2, 0)]
        assert account.orders[1].t4 == 36

    def test_an_unfinished_service_sends_nothing(self) -> None:
        # Served 0-10 and 10-20 in a window that ends at 15.
        timing = serve(self.FLAT[:2], end=15)
        assert timing.t3 == [10, 20]
        account = simulate_market(
            self.FLAT[:2], timing, {0: 1, 1: 2}.get, [0, 0], [0, 0], end=15, value=[1]
        )
        assert sent(account) == [(0, 1, 1)]

    def test_what_is_not_tradable_never_trades(self) -> None:
        events = [quote(0, 10, 12), quote(0, 10, 12, symbol=1), quote(9, 30, 32)]
        account = trade(events, {0: 1, 1: 1}, {0: 1, 1: 1}, tradable=[False, True])
        assert sent(account) == [(1, 1, 1)]
        assert account.by_symbol[0] == Attribution()

    def test_a_short_position_closes_at_the_ask(self) -> None:
        account = trade([quote(0, 10, 12), quote(5, 20, 23), quote(9, None, 8)], {0: 1}, {0: -2})
        # sold at 2·10, bought back at 2·23: the last valid quote's ask
        assert [(fill.lots, fill.price) for fill in account.fills] == [(-2, 20), (2, 46)]
        assert account.total.net == -2 * (46 - 20)


class TestClose:
    def test_at_the_last_two_sided_quote_inside_a_session(self) -> None:
        # Bought 2 at 12. The session ends at 10, so that 14/18 at 8 closes it, not 30/32 at 20:
        # P = 2·14, M(end) = 32; decision 2·(32 - 22); the close's spread -2·(28 - 32) = 8.
        events = [
            quote(0, 10, 12), quote(8, 14, 18), quote(9, None, 19), quote(20, 30, 32),
        ]  # fmt: skip
        account = trade(events, {0: 1}, {0: 2}, sessions=[(0, 10)], end=30)
        buy, close = account.fills
        assert (buy.price, buy.decision) == (24, 20)
        assert (close.price, close.decision, close.spread) == (28, 0, 8)
        assert (close.t0, close.t1, close.t2, close.t3, close.t4, close.t5) == (30,) * 6
        assert (close.feed, close.queueing, close.service, close.entry) == (0, 0, 0, 0)
        assert (account.total.net, account.total.ideal) == (2 * (28 - 24), 20)
        # Until then the position is marked to the last two-sided quote, wherever it lies.
        assert [account.equity_at(t) for t in (9, 29, 30)] == [2 * (32 - 24), 2 * (62 - 24), 8]

    def test_ignores_size_and_reports_the_excess(self) -> None:
        # 7 lots long, 2 bid for: 5 beyond. 7 lots short, 9 asked: none.
        events = [quote(0, 10, 12), Event(0, 5, 10, 12, 2, 9), quote(6, 10, 12, symbol=1)]
        long, short = (trade(events, {0: 1}, {0: lots}) for lots in (7, -7))
        assert [fill.lots for fill in long.fills] == [7, -7]
        assert long.closing_beyond == {0: 5, 1: 0}
        assert short.closing_beyond == {0: 0, 1: 0}

    def test_own_fills_do_not_count_against_what_is_displayed(self) -> None:
        # 4 of the 5 bid are taken by going short 4, then 3 long: the close sells 3 of 5.
        events = [quote(0, 10, 12, 5), quote(1, 10, 12, 5), Event(0, 2, 10, 13, 5, 9)]
        account = trade(events, {0: 0, 2: 2}, {0: -4, 2: 3})
        assert [fill.lots for fill in account.fills] == [-4, 7, -3]
        assert account.closing_beyond == {0: 0}

    def test_without_a_quote_to_close_at_a_fill_is_refused(self) -> None:
        # The only two-sided quote lies before the session; inside it the ask alone stands.
        events = [quote(0, 10, 12), quote(5, None, 12), quote(6, None, 12)]
        with pytest.raises(NoClosingQuote, match="symbol 0"):
            trade(events, {1: 5}, {1: 1}, sessions=[(5, 10)])
        # Nobody trades: nothing to close, and nothing to value an ideal trade by.
        account = trade(events, {1: 5}, {1: -1}, sessions=[(5, 10)])
        assert sent(account) == [(1, -1, 0)]
        assert account.total == Attribution()


class TestIdeal:
    def test_every_event_at_its_own_mid(self) -> None:
        # Mids 22, 24, 30, end 30. Targets 2, -1, 4: 2·(30-22) - 3·(30-24) + 5·0 = -2.
        events = [quote(0, 10, 12, 1), quote(10, 11, 13, 1), quote(20, 14, 16, 1)]
        targets = {0: 2, 1: -1, 2: 4}
        assert trade(events, {}, targets).total.ideal == -2
        # Limit 1: 1·8 - 2·6 + 2·0 = -4. Band 2: event 0 is held back, -1 too, 4 at the end's mid.
        assert trade(events, {}, targets, limit=1).total.ideal == -4
        assert trade(events, {}, targets, band=2).total.ideal == 0
        # Warm-up 1: -1·(30-24) + 5·0.
        assert trade(events, {}, targets, warmup=1).total.ideal == -6

    def test_missed_is_what_decision_lacks(self) -> None:
        # Of the target 2 only 1 is displayed: decision 1·(30-22) = 8; ideal 16.
        events = [quote(0, 10, 12, 1), quote(20, 14, 16, 1)]
        total = trade(events, {0: 1}, {0: 2, 1: 2}).total
        assert (total.ideal, total.decision, total.missed) == (16, 8, 8)

    def test_of_one_instant_the_newest_counts(self) -> None:
        # Two events at 0: the second wants 1, and the mid of the instant is its own, 26.
        events = [quote(0, 10, 12), quote(0, 12, 14), quote(9, 14, 16)]
        assert trade(events, {}, {0: 5, 1: 1}).total.ideal == 30 - 26
        assert trade(events, {}, {0: 5}).total.ideal == 0

    def test_events_after_the_end_are_nobody(self) -> None:
        events = [quote(0, 10, 12), quote(5, 11, 13), quote(9, 14, 16)]
        assert trade(events, {}, {0: 1, 2: -9}, end=8).total.ideal == 24 - 22

    def test_it_trades_inside_sessions_only(self) -> None:
        # Mids 22 at 0, 24 at 10, 30 at 20, and 30 closes it. At 0 and 30 the market is closed:
        # 3·(30 - 24) + (1 - 3)·(30 - 30) = 18. Open throughout it ends at 40:
        # 5·(40 - 22) - 2·(40 - 24) - 2·(40 - 30) + 8·0 = 38.
        events = [quote(0, 10, 12), quote(10, 11, 13), quote(20, 14, 16), quote(30, 19, 21)]
        targets = {0: 5, 1: 3, 2: 1, 3: 9}
        assert trade(events, {}, targets, sessions=[(10, 30)]).total.ideal == 18
        assert trade(events, {}, targets).total.ideal == 38

    def test_missed_is_silence_and_liquidity(self) -> None:
        # Mids 22, 26, 30, 40. Ideal of targets 4, 0, 6: 4·18 - 4·14 + 6·10 = 76. Answered were the
        # first and the third: 4·18 + 2·10 = 92, so that silence earned 16. Event 0's order fills 1
        # of 4 and event 2's 5 of 5: decision 1·18 + 5·10 = 68, so that liquidity cost 24.
        events = [quote(0, 10, 12, 1), quote(10, 12, 14), quote(20, 14, 16), quote(30, 19, 21)]
        total = trade(events, {0: 0, 2: 20}, {0: 4, 1: 0, 2: 6}).total
        assert (total.ideal, total.decision, total.missed) == (76, 68, 8)
        assert (total.silence, total.liquidity) == (-16, 24)

    def test_answered_events_fill_at_the_mid_after_all_rows_of_their_instant(self) -> None:
        # Events 0 and 1 at 0 want 5 and 1; the mid after both is 26, the end's 30. Answered is
        # event 0 alone: 5·(30 - 26) = 20, against 1·(30 - 26) = 4 of both.
        events = [quote(0, 10, 12), quote(0, 12, 14), quote(9, 14, 16)]
        total = trade(events, {0: 0}, {0: 5, 1: 1}).total
        assert (total.ideal, total.silence) == (4, 4 - 20)
        assert total.liquidity == 20 - total.decision

    def test_an_unfinished_service_is_silent(self) -> None:
        # Served 0-10 and 10-20 in a window that ends at 15, where the mid is 30. Both trade
        # ideally: 1·(30 - 22) + 2·(30 - 24) = 20; of these the second is never heard.
        events = [quote(0, 10, 12), quote(5, 11, 13), quote(15, 14, 16)]
        timing = serve(events, end=15)
        assert timing.status == [ANSWERED, UNFINISHED, UNFINISHED]
        total = simulate_market(
            events, timing, {0: 1, 1: 3}.get, [0] * 3, [0] * 3, end=15, value=[1]
        ).total
        assert (total.ideal, total.silence) == (20, 12)


COSTS = ("feed", "queueing", "service", "entry", "spread", "impact", "fees")

RULES = {
    "filled from one side", "crossed", "withdrawn", "used up", "part of what is left",
    "closed at an earlier quote", "closed beyond the size", "closed market", "no opinion",
    "single passes", "silence", "liquidity", "no closing quote",
}  # fmt: skip


def rules_met(market: Market, account: Account) -> set[str]:
    """Which of the rules that few orders meet were met in a market."""
    met = set()
    for order in account.orders:
        rows = account.rows[order.symbol]
        place = rows.last(order.t4)
        event = rows.events[place]
        side: Side = "ask" if order.lots > 0 else "bid"
        hit = shown(event, side)
        if not is_open(market.sessions, order.t4):
            met.add("closed market")
        elif order.t4 > market.end:
            continue
        elif is_crossed(event):
            met.add("crossed")
        elif hit is None:
            met.add("withdrawn")
        elif order.filled and not is_whole(event):
            met.add("filled from one side")
        elif rows.since(place, side) < place and order.filled == 0 and hit[1] > 0:
            met.add("used up")
        elif 0 < abs(order.filled) < min(abs(order.lots), hit[1]):
            met.add("part of what is left")
    for fill in account.fills:
        rows = account.rows[fill.symbol]
        closing = rows.closing(market.sessions, market.end)
        if fill.event is None and closing != rows.standing(market.end):
            met.add("closed at an earlier quote")
    if any(account.closing_beyond.values()):
        met.add("closed beyond the size")
    if None in market.targets and account.orders:
        met.add("no opinion")
    if market.service.composition == "single" and market.policy.name == "all":
        met.add("single passes")
    if account.total.silence:
        met.add("silence")
    if account.total.liquidity:
        met.add("liquidity")
    return met


def is_whole(event: Event) -> bool:
    """Whether both sides of a row are present."""
    return event.bid is not None and event.ask is not None


def two_sided(event: Event) -> Event:
    """The event with a missing or crossed side put a tick beside the other."""
    bid = event.bid if event.bid is not None else (event.ask or 101) - 1
    ask = event.ask if event.ask is not None and event.ask >= bid else bid + 1
    return replace(event, bid=bid, ask=ask)


def account_or_skip(market: Market, timing: Timing) -> Account:
    """The market's account; hypothesis draws another one where it is refused."""
    try:
        return market.account(timing)
    except NoClosingQuote:
        assume(False)
        raise


def settled(market: Market) -> Account:
    """The account of a market under its own timing."""
    return account_or_skip(market, market.timing())


@pytest.mark.one_python
class TestProperties:
    @PROPERTIES
    @given(markets())
    def test_net_is_decision_less_costs(self, market: Market) -> None:
        account = settled(market)
        for terms in [account.total, *account.by_symbol.values()]:
            assert terms.net == terms.decision - sum(getattr(terms, cost) for cost in COSTS)
            assert terms.missed == terms.ideal - terms.decision
            assert terms.missed == terms.silence + terms.liquidity
        for column in fields(Attribution):
            parts = sum(getattr(terms, column.name) for terms in account.by_symbol.values())
            assert getattr(account.total, column.name) == parts

    @PROPERTIES
    @given(markets())
    def test_equity_ends_at_net_and_starts_at_nothing(self, market: Market) -> None:
        account = settled(market)
        assert account.equity_at(market.events[0].ts_event - 1) == 0
        assert account.equity_at(market.end) == account.total.net

    @PROPERTIES
    @given(markets(scales=(0.0,)))
    def test_without_latency_nothing_is_paid_for_it(self, market: Market) -> None:
        total = settled(market).total
        assert (total.feed, total.queueing, total.service, total.entry) == (0, 0, 0, 0)

    @PROPERTIES
    @given(markets(scales=(0.0,)))
    def test_without_latency_and_size_limits_nothing_is_missed(self, market: Market) -> None:
        # One symbol's targets stay within 12 lots of each other: 40 events take less than 1,000.
        events = tuple(two_sided(e) for e in market.events)
        events = tuple(replace(e, bid_size=1_000, ask_size=1_000) for e in events)
        total = settled(replace(market, events=events)).total
        assert (total.missed, total.silence, total.liquidity) == (0, 0, 0)

    @PROPERTIES
    @given(markets(scales=(0.0,)))
    def test_without_latency_nobody_is_silent(self, market: Market) -> None:
        assert settled(market).total.silence == 0

    @PROPERTIES
    @given(markets())
    def test_repeated_rows_change_nothing_but_the_answers(self, market: Market) -> None:
        """Each row followed by an unanswered heartbeat: timing is given, so fills are the same."""
        timing = market.timing()
        doubled = [event for event in market.events for _ in range(2)]
        twice = Timing(
            [t for t in timing.t1 for _ in range(2)],
            [t for t in timing.t2 for _ in range(2)],
            [t for t in timing.t3 for _ in range(2)],
            [s for status in timing.status for s in (status, DROPPED)],
            [b for b in timing.batch for _ in range(2)],
        )
        with_beats = replace(
            market,
            events=tuple(doubled),
            targets=tuple(lots for lots in market.targets for _ in range(2)),
            entry=tuple(span for span in market.entry for _ in range(2)),
            response=tuple(span for span in market.response for _ in range(2)),
            warmup=2 * market.warmup,
        )
        plain, beaten = settled(market), account_or_skip(with_beats, twice)
        assert [order.filled for order in plain.orders] == [o.filled for o in beaten.orders]
        assert plain.total == beaten.total

    @PROPERTIES
    @given(markets())
    def test_every_event_has_one_status_and_its_instants(self, market: Market) -> None:
        timing = market.timing()
        for i, event in enumerate(market.events):
            t1, t2, t3 = timing.t1[i], timing.t2[i], timing.t3[i]
            assert t1 >= event.ts_event
            served = t2 is not None and t3 is not None
            if served:
                assert event.ts_event <= t1 <= (t2 or 0) <= (t3 or 0)
            match timing.status[i]:
                case "answered":
                    assert served
                    assert (t3 or 0) <= market.end
                case "unfinished":
                    assert not served or (t3 or 0) > market.end
                case status:
                    assert status in (DROPPED, EXPIRED, CONFLATED)
                    assert not served

    @PROPERTIES
    @given(markets(scales=(0.5, 1.0, 3.0)))
    def test_batches_follow_each_other(self, market: Market) -> None:
        timing = market.timing()
        spans: dict[int, set[tuple[int | None, int | None]]] = {}
        members: dict[int, list[int]] = {}
        by_receipt = sorted(range(len(market.events)), key=lambda i: (timing.t1[i], i))
        for i in by_receipt:
            batch = timing.batch[i]
            if batch is not None:
                spans.setdefault(batch, set()).add((timing.t2[i], timing.t3[i]))
                members.setdefault(batch, []).append(market.events[i].symbol)
        assert sorted(spans) == list(range(len(spans)))
        free = 0
        for batch in sorted(spans):
            ((t2, t3),) = spans[batch]
            assert t2 is not None
            assert free <= t2 <= market.end
            assert t3 == t2 + scaled(market.service(members[batch], batch), market.scale)
            assert len(members[batch]) <= (market.max_batch or 40)
            free = t3

    @PROPERTIES
    @given(markets())
    def test_a_symbol_is_answered_in_order(self, market: Market) -> None:
        timing = market.timing()
        for symbol in range(len(market.value)):
            answered = [
                (timing.t2[i], timing.t3[i])
                for i, event in enumerate(market.events)
                if event.symbol == symbol and timing.status[i] == ANSWERED
            ]
            for (t2, t3), (next_t2, next_t3) in pairwise(answered):
                same_batch = (next_t2, next_t3) == (t2, t3)
                assert same_batch or (t3 or 0) <= (next_t2 or 0)

    @PROPERTIES
    @given(markets())
    def test_orders_and_fills_keep_to_the_rules(self, market: Market) -> None:
        account = settled(market)
        for symbol in range(len(market.value)):
            orders = [order for order in account.orders if order.symbol == symbol]
            assert orders == sorted(orders, key=lambda order: (order.t4, order.t3))
            assert not orders or market.tradable[symbol]
            assert all(order.event >= market.warmup for order in orders)
        for order in account.orders:
            assert abs(order.lots) > market.band
            assert 0 <= order.filled * order.lots <= order.lots**2
            assert order.t4 <= market.end or order.filled == 0
        assert sum(fill.lots for fill in account.fills) == 0
        assert all(fill.impact >= 0 for fill in account.fills)
        for fill in account.fills:
            rows = account.rows[fill.symbol]
            # Only a lone side may stand on the far side of the last mid.
            assert fill.spread >= 0 or not is_whole(rows.events[rows.last(fill.t4)])

    @PROPERTIES
    @given(markets())
    def test_no_appearance_of_a_side_gives_more_than_it_shows(self, market: Market) -> None:
        account = settled(market)
        taken: dict[tuple[int, str, int], int] = {}
        for order in account.orders:
            rows = account.rows[order.symbol]
            place = rows.last(order.t4)
            side: Side = "ask" if order.lots > 0 else "bid"
            hit = shown(rows.events[place], side)
            assert order.filled == 0 or (hit is not None and not is_crossed(rows.events[place]))
            if hit is not None:
                key = (order.symbol, side, rows.since(place, side))
                taken[key] = taken.get(key, 0) + abs(order.filled)
                assert taken[key] <= hit[1]

    def test_the_markets_reach_every_rule(self) -> None:
        reached: set[str] = set()

        def look(market: Market) -> None:
            try:
                account = market.account(market.timing())
            except NoClosingQuote:
                reached.add("no closing quote")
                return
            reached.update(rules_met(market, account))

        drawn_until(lambda: reached == RULES, markets(), look)
        assert reached == RULES

    def test_the_markets_reach_every_status(self) -> None:
        reached: set[Status] = set()
        statuses = set(get_args(Status))
        drawn_until(
            lambda: reached == statuses,
            markets(scales=(1.0,)),
            lambda market: reached.update(market.timing().status),
        )
        assert reached == statuses


def drawn_until(
    done: Callable[[], bool], of: SearchStrategy[Market], look: Callable[[Market], None]
) -> None:
    """Look at markets until all is seen, 300 at a time and 3,000 at most.

    What is drawn depends on the constants in whatever modules are loaded, so that a fixed number
    would be enough on some days only.
    """
    for number in range(10):
        plain = settings(max_examples=300, deadline=None, database=None)
        plain(seed(number)(given(of)(look)))()
        if done():
            return
