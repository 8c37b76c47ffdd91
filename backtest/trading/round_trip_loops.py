"""Compiled: fills become round trips, whose sums are exact."""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading.booking_loops import add_exactly, scaled

# A symbol's round trip [S, TRIP_SIZE], and one that has ended [n, TRIP_SIZE]: the symbol, whether
# it is long (1) or short (-1), when it began and ended, the largest position, fills, the position.
(
    SYMBOL,
    SIDE,
    ENTRY,
    EXIT,
    PEAK,
    FILLS,
    POSITION,
    TRIP_SIZE,
) = range(8)

# What is added up in it, in two parts as in ``layout`` [S, 2, AMOUNT_SIZE]: lots that entered and
# that left, money that they brought in before fees, then of both: before fees, fees, after fees.
(
    LOTS_IN,
    LOTS_OUT,
    MONEY_IN,
    MONEY_OUT,
    GROSS,
    FEES,
    NET,
    AMOUNT_SIZE,
) = range(8)


@compiled
def follow(symbol, lots, cash, fees, when, trips, amounts, ended, ended_amounts):
    """Follow positions through some fills.

    A fill that goes through zero ends one round trip and begins another: its money is split by
    lots exactly, and of its fee the trip that ends pays the share rounded towards zero.

    Args:
        symbol, lots, cash, fees, when: of the fills in their order, int64 [n].
        trips, amounts: of each symbol; a position of 0: there is none.
        ended, ended_amounts: take the round trips that end [n, TRIP_SIZE], [n, 2, AMOUNT_SIZE].

    Returns:
        How many ended.
    """
    count = 0
    for k in range(len(symbol)):
        s, q, fee = symbol[k], lots[k], fees[k]
        if q == 0:
            continue
        trip, sums = trips[s], amounts[s]
        money, held = cash[k] + fee, trip[POSITION]
        if held != 0 and (held > 0) != (q > 0) and abs(q) > abs(held):
            # Through zero: what closes the position comes first.
            whole, _ = scaled(abs(fee), abs(held), abs(q))
            closing_fee = whole if fee >= 0 else -whole
            closing = money // q * -held
            _add_part(trip, sums, -held, closing, closing_fee)
            count = _end(trip, sums, when[k], ended, ended_amounts, count)
            q, money, fee, held = q + held, money - closing, fee - closing_fee, 0
        if held == 0:
            _begin(trip, sums, s, q, when[k])
        _add_part(trip, sums, q, money, fee)
        if trip[POSITION] == 0:
            count = _end(trip, sums, when[k], ended, ended_amounts, count)
    return count


@compiled
def _begin(trip, sums, s, lots, when):
    """A round trip with nothing in it yet."""
    for c in range(TRIP_SIZE):
        trip[c] = 0
    for part in range(2):
        for c in range(AMOUNT_SIZE):
            sums[part, c] = 0
    trip[SYMBOL], trip[ENTRY] = s, when
    trip[SIDE] = 1 if lots > 0 else -1


@compiled
def _add_part(trip, sums, lots, money, fee):
    """Add a fill, or the part of one that belongs to the round trip."""
    enters = (lots > 0) == (trip[SIDE] > 0)
    add_exactly(sums, LOTS_IN if enters else LOTS_OUT, abs(lots))
    add_exactly(sums, MONEY_IN if enters else MONEY_OUT, money)
    add_exactly(sums, GROSS, money)
    add_exactly(sums, FEES, fee)
    add_exactly(sums, NET, money - fee)
    trip[FILLS] += 1
    trip[POSITION] += lots
    trip[PEAK] = max(trip[PEAK], abs(trip[POSITION]))


@compiled
def _end(trip, sums, when, ended, ended_amounts, count):
    """Note a round trip that is over; its position is 0."""
    trip[EXIT] = when
    for c in range(TRIP_SIZE):
        ended[count, c] = trip[c]
    for part in range(2):
        for c in range(AMOUNT_SIZE):
            ended_amounts[count, part, c] = sums[part, c]
    return count + 1
