"""Where things lie in the arrays of resting orders, besides what ``layout`` has."""

from __future__ import annotations

from backtest.market import depth, order_codes
from backtest.trading.layout import BOOK_SIZE, TRADE_STATE

FRACTION = 1 << 20
"""Parts of a lot in which a place in a queue is counted."""

MOST_DISPLAYED = depth.MOST_DISPLAYED
"""Displayed sizes are below this: in parts of a lot they then fit 64 bits with room to add."""

UNKNOWN = 1 << 62
"""A place in the queue of a price that is not displayed: nothing fills there until it is known."""

NEVER = UNKNOWN + 1
"""A place from which nothing fills at the order's own price."""

# What a command asks for: what a quoting rule wants; a message as it is, as ``order_codes`` has
# them; or an order to a target position.
QUOTE, TARGET = 0, 5
NEW, CANCEL, CANCEL_ALL, REPLACE = order_codes.ACTIONS.values()

GTC, IOC, FOK = order_codes.TIMES_IN_FORCE.values()

MAY_TAKE, REJECT, SLIDE = order_codes.POST_ONLY.values()

# Queue models. ``POWER`` is the first of those with an exponent n: POWER + n, n from 1 to 4.
THROUGH, TRADES, OPTIMISTIC, POWER = range(4)
L3 = POWER + 5

# Fills by quotes through an order's price, and by prints through it; prints inside the spread.
CROSS_NONE, CROSS_DISPLAYED, CROSS_FULL = range(3)

REPORTS = order_codes.REPORTS
ACCEPTED, REJECTED, FILLED, TOOK, CANCELLED, REPLACED, EXPIRED, LATE, FLATTENED = range(
    len(REPORTS)
)

# Why a loop returned, besides the reasons of ``layout``: a price that is wanted, or what the orders
# of a level display together, is too large.
PRICE_OVERFLOW, LEVEL_OVERFLOW = 64, 65

# A decision that waits [n, COMMAND_SIZE]. What a quoting rule wants takes the four places from
# ``C_ID`` on: offset and lots of the bid, and of the ask; a target takes ``C_TOTAL``. ``C_T0`` to
# ``C_T2`` are its instants before it is ready; ``C_ENTRY`` to ``C_RESPONSE`` latencies.
(
    C_READY,
    C_SYMBOL,
    C_EVENT,
    C_ACTION,
    C_ID,
    C_SIDE,
    C_PRICE,
    C_TOTAL,
    C_TIF,
    C_POST,
    C_T0,
    C_T1,
    C_T2,
    C_ENTRY,
    C_CANCEL,
    C_REPLACE,
    C_RESPONSE,
    COMMAND_SIZE,
) = range(18)
C_BID_OFFSET, C_BID_LOTS, C_ASK_OFFSET, C_ASK_LOTS = range(C_ID, C_ID + 4)

# A message on its way [n, MESSAGE_SIZE], and an own order that works [n, WORKING_SIZE]: both linked
# lists by symbol, orders by side as well. What they have in common lies in the same places: five
# instants and the doubled mids then; the last of each is known when it has arrived. ``OWN`` is the
# place of what the trader keeps of the order; -1: nothing. ``REPLACES``: the number of the message,
# if it is a replacement, else 0.
(
    NEXT,
    ID,
    SIDE,
    PRICE,
    TOTAL,
    POST,
    EVENT,
    OWN,
    AT0,
    AT1,
    AT2,
    AT3,
    AT4,
    MID0,
    MID1,
    MID2,
    MID3,
    MID4,
    COMMON,
) = range(19)
ACTION, TIF, RESPONSE, REPLACES, MESSAGE_SIZE = range(COMMON, COMMON + 5)

# Of a working order: lots filled; lots ahead in parts of a lot; the size that its price displayed
# when that was last known; lots printed there since; whether the touch has left the price; what
# quotes took off the place before prints told of it, and what of the fall no print has told of yet,
# both up to an instant; lots that were ahead when its place became known, or ``NOT_KNOWN``, and
# lots printed at its price since then; the number of the first row of depth after it joined.
(
    DONE_LOTS,
    AHEAD,
    SEEN,
    TRADED,
    AWAY,
    PAID,
    FALLEN,
    PAID_UNTIL,
    JOINED,
    PRINTED,
    MOMENT,
    WORKING_SIZE,
) = range(COMMON, COMMON + 12)

NOT_KNOWN = -1
"""Lots ahead of an order whose place is not known."""

