"""Instruments whose money can be counted in whole numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from backtest.data.card import InstrumentTable
from backtest.errors import DataError
from backtest.market.instruments import Instrument

_FINE_UNIT = Decimal("1e-12")
"""What money is counted in where half a tick is worth no whole number of billionths."""


def countable(symbol: str, **fields: Any) -> InstrumentTable:
    """An instrument, with money in units fine enough for half its tick.

    Args:
        symbol: its name.
        **fields: of the table.

    Raises:
        DataError: half a tick of a lot is worth less, or too much.
    """
    table = InstrumentTable(**fields)
    for unit in (None, _FINE_UNIT):
        candidate = table.model_copy(update={"money_unit": unit})
        try:
            _ = candidate.over(Instrument()).half_tick_lot
        except ValueError as error:
            problem = str(error)
            continue
        return candidate
    raise DataError(problem, place=symbol, remedy=f"For example: --set tick_sizes={symbol}=0.01")
