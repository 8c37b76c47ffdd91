"""The first rows of a CSV or Parquet file as text, and how the file is written."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from backtest.errors import DataError
from backtest.plugins.sources.mapped.files import ParquetFile
from backtest.plugins.sources.shared.packed import unpacked

ROWS = 1_000
"""Rows that are looked at, at most."""

NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

_BYTES = 1 << 20
_SEPARATORS = ",;\t|"
_PARQUET = (".parquet", ".parq", ".pq")
_TIME = re.compile(r"[0-9][0-9:.,/ T-]*Z?")
_COMMA = re.compile(r"[+-]?[0-9]{1,3}(\.?[0-9]{3})*,[0-9]+")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")
_NOTHING = ("NA", "N/A", "NaN", "nan", "NULL", "null", "None", "-", "#N/A", r"\N")


@dataclass(frozen=True)
class Sample:
    """The first rows of a file.

    Attributes:
        columns: cells that hold something, by name of column.
        written: keys of ``[csv]`` that differ from their defaults.
        types: Arrow's types by name of column; none for CSV.
    """

    columns: Mapping[str, Sequence[str]]
    written: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, pa.DataType] = field(default_factory=dict)


def sample_of(path: Path) -> Sample:
    """The first rows of a file.

    Args:
        path: CSV, plain or compressed, a zip archive, of which the first file counts, or Parquet.

    Raises:
        DataError: it cannot be read, or has no rows.
    """
    if not path.is_file():
        raise DataError("it is no file", place=str(path), remedy="Give one of the files to ingest.")
    found = _parquet(path) if path.suffix.lower() in _PARQUET else _csv(path)
    if not any(found.columns.values()):
        raise DataError("there are no rows to look at", place=str(path))
    return found


def _parquet(path: Path) -> Sample:
    file = ParquetFile(path)
    names = [*file.types()]
    batch = next(file.batches(names, ()), None)
    if batch is None:
        return Sample({})
    first = batch.slice(0, ROWS)
    columns, types = {}, {}
    for name, column in zip(names, first.columns, strict=True):
        types[name] = column.type
        columns[name] = [str(cell) for cell in _plain(column.drop_null()).to_pylist()]
    return Sample(columns, types=types)


def _plain(column: pa.Array) -> pa.Array:
    """Timestamps as text: without pandas, those of nanoseconds have no Python object."""
    return column.cast(pa.string()) if pa.types.is_timestamp(column.type) else column


def _csv(path: Path) -> Sample:
    file = unpacked(path, None, (), Counter())[0]
    piece = next(file.lines(_BYTES), b"").removeprefix(b"\xef\xbb\xbf")
    written: dict[str, Any] = {}
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        written["encoding"], text = "cp1252", piece.decode("cp1252", errors="replace")
    lines = text.splitlines()[: ROWS + 100]
    separator, skip = _separator([line for line in lines if line.strip()])
    if separator != ",":
        written["separator"] = separator
    blank = next((k for k, line in enumerate(lines) if line.strip()), 0)
    if skip:
        written["skip"] = skip + blank
    rows = [row for row in csv.reader(io.StringIO("\n".join(lines[skip + blank :])),
                                      delimiter=separator) if row]  # fmt: skip
    if not rows:
        return Sample({})
    names = rows[0]
    if any(_is_value(cell) for cell in names) or len({*names}) < len(names):
        names = [f"column{k}" for k in range(len(rows[0]))]
        written |= {"header": False, "columns": names}
        rows.insert(0, names)
    cells = [[row[k].strip() for row in rows[1:] if k < len(row)] for k in range(len(names))]
    null = sorted({cell for column in cells for cell in column if cell in _NOTHING})
    if {*null} - {"null", "NULL"}:
        written["null"] = null
    plain = [[cell for cell in column if cell and cell not in null] for column in cells]
    return Sample(dict(zip(names, _plain_numbers(plain, written), strict=True)), written)


def _separator(lines: Sequence[str]) -> tuple[str, int]:
    """What parts the cells of most lines, and how many lines come before the first such one."""
    best = (0, 0, ",", 0)
    for order, separator in enumerate(_SEPARATORS):
        rows = csv.reader(islice(lines, ROWS), delimiter=separator)
        try:
            counts = [len(row) for row in rows]
        except csv.Error:
            continue
        width, times = Counter(counts).most_common(1)[0] if counts else (1, 0)
        if width > 1:
            best = max(best, (times * width, -order, separator, counts.index(width)))
    return best[2], best[3]


def _is_value(cell: str) -> bool:
    """Whether a cell is a number or a time rather than a name."""
    return bool(
        NUMBER.fullmatch(cell.strip()) or re.fullmatch(r"[0-9][0-9:.,/ T-]*Z?", cell.strip())
    )


def _plain_numbers(columns: Sequence[Sequence[str]], written: dict[str, Any]) -> list[list[str]]:
    """The cells with decimal points and no marks of thousands; which there were is noted."""
    numbers = [column for column in columns if column and all(map(_is_number, column))]
    cells = [cell for column in numbers for cell in column if "," in cell]
    comma = bool(cells) and not all(_GROUPED.fullmatch(cell) for cell in cells)
    if comma:
        written["decimal"] = ","
        if any("." in cell for cell in cells):
            written["thousands"] = "."
    elif cells:
        written["thousands"] = ","
    point, mark = (",", ".") if comma else (".", ",")
    return [
        [
            cell.replace(mark, "").replace(point, ".") if column in numbers else cell
            for cell in column
        ]
        for column in columns
    ]


def _is_number(cell: str) -> bool:
    """Whether it is a number with a decimal point or comma, and marks of thousands or none."""
    return any(form.fullmatch(cell) for form in (NUMBER, _COMMA, _GROUPED))
