"""Which numbers are prices, sizes and aggressors.

A price is absent or a finite number. 0 and negative numbers count as absent unless the card sets
``signed_prices = true`` for the symbol, and 2^63 - 1, which several vendors write for "no price",
always does. Where one side of a quote is such a number, only that side is absent.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray, Int8Array, Int32Array, Int64Array
from backtest.errors import DataError
from backtest.market.events import NO_PRICE

LIMIT = 2**62
"""Ticks and lots lie below this, so that bid + ask fits into 64 bits; it is also how lots that are
not limited are written."""

MARKERS: tuple[float, ...] = (9_999_999_999.0, 2.0**63, 2.0**64, sys.float_info.max)
"""Numbers, of either sign, that vendors write where there is no price. 2^63 - 1 and 2^64 - 1 are
2^63 and 2^64 in float64."""

SIDES = (("bid", "bid_size"), ("ask", "ask_size"), ("trade_price", "trade_size"))
"""Each price with its size."""

_MARKER = 2**63 - 1


def plain_prices(ticks: Int64Array) -> bool:
    """All of them are absent already, or above 0 and below ``LIMIT``: most batches, quickly."""
    # One less, NO_PRICE becomes the largest number of all and 0 the first negative one, so that
    # the least of them decides.
    return not len(ticks) or bool((ticks - 1).min() >= 0 and ticks.max() < LIMIT)


def absent_prices(
    ticks: Int64Array, symbol: Int32Array, signed: BoolArray | None
) -> BoolArray | None:
    """Rows whose number is no price, bool [n]; ``None`` if there are none.

    Args:
        ticks: prices, int64 [n]; ``NO_PRICE`` where there is none, which is not counted.
        symbol: ids, int32 [n].
        signed: which symbols' prices may be 0 or negative, bool [S]; ``None`` if no symbol's may.
    """
    absent = (ticks <= 0) & (ticks != NO_PRICE)
    if signed is not None:
        absent &= ~signed[symbol]
    absent |= ticks == _MARKER
    return absent if absent.any() else None


def unusable_price(ticks: Int64Array) -> int | None:
    """The first price, of those that are not absent, beyond ``LIMIT``; ``None`` if none is."""
    wrong = (ticks >= LIMIT) | ((ticks <= -LIMIT) & (ticks != NO_PRICE))
    return int(np.argmax(wrong)) if wrong.any() else None


def unusable_size(lots: Int64Array) -> int | None:
    """The first row with a negative size or one beyond ``LIMIT``; ``None`` if there is none."""
    if not len(lots) or (lots.min() >= 0 and lots.max() <= LIMIT):
        return None
    return int(np.argmax((lots < 0) | (lots > LIMIT)))


def wrong_aggressors(aggressor: Int8Array, trade_price: Int64Array) -> BoolArray:
    """Rows whose aggressor is not -1, 0 or 1, or that have one without a trade, bool [n].

    Args:
        aggressor: who initiated each trade, as ``EventBatch`` has it, integers [n].
        trade_price: int64 ticks [n] as they are stated; ``NO_PRICE`` where there is no trade.
    """
    wrong: BoolArray = (aggressor < -1) | (aggressor > 1)
    return wrong | ((aggressor != 0) & (trade_price == NO_PRICE))


def wrong_aggressor(row: str, name: str, value: int, *, place: str) -> DataError:
    """What to raise for a row of ``wrong_aggressors``."""
    problem = "there is no trade" if value in (-1, 1) else "an aggressor is 1, -1 or 0"
    return DataError(
        f"{row} has {value} in {name!r}: {problem}",
        place=place,
        remedy="1 means the buyer, -1 the seller, 0 unknown or no trade. Correct or remove the row:"
        " `backtest data validate --quarantine DIR`.",
    )


def is_marker(numbers: NDArray[np.generic], further: tuple[float, ...] = ()) -> BoolArray:
    """Numbers, as a vendor wrote them, that mean "no price", bool [n].

    Args:
        numbers: before any conversion of units, int64 or float64 [n].
        further: markers that the vendor uses besides ``MARKERS``, as they are written.
    """
    values = numbers.astype(np.float64)
    found: BoolArray = np.isin(np.abs(values), MARKERS)
    return found | np.isin(values, further) if further else found


def too_large(row: str, name: str, value: int, *, place: str) -> DataError:
    """What to raise for a number that 64-bit sums could not hold."""
    return DataError(
        f"{row} has {value} in {name!r}, which is beyond 2^62",
        place=place,
        remedy="Ingest the data with a coarser tick_size or lot_size, or remove the row:"
        " `backtest data validate --quarantine DIR`.",
    )
