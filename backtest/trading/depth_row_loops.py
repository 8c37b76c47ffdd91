"""Compiled: rows of depth are put in one line each, those of a symbol behind each other.

A symbol's book is followed by itself, so what it reads next is what lies next.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import depth_layout as dl


@compiled
def place_rows(number, first, symbol, newest, heads, places, rows):
    """Give rows their places, one symbol's behind each other, and link them.

    Args:
        number: of the first of them; ``first``: of row 0 of ``rows``.
        newest: of each symbol the number of its latest row, -1: it had none [S].
        heads: takes the number of its first row among these; -1: it has none [S].
        places: take where each lies in ``rows`` [n].
    """
    for s in range(len(heads)):
        heads[s] = 0
    for k in range(len(symbol)):
        heads[symbol[k]] += 1
    for s in range(len(heads)):
        count, heads[s] = heads[s], -1
        if count == 0:
            continue
        heads[s] = number
        if newest[s] >= first:  # else that row has been given up, and nobody walks from there
            rows[newest[s] - first, dl.R_NEXT] = number - newest[s]
        for place in range(number - first, number - first + count):
            rows[place, dl.R_NEXT] = 1
        newest[s] = number - 1  # counted up below
        number += count
    for k in range(len(symbol)):
        newest[symbol[k]] += 1
        places[k] = newest[symbol[k]] - first
    for s in range(len(heads)):
        if heads[s] >= 0:
            rows[newest[s] - first, dl.R_NEXT] = 0


@compiled
def put_rows(places, ts_event, follows, side, price, size, flags, rows):
    """Put rows of levels in their places."""
    for k in range(len(places)):
        row = rows[places[k]]
        row[dl.R_TIME], row[dl.R_FOLLOWS], row[dl.R_SIDE] = ts_event[k], follows[k], side[k]
        row[dl.R_PRICE], row[dl.R_SIZE], row[dl.R_MARKS] = price[k], size[k], flags[k]


@compiled
def put_orders(places, order_id, action, rows):
    """Add what rows of single orders say besides."""
    for k in range(len(places)):
        row = rows[places[k]]
        row[dl.R_ID] = order_id[k]
        row[dl.R_MARKS] += dl.ACTIONS * action[k]


@compiled
def find_heads(first, symbol, heads):
    """The number of each symbol's first event of some, which begin with ``first``.

    Args:
        symbol: of each event [n].
        heads: takes them [S]; those of others stay as they are.
    """
    for k in range(len(symbol) - 1, -1, -1):
        heads[symbol[k]] = first + k
