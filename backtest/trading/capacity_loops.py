"""Compiled: what fills would have come to at other sizes."""

from __future__ import annotations

from backtest.core.compiled import compiled

# What is read of a fill [FILL_SIZE, n]: its event (-1: it closes a position), signed lots, the size
# displayed and how much of it own fills had taken; then what it earned by the mids, what the touch
# and fees took, and impact, in units of money.
EVENT, LOTS, DISPLAYED, TAKEN, MARKS, TOUCH, IMPACT, FILL_SIZE = range(8)

# A symbol's account at one size [S, k, ACCOUNT_SIZE]: signed lots held, and own lots at the sides
# that buys and sells hit.
HELD, BOUGHT, SOLD, ACCOUNT_SIZE = range(4)


@compiled
def scale(symbol, fills, sizes, held, accounts, net, traded):
    """Repeat some fills at other sizes, all numbers float64.

    Each position follows the run's, ``size`` times as large: a fill takes what is missing to that,
    as far as it was displayed and own fills have left it. What could not be filled is asked for
    again by the symbol's next fill of the same side. A fill of ``ratio`` times the lots earns
    ``ratio`` times as much by the mids, pays so much more to the touch and in fees, and ratio^2
    times the impact, which is linear in the size.

    Args:
        symbol: number of each fill's, int64 [n].
        fills: [FILL_SIZE, n].
        sizes: multiples of the run's [k].
        held: signed lots of the run itself [S].
        accounts: [S, k, ACCOUNT_SIZE].
        net, traded: take money and lots without a sign [k].
    """
    for i in range(len(symbol)):
        s, lots = symbol[i], fills[LOTS, i]
        if lots == 0:
            continue
        held[s] += lots
        side = BOUGHT if lots > 0 else SOLD
        for k in range(len(sizes)):
            account = accounts[s, k]
            if fills[TAKEN, i] == 0:
                account[side] = 0.0  # the run's first fill of what is displayed
            wanted = sizes[k] * held[s] - account[HELD]
            if fills[EVENT, i] < 0:
                filled = -account[HELD]
            elif wanted == 0 or (wanted > 0) != (lots > 0):
                continue
            else:
                most = min(abs(wanted), max(fills[DISPLAYED, i] - account[side], 0.0))
                filled = most if lots > 0 else -most
                account[side] += most
            account[HELD] += filled
            ratio = filled / lots
            net[k] += ratio * fills[MARKS, i] - abs(ratio) * fills[TOUCH, i]
            net[k] -= ratio * ratio * fills[IMPACT, i]
            traded[k] += abs(filled)
