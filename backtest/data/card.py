"""The dataset card ``dataset.toml``: what a folder of Parquet files holds, and in which units.

``docs/data.md`` is the reference of its keys. A card is parsed once, here, into a frozen value;
``open_dataset`` joins it with the files that it names.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from backtest.core import toml
from backtest.core.text import first_of, suggestion
from backtest.core.times import format_utc, parse_utc
from backtest.core.zones import known_zone
from backtest.data.model_errors import problems
from backtest.errors import DataError
from backtest.market.instruments import Instrument

CARD_NAME = "dataset.toml"

_MOST_DIGITS = 80
_LARGEST_EXPONENT = 30
_LARGEST_FEE = 1_000_000_000
_SHOWN = 5


def exact_decimal(value: object) -> Decimal:
    """A number of a card or a mapping, from text or a whole number.

    Raises:
        ValueError: it is not a decimal number, or is beyond 1e30 or finer than 1e-30, where sums
            and products would take forever or not be exact.
    """
    if isinstance(value, float):
        raise ValueError(f'write it as text, "{value}": a binary fraction would not be exact')
    if isinstance(value, str) and len(value) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(value)} characters is too long")
    try:
        number = Decimal(value) if isinstance(value, (str, int, Decimal)) else None
    except InvalidOperation:
        number = None
    if number is None or isinstance(value, bool) or not number.is_finite():
        raise ValueError(f"{value!r} is not a decimal number")
    exponent = number.as_tuple().exponent
    if number and (number.adjusted() > _LARGEST_EXPONENT or int(exponent) < -_LARGEST_EXPONENT):
        raise ValueError(f"{value!s:.40} is not between 1e-30 and 1e30 with at most 30 decimals")
    return number


def _glob(pattern: object) -> str:
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"a file pattern is text such as *.parquet, not {pattern!r}")
    segments = pattern.split("/")
    if pattern.startswith("/") or "\\" in pattern or {"", ".", ".."} & set(segments):
        raise ValueError(f"{pattern!r} must be a path below the card's folder, without '..'")
    return pattern


def _instant(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not an instant; write it as text, "2025-09-01T14:30:00Z"')
    return parse_utc(value)


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"named more than once: {first_of(list(map(repr, repeated)))}")
    return names


_Text: TypeAlias = Annotated[str, Field(min_length=1)]
_Names: TypeAlias = Annotated[tuple[_Text, ...], Field(strict=False, min_length=1)]
_Decimal: TypeAlias = Annotated[Decimal, BeforeValidator(exact_decimal), PlainSerializer(str)]
_Glob: TypeAlias = Annotated[str, BeforeValidator(_glob)]
_Instant: TypeAlias = Annotated[int, BeforeValidator(_instant), PlainSerializer(format_utc)]
_Interval: TypeAlias = Annotated[tuple[_Instant, _Instant], Field(strict=False)]
_Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Zone: TypeAlias = Annotated[str, AfterValidator(known_zone)]
"""An IANA name."""


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Columns(_Table):
    """``[columns]``: the name in the files of each canonical column."""

    ts_event: _Text = "ts_event"
    ts_recv: _Text = "ts_recv"
    symbol: _Text = "symbol"
    seq: _Text = "seq"
    bid: _Text = "bid"
    ask: _Text = "ask"
    bid_size: _Text = "bid_size"
    ask_size: _Text = "ask_size"
    trade_price: _Text = "trade_price"
    trade_size: _Text = "trade_size"
    aggressor: _Text = "aggressor"

    def reserved(self) -> set[str]:
        """Names that features and targets cannot have.

        ``aggressor`` is not reserved until a card names its column: it was a free name before.
        """
        names = dict(self)
        if "aggressor" not in self.model_fields_set:
            del names["aggressor"]
        return set(names.values())


class Features(_Table):
    """``[features]``: one float32 column each, or all of them packed into one binary column."""

    columns: _Names | None = None
    packed: _Text | None = None
    names: _Names | None = None

    @model_validator(mode="after")
    def _one_layout(self) -> Features:
        wide, packed = self.columns is not None, self.packed is not None
        if wide == packed or packed != (self.names is not None):
            raise ValueError("give either columns, or packed and names")
        _unique(self.all)
        return self

    @property
    def all(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return self.columns or self.names or ()


class Targets(_Table):
    """``[targets]``: float32 columns that judge predictions and never reach a strategy."""

    columns: _Names

    @field_validator("columns")
    @classmethod
    def _distinct(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        return _unique(columns)


class InstrumentTable(_Table):
    """``[instruments.…]``: the fields of ``Instrument`` that differ from the default."""

    tick_size: _Decimal | None = None
    lot_size: _Decimal | None = None
    multiplier: _Decimal | None = None
    currency: _Text | None = None
    fee_rate: _Decimal | None = None
    fee_per_lot: _Decimal | None = None
    maker_fee_rate: _Decimal | None = None
    maker_fee_per_lot: _Decimal | None = None
    tradable: bool | None = None
    signed_prices: bool | None = None
    money_unit: _Decimal | None = None

    @field_validator("money_unit")
    @classmethod
    def _power_of_ten(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and (
            not 0 < value <= 1 or value.normalize().as_tuple().digits != (1,)
        ):
            raise ValueError(f'must be a power of ten, "1" at most, not {value}')
        return value

    @field_validator("tick_size", "lot_size", "multiplier")
    @classmethod
    def _positive(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and value <= 0:
            raise ValueError(f"must be above 0, not {value}")
        return value

    @field_validator("fee_rate", "fee_per_lot", "maker_fee_rate", "maker_fee_per_lot")
    @classmethod
    def _plausible(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and abs(value) > _LARGEST_FEE:
            raise ValueError(f"must be at most {_LARGEST_FEE}, either sign, not {value}")
        return value

    def over(self, base: Instrument) -> Instrument:
        """``base`` with this table's fields in place of its own."""
        fields = {k: v for k, v in dict(self).items() if v is not None}
        return dataclasses.replace(base, **fields)


