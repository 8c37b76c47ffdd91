"""Compiled: the limits that a venue holds an account to, in the worst case.

The worst case of a symbol is that all of its unresolved buys are filled, or all of its unresolved
sells: it may be long by ``reach[s, 0]`` lots at most, and short by ``reach[s, 1]``.
``docs/limits.md`` has the rules.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading.booking_loops import book
from backtest.trading.layout import NO_PRICE
from backtest.trading.quotes_loops import last_gap, take_at_touch, taken_at_touch, touch_of

_LARGE = 4.6e18
"""Below 2^62 by more than what estimates round."""


class Guard(NamedTuple):
    """What limits go by, as ``limit_layout`` has it.

    ``reach`` [S, 2]: lots by which a symbol may be long and short at most; ``mids`` [S]: doubled
    mids of the rows that were passed; ``worth`` [S]: money of a half-tick-lot; ``caps``
    [S, CAP_SIZE] and ``bounds`` [G, 2]: limits of symbols and groups; ``member`` [G, S]; ``ring``:
    when the latest messages were sent; ``days``: starts of days; ``held`` [S]: lots in the equity;
    ``symbol``: the window's column.
    """

    state: Any
    reach: Any
    mids: Any
    worth: Any
    caps: Any
    bounds: Any
    member: Any
    ring: Any
    days: Any
    held: Any
    breaches: Any
    symbol: Any


@compiled
def pass_rows(until, first_row, ts_event, mid, guard):
    """Take the mids of the rows up to and including an instant."""
    state = guard.state
    event = state[ll.ROW]
    while event < state[ll.STOP]:
        row = event - first_row
        if ts_event[row] > until:
            break
        if mid[row] != NO_PRICE:
            guard.mids[guard.symbol[row]] = mid[row]
        event += 1
    state[ll.ROW] = event


@compiled
def is_late(time, guard):
    """Whether as many messages as may be were sent within the second up to an instant."""
    if guard.state[ll.A_SECOND] == 0:
        return False
    oldest = guard.ring[guard.state[ll.OLDEST]]
    return oldest != at.NO_TIME and time - oldest < ll.SECOND


@compiled
def count_message(time, guard):
    """A message is sent."""
    state = guard.state
    if state[ll.A_SECOND] > 0:
        guard.ring[state[ll.OLDEST]] = time
        state[ll.OLDEST] = (state[ll.OLDEST] + 1) % state[ll.A_SECOND]


@compiled
def note_breach(time, s, limit, order_id, side, lots, price, event, guard):
    """Keep what a limit did to a message, or that a switch was thrown."""
    state = guard.state
    entry = guard.breaches[state[ll.BREACHES]]
    state[ll.BREACHES] += 1
    entry[ll.B_TIME], entry[ll.B_SYMBOL], entry[ll.B_LIMIT] = time, s, limit
    entry[ll.B_ORDER], entry[ll.B_SIDE], entry[ll.B_LOTS] = order_id, side, lots
    entry[ll.B_PRICE], entry[ll.B_EVENT] = price, event


@compiled
def value_of(s, guard):
    """Money of a lot at the symbol's mid; 0 if it has none, -1 if it cannot be counted."""
    mid = guard.mids[s]
    if mid == NO_PRICE:
        return 0
    if abs(float(mid)) * float(guard.worth[s]) > _LARGE:
        return -1
    return abs(mid) * guard.worth[s]


