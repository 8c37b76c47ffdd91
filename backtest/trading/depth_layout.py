"""Where things lie in the arrays of the books that depth makes; sides are +1 (bid) and -1 (ask)."""

from __future__ import annotations

from backtest.trading.layout import NO_PRICE

VOID = NO_PRICE + 1
"""A price that no quote states: what the next one says of the side is news."""

NOT_LISTED = -1
"""The size of a level that is not there."""

# A row of depth [n, ROW_SIZE], a cache line each. ``R_MARKS``: the flags, and the action times
# ``ACTIONS``; ``R_NEXT``: how many rows further the symbol's next row lies, 0: none yet.
R_TIME, R_FOLLOWS, R_SIDE, R_PRICE, R_SIZE, R_ID, R_MARKS, R_NEXT, ROW_SIZE = range(9)
ACTIONS = 8

# How far a symbol's book has come [S, BOOK_SIZE]: the next row and the next event that are to
# change it, -1: not known yet; the number after its latest row.
NEXT_ROW, NEXT_EVENT, DONE_ROWS, BOOK_SIZE = range(4)

# A side of a symbol [2 S, SIDE_SIZE], the bid first: where its levels begin, how many there are and
# how many there is room for; whether a price without a level displays nothing; how often the side
# was cleared; the touch as the latest quote stated it.
START, COUNT, CAPACITY, COMPLETE, CLEARED, STATED_PRICE, STATED_SIZE, SIDE_SIZE = range(8)

# A level [n, LEVEL_SIZE], those of a side in one piece, the best last: the price times the side,
# the lots that it displays, and how many of them own orders have taken.
KEY, SIZE, TAKEN, LEVEL_SIZE = range(4)

# An order of the market [n, ENTRY_SIZE], where its hash leads or behind; ``E_SIDE`` 0: a free one.
# ``E_MOMENT``: the number of the row since which it has its place; ``E_RESTATED``: whether that is
# one of a snapshot.
# ``E_CLEARED``: of its side when it was added: it is gone if the side was cleared since.
(
    E_ID,
    E_SYMBOL,
    E_SIDE,
    E_PRICE,
    E_SIZE,
    E_MOMENT,
    E_RESTATED,
    E_CLEARED,
    ENTRY_SIZE,
) = range(9)

# The books together [STATE_SIZE]: the number of the first row that is kept; rows of levels in use;
# entries of orders in use; whether rows are of single orders.
FIRST, USED, HELD, BY_ORDER, STATE_SIZE = range(5)