class Calendar(_Table):
    """``[calendar]``: sessions are half-open intervals of int64 ns."""

    zone: Zone = "UTC"
    sessions: Annotated[tuple[_Interval, ...], Field(strict=False)] | None = None
    session_breaks: Literal["carry", "reset"] = "carry"

    @field_validator("sessions")
    @classmethod
    def _ordered(
        cls, sessions: tuple[tuple[int, int], ...] | None
    ) -> tuple[tuple[int, int], ...] | None:
        last: int | None = None
        for number, (opened, closed) in enumerate(sessions or ()):
            if opened >= closed:
                raise ValueError(
                    f"session {number} must open before it closes, not open at"
                    f" {format_utc(opened)} and close at {format_utc(closed)}"
                )
            if last is not None and opened < last:
                raise ValueError(
                    f"session {number} opens before the previous one closes, at"
                    f" {format_utc(opened)}"
                )
            last = closed
        return sessions


class Card(_Table):
    """A dataset card. Equal cards describe equal datasets."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    files: Annotated[tuple[_Glob, ...], Field(strict=False, min_length=1)] = ("*.parquet",)
    depth_files: Annotated[tuple[_Glob, ...], Field(strict=False)] = ()
    symbols: _Names
    columns: Columns = Columns()
    features: Features | None = None
    targets: Targets | None = None
    instruments: dict[str, InstrumentTable] = Field(default_factory=dict)
    calendar: Calendar = Calendar()
    sha256: dict[str, _Digest] = Field(default_factory=dict)
    footer_sha256: dict[str, _Digest] = Field(default_factory=dict)
    notes: dict[str, Any] = Field(default_factory=dict)

    @field_validator("symbols")
    @classmethod
    def _distinct_symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        return _unique(symbols)

    @field_validator("columns")
    @classmethod
    def _distinct_columns(cls, columns: Columns) -> Columns:
        _unique(tuple(dict(columns).values()))
        return columns

    @field_validator("features", "targets")
    @classmethod
    def _apart(
        cls, table: Features | Targets | None, info: ValidationInfo
    ) -> Features | Targets | None:
        taken = info.data.get("columns", Columns()).reserved()
        features = info.data.get("features")
        if features is not None:
            taken |= {features.packed, *features.all}
        ours: set[str | None] = set(getattr(table, "columns", None) or ())
        ours |= {getattr(table, "packed", None)} - {None}
        if ours & taken:
            columns = ", ".join(sorted(map(repr, ours & taken)))
            raise ValueError(f"{columns} is already used by another table")
        return table

    @field_validator("instruments")
    @classmethod
    def _known_and_exact(
        cls, instruments: dict[str, InstrumentTable], info: ValidationInfo
    ) -> dict[str, InstrumentTable]:
        symbols = info.data.get("symbols")
        if symbols is None:
            return instruments
        wrong = []
        for name in instruments.keys() - {"default", *symbols}:
            hint = suggestion(name, symbols) or ""
            wrong.append(f"{toml.key(name)} is not among the symbols. {hint}".strip())
        for symbol, instrument in zip(symbols, _resolve(symbols, instruments), strict=True):
            try:
                _ = instrument.half_tick_lot if instrument.tradable else None
            except ValueError as error:
                wrong.append(f"{toml.key(symbol)}: {error}")
        if wrong:
            raise ValueError(first_of(sorted(wrong), _SHOWN, "; "))
        return instruments

    def without_zone(self) -> Card:
        """The same with the clocks of UTC: a zone decides how times are shown, and nothing else."""
        calendar = self.calendar.model_copy(update={"zone": "UTC"})
        return self.model_copy(update={"calendar": calendar})

    def resolved_instruments(self) -> tuple[Instrument, ...]:
        """The instrument of every symbol, in the symbols' order."""
        return _resolve(self.symbols, self.instruments)


