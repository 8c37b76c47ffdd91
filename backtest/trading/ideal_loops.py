"""Compiled: what the same targets would have earned without delay, size limits or costs."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled
from backtest.trading.layout import (
    DONE,
    HELD_COST,
    HELD_LIMITS,
    HELD_LOTS,
    LIMIT,
    MONEY_OVERFLOW,
    P_MID,
    P_TARGET,
    P_TIME,
    REFUSED_LOTS,
    REFUSED_PRICE,
    REFUSED_SYMBOL,
    SILENT,
)
from backtest.trading.quotes_loops import is_open

_ANSWERED = 0
"""Status of an answered event."""

_LARGE = 4.6e18


@compiled
def trade_ideally(
    first_row, first, stop, symbol, ts_event, status, mid, answered, every, state, pending, held,
    band, always_open, opens, closes,
):  # fmt: skip
    """Trade the targets of the events ``first`` to ``stop - 1`` at the mids of their instants.

    Args:
        answered: targets of the answered events, a column of the window.
        every: targets of all of these events [stop - first].
        state: takes what was refused.
        pending, held: as ``layout`` has them.

    Returns:
        ``DONE``, or ``MONEY_OVERFLOW``: what a trade costs does not fit 64 bits.
    """
    for event in range(first, stop):
        row = np.uint64(event - first_row)
        s = np.int64(symbol[row])
        newest = pending[s]
        if newest[P_TIME] != ts_event[row]:
            # The instant is over: its newest event counts, at the mid that all its rows leave.
            if always_open or is_open(newest[P_TIME], opens, closes):
                code = hold(newest, s, held, band, state)
                if code != DONE:
                    return code
            newest[P_TIME] = ts_event[row]
            newest[P_TARGET + 1] = SILENT
        newest[P_MID] = mid[row]
        newest[P_TARGET] = every[event - first]
        if status[row] == _ANSWERED:
            newest[P_TARGET + 1] = answered[row]
    return DONE


@compiled
def finish_ideally(state, pending, held, band, always_open, opens, closes):
    """Trade every symbol's last instant; returns as ``trade_ideally`` does."""
    for s in range(len(pending)):
        if always_open or is_open(pending[s, P_TIME], opens, closes):
            code = hold(pending[s], s, held, band, state)
            if code != DONE:
                return code
        pending[s, P_TARGET] = pending[s, P_TARGET + 1] = SILENT
    return DONE


@compiled
def hold(newest, s, held, band, state):
    """Move both ideal positions of a symbol to their targets."""
    for k in range(2):
        target, of = newest[P_TARGET + k], held[s, k]
        if target == SILENT or target == of[HELD_LOTS]:
            continue
        change = target - of[HELD_LOTS]
        if abs(change) <= band:
            continue
        if abs(float(change)) * abs(float(newest[P_MID])) > _LARGE:
            state[REFUSED_SYMBOL], state[REFUSED_LOTS] = s, change
            state[REFUSED_PRICE] = newest[P_MID]
            return MONEY_OVERFLOW
        of[HELD_LOTS] = target
        of[HELD_COST] += change * newest[P_MID]
        if abs(of[HELD_COST]) >= LIMIT:
            whole = LIMIT if of[HELD_COST] > 0 else -LIMIT
            of[HELD_COST] -= whole
            of[HELD_LIMITS] += 1 if whole > 0 else -1
    return DONE
