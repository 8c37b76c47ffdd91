"""Ticks and lots of recorded Binance symbols, and the options that decide them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, Protocol

from backtest.core.arrays import Int64Array
from backtest.data.card import InstrumentTable
from backtest.errors import DataError
from backtest.market.instruments import Instrument
from backtest.plugins.sources.binance.books import ROUNDED
from backtest.plugins.sources.binance.depth_spools import Grid
from backtest.plugins.sources.binance.symbols import Market, is_linear
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.decimals import step_of, to_grid, to_next_step
from backtest.plugins.sources.shared.sizes import SizeOptions, sizes_of


class BinanceOptions(SizeOptions, Protocol):
    """Parameters of ``BinanceStream``, which imports this module only when it ingests."""

    @property
    def clock(self) -> str: ...

    @property
    def time_unit(self) -> Literal["ms", "us"]: ...

    @property
    def currency(self) -> str: ...

    @property
    def fee_rate(self) -> str: ...

    @property
    def depth(self) -> str: ...

    @property
    def beyond(self) -> str: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


@dataclass
class SymbolGrid:
    """What is known of a symbol after reading."""

    market: Market
    price_scale: int = 0
    size_scale: int = 0
    quoted: bool = False
    """It has quotes or trades, whose sizes decide the lot."""

    depth_size_scale: int = 0
    """That of sizes in the book, which may be finer: orders outlive a change of the lot."""

    updates: dict[str, int] = field(default_factory=dict)
    """The largest number of a message so far, by kind."""


def grid_of(instrument: InstrumentTable, counts: Counts) -> Grid:
    """From prices and sizes of some scales to ticks and lots; parts of a lot count as a lot."""
    tick, lot = instrument.tick_size, instrument.lot_size
    assert tick is not None  # _instruments sets both
    assert lot is not None

    def grid(
        price: Int64Array, size: Int64Array, scales: tuple[int, int]
    ) -> tuple[Int64Array, Int64Array]:
        lots, rounded = to_next_step(size, step_of(scales[1]), lot)
        counts.repaired[ROUNDED] += rounded
        return to_grid(price, step_of(scales[0]), tick), lots

    return grid


def instruments_of(
    source: BinanceOptions, symbols: dict[str, SymbolGrid]
) -> dict[str, InstrumentTable]:
    given = sizes_of(source, symbols)
    tables = {}
    for name, symbol in symbols.items():
        tick = given["tick_sizes"].get(name, step_of(symbol.price_scale))
        size_scale = symbol.size_scale if symbol.quoted else symbol.depth_size_scale
        lot = given["lot_sizes"].get(name, step_of(size_scale))
        linear = is_linear(name, symbol.market, source.currency)
        table = InstrumentTable(
            tick_size=tick,
            lot_size=lot,
            currency=source.currency,
            fee_rate=Decimal(source.fee_rate),
            tradable=linear,
        )
        try:
            _ = table.over(Instrument()).half_tick_lot
        except ValueError as error:
            if linear:
                raise DataError(
                    str(error), place=name, remedy=f"For example: --set lot_sizes={name}=1"
                ) from None
        tables[name] = table
    return tables
