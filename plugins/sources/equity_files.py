"""Zipped CSV of equity ticks: which files there are, and their rows in chunks."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from backtest.core.arrays import Int64Array
from backtest.errors import DataError

_NAME = re.compile(r"([A-Za-z][A-Za-z0-9.-]{0,15})_([0-9]{8})_(quote|trade)\.zip", re.IGNORECASE)
_COLUMNS = {
    "quote": ("time", "bid", "bid_size", "ask", "ask_size", "exchange", "condition", "suspicious"),
    "trade": ("time", "price", "size", "exchange", "condition", "suspicious"),
}
_BLOCK_BYTES = 1 << 20
_MS_PER_DAY = 25 * 3_600_000  # the longest: when clocks go back
_REMEDY = "docs/data.md has the rows of quote and trade files."


@dataclass(frozen=True)
class EquityFile:
    """One symbol's quotes or trades of one day."""

    path: Path
    symbol: str
    day: date
    kind: str


def equity_files(input: Path) -> list[EquityFile]:
    """The zip files of a folder, or the one: trades before quotes, then by symbol and day.

    Raises:
        DataError: there are none, or a name does not tell what the file holds.
    """
    paths = sorted(input.glob("*.zip")) if input.is_dir() else [input]
    if not paths:
        raise DataError("the folder holds no zip files", place=str(input))
    files = []
    for path in paths:
        match = _NAME.fullmatch(path.name)
        try:
            day = None if match is None else datetime.strptime(match[2], "%Y%m%d").date()
        except ValueError:
            day = None
        if match is None or day is None:
            raise DataError(
                "its name does not show what it contains",
                place=str(path),
                remedy="Name files SYMBOL_YYYYMMDD_quote.zip or SYMBOL_YYYYMMDD_trade.zip.",
            )
        files.append(EquityFile(path, match[1].upper(), day, match[3].lower()))
    return sorted(files, key=lambda f: (f.kind != "trade", f.symbol, f.day))


def read_rows(file: EquityFile) -> Iterator[dict[str, Any]]:
    """A file's rows in chunks: int64 [n] by column name; exchanges as numbers, no conditions.

    Raises:
        DataError: damaged, misnamed, not the columns expected, or times out of range or order.
    """
    names = _COLUMNS[file.kind]
    types = dict.fromkeys(names, pa.int64()) | dict.fromkeys(("exchange", "condition"), pa.string())
    last, first_row = 0, 1
    with _reading(file.path), _member(file) as stream:
        reader = pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(
                column_names=names, block_size=_BLOCK_BYTES, use_threads=False
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True
            ),
        )
        for batch in reader:
            table = _arrays(file, batch, first_row)
            _check(file, table["time"], last, first_row)
            first_row += batch.num_rows
            if batch.num_rows:
                last = int(table["time"][-1])
            yield table


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(
            f"not a zip file, or damaged: {error}", place=str(path), remedy="Fetch it again."
        ) from None
    except pa.ArrowException as error:
        raise DataError(f"not the expected CSV: {error}", place=str(path), remedy=_REMEDY) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error}", place=str(path)) from None


@contextmanager
def _member(file: EquityFile) -> Iterator[Any]:
    """The only file in a zip file, which must name the same day, symbol and kind."""
    with zipfile.ZipFile(file.path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise DataError(f"holds {len(names)} files, not one", place=str(file.path))
        wanted = f"{file.day:%Y%m%d}_{file.symbol}_{file.kind}"
        if not names[0].lower().startswith(wanted.lower()):
            raise DataError(
                f"holds {names[0]!r}, not {wanted!r}",
                place=str(file.path),
                remedy="A file that was renamed would be dated wrongly: restore its name.",
            )
        with archive.open(names[0]) as stream:
            yield stream


def _arrays(file: EquityFile, batch: pa.RecordBatch, first_row: int) -> dict[str, Any]:
    for name in batch.schema.names:
        column = batch.column(name)
        if column.null_count and name != "condition":
            row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"row {row} has no {name}", place=str(file.path), remedy=_REMEDY)
    table = {
        name: batch.column(name).to_numpy()
        for name in batch.schema.names
        if name not in ("exchange", "condition")
    }
    codes = batch.column("exchange").dictionary_encode()
    numbers = [int.from_bytes(code.encode()[:7], "big") for code in codes.dictionary.to_pylist()]
    table["exchange"] = np.array(numbers, dtype=np.int64)[codes.indices.to_numpy()]
    return table


def _check(file: EquityFile, ms: Int64Array, last: int, first_row: int) -> None:
    wrong = (ms < 0) | (ms >= _MS_PER_DAY)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"row {first_row + i} has the time {ms[i]}, which is not in milliseconds since"
            " midnight",
            place=str(file.path),
            remedy=_REMEDY,
        )
    back = np.diff(ms, prepend=last) < 0
    if back.any():
        i = int(np.argmax(back))
        raise DataError(
            f"row {first_row + i} has the time {ms[i]}, earlier than that of the row before it",
            place=str(file.path),
            remedy="Rows must be in time order: sort the file (stably) by its first column.",
        )
