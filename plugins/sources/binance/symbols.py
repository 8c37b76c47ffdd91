"""Binance's markets, and what its symbols are called in datasets."""

from __future__ import annotations

from typing import Literal, TypeAlias

Market: TypeAlias = Literal["spot", "um", "cm"]
"""Spot, USD-margined futures, coin-margined futures."""


def symbol_name(symbol: str, market: Market) -> str:
    """The venue's name, with ``.um`` added for USD-margined futures, which share those of spot."""
    return f"{symbol}.um" if market == "um" else symbol


def is_linear(name: str, market: Market, currency: str) -> bool:
    """A symbol, by its name in the dataset, is quoted in a currency, and margined in it."""
    return market != "cm" and name.removesuffix(".um").endswith(currency)
