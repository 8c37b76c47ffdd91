"""What the venue refuses, and what it counts exactly however large it is."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from backtest.core.arrays import Int64Array
from backtest.errors import DataError, RunError, UsageError
from backtest.market.instruments import MONEY_UNIT, Instrument
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading.account_tables import Books, equity_table, figures
from backtest.trading.booking_loops import book
from backtest.trading.target_venue import TargetVenue
from backtest.trading.terms import ClosingQuotes, Terms
from tests import oracle
from tests.markets import Market, Service
from tests.venue_driver import Driver, columns_of, terms_of


def flat_market(targets: list[int], quotes: list[tuple[int, int, int]], value: int = 1) -> Market:
    """One symbol, a quote (bid, ask, size) each ns, answered at once; sizes as they are."""
    count = len(quotes)
    return Market(
        events=tuple(
            oracle.Event(0, 100 + k, bid, ask, size, size)
            for k, (bid, ask, size) in enumerate(quotes)
        ),
        feed=(0,) * count,
        policy=oracle.Policy("all"),
        service=Service("packed", 0, 0),
        end=100 + count,
        line=100,
        max_batch=None,
        max_age=None,
        scale=0.0,
        targets=tuple(targets),
        entry=(0,) * count,
        response=(0,) * count,
        value=(value,),
        tradable=(True,),
        limit=None,
        band=0,
        impact=Fraction(0),
        fee_rate=Fraction(0),
        fee_per_lot=0,
        sessions=None,
        warmup=0,
    )


def run(market: Market) -> tuple[Terms, TargetVenue]:
    """Run a market, every event of which is answered at once."""
    terms = terms_of(market)
    return terms, Driver(market, market.timing(), terms, chunk=50).run()


def test_totals_are_exact_beyond_64_bits() -> None:
    # Each turn buys at 2,000,000 half ticks and sells at 2, a round trip that costs 1,999,998 half
    # ticks. Their worth is 10^11, so 100 of them cost about 2 x 10^19, more than 2^63.
    quotes = [(1, 1_000_000, size) for size in range(5, 205)]
    market = flat_market([1, 0] * 100, quotes, value=10**11)
    terms, venue = run(market)
    account = figures(terms, venue.books)
    assert account["spread"] == 100 * 1_999_998 * 10**11
    assert account["net"] == -account["spread"] < -(2**63)
    assert account["fills"] == account["lots_traded"] == 200
    assert account["turnover"] == 100 * (2_000_000 + 2) * 10**11 > 2**63
    assert account["by_symbol"]["S0"]["net"] == account["net"]
    with pytest.raises(RunError, match="'net' in the equity table is worth") as refused:
        equity_table(terms, venue.books)
    assert "symbol 'S0'" in str(refused.value)
    assert "money_unit" in str(refused.value)


def test_a_fill_beyond_64_bits_is_refused_by_name() -> None:
    # 110 futures at 350.00 won of 0.05 a tick, 250,000 won a point, in billionths.
    market = flat_market([0, 110], [(7000, 7001, 500)] * 2, value=625 * 10**10)
    with pytest.raises(RunError) as refused:
        run(market)
    amount = 110 * 14_002 * 625 * 10**10
    assert str(refused.value).startswith(
        f"symbol 'S0': a fill of 110 lots is worth {amount} money units, more than 64 bits hold"
    )
    assert amount > 2**63


def test_index_futures_in_won_are_counted_in_millionths() -> None:
    future = Instrument(
        tick_size=Decimal("0.05"), multiplier=Decimal(250_000), currency="KRW",
        fee_per_lot=Decimal("0.5"),
    )  # fmt: skip
    assert future.unit == Decimal("1e-6")
    assert future.half_tick_lot == 6250 * 10**6
    # 110 of them at 350.00, which take 9.6 x 10^18 billionths: more than 64 bits.
    assert 110 * 14_000 * future.half_tick_lot < 2**62 < 110 * 14_000 * 6250 * 10**9
    assert future.fee(110, 14_000) == 55 * 10**6
    # Where half a tick is worth less than a millionth, billionths it is; and whatever is asked for.
    assert replace(future, tick_size=Decimal("1e-8"), multiplier=Decimal(1)).unit == MONEY_UNIT
    assert replace(future, money_unit=Decimal("1e-3")).half_tick_lot == 6250 * 10**3
    assert Instrument().unit == MONEY_UNIT


def test_the_ideal_accounts_refuse_too() -> None:
    market = flat_market([0, 2**53], [(2**12, 2**12, 0)] * 2)
    with pytest.raises(RunError, match=r"a trade of the ideal account of 9007199254740992 lots"):
        run(market)


def test_closing_beyond_64_bits_is_refused() -> None:
    # Each of 40 fills is worth 2^57, and all its terms fit; closing them at once is worth too much.
    quotes = [(2**20, 2**20, 2**40 + k) for k in range(40)]
    market = flat_market([2**36 * (k + 1) for k in range(40)], quotes)
    with pytest.raises(RunError, match=rf"closing {40 * 2**36} lots is worth {40 * 2**57} money"):
        run(market)


def test_positions_beyond_their_limit_are_refused() -> None:
    # Orders of 2^54 lots are on their way all the time; the buys fill, and no sell does.
    most = 2**53
    targets = [most if k % 2 else -most for k in range(300)]
    quotes = [(0, 0, 2**62 - k) for k in range(300)]
    market = replace(flat_market(targets, quotes), response=(10**6,) * 300, scale=1.0)
    market = replace(market, events=tuple(replace(e, bid_size=0) for e in market.events))
    with pytest.raises(RunError, match=r"more than 2\^60 lots"):
        run(market)


def test_exposure_is_the_mean_worth_of_positions_long_or_short() -> None:
    market = flat_market([3, 3, -2], [(10, 12, 5), (20, 26, 5), (30, 31, 5), (30, 31, 5)])
    terms, venue = run(replace(market, targets=(3, 3, -2, -2)))
    held = {100: 3 * 22, 101: 3 * 46}  # lots times the doubled mid, until the next event
    worth = [held.get(int(end), 2 * 61) for end in terms.ends]
    worth = [0 if int(end) < 100 else w for end, w in zip(terms.ends, worth, strict=True)]
    assert figures(terms, venue.books)["exposure"] == sum(worth) // len(worth)


def test_closing_is_told_apart() -> None:
    market = flat_market([7, 7], [(10, 12, 5), (20, 26, 5)])
    market = replace(market, fee_per_lot=3)
    terms, venue = run(market)
    account = figures(terms, venue.books)
    # Bought 5 and 2 lots. Closing sells 7 at 20, 3 ticks below the mid, for 3 a lot.
    assert account["closing"] == -(7 * 2 * 3 + 7 * 3)
    assert account["closing_lots_beyond_displayed"] == 2
    assert account["lots_traded"] == 14


def booked(terms: Terms, fills: Int64Array) -> Books:
    """Book fills [k, FILL_SIZE], in place, in new books."""
    state = np.zeros(at.TRADE_STATE, dtype=np.int64)
    state[at.FILLS] = len(fills)
    books = TargetVenue(Window(TargetVenue.COLUMNS, rows=4), terms).books
    rules, instruments = terms.rule_table(), terms.instrument_table()
    code = book(state, fills, rules, instruments, books.sums, books.booked, terms.ends)
    assert code == at.DONE
    return books


@pytest.mark.parametrize("seed", range(8))
def test_fees_round_up_once_whatever_their_digits(seed: int) -> None:
    draw = random.Random(seed)
    digits = draw.choice([3, 9, 15, 18])
    instrument = Instrument(
        tick_size=2 * draw.choice([1, 7, 1000]) * MONEY_UNIT,
        fee_rate=Decimal(draw.randrange(-(10**digits) // 50, 10**digits // 50)).scaleb(-digits),
        fee_per_lot=Decimal(draw.randrange(-(10**6), 10**6)).scaleb(-draw.choice([9, 12, 15])),
    )
    market = replace(flat_market([0], [(1, 1, 1)]), end=200)
    terms = replace(terms_of(market), instruments=[instrument])
    count = 50
    fills = np.zeros((count, at.FILL_SIZE), dtype=np.int64)
    fills[:, at.TRADED] = [draw.choice([1, 3, 10**6 + 7]) for _ in range(count)]
    fills[:, at.LOTS] = fills[:, at.TRADED] * [draw.choice([-1, 1]) for _ in range(count)]
    fills[:, at.TOUCH] = [draw.randrange(-5, 10**7) for _ in range(count)]
    books = booked(terms, fills)
    expected = [
        instrument.fee(lots, 2 * touch) for lots, touch in fills[:, [at.LOTS, at.TOUCH]].tolist()
    ]
    assert fills[:, at.FEES].tolist() == expected
    assert books.totals(0)[at.SUM_COSTS + 7] == sum(expected)


@pytest.mark.parametrize("impact", ["0.1", "0.3333333333333333", "1.7", "0.000000000000000123"])
def test_impact_rounds_up_once_whatever_its_digits(impact: str) -> None:
    draw = random.Random(impact)
    market = replace(flat_market([0], [(1, 1, 1)]), impact=Fraction(impact))
    terms, count = terms_of(market), 50
    fills = np.zeros((count, at.FILL_SIZE), dtype=np.int64)
    fills[:, at.TRADED] = fills[:, at.LOTS] = [draw.randrange(1, 10**5) for _ in range(count)]
    fills[:, at.DISPLAYED] = fills[:, at.TRADED] * [draw.choice([1, 2, 999]) for _ in range(count)]
    fills[:, at.GAP] = [draw.choice([0, 1, 17, 10**6]) for _ in range(count)]
    booked(terms, fills)
    places = [at.TRADED, at.DISPLAYED, at.GAP, at.PRICE]
    for lots, displayed, gap, price in fills[:, places].tolist():
        assert price == -(-Fraction(impact) * 2 * gap * lots // displayed)


def test_figures_with_too_many_digits_are_refused_before_the_run() -> None:
    market = flat_market([0], [(1, 1, 1)])
    terms = terms_of(replace(market, impact=Fraction("1e-30")))
    with pytest.raises(UsageError, match="too many digits"):
        terms.rule_table()
    terms = replace(terms_of(market), instruments=[Instrument(fee_rate=Decimal("1e-30"))])
    with pytest.raises(DataError, match="symbol 'S0'"):
        terms.instrument_table()


def test_closing_quotes_lie_inside_a_session() -> None:
    market = flat_market([0] * 4, [(10, 11, 5), (20, 21, 6), (30, 31, 7), (40, 39, 8)])
    columns = [*columns_of(market).values()]
    inside = ClosingQuotes(1, replace(terms_of(market).rules, sessions=((100, 102),)))
    assert inside.look_back(columns)
    assert inside.quotes.tolist() == [[20, 21, 6, 6]]
    # A crossed quote, and one after the window, close nothing.
    outside = ClosingQuotes(1, replace(terms_of(market).rules, sessions=((103, 110),)))
    assert not outside.look_back(columns)
    assert not outside.known[0]
