"""What the symbols of hftbacktest's files are, and the options that decide it."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from backtest.data.card import InstrumentTable
from backtest.plugins.sources.hftbacktest.files import HftFile
from backtest.plugins.sources.shared.decimals import money_unit, step_of


class HftOptions(Protocol):
    """Parameters of ``HftBacktest``, which imports this module only when it ingests."""

    @property
    def symbol(self) -> str | None: ...

    @property
    def depth(self) -> bool: ...

    @property
    def grid(self) -> tuple[Decimal | None, Decimal | None]: ...

    @property
    def currency(self) -> str: ...

    @property
    def fee_rate(self) -> str: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


def instrument(source: HftOptions, files: list[HftFile], symbol: str) -> InstrumentTable:
    """A symbol's grid: as given, as an export says, or the finest decimals of its files."""
    of = [file for file in files if file.symbol == symbol]
    stated = {file.grid for file in of if file.grid is not None}
    grid = (
        (Decimal(n) for n in stated.pop())
        if len(stated) == 1
        else (step_of(max(file.decimals[k] for file in of)) for k in (0, 1))
    )
    tick, lot = (
        own if own is not None else seen for own, seen in zip(source.grid, grid, strict=True)
    )
    return InstrumentTable(
        tick_size=tick,
        lot_size=lot,
        currency=source.currency,
        fee_rate=Decimal(source.fee_rate),
        money_unit=money_unit(tick, lot, Decimal(1)),
    )
