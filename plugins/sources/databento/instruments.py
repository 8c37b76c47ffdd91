"""What the instruments of DBN files are: ticks, multipliers, currencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import gcd
from typing import Protocol, TypeVar

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.text import first_of
from backtest.data.card import InstrumentTable
from backtest.errors import DataError
from backtest.plugins.sources.databento.rows import Grids
from backtest.plugins.sources.databento.symbols import NANO, Definitions, Identity
from backtest.plugins.sources.shared.decimals import common_step, money_unit
from backtest.plugins.sources.shared.sizes import SizeOptions, sizes_of

_CENT = 10_000_000
T = TypeVar("T")


class InstrumentOptions(SizeOptions, Protocol):
    """Parameters of ``DatabentoDbn`` that say what instruments are."""

    @property
    def currency(self) -> str: ...

    @property
    def fee_per_lot(self) -> str: ...


@dataclass
class Seen:
    """The prices of an identity, in units of 1e-9.

    Attributes:
        step: the largest that all prices are multiples of; 0 if there were none but 0.
        low, high: the smallest and largest; ``None`` before the first.
    """

    step: int = 0
    low: int | None = None
    high: int | None = None

    def add(self, prices: Int64Array) -> None:
        """Take in prices, [n]."""
        if not len(prices):
            return
        low, high = int(prices.min()), int(prices.max())
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)
        self.step = common_step(prices, self.step)


def instruments(
    source: InstrumentOptions,
    seen: dict[Identity, Seen],
    names: dict[Identity, str],
    definitions: Definitions,
) -> dict[str, InstrumentTable]:
    """What each symbol is, by the parameters, else its definitions, else its prices.

    Raises:
        DataError: definitions that contradict each other, or steps that cannot be counted.
    """
    given = sizes_of(source, names.values())
    tables = {}
    for identity, symbol in names.items():
        base, about = identity[0], seen[identity]
        tick = given["tick_sizes"].get(symbol)
        if tick is None:
            tick = NANO * _step(about, definitions.ticks.get(base, set()))
        multiplier: Decimal | Fraction | None = given["multipliers"].get(symbol)
        if multiplier is None:
            found = definitions.multipliers.get(base)
            multiplier = _only(found, symbol, "multiplier", Fraction(1))
        factor = _decimal(multiplier, symbol)
        tables[symbol] = InstrumentTable(
            tick_size=Decimal(f"{tick.normalize():f}"),
            lot_size=Decimal(1),
            multiplier=factor,
            currency=_only(definitions.currencies.get(base), symbol, "currency", source.currency),
            fee_per_lot=Decimal(source.fee_per_lot),
            signed_prices=(about.low or 0) < 0 or base in definitions.spreads or None,
            money_unit=money_unit(tick, Decimal(1), factor),
        )
    return tables


def grids(symbols: Sequence[str], tables: dict[str, InstrumentTable]) -> Grids:
    """The prices' steps of all symbols.

    Raises:
        DataError: a tick that is no multiple of 1e-9.
    """
    steps = []
    for symbol in symbols:
        tick = tables[symbol].tick_size
        assert tick is not None  # instruments() sets it
        step = Fraction(tick) / Fraction(NANO)
        if step.denominator != 1:
            raise DataError(
                f"the tick {tick} is no multiple of 1e-9, the unit of prices in DBN files",
                place=symbol,
                remedy="Correct tick_sizes.",
            )
        steps.append(int(step))
    signed = [bool(tables[symbol].signed_prices) for symbol in symbols]
    return Grids(np.array(steps, dtype=np.int64), np.array(signed, dtype=np.bool_))


def _step(seen: Seen, ticks: set[int]) -> int:
    """The tick in units of 1e-9: finer than the definition's where prices lie between its ticks."""
    if ticks:
        return gcd(seen.step, *ticks)
    # A single price says little of the grid.
    return gcd(seen.step, _CENT) if seen.low == seen.high else seen.step


def _only(values: set[T] | None, symbol: str, noun: str, default: T) -> T:
    if not values:
        return default
    if len(values) > 1:
        shown = first_of(sorted(map(str, values)))
        raise DataError(
            f"its definitions give several values for the {noun}: {shown}",
            place=symbol,
            remedy=f"State it with --set multipliers={symbol}=…, or leave files out with --ignore.",
        )
    return next(iter(values))


def _decimal(value: Decimal | Fraction, symbol: str) -> Decimal:
    """The same number, exactly."""
    exact = Fraction(value)
    number = Decimal(exact.numerator) / exact.denominator
    if Fraction(number) != exact:
        raise DataError(
            f"its multiplier, {exact}, is no decimal number",
            place=symbol,
            remedy=f"State it with --set multipliers={symbol}=….",
        )
    return number
