"""Compiled: which answers decide something, whatever is made of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backtest.core.compiled import compiled
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.layout import NO_PRICE, SILENT


class Answered(NamedTuple):
    """Columns of the window that commands of a quoting rule are made of."""

    symbol: Any
    ts_event: Any
    received: Any
    begun: Any
    ended: Any
    entry: Any
    cancel: Any
    replace: Any
    response: Any


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


@compiled
def enqueue_quotes(first_row, base, events, wanted, columns, newest, state, queue):
    """Put what a quoting rule wants after some events at the end of the queue, which has room.

    Answers that another one supersedes are silenced.

    Args:
        first_row: number of the event in row 0 of the window.
        base: place of the queue's first row, counted from the first answer of the run.
        events: numbers [n]; ``wanted``: what is wanted after each [n, 4].
        columns: ``Answered``.
        newest: of each symbol's answers, as ``layout`` has it.
    """
    for k in range(len(events)):
        row, place = events[k] - first_row, state[at.TAIL]
        command, s, ready = queue[place], columns.symbol[row], columns.ended[row]
        command[ol.C_READY], command[ol.C_SYMBOL] = ready, s
        command[ol.C_EVENT], command[ol.C_ACTION] = events[k], ol.QUOTE
        for j in range(4):
            command[ol.C_BID_OFFSET + j] = wanted[k, j]
        command[ol.C_T0], command[ol.C_T1] = columns.ts_event[row], columns.received[row]
        command[ol.C_T2] = columns.begun[row]
        command[ol.C_ENTRY], command[ol.C_CANCEL] = columns.entry[row], columns.cancel[row]
        command[ol.C_REPLACE] = columns.replace[row]
        command[ol.C_RESPONSE] = columns.response[row]
        silent = superseded(newest[s], events[k], ready, base + place)
        if silent >= 0:
            queue[silent - base, ol.C_BID_OFFSET] = SILENT
            queue[silent - base, ol.C_ASK_OFFSET] = SILENT
        state[at.TAIL] = place + 1
