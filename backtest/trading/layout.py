"""Where things lie in the int64 arrays that the compiled loops of the venue share with Python."""

from __future__ import annotations

import numpy as np

COSTS = ("feed", "queueing", "service", "entry", "rest", "spread", "impact", "fees")
"""The terms of the attribution: net = decision - the sum of these."""

NO_PRICE = int(np.iinfo(np.int64).min)
"""An absent side of a quote, and the mid of a symbol that has had no two-sided quote."""

SILENT = int(np.iinfo(np.int64).min)
"""A target: the event decides nothing."""

NO_TIME = int(np.iinfo(np.int64).min)
"""An instant before all others, ns."""

LATEST = int(np.iinfo(np.int64).max)
"""An instant that no clock reaches, ns."""

LIMIT = 2**62
"""Amounts are below this, either way, before they are added: two of them fit 64 bits."""

MOST_LOTS = 2**60
"""The largest position: orders are differences of such, and twice their size still fits."""

# Why a loop returned: all done; an array must grow first; something cannot be counted or closed.
(
    DONE,
    FULL,
    MONEY_OVERFLOW,
    POSITION_OVERFLOW,
    IMPACT_OVERFLOW,
    BUCKET_OVERFLOW,
    NEVER_CLOSED,
) = range(7)

# The quotes of a symbol [S, QUOTE_SIZE]: its latest row; since which row each of its sides has had
# its price and size; and, where that row is not two-sided, the last quote that was.
(
    Q_EVENT,
    Q_TIME,
    Q_BID,
    Q_ASK,
    Q_BID_SIZE,
    Q_ASK_SIZE,
    Q_BID_SINCE,
    Q_ASK_SINCE,
    Q_LAST_TIME,
    Q_LAST_BID,
    Q_LAST_ASK,
    Q_LAST_BID_SIZE,
    Q_LAST_ASK_SIZE,
    QUOTE_SIZE,
) = range(14)

# Rows that are not two-sided, in order, with the last quote that was [n, STALE_SIZE].
(
    STALE_EVENT,
    STALE_TIME,
    STALE_BID,
    STALE_ASK,
    STALE_BID_SIZE,
    STALE_ASK_SIZE,
    STALE_SIZE,
) = range(7)

# How far following the quotes has come [3].
F_EVENT, F_STALE, F_MARK = range(3)

# An answer that waits to trade [n, QUEUE_SIZE].
ANSWER_EVENT, ANSWER_TARGET, QUEUE_SIZE = range(3)

# A symbol's newest answer of an instant [S, 3]: the event, its instant, its place in the queue,
# counted from the first answer of the run.
NEWEST_EVENT, NEWEST_READY, NEWEST_PLACE = range(3)

# A symbol's account at the venue [S, BOOK_SIZE]. Own lots at each side, and since which event
# that side has stood unchanged. Five pointers follow: the rows at which the mids
# of the five instants were last looked up.
(
    CONFIRMED,
    OUTSTANDING,
    POSITION,
    ARRIVED,
    BOUGHT,
    BOUGHT_SINCE,
    SOLD,
    SOLD_SINCE,
    ORDERS,
    POINTER,
) = range(10)
BOOK_SIZE = POINTER + 5

# An order whose confirmation has not arrived [n, ORDER_SIZE]: a linked list by symbol.
ORDER_KNOWN, ORDER_LOTS, ORDER_FILLED, ORDER_NEXT, ORDER_SIZE = range(5)

# An order that reaches the venue after the quotes that are known [n, TRANSIT_SIZE].
TRANSIT_EVENT, TRANSIT_ORDER, TRANSIT_ARRIVED, TRANSIT_SIZE = range(4)

# How far trading has come [TRADE_STATE]: the queue's first answer and its end; fills, and how many
# of them are attributed; the first free order; orders in transit, how many of them were looked at
# and how many of these stay; the bucket of the latest fill; then what was refused; until when
# a switch keeps orders out, ns, and how many it has.
(
    HEAD,
    TAIL,
    FILLS,
    ATTRIBUTED,
    FREE,
    TRANSITS,
    CHECKED,
    KEPT,
    BUCKET,
    REFUSED_SYMBOL,
    REFUSED_LOTS,
    REFUSED_PRICE,
    HALTED,
    KEPT_OUT,
    TRADE_STATE,
) = range(15)

# A fill [n, FILL_SIZE]. T0 to T4 are the five instants of the message that made its order, FILLED
# is when it was filled; then the order's number, whether it rested, and the costs, FEED to FEES;
# lots without a sign, the size displayed at the touch, and what own fills had taken of it before.
# The table of fills has the columns up to there; behind them are when the confirmation arrives, and
# what the costs are made of: the touch or the order's price in ticks, ask - bid of the last
# two-sided quote, and the doubled mids at the instants and right before the fill. Of a fill that
# rested, the lots ahead when its place became known and those printed at its price since then lie
# where a taker has what was displayed and taken.
(
    EVENT,
    SYMBOL,
    LOTS,
    PRICE,
    T0,
    T1,
    T2,
    T3,
    T4,
    FILLED,
    ORDER,
    MAKER,
    CASH,
    DECISION,
    FEED,
    QUEUEING,
    SERVICE,
    ENTRY,
    REST,
    SPREAD,
    IMPACT,
    FEES,
    TRADED,
    DISPLAYED,
    TAKEN,
    KNOWN,
    TOUCH,
    GAP,
    M0,
    M1,
    M2,
    M3,
    M4,
    MF,
    FILL_SIZE,
) = range(35)
AHEAD, PRINTED = DISPLAYED, TAKEN

# What is added up by symbol [S, 2, SUM_SIZE], in two parts: the rest, and how many whole LIMITs.
# The columns CASH to TRADED of the fills, and their number.
UNITS, LIMITS = 0, 1
SUM_CASH, SUM_DECISION, SUM_COSTS, SUM_LOTS, SUM_FILLS = 0, 1, 2, 10, 11
SUM_TURNOVER, SUM_SIZE = 12, 13

# What is booked by symbol and time bucket [S, k, BUCKET_SIZE].
BUCKET_LOTS, BUCKET_CASH, BUCKET_COSTS = 0, 1, 2
BUCKET_SIZE = 10

# What is fixed for a symbol [S, TERM_SIZE]: money of a half-tick-lot; the closing quote's doubled
# mid, and whether there is one; the fee's rate and amount a lot, both as fractions, of orders that
# take and of those that rested.
(
    WORTH,
    CLOSING_MID,
    CLOSES,
    FEE_RATE,
    FEE_RATE_UNDER,
    FEE_AMOUNT,
    FEE_AMOUNT_UNDER,
    MAKER_FEES,
) = range(8)
TERM_SIZE = MAKER_FEES + 4

# What is fixed for all [RULE_SIZE]; a latency of -1: each event has its own.
(
    BAND,
    IMPACT_OVER,
    IMPACT_UNDER,
    END,
    ALWAYS_OPEN,
    ENTRY_LATENCY,
    RESPONSE_LATENCY,
    RULE_SIZE,
) = range(8)

# A symbol's newest instant in the ideal accounts [S, PENDING_SIZE].
P_TIME, P_MID, P_TARGET, PENDING_SIZE = 0, 1, 2, 4
"""Two targets: of all events, and of the answered ones."""

# An ideal account [S, 2, HELD_SIZE]: position and what it cost, in half-tick-lots, in two parts.
HELD_LOTS, HELD_COST, HELD_LIMITS, HELD_SIZE = range(4)
