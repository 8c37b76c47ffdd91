"""Zipped CSV of equity ticks: which files there are, and their rows in chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from backtest.core.arrays import Int64Array
from backtest.errors import DataError
from backtest.plugins.sources.mapped.files import read_csv
from backtest.plugins.sources.shared.inputs import input_files
from backtest.plugins.sources.shared.packed import Packed, member_names

_NAME = re.compile(r"([A-Za-z][A-Za-z0-9.-]{0,15})_([0-9]{8})_(quote|trade)\.zip", re.IGNORECASE)
_COLUMNS = {
    "quote": ("time", "bid", "bid_size", "ask", "ask_size", "exchange", "condition", "suspicious"),
    "trade": ("time", "price", "size", "exchange", "condition", "suspicious"),
}
_BLOCK_BYTES = 1 << 20
_FIRST, _LAST = date(1990, 1, 1), date(2100, 1, 1)
_LARGEST = 2**56  # so that the sizes of all exchanges add up in 64 bits
_MS_PER_DAY = 25 * 3_600_000  # the longest: when clocks go back
_REMEDY = "`backtest docs data` has the rows of quote and trade files."


@dataclass(frozen=True)
class EquityFile:
    """One symbol's quotes or trades of one day."""

    path: Path
    symbol: str
    day: date
    kind: str


def equity_files(input: Path, ignore: Sequence[str]) -> tuple[list[EquityFile], Mapping[str, int]]:
    """The zip files of a folder, or the one: trades before quotes, then by symbol and day.

    Args:
        input: the folder or file.
        ignore: patterns of names to leave out.

    Returns:
        The files, and how many others were left out, by reason.

    Raises:
        DataError: there are none, other files are there, or a name does not tell what a file holds.
    """
    found = input_files(input, (".zip",), ignore, noun="zip files")
    files = []
    for path in found.paths:
        match = _NAME.fullmatch(path.name)
        try:
            day = None if match is None else datetime.strptime(match[2], "%Y%m%d").date()
        except ValueError:
            day = None
        if match is None or day is None or not _FIRST <= day <= _LAST:
            raise DataError(
                "its name does not show what it contains",
                place=str(path),
                remedy="Name files SYMBOL_YYYYMMDD_quote.zip or SYMBOL_YYYYMMDD_trade.zip.",
            )
        files.append(EquityFile(path, match[1].upper(), day, match[3].lower()))
    return sorted(files, key=lambda f: (f.kind != "trade", f.symbol, f.day)), found.ignored


def read_rows(file: EquityFile) -> Iterator[dict[str, Any]]:
    """A file's rows in chunks: int64 [n] by column name; exchanges as numbers, no conditions.

    Raises:
        DataError: damaged, misnamed, not the columns expected, or times out of range or order.
    """
    names = _COLUMNS[file.kind]
    types = dict.fromkeys(names, pa.int64()) | dict.fromkeys(("exchange", "condition"), pa.string())
    last, first_row = 0, 1
    options = pacsv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
    for piece in _member(file).lines(_BLOCK_BYTES):
        if not piece.strip():
            continue
        for batch in read_csv(piece, names, options, first_row, str(file.path)).to_batches():
            table = _arrays(file, batch, first_row)
            _check(file, table, last, first_row)
            first_row += batch.num_rows
            last = int(table["time"][-1])
            yield table
    if first_row == 1:
        raise DataError("there are no rows", place=str(file.path), remedy=_REMEDY)


def _member(file: EquityFile) -> Packed:
    """The only file in a zip file, which must name the same day, symbol and kind."""
    names = member_names(file.path)
    if len(names) != 1:
        raise DataError(
            f"the archive holds {len(names)} files, not one",
            place=str(file.path),
            remedy="Give each day, symbol and kind an archive of its own.",
        )
    wanted = f"{file.day:%Y%m%d}_{file.symbol}_{file.kind}"
    if not names[0].lower().startswith(wanted.lower()):
        raise DataError(
            f"the archive holds {names[0]!r}, not {wanted!r}",
            place=str(file.path),
            remedy="A file that was renamed would be dated wrongly: restore its name.",
        )
    return Packed(file.path, names[0])


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


def _check(file: EquityFile, table: dict[str, Any], last: int, first_row: int) -> None:
    ms: Int64Array = table["time"]
    for name in set(table) - {"time", "exchange"}:
        large = table[name] > _LARGEST
        if large.any():
            i = int(np.argmax(large))
            raise DataError(
                f"row {first_row + i} has the {name} {table[name][i]}, too large to be one",
                place=str(file.path),
                remedy=_REMEDY,
            )
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
