"""Files of a NautilusTrader catalogue: what they hold, and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.data.card import exact_decimal
from backtest.data.parquet import check_sizes, mapped_errors
from backtest.errors import DataError
from backtest.plugins.sources.nautilus.fixed_point import BYTES_OF_64, BYTES_OF_128, SCALE_OF_128
from backtest.plugins.sources.shared.inputs import input_files
from backtest.plugins.sources.shared.time_order import SLACK

QUOTES, TRADES, DELTAS, INSTRUMENT = "quotes", "trades", "order book deltas", "instruments"

_TIMES = ("ts_event", "ts_init")
COLUMNS = {
    QUOTES: ("bid_price", "ask_price", "bid_size", "ask_size", *_TIMES),
    TRADES: ("price", "size", "aggressor_side", *_TIMES),
    DELTAS: ("action", "side", "price", "size", "order_id", "flags", *_TIMES),
}
"""The columns that are read, by what the file holds."""

_BATCH_ROWS = 16_384
_LATEST = 4_102_444_800 * 10**9  # 2100


@dataclass(frozen=True)
class CatalogFile:
    """A file of market data.

    Attributes:
        path: the file.
        kind: ``QUOTES``, ``TRADES`` or ``DELTAS``.
        instrument: its id.
        price_precision, size_precision: decimals that the file states.
        rows: how many it has.
    """

    path: Path
    kind: str
    instrument: str
    price_precision: int
    size_precision: int
    rows: int

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return str(self.path)

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Its columns, with the number of the first row of each batch.

        Raises:
            DataError: it is damaged, or a ts_init is more than ``SLACK`` before an earlier row's.
        """
        first, last = 0, 0
        with mapped_errors(self.place):
            file = _opened(self.path)
            batches = file.iter_batches(_BATCH_ROWS, columns=list(COLUMNS[self.kind]))
        while True:
            with mapped_errors(self.place):
                batch: Any = next(batches, None)
            if batch is None:
                return
            if not batch.num_rows:
                continue
            self._check(batch, first, last)
            last = max(last, int(batch.column("ts_init").to_numpy().max()))
            yield first, batch
            first += batch.num_rows

    def _check(self, batch: Any, first: int, last: int) -> None:
        for name in COLUMNS[self.kind]:
            if batch.column(name).null_count:
                raise DataError(f"there are rows without {name!r}", place=self.place)
        for name in _TIMES:
            wrong = batch.column(name).to_numpy() > _LATEST
            if wrong.any():
                i = int(np.argmax(wrong))
                raise DataError(
                    f"row {first + i} has the {name} {batch.column(name)[i]}, after 2100",
                    place=self.place,
                    remedy="Times are nanoseconds since 1970.",
                )
        received = batch.column("ts_init").to_numpy().astype(np.int64)
        highest = np.maximum.accumulate(np.append(last, received))[:-1]
        back = received < highest - SLACK
        if back.any():
            raise DataError(
                f"not sorted: row {first + int(np.argmax(back))} has a ts_init more than a second"
                " before that of an earlier row",
                place=self.place,
                remedy="Sort the file by ts_init, as a catalogue does.",
            )


@dataclass
class InstrumentFacts:
    """What a file of instruments says of one; ``None`` where it says nothing."""

    tick: Decimal | None = None
    lot: Decimal | None = None
    multiplier: Decimal | None = None
    currency: str | None = None
    inverse: bool = False
    taker_fee: Decimal | None = None
    maker_fee: Decimal | None = None


@dataclass
class Catalog:
    """The files of an input.

    Attributes:
        files: of market data.
        instruments: facts by id.
        ignored: files left out, by reason.
    """

    files: list[CatalogFile] = field(default_factory=list)
    instruments: dict[str, InstrumentFacts] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)


def read_catalog(input: Path, ignore: Sequence[str]) -> Catalog:
    """What a catalogue holds.

    Raises:
        DataError: no Parquet files, or ones that cannot be read or state no instrument.
    """
    found = input_files(input, (".parquet",), ignore, noun=".parquet files")
    catalog = Catalog(ignored=Counter(found.ignored))
    for path in found.paths:
        with mapped_errors(str(path)):
            file = _opened(path)
            schema = file.schema_arrow
            kind = _kind(schema)
        if kind == INSTRUMENT:
            _add_instruments(catalog, file, str(path))
        elif kind is None:
            catalog.ignored[f"data of another kind ({path.parent.parent.name or 'unknown'})"] += 1
        elif not file.metadata.num_rows:
            catalog.ignored["file without rows"] += 1
        else:
            catalog.files.append(_described(path, kind, schema, file.metadata.num_rows))
    return catalog


def _opened(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise DataError("the file is empty", place=str(path))
    file = pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
    check_sizes(file.metadata, str(path))
    return file


def _kind(schema: Any) -> str | None:
    names = set(schema.names)
    if {"id", "price_increment", "ts_init"} <= names:
        return INSTRUMENT
    for kind, columns in COLUMNS.items():
        if names >= set(columns):
            return kind
    return None


def _described(path: Path, kind: str, schema: Any, rows: int) -> CatalogFile:
    stated = schema.metadata or {}
    name = stated.get(b"instrument_id", b"").decode(errors="replace")
    if not name:
        raise DataError(
            "its schema does not name an instrument_id", place=str(path),
            remedy="Files of a catalogue carry it as metadata: write them with the catalogue.",
        )  # fmt: skip
    precisions = []
    for key in (b"price_precision", b"size_precision"):
        text = stated.get(key, b"").decode(errors="replace")
        if not text.isdecimal() or int(text) > SCALE_OF_128:
            raise DataError(f"its schema has the {key.decode()} {text!r}", place=str(path))
        precisions.append(int(text))
    for column in COLUMNS[kind]:
        _check_type(schema.field(column).type, column, str(path))
    return CatalogFile(path, kind, name, precisions[0], precisions[1], rows)


def _check_type(kind: Any, name: str, place: str) -> None:
    whole = kind in (pa.int64(), pa.uint64())
    if "price" in name or "size" in name:
        fixed = pa.types.is_fixed_size_binary(kind) and kind.byte_width in (
            BYTES_OF_64, BYTES_OF_128,
        )  # fmt: skip
        good = fixed or whole
    else:
        good = kind == pa.uint64() or (kind == pa.uint8() and name not in ("ts_event", "ts_init"))
    if not good:
        raise DataError(
            f"column {name!r} is {kind}", place=place,
            remedy="Numbers are fixed-size binary of 8 or 16 bytes, times uint64.",
        )  # fmt: skip


def _add_instruments(catalog: Catalog, file: Any, place: str) -> None:
    with mapped_errors(place):
        rows = file.read().to_pylist()
    for row in rows:
        facts = InstrumentFacts(inverse=bool(row.get("is_inverse")))
        for name, key in (
            ("tick", "price_increment"), ("lot", "size_increment"), ("multiplier", "multiplier"),
            ("taker_fee", "taker_fee"), ("maker_fee", "maker_fee"),
        ):  # fmt: skip
            if row.get(key) is not None:
                try:
                    setattr(facts, name, exact_decimal(row[key]))
                except ValueError as error:
                    raise DataError(f"its {key} {error}", place=place) from None
        facts.currency = row.get("quote_currency") or row.get("currency")
        catalog.instruments[str(row["id"])] = facts
