"""The column mapping of the sources ``csv`` and ``parquet``: a TOML file that states every unit."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field, ValidationError, model_validator

from backtest.core import toml
from backtest.core.text import suggested_path
from backtest.data.card import Columns, InstrumentTable
from backtest.data.model_errors import problems
from backtest.errors import DataError
from backtest.plugins.sources.mapped.mapping_tables import (
    CsvFormat,
    DepthMapping,
    Floats,
    Hours,
    Prices,
    SizeMapping,
    Symbols,
    Table,
    Times,
    Trades,
)

_Text: TypeAlias = Annotated[str, Field(min_length=1)]


class Mapping(Table):
    """A mapping file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    time: Times
    symbol: Symbols
    price: Prices | None = None
    size: SizeMapping | None = None
    trade: Trades | None = None
    depth: DepthMapping | None = None
    features: Floats | None = None
    targets: Floats | None = None
    csv: CsvFormat = CsvFormat()
    calendar: Hours | None = None
    instrument: InstrumentTable = InstrumentTable()
    instruments: dict[str, InstrumentTable] = Field(default_factory=dict)
    instrument_file: _Text | None = None

    @model_validator(mode="after")
    def _complete(self) -> Mapping:
        price, size = self.price, self.size
        if price is None and self.features is None:
            raise ValueError("it maps neither prices nor features")
        if price is not None and (price.bid is None) != (price.ask is None):
            raise ValueError("price.bid and price.ask must be given together")
        if size is not None and price is None:
            raise ValueError("size needs price")
        if size is not None and (size.bid is None) != (size.ask is None):
            raise ValueError("size.bid and size.ask must be given together")
        if size is not None and price is not None and size.bid and not price.bid:
            raise ValueError("size.bid and size.ask need price.bid and price.ask")
        trade = None if price is None else price.trade
        if (trade is None) != (size is None or size.trade is None):
            raise ValueError("price.trade and size.trade must be given together")
        if self.trade is not None and trade is None:
            raise ValueError("trade.aggressor needs price.trade and size.trade")
        if self.depth is not None and (size is None or size.bid is None):
            raise ValueError("depth needs size.bid and size.ask")
        if self.instrument.tick_size is not None or self.instrument.lot_size is not None:
            raise ValueError("tick_size belongs in [price], lot_size in [size]")
        floats = self.floats()
        repeated = sorted({name for name in floats if floats.count(name) > 1})
        if repeated:
            raise ValueError(f"features and targets name {', '.join(map(repr, repeated))} twice")
        text = set(self.texts()) & set(floats)
        if text:
            raise ValueError(
                f"{', '.join(sorted(map(repr, text)))} holds times or symbols, or says who"
                " initiated trades, so it cannot be a feature or target"
            )
        taken = sorted(set(floats) & set(dict(Columns()).values()))
        if taken:
            raise ValueError(
                f"every dataset has columns {', '.join(map(repr, taken))} of its own: give features"
                " and targets other names in the input"
            )
        return self

    def numbers(self) -> dict[str, tuple[str, Decimal]]:
        """Canonical name → column and its unit, of prices and sizes."""
        found: dict[str, tuple[str, Decimal]] = {}
        for table, names in (
            (self.price, ("bid", "ask", "trade_price")),
            (self.size, ("bid_size", "ask_size", "trade_size")),
        ):
            if table is None:
                continue
            for canonical, column in zip(names, (table.bid, table.ask, table.trade), strict=True):
                if column is not None:
                    found[canonical] = column, table.unit
        return found

    def floats(self) -> tuple[str, ...]:
        """Columns of features, then of targets."""
        tables = (self.features, self.targets)
        return tuple(name for table in tables if table is not None for name in table.columns)

    def texts(self) -> tuple[str, ...]:
        """Columns that are read as text where the format has no types."""
        aggressor = None if self.trade is None else self.trade.aggressor
        own = (*self.time.event, *(self.time.receive or ()), self.symbol.column, aggressor)
        return tuple(name for name in own if name is not None)

    def depth_columns(self) -> tuple[str, ...]:
        """Every column of files of depth that is read, each once."""
        depth = self.depth
        if depth is None:
            return ()
        return tuple(dict.fromkeys([*self.depth_texts(), depth.price, depth.size]))

    def depth_texts(self) -> tuple[str, ...]:
        """Those that are read as text where the format has no types, but for prices and sizes."""
        own = () if self.depth is None else self.depth.texts()
        shared = (*self.time.event, self.symbol.column)
        return (*(name for name in shared if name is not None), *own)

    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        numbers = [column for column, _ in self.numbers().values()]
        return tuple(dict.fromkeys([*self.texts(), *numbers, *self.floats()]))


def read_mapping(path: Path) -> Mapping:
    """The mapping in a file.

    Raises:
        DataError: not readable, not TOML, or refused; every problem at once.
    """
    try:
        table = toml.loads(path.read_text(encoding="utf-8"))
        return Mapping.model_validate(table)
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}",
            place=str(path),
            remedy=suggested_path(path) if isinstance(error, FileNotFoundError) else None,
        ) from None
    except ValidationError as error:
        raise DataError(
            "; ".join(problems(error, Mapping, table)),
            place=str(path),
            remedy="`backtest docs mapping` lists its keys.",
        ) from None
    except ValueError as error:
        raise DataError(f"the mapping is not TOML: {error}", place=str(path)) from None