# A report that the trader has not heard [n, REPORT_SIZE]. ``R_ANSWERS``: it is what the message was
# sent for, so that the message is no longer under way; ``R_OWN`` and ``R_REPLACES`` as a message's.
(
    R_NEXT,
    R_KNOWN,
    R_KIND,
    R_ID,
    R_SIDE,
    R_LOTS,
    R_PRICE,
    R_TOTAL,
    R_ANSWERS,
    R_OWN,
    R_REPLACES,
    REPORT_SIZE,
) = range(12)

# An order that was sent and whose end the trader has not heard of [n, PENDING_SIZE]: a linked list
# by symbol, the newest first. ``P_SENT`` is the number of its message; ``P_TOTAL`` its total as far
# as is known, ``P_LARGEST`` the one that it may be filled up to, ``P_FILLED`` the lots known to be
# filled; ``P_REPLACES``: how many replacements of it are under way.
(
    P_NEXT,
    P_ID,
    P_SIDE,
    P_SENT,
    P_TOTAL,
    P_LARGEST,
    P_FILLED,
    P_REPLACES,
    PENDING_SIZE,
) = range(9)

# One that it has heard and a strategy is to be told: the same, with the symbol in the first place.
H_SYMBOL = R_NEXT

# What the venue has reported, in order [n, LOG_SIZE]: lots and price of fills with their sign, of
# others the order's; then the message's event and instants, ``NO_TIME`` where there is none.
(
    L_TIME,
    L_SYMBOL,
    L_KNOWN,
    L_KIND,
    L_ID,
    L_SIDE,
    L_LOTS,
    L_PRICE,
    L_EVENT,
    L_T0,
    L_T1,
    L_T2,
    L_T3,
    L_T4,
    LOG_SIZE,
) = range(15)

# A symbol at the venue [S, SYMBOL_SIZE]: a book of ``layout``, whose ``ARRIVED`` is of the latest
# message; then the last row that was handled; when the latest report is known; first and last
# message, first and last report, the first own buy and sell, how many of these there are; when the
# session that they work in closes; the instant of the latest print, and the lots printed in it by
# sellers and by buyers; the latest id; whether the latest row is kept although no order works; how
# many messages were sent; the first order whose end is not known; lots of the position's change by
# a switch that the trader has not heard of; the latest row at or before every instant whose mid is
# still to be asked for, -1: none is.
(
    CURSOR,
    HEARD_LAST,
    FIRST_MESSAGE,
    LAST_MESSAGE,
    FIRST_REPORT,
    LAST_REPORT,
    BUYS,
    SELLS,
    WORKING,
    CLOSES_AT,
    PRINT_TIME,
    PRINTED_SOLD,
    PRINTED_BOUGHT,
    LAST_ID,
    PINNED,
    SENT,
    FIRST_PENDING,
    FLATTENED_LOTS,
    STANDING,
    SYMBOL_SIZE,
) = range(BOOK_SIZE, BOOK_SIZE + 20)

# What the trader knows of its order on each side of a symbol [S, 2, DESK_SIZE], buys first. An id
# of 0: none. ``D_WAITING``: whether a message is under way.
D_ID, D_PRICE, D_TOTAL, D_FILLED, D_WAITING, D_SENT, DESK_SIZE = range(7)

# Where the best own order of a side stands: at the touch, behind it, or better than it (or alone,
# where the side shows none); or there is none.
AT, BEHIND, BETTER, NOWHERE = range(4)

# How orders stand against the touch [S, 2, STANDING_SIZE], buys first: where, with how many open
# lots, and since when; ns spent ``AT``, ``BEHIND`` and ``BETTER``; three digits of the sum of
# lots x ns.
S_WHERE, S_LOTS, S_SINCE, S_TIMES, S_SUM, STANDING_SIZE = 0, 1, 2, 3, 6, 9

# How far working has come: as ``layout`` has it, the queue being one of commands; then rows of the
# log; of messages, orders, reports and orders whose end is not known each the first free entry, and
# how many are free; then reports in ``heard``.
LOGGED, FREE, SPARE = TRADE_STATE, TRADE_STATE + 1, TRADE_STATE + 5
HEARD, ORDER_STATE = TRADE_STATE + 9, TRADE_STATE + 10
MESSAGES, ORDERS, REPORTS_HELD, PENDING = range(4)

# What is fixed [ORDER_RULES].
(
    MODEL,
    THROUGH_FULL,
    CROSS,
    INSIDE_BOTH,
    PAIRING,
    REJECT_SELF_TRADE,
    SKEW,
    SKEW_UNDER,
    REQUOTE_BAND,
    RESIZE_BAND,
    MIN_INTERVAL,
    POST_ONLY,
    POSITION_LIMIT,
    ORDER_RULES,
) = range(14)