def read_card(path: Path | str, text: bytes | None = None) -> Card:
    """The card in a file.

    Args:
        path: the file; only named in errors if ``text`` is given.
        text: what the file holds.

    Raises:
        DataError: not readable, not TOML, or refused; every problem at once, by its TOML path.
    """
    try:
        raw = Path(path).read_bytes() if text is None else text
        table = {"format": None, **toml.loads(raw.decode())}
        return Card.model_validate(table)
    except OSError as error:
        raise DataError(f"the card cannot be read: {error.strerror}", place=str(path)) from None
    except ValidationError as error:
        raise refusal(error, table, place=str(path)) from None
    except ValueError as error:
        raise DataError(f"the card is not valid TOML: {error}", place=str(path)) from None


def refusal(
    error: ValidationError, table: Mapping[str, Any] | None = None, *, place: str
) -> DataError:
    """What is wrong with a card, every problem at once, by its TOML path."""
    found = problems(error, Card, table)
    return DataError(
        found[0] if len(found) == 1 else "\n  ".join(["refused:", *found]),
        place=place,
        remedy="`backtest docs data` lists the keys of a card.",
    )


def write_card(folder: Path, card: Card, *, name: str = CARD_NAME) -> Path:
    """Write ``dataset.toml`` into a folder; ``read_card`` gives back an equal card."""
    path = folder / name
    path.write_text(card_text(card), encoding="utf-8")
    return path


def card_text(card: Card) -> str:
    """The card as TOML; ``read_card`` gives back an equal card."""
    table = card.model_dump(exclude_defaults=True, exclude_none=True)
    return toml.dumps({"format": card.format, **table})


def _resolve(
    symbols: Sequence[str], instruments: dict[str, InstrumentTable]
) -> tuple[Instrument, ...]:
    default = instruments.get("default", InstrumentTable()).over(Instrument())
    return tuple(instruments.get(symbol, InstrumentTable()).over(default) for symbol in symbols)
