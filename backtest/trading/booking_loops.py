"""Compiled: what fills cost and why, and the sums that they enter, exactly.

Sizes are estimated in floating point before anything is multiplied, so that nothing ever wraps.
"""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import layout as at

_LARGE = 4.6e18
"""Below 2^62 by more than what estimates round."""


@compiled
def book(state, fills, rules, terms, sums, booked, ends):
    """Attribute the fills that are not yet, and add them to the sums.

    Args:
        state: of trading; takes what was refused.
        fills, rules, terms, sums, booked: as ``layout`` has them.
        ends: of the time buckets, ns.

    Returns:
        ``DONE``, or why a fill is refused.
    """
    for k in range(state[at.ATTRIBUTED], state[at.FILLS]):
        fill = fills[k]
        s = fill[at.SYMBOL]
        state[at.REFUSED_SYMBOL] = s
        state[at.REFUSED_LOTS] = fill[at.TRADED]
        state[at.REFUSED_PRICE] = fill[at.TOUCH]
        if terms[s, at.CLOSES] == 0:
            return at.NEVER_CLOSED
        moved = 0
        if rules[at.IMPACT_OVER] > 0 and not fill[at.MAKER]:
            moved = _impact(fill, rules)
            if moved < 0:
                return at.IMPACT_OVERFLOW
        if not _attribute(fill, moved, terms[s]):
            return at.MONEY_OVERFLOW
        bucket = state[at.BUCKET]
        while bucket < len(ends) - 1 and ends[bucket] < fill[at.FILLED]:
            bucket += 1
        while bucket > 0 and ends[bucket - 1] >= fill[at.FILLED]:
            bucket -= 1
        state[at.BUCKET] = bucket
        if not _add_up(fill, sums[s], booked[s, bucket]):
            return at.BUCKET_OVERFLOW
    state[at.ATTRIBUTED] = state[at.FILLS]
    return at.DONE


