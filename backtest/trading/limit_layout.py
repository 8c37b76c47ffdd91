"""Where things lie in the arrays of limits, which the compiled loops share with Python."""

from __future__ import annotations

from backtest.market import order_codes

FLATTENED = order_codes.FLATTENED

NO_LIMIT = 2**62
"""Above all that is limited."""

SECOND = 10**9
"""The span over which messages are counted, ns."""

# Which limit it was. Two of each group of symbols follow, the gross and the net one; the first
# group is the whole account.
POSITION, SYMBOL_GROSS, RATE, DAILY_LOSS, DRAWDOWN, GROUPS = range(6)
NAMES = ("position", "gross_by_symbol", "orders_per_second", "daily_loss", "drawdown")

# What is fixed, and how far limiting has come [STATE_SIZE]: whether a limit is of money, so that
# mids are followed; whether one holds for several symbols; whether there are switches; the next
# row in bus order to look at, and the one after the newest; the place of the oldest message in
# the ring, and how many a second may be sent (0: any number); the two switches' amounts; equity
# now, at the latest row, at the start of the day and at its highest; the next day; whether
# trading has ended for good; whether orders are still to be cancelled, since when, and how long
# their reports take; the earliest arrival of a message; breaches that are noted.
(
    MONEY,
    TOGETHER,
    SWITCHES,
    ROW,
    STOP,
    OLDEST,
    A_SECOND,
    MOST_LOST,
    MOST_BELOW,
    EQUITY,
    MARKED,
    OPENED,
    HIGHEST,
    DAY,
    ENDED,
    CANCELLING,
    CANCEL_TIME,
    CANCEL_RESPONSE,
    EARLIEST,
    BREACHES,
    STATE_SIZE,
) = range(21)

# What is limited of a symbol [S, CAP_SIZE], and of a group [G, 2].
CAP_LOTS, CAP_GROSS, CAP_SIZE = range(3)
GROSS, NET = range(2)

# A breach [n, BREACH_SIZE]; of a switch the symbol is -1. ``B_LOTS``: those that were not sent.
(
    B_TIME,
    B_SYMBOL,
    B_LIMIT,
    B_ORDER,
    B_SIDE,
    B_LOTS,
    B_PRICE,
    B_EVENT,
    BREACH_SIZE,
) = range(9)

EXPOSURE_OVERFLOW = 66
"""Why a loop returned, besides the reasons of ``layout``: money that is at stake is too much."""
