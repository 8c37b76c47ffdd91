"""Why something is not traded: amounts that 64 bits do not hold, and positions nobody can close."""

from __future__ import annotations

from backtest.core.arrays import Int64Array
from backtest.errors import RunError
from backtest.trading.layout import (
    BUCKET_OVERFLOW,
    IMPACT_OVERFLOW,
    NEVER_CLOSED,
    POSITION_OVERFLOW,
    REFUSED_LOTS,
    REFUSED_PRICE,
    REFUSED_SYMBOL,
)
from backtest.trading.limit_layout import EXPOSURE_OVERFLOW
from backtest.trading.order_layout import LEVEL_OVERFLOW, MOST_DISPLAYED, PRICE_OVERFLOW
from backtest.trading.terms import Terms

_COARSER = (
    "Money is counted in whole numbers of the instrument's money_unit, in 64 bits. Choose a "
    "coarser money_unit or a smaller lot_size in the dataset card, or trade fewer lots."
)


def refusal(code: int, terms: Terms, state: Int64Array, *, ideal: bool = False) -> RunError:
    """What to raise for the code that a loop of the venue gave up with.

    Args:
        code: as ``layout`` has them.
        terms: of the run.
        state: of trading, with what was refused.
        ideal: whether it was a trade of the ideal accounts, whose price is a doubled mid.
    """
    s, lots, price = (int(state[k]) for k in (REFUSED_SYMBOL, REFUSED_LOTS, REFUSED_PRICE))
    symbol = terms.symbols[s]
    if code == NEVER_CLOSED:
        return unclosed(symbol)
    if code == POSITION_OVERFLOW:
        return _refused(symbol, "orders or a position of more than 2^60 lots", "Trade fewer lots.")
    if code == EXPOSURE_OVERFLOW:
        return _refused(symbol, "its exposure or the equity takes more than 64 bits", _COARSER)
    if code == PRICE_OVERFLOW:
        return _refused(
            symbol,
            "the price of a quote, with its offset and skew, has more digits than 64 bits hold",
            "Give the quoting rule a skew with fewer decimals, or a position limit.",
        )
    if code == LEVEL_OVERFLOW:
        return _refused(
            symbol,
            f"the orders of one level display {MOST_DISPLAYED:,} lots or more together, which "
            "places in a queue cannot be counted in",
            "Choose a larger lot_size in the dataset card.",
        )
    if code == IMPACT_OVERFLOW:
        return _refused(
            symbol,
            f"the impact of {lots} lots has more digits than 64 bits hold",
            "Give the accountant's parameter 'impact' with fewer decimals.",
        )
    if code == BUCKET_OVERFLOW:
        return _refused(
            symbol,
            "what is booked within one time bucket takes more than 64 bits",
            f"Choose a shorter bucket. {_COARSER}",
        )
    amount = abs(lots * price * (1 if ideal else 2)) * terms.instruments[s].half_tick_lot
    what = "a trade of the ideal account" if ideal else "a fill"
    return too_large(symbol, f"{what} of {abs(lots)} lots", amount)


def too_large(symbol: str, what: str, amount: int) -> RunError:
    """An amount of money, in money units, takes more than 64 bits."""
    return _refused(
        symbol, f"{what} is worth {amount} money units, more than 64 bits hold", _COARSER
    )


def unclosed(symbol: str) -> RunError:
    """A symbol traded, but has no two-sided quote inside a session."""
    return _refused(
        symbol,
        "it traded, but has no two-sided quote inside a session to close its position at",
        "Mark it tradable = false in the dataset card, or choose a window that has one.",
    )


def _refused(symbol: str, problem: str, remedy: str) -> RunError:
    return RunError(problem, place=f"symbol {symbol!r}", remedy=remedy)