@compiled
def _impact(fill, rules):
    """Half ticks a lot by which a fill moves its own price; -1 if they cannot be counted.

    They are ceil(c x spread x filled / displayed).
    """
    over, under = rules[at.IMPACT_OVER], rules[at.IMPACT_UNDER]
    push = 2.0 * float(fill[at.GAP]) * float(fill[at.TRADED])
    if push > _LARGE or push * float(over) / float(under) > _LARGE:
        return -1
    # Rounding up twice is rounding up once: ceil(ceil(x / m) / n) = ceil(x / (m n)).
    whole, rest = scaled(2 * fill[at.GAP] * fill[at.TRADED], over, under)
    return -(-(whole + (rest > 0)) // fill[at.DISPLAYED])


@compiled
def _attribute(fill, moved, terms):
    """Split what a fill costs into its causes. Returns whether all of them fit.

    With M0 to M4 the doubled mids at its five instants and Mf that right before it, a fill of q
    lots at P half ticks, of which i are impact, costs feed q(M1 - M0), queueing q(M2 - M1), service
    q(M3 - M2), entry q(M4 - M3), rest q(Mf - M4), spread q(P - sgn(q) i - Mf), impact |q| i and its
    fee; its decision earns q(M(end) - M0). Orders that do not rest have Mf = M4.
    Perold (1988), "The implementation shortfall", splits alike.
    """
    lots, touch, worth = fill[at.TRADED], fill[at.TOUCH], terms[at.WORTH]
    fees = at.MAKER_FEES if fill[at.MAKER] else at.FEE_RATE
    rate, rate_under = terms[fees], terms[fees + 1]
    amount, amount_under = terms[fees + 2], terms[fees + 3]
    largest = 2 * (abs(float(touch)) + float(moved)) + abs(float(terms[at.CLOSING_MID]))
    for k in range(6):
        largest += abs(float(fill[at.M0 + k]))
    money = largest * float(lots) * float(worth)
    charged = money * abs(float(rate)) / float(rate_under)
    charged += float(lots) * abs(float(amount)) / float(amount_under)
    if money + charged > _LARGE:
        return False
    price = 2 * touch + (moved if fill[at.LOTS] > 0 else -moved)
    value = fill[at.LOTS] * worth  # money for each half tick
    # The fee is rate x notional + amount x lots, rounded up once.
    notional = lots * abs(price) * worth
    whole, rest = scaled(notional, rate, rate_under)
    more, left = scaled(lots, amount, amount_under)
    fee = whole + more
    if rest > 0 or left > 0:
        fee += _rounded_up(rest, rate_under, left, amount_under)
    fill[at.PRICE] = price
    fill[at.CASH] = -value * price - fee
    fill[at.DECISION] = value * (terms[at.CLOSING_MID] - fill[at.M0])
    for k in range(4):
        fill[at.FEED + k] = value * (fill[at.M0 + k + 1] - fill[at.M0 + k])
    fill[at.REST] = value * (fill[at.MF] - fill[at.M4])
    fill[at.SPREAD] = value * (2 * touch - fill[at.MF])
    fill[at.IMPACT] = lots * moved * worth
    fill[at.FEES] = fee
    return True


@compiled
def _rounded_up(a, under_a, b, under_b):
    """a / under_a + b / under_b, both below 1 and not both 0, rounded up: 1 or 2."""
    if a == 0 or b == 0:
        return 1
    # The first in parts of the second's denominator, against what the second lacks of 1.
    whole, rest = scaled(a, under_b, under_a)
    lacks = under_b - b
    return 2 if whole > lacks or (whole == lacks and rest > 0) else 1


@compiled
def scaled(amount, over, under):
    """Quotient and remainder of amount x over / under, 0 <= amount, where the quotient fits."""
    if under == 1:
        return amount * over, 0
    # Whole multiples of the denominator leave no remainder; what is left is mostly small.
    whole, rest = amount // under * over, amount % under
    if float(rest) * abs(float(over)) < _LARGE:
        product = rest * over
        return whole + product // under, product % under
    more, left = _divided(rest, over, under)
    return whole + more, left


@compiled
def _divided(a, b, under):
    """Quotient and remainder of a x b / under, 0 <= a < under, where the product is too long.

    The product is built up bit by bit of ``b``, and reduced each time.
    """
    quotient = rest = 0
    size = abs(b)
    for bit in range(61, -1, -1):
        quotient, rest = 2 * quotient, 2 * rest
        if rest >= under:
            quotient, rest = quotient + 1, rest - under
        if (size >> bit) & 1:
            rest += a
            if rest >= under:
                quotient, rest = quotient + 1, rest - under
    if b < 0:
        quotient = -quotient
        if rest > 0:
            quotient, rest = quotient - 1, under - rest
    return quotient, rest


@compiled
def _add_up(fill, sums, bucket):
    """Add a fill to the sums of its symbol, of any size, and to its time bucket.

    Returns whether the bucket's sums, which the equity table holds, stay below ``LIMIT``.
    """
    sums[at.UNITS, at.SUM_FILLS] += 1
    for c in range(at.SUM_FILLS):
        add_exactly(sums, c, fill[at.CASH + c])
    add_exactly(sums, at.SUM_TURNOVER, abs(fill[at.CASH] + fill[at.FEES]))
    bucket[at.BUCKET_LOTS] += fill[at.LOTS]
    bucket[at.BUCKET_CASH] += fill[at.CASH]
    fits = abs(bucket[at.BUCKET_LOTS]) < at.LIMIT and abs(bucket[at.BUCKET_CASH]) < at.LIMIT
    for c in range(at.FEES - at.FEED + 1):
        bucket[at.BUCKET_COSTS + c] += fill[at.FEED + c]
        fits = fits and abs(bucket[at.BUCKET_COSTS + c]) < at.LIMIT
    return fits


@compiled
def add_exactly(sums, c, amount):
    """Add an amount below ``LIMIT`` to a sum of any size."""
    total = sums[at.UNITS, c] + amount
    if total >= at.LIMIT:
        total -= at.LIMIT
        sums[at.LIMITS, c] += 1
    elif total <= -at.LIMIT:
        total += at.LIMIT
        sums[at.LIMITS, c] -= 1
    sums[at.UNITS, c] = total


@compiled
def take_columns(fills, rows, columns):
    """Some rows of fills, column by column: ``columns`` [c, k] takes the first c of them."""
    for i in range(len(rows)):
        fill = fills[rows[i]]
        for c in range(len(columns)):
            columns[c, i] = fill[c]
