"""The column mapping of the sources ``csv`` and ``parquet``: a TOML file that states every unit."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from backtest.core import toml
from backtest.core.text import suggested_path
from backtest.data.card import Columns, InstrumentTable, Zone, exact_decimal
from backtest.data.model_errors import problems
from backtest.errors import DataError
from backtest.market.depth import ADD, ASK, BID, CANCEL, EXECUTE, MODIFY

_Text: TypeAlias = Annotated[str, Field(min_length=1)]
_Names: TypeAlias = Annotated[tuple[_Text, ...], Field(strict=False, min_length=1)]


def _above_zero(value: object) -> Decimal:
    if not isinstance(value, str):
        raise ValueError(f'write it as text, as in "0.01", not as {value!r}')
    number = exact_decimal(value)
    if number <= 0:
        raise ValueError(f"must be above 0, not {number}")
    return number


_Unit: TypeAlias = Annotated[Decimal, BeforeValidator(_above_zero)]
_Number: TypeAlias = Annotated[Decimal, BeforeValidator(exact_decimal)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Times(_Table):
    """``[time]``: the columns of instants.

    ``unit`` is of numbers since 1970, or ``text`` for ISO 8601 text, or ``timestamp`` for Parquet's
    own type. ``zone`` is the market's, and that of instants that state none; numbers are counted
    from 1970 on its clocks.
    """

    event: _Text
    receive: _Text | None = None
    unit: Literal["s", "ms", "us", "ns", "text", "timestamp"]
    zone: Zone


class Symbols(_Table):
    """``[symbol]``: a column, or the one symbol of all rows."""

    column: _Text | None = None
    value: _Text | None = None

    @model_validator(mode="after")
    def _one(self) -> Symbols:
        if (self.column is None) == (self.value is None):
            raise ValueError("give either column or value")
        return self


class Prices(_Table):
    """``[price]``: columns in units of ``unit`` of the currency, on a grid of ``tick_size``.

    ``absent`` are numbers that mean "no price", as the columns have them.
    """

    unit: _Unit
    tick_size: _Unit
    bid: _Text | None = None
    ask: _Text | None = None
    trade: _Text | None = None
    absent: Annotated[tuple[_Number, ...], Field(strict=False)] = ()


class SizeMapping(_Table):
    """``[size]``: columns in units of ``unit`` of the contract, on a grid of ``lot_size``."""

    unit: _Unit
    lot_size: _Unit
    bid: _Text | None = None
    ask: _Text | None = None
    trade: _Text | None = None


def plain_text(value: object) -> str:
    """A value of ``[trade]`` as it is compared: text, a whole number, true or false.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, (str, int)):
        raise ValueError(f"write it as text, a whole number, true or false, not as {value!r}")
    return str(value).strip().lower()


_Values: TypeAlias = Annotated[
    tuple[Annotated[str, BeforeValidator(plain_text)], ...], Field(strict=False)
]


class Trades(_Table):
    """``[trade]``: a column that says who initiated a trade, and what it holds for each side.

    Values are compared as text, without regard to case and surrounding blanks.
    """

    aggressor: _Text
    buyer: Annotated[_Values, Field(min_length=1)]
    seller: Annotated[_Values, Field(min_length=1)]
    unknown: _Values = ()

    @model_validator(mode="after")
    def _apart(self) -> Trades:
        values = [*{*self.buyer}, *{*self.seller}, *{*self.unknown}]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} cannot mean two things")
        return self

    def sides(self) -> dict[str, int]:
        """What each value means: 1 the buyer, -1 the seller, 0 unknown."""
        lists = ((self.buyer, 1), (self.seller, -1), (self.unknown, 0))
        return {value: side for values, side in lists for value in values}


