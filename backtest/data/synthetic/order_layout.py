"""Columns of the books of the synthetic market of orders."""

from __future__ import annotations

NONE = -1
"""No order."""

TRADES_AT_ONCE = 64
"""Orders that one incoming order meets at most."""

# A symbol: best levels, the time, counters, the last quote.
BEST_BID = 0
BEST_ASK = 1
CLOCK = 2
COUNT = 3
ROOM = 4
NEXT_ID = 5
QUOTED = 6
"""Bid, ask, bid size and ask size."""

SYMBOL_SIZE = 10

# Terms: the mean step of the clock, how far from the other side orders are placed, their mean size,
# and the upper bounds, of 1000, of the draws that are limit orders, cancels and modifications; the
# others take. With more orders than the target, half of the limit orders become cancels.
STEP = 0
REACH = 1
MEAN_SIZE = 2
LIMITS = 3
CANCELS = 4
MODIFIES = 5
TARGET = 6
TERMS = 7

# An order, by slot. LIVE and FREE are lists of slots.
ID = 0
SIDE = 1
PRICE = 2
SIZE = 3
PREVIOUS = 4
NEXT = 5
PLACE = 6
LIVE = 7
FREE = 8
ORDER_SIZE = 9

# A level, by side and price.
HEAD = 0
TAIL = 1
LEVEL_SIZE = 2
LEVEL_COLUMNS = 3
