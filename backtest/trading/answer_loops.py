"""Compiled: which answers decide something, whatever is made of them."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading.layout import NO_PRICE


@compiled
def find_opinions(first_row, warmup, events, forecast, symbol, mid, tradable, asked):
    """Which answers decide something: ``asked`` [k].

    They are past the warm-up, their symbol trades, and has had a two-sided quote. A NaN, which only
    strategies give that may have no opinion, leaves the standing target.
    """
    for i in range(len(events)):
        row = np.uint64(events[i] - first_row)
        asked[i] = (
            mid[row] != NO_PRICE
            and events[i] >= warmup
            and tradable[np.uint64(symbol[row])]
            and forecast[i] == forecast[i]
        )


@compiled
def superseded(newest, event, ready, place):
    """Of a symbol's answers that are ready at one instant only the newest event's counts, whatever
    it says.

    Args:
        newest: the symbol's newest answer of an instant, as ``layout`` has it, which takes note of
            this one.
        event, ready, place: of an answer: its event, when it is ready, its place in the queue.

    Returns:
        The place of the answer that does not count, which may be this one's; -1: both do.
    """
    same = newest[at.NEWEST_READY] == ready and newest[at.NEWEST_EVENT] >= 0
    if same and newest[at.NEWEST_EVENT] >= event:
        return place
    before = newest[at.NEWEST_PLACE] if same else -1
    newest[at.NEWEST_EVENT] = event
    newest[at.NEWEST_READY] = ready
    newest[at.NEWEST_PLACE] = place
    return before
