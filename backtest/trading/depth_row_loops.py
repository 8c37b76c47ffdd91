"""Compiled: rows of depth are put in one line each, and linked by symbol."""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import depth_layout as dl


@compiled
def put_rows(
    number, first, symbol, ts_event, follows, side, price, size, flags, newest, heads, rows
):
    """Put rows of levels behind those that are there.

    Args:
        number: of the first of them; ``first``: of row 0 of ``rows``.
        newest: of each symbol the number of its latest row, -1: it had none [S].
        heads: takes the number of its first row among these; -1: it has none [S].
    """
    for k in range(len(symbol)):
        row, s = rows[number + k - first], symbol[k]
        row[dl.R_TIME], row[dl.R_FOLLOWS], row[dl.R_SIDE] = ts_event[k], follows[k], side[k]
        row[dl.R_PRICE], row[dl.R_SIZE], row[dl.R_MARKS] = price[k], size[k], flags[k]
        row[dl.R_NEXT] = 0
        if newest[s] >= first:  # else that row has been given up, and nobody walks from there
            rows[newest[s] - first, dl.R_NEXT] = number + k - newest[s]
        newest[s] = number + k
        if heads[s] < 0:
            heads[s] = number + k


@compiled
def put_orders(number, first, order_id, action, rows):
    """Add what rows of single orders say besides."""
    for k in range(len(order_id)):
        row = rows[number + k - first]
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