class DepthMapping(_Table):
    """``[depth]``: the files that hold it, and their columns besides those of time and symbol.

    Prices and sizes are in the units of ``[price]`` and ``[size]``. Values are compared as those of
    ``[trade]``. ``snapshot`` is true for rows that restate a book: the first of several clears it.
    ``whole`` says that these show all levels. ``order`` and ``action`` are there for orders (L3).
    """

    files: Annotated[tuple[_Text, ...], Field(strict=False, min_length=1)]
    price: _Text
    size: _Text
    side: _Text
    bid: Annotated[_Values, Field(min_length=1)]
    ask: Annotated[_Values, Field(min_length=1)]
    snapshot: _Text | None = None
    whole: bool = False
    order: _Text | None = None
    action: _Text | None = None
    add: _Values = ()
    execute: _Values = ()
    cancel: _Values = ()
    modify: _Values = ()

    @model_validator(mode="after")
    def _complete(self) -> DepthMapping:
        if (self.order is None) != (self.action is None):
            raise ValueError("order and action must be given together")
        if (self.action is None) != (not any((self.add, self.execute, self.cancel, self.modify))):
            raise ValueError("action and its values must be given together")
        for values in (self.sides(), self.actions()):
            twice = sorted({value for value, code in values if values.count((value, code)) > 1})
            twice += sorted({a for a, x in values for b, y in values if a == b and x != y})
            if twice:
                raise ValueError(f"{', '.join(map(repr, twice))} cannot mean two things")
        return self

    def sides(self) -> list[tuple[str, int]]:
        """What each value of the side means."""
        return [(value, BID) for value in self.bid] + [(value, ASK) for value in self.ask]

    def actions(self) -> list[tuple[str, int]]:
        """What each value of the action means."""
        lists = (self.add, self.execute, self.cancel, self.modify)
        codes = (ADD, EXECUTE, CANCEL, MODIFY)
        return [(v, code) for values, code in zip(lists, codes, strict=True) for v in values]

    def texts(self) -> tuple[str, ...]:
        """Columns that are read as text where the format has no types."""
        own = (self.side, self.snapshot, self.order, self.action)
        return tuple(name for name in own if name is not None)


class Floats(_Table):
    """``[features]`` and ``[targets]``: float columns."""

    columns: _Names


class Mapping(_Table):
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
    instrument: InstrumentTable = InstrumentTable()

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

    def numbers(self) -> dict[str, tuple[str, Decimal, Decimal]]:
        """Canonical name → column, its unit and its grid, of prices and sizes."""
        found: dict[str, tuple[str, Decimal, Decimal]] = {}
        for table, names in (
            (self.price, ("bid", "ask", "trade_price")),
            (self.size, ("bid_size", "ask_size", "trade_size")),
        ):
            if table is None:
                continue
            step = table.tick_size if isinstance(table, Prices) else table.lot_size
            for canonical, column in zip(names, (table.bid, table.ask, table.trade), strict=True):
                if column is not None:
                    found[canonical] = column, table.unit, step
        return found

    def floats(self) -> tuple[str, ...]:
        """Columns of features, then of targets."""
        tables = (self.features, self.targets)
        return tuple(name for table in tables if table is not None for name in table.columns)

    def texts(self) -> tuple[str, ...]:
        """Columns that are read as text where the format has no types."""
        aggressor = None if self.trade is None else self.trade.aggressor
        own = (self.time.event, self.time.receive, self.symbol.column, aggressor)
        return tuple(name for name in own if name is not None)

    def depth_columns(self) -> tuple[str, ...]:
        """Every column of files of depth that is read, each once."""
        depth = self.depth
        if depth is None:
            return ()
        return tuple(dict.fromkeys([*self.depth_texts(), depth.price, depth.size]))

    def depth_texts(self) -> tuple[str, ...]:
        """Those that are read as text where the format has no types."""
        own = () if self.depth is None else self.depth.texts()
        shared = (self.time.event, self.symbol.column)
        return (*(name for name in shared if name is not None), *own)

    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        numbers = [column for column, _, _ in self.numbers().values()]
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
            remedy="`backtest docs data` lists the keys of a mapping.",
        ) from None
    except ValueError as error:
        raise DataError(f"the mapping is not TOML: {error}", place=str(path)) from None
