"""The tables of a column mapping; ``mapping`` puts them together."""

from __future__ import annotations

import codecs
from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from backtest.data.card import Zone, exact_decimal
from backtest.market.depth import ADD, ASK, BID, CANCEL, EXECUTE, MODIFY

_Text: TypeAlias = Annotated[str, Field(min_length=1)]
_Names: TypeAlias = Annotated[tuple[_Text, ...], Field(strict=False, min_length=1)]
_Character: TypeAlias = Annotated[str, Field(min_length=1, max_length=1, pattern=r'^[^"\r\n]$')]


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


_Columns: TypeAlias = Annotated[_Names, BeforeValidator(_one_or_more)]


def _known_encoding(name: str) -> str:
    try:
        plain = codecs.encode("\n,1", name) == b"\n,1"
    except (LookupError, TypeError, UnicodeError):
        raise ValueError(f"{name!r} is no text encoding that is known") from None
    if not plain:
        raise ValueError(f"{name!r} is not written byte by byte: convert the files to utf-8")
    return name


def _above_zero(value: object) -> Decimal:
    if not isinstance(value, str):
        raise ValueError(f'write it as text, as in "0.01", not as {value!r}')
    number = exact_decimal(value)
    if number <= 0:
        raise ValueError(f"must be above 0, not {number}")
    return number


_Unit: TypeAlias = Annotated[Decimal, BeforeValidator(_above_zero)]
_Number: TypeAlias = Annotated[Decimal, BeforeValidator(exact_decimal)]


class Table(BaseModel):
    """Strict and frozen: a key that is not known, or of another type, is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class CsvFormat(Table):
    """``[csv]``: how the text of CSV files is written; of the source ``csv`` alone.

    Numbers are read as they are written: ``decimal`` is their decimal point, ``thousands`` what
    stands between their groups of three digits. An empty cell, and a cell that holds one of
    ``null``, holds nothing. ``skip`` lines come before the header, or before the first row where
    ``header`` is false and ``columns`` names all columns.
    """

    separator: _Character = ","
    header: bool = True
    columns: _Names | None = None
    skip: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'", "_"] | None = None
    null: Annotated[tuple[str, ...], Field(strict=False)] = ("null", "NULL")
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"

    @model_validator(mode="after")
    def _apart(self) -> CsvFormat:
        if self.header == (self.columns is not None):
            raise ValueError("columns names the columns of files without a header: header = false")
        if self.decimal == self.thousands:
            raise ValueError(f"{self.decimal!r} cannot be both decimal and thousands")
        return self


class Times(Table):
    """``[time]``: the columns of instants.

    ``unit`` is of numbers since 1970, or ``text`` for ISO 8601 text, or ``timestamp`` for Parquet's
    own type. Several columns, such as a date and a time, are text that is joined by blanks.
    ``format`` says how text is written if it is not ISO 8601. ``zone`` is the market's, and that
    of instants that state none; numbers are counted from 1970 on its clocks. ``repeated`` says
    which of the two is meant by a time that its clocks show twice.
    """

    event: _Columns
    receive: _Columns | None = None
    unit: Literal["s", "ms", "us", "ns", "text", "timestamp"]
    format: _Text | None = None
    zone: Zone
    repeated: Literal["refuse", "earlier", "later"] = "refuse"

    @model_validator(mode="after")
    def _of_text(self) -> Times:
        several = len(self.event) > 1 or len(self.receive or ()) > 1
        if self.unit != "text" and (several or self.format is not None):
            raise ValueError('several columns, or a format, are of text: unit = "text"')
        return self


class Symbols(Table):
    """``[symbol]``: a column, or the one symbol of all rows."""

    column: _Text | None = None
    value: _Text | None = None

    @model_validator(mode="after")
    def _one(self) -> Symbols:
        if (self.column is None) == (self.value is None):
            raise ValueError("give either column or value")
        return self


class Prices(Table):
    """``[price]``: columns in units of ``unit`` of the currency, on a grid of ``tick_size``.

    ``absent`` are numbers that mean "no price", as the columns have them. Symbols with a
    ``tick_size`` of their own have it in ``[instruments]``.
    """

    unit: _Unit
    tick_size: _Unit | None = None
    bid: _Text | None = None
    ask: _Text | None = None
    trade: _Text | None = None
    absent: Annotated[tuple[_Number, ...], Field(strict=False)] = ()


class SizeMapping(Table):
    """``[size]``: columns in units of ``unit`` of the contract, on a grid of ``lot_size``."""

    unit: _Unit
    lot_size: _Unit | None = None
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


class Trades(Table):
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


class DepthMapping(Table):
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


class Floats(Table):
    """``[features]`` and ``[targets]``: float columns."""

    columns: _Names


class Hours(Table):
    """``[calendar]``: the sessions of an exchange, by its name in ``exchange-calendars``."""

    exchange: _Text
    session_breaks: Literal["carry", "reset"] = "carry"