@compiled
def room(s, k, guard):
    """By how many lots more a symbol may become long (``k`` = 0) or short (1), and what limits it.

    Returns:
        The lots, 0 at least, and the limit; (-1, symbol), if what is at stake cannot be counted.
    """
    reach, caps = guard.reach, guard.caps[s]
    here = reach[s, k]
    best, limit = max(caps[ll.CAP_LOTS] - here, 0), ll.POSITION
    if not guard.state[ll.MONEY]:
        return best, limit
    value = value_of(s, guard)
    if value < 0:
        return -1, s
    if value == 0:
        return best, limit
    if caps[ll.CAP_GROSS] < ll.NO_LIMIT:
        lots = max(caps[ll.CAP_GROSS] // value - here, 0)
        if lots < best:
            best, limit = lots, ll.SYMBOL_GROSS
    for g in range(len(guard.bounds)):
        if not guard.member[g, s]:
            continue
        gross = net = 0
        largest = 0.0
        for j in range(len(reach)):
            if j == s or not guard.member[g, j]:
                continue
            other = value_of(j, guard)
            most = max(reach[j, 0], reach[j, 1])
            largest += (abs(float(reach[j, 0])) + abs(float(reach[j, 1]))) * float(other)
            if other < 0 or largest > _LARGE:
                return -1, j
            gross += most * other
            net += reach[j, k] * other
        bounds = guard.bounds[g]
        if bounds[ll.GROSS] < ll.NO_LIMIT:
            lots = max((bounds[ll.GROSS] - gross) // value - here, 0)
            if lots < best:
                best, limit = lots, ll.GROUPS + 2 * g + ll.GROSS
        if bounds[ll.NET] < ll.NO_LIMIT:
            lots = max((bounds[ll.NET] - net) // value - here, 0)
            if lots < best:
                best, limit = lots, ll.GROUPS + 2 * g + ll.NET
    return best, limit


@compiled
def count_fills(trading, rules, guard, account):
    """Book the fills that are new, and put them in the equity: their cash, and what they hold at
    the mids as they are.

    Args:
        trading: has ``state`` and ``fills``; ``rules``: as ``layout`` has them.
        account: what fills are booked by: instruments, sums, sums of buckets and their ends.

    Returns:
        ``DONE``; ``EXPOSURE_OVERFLOW``; or why a fill could not be booked.
    """
    state, fills, watch = trading.state, trading.fills, guard.state
    first = state[at.ATTRIBUTED]
    if first == state[at.FILLS]:
        return at.DONE
    code = book(state, fills, rules, *account)
    if code != at.DONE:
        return code
    for k in range(first, state[at.FILLS]):
        fill = fills[k]
        s = fill[at.SYMBOL]
        if not _add(fill[at.CASH], fill[at.LOTS], guard.mids[s], guard.worth[s], watch):
            return ll.EXPOSURE_OVERFLOW
        guard.held[s] += fill[at.LOTS]
    return at.DONE


@compiled
def _add(cash, lots, half_ticks, worth, state):
    """Add an amount to the equity. Returns whether it fits, and differences of two such do."""
    gain = abs(float(lots)) * abs(float(half_ticks)) * float(worth)
    if abs(float(state[ll.EQUITY])) + abs(float(cash)) + gain > _LARGE / 2:
        return False
    state[ll.EQUITY] += cash + lots * half_ticks * worth
    return True


@compiled
def mark(s, mid, time, trading, guard):
    """Mark the equity after a row of a symbol, and throw the switches that this calls for.

    Args:
        mid: doubled mid after the row, at ``time``.
        trading: the state of trading, whose ``HALTED`` says until when messages are refused.

    Returns:
        ``DONE`` or ``EXPOSURE_OVERFLOW``.
    """
    state, days = guard.state, guard.days
    while state[ll.DAY] < len(days) and days[state[ll.DAY]] <= time:
        state[ll.DAY] += 1
        state[ll.OPENED] = state[ll.MARKED]
    if mid != NO_PRICE:
        moved = mid - guard.mids[s] if guard.held[s] != 0 else 0
        if not _add(0, guard.held[s], moved, guard.worth[s], state):
            return ll.EXPOSURE_OVERFLOW
        guard.mids[s] = mid
    equity = state[ll.MARKED] = state[ll.EQUITY]
    state[ll.HIGHEST] = max(state[ll.HIGHEST], equity)
    halted = time < trading[at.HALTED]
    if not halted and state[ll.OPENED] - equity >= state[ll.MOST_LOST]:
        until = days[state[ll.DAY]] if state[ll.DAY] < len(days) else at.LATEST
        _throw(ll.DAILY_LOSS, time, until, trading, guard)
    if not state[ll.ENDED] and state[ll.HIGHEST] - equity >= state[ll.MOST_BELOW]:
        state[ll.ENDED] = 1
        _throw(ll.DRAWDOWN, time, at.LATEST, trading, guard)
    return at.DONE


@compiled
def _throw(limit, time, until, trading, guard):
    """Stop trading until an instant."""
    note_breach(time, -1, limit, -1, 0, 0, 0, -1, guard)
    trading[at.HALTED] = until
    guard.state[ll.CANCELLING], guard.state[ll.CANCEL_TIME] = 1, time


@compiled
def flatten(s, me, row, event, market, fills, trading):
    """Take what the touch displays at a row, towards a position of nothing.

    Args:
        me: the symbol's account at the venue; ``trading``: the state, which counts fills.
        row: its place in the window; ``event``: its number.
        market: columns of the window.

    Returns:
        Signed lots. The fill's ``KNOWN`` is left to the caller.
    """
    held, buys = me[at.POSITION], me[at.POSITION] < 0
    touch = touch_of(buys, market.bid[row], market.ask[row])
    if held == 0 or touch == NO_PRICE:
        return 0
    displayed = market.ask_size[row] if buys else market.bid_size[row]
    since = market.ask_since[row] if buys else market.bid_since[row]
    taken = taken_at_touch(me, buys, since)
    lots = min(abs(held), displayed - taken)
    if lots <= 0:
        return 0
    take_at_touch(me, buys, since, lots)
    signed = lots if buys else -lots
    me[at.POSITION] += signed
    fill = fills[trading[at.FILLS]]
    trading[at.FILLS] += 1
    fill[at.EVENT], fill[at.SYMBOL], fill[at.ORDER], fill[at.MAKER] = -1, s, ll.FLATTENED, 0
    fill[at.LOTS], fill[at.TRADED], fill[at.DISPLAYED], fill[at.TAKEN] = (
        signed,
        lots,
        displayed,
        taken,
    )
    fill[at.TOUCH] = touch
    fill[at.GAP] = last_gap(event, market.bid[row], market.ask[row], market.stale)
    for k in range(5):
        fill[at.T0 + k], fill[at.M0 + k] = market.ts_event[row], market.mid[row]
    fill[at.FILLED], fill[at.MF] = market.ts_event[row], market.mid[row]
    return signed
