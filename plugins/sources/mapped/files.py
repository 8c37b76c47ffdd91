"""CSV and Parquet files as batches of chosen columns."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from backtest.data.parquet import check_sizes, mapped_errors
from backtest.errors import DataError
from backtest.plugins.sources.mapped.mapping_tables import CsvFormat
from backtest.plugins.sources.shared.packed import BLOCK_BYTES, Packed

MOST_COLUMNS = 16_384
_BATCH_ROWS = 65_536
_ROW = re.compile(r"Row #([0-9]+): ")
_COLUMN = re.compile(r"In CSV column #([0-9]+): ")


class InputTable(Protocol):
    """A file of rows."""

    @property
    def place(self) -> str:
        """What it is called in messages."""

    def types(self) -> dict[str, str]:
        """The name and type of every column; CSV has no types, so all are empty."""

    def batches(self, columns: Sequence[str], text: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Some columns; in CSV those in ``text`` as text and the others as float64."""


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file; page checksums are verified if present."""

    path: Path

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return str(self.path)

    def types(self) -> dict[str, str]:
        """The name and type of every column."""
        with mapped_errors(self.place):
            schema = self._open().schema_arrow
        return {field.name: str(field.type) for field in schema}

    def batches(self, columns: Sequence[str], text: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Some columns, as they are."""
        with mapped_errors(self.place):
            file = self._open()
            refuse_repeated(file.schema_arrow.names, columns, self.place)
            batches = file.iter_batches(_BATCH_ROWS, columns=list(columns))
        while True:
            with mapped_errors(self.place):
                batch: Any = next(batches, None)
            if batch is None:
                return
            yield batch

    def _open(self) -> Any:
        if self.path.stat().st_size == 0:
            raise DataError("the file is empty", place=self.place)
        file = pq.ParquetFile(self.path, page_checksum_verification=True, pre_buffer=False)
        check_sizes(file.metadata, self.place)
        return file


@dataclass(frozen=True)
class CsvFile:
    """A CSV file, plain or compressed, or one in a zip archive.

    Attributes:
        packed: its bytes.
        written: how its text is written.
    """

    packed: Packed
    written: CsvFormat = field(default_factory=CsvFormat)

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return self.packed.place

    def types(self) -> dict[str, str]:
        """The name of every column."""
        for piece in self._pieces(1 << 16):
            names = self._header(piece)[0]
            if len(names) > MOST_COLUMNS:
                raise DataError(
                    f"the file has {len(names)} columns, more than {MOST_COLUMNS}", place=self.place
                )
            return dict.fromkeys(names, "")
        raise DataError("the file is empty", place=self.place)

    def batches(self, columns: Sequence[str], text: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Some columns: text unchanged, others as float64."""
        written = self.written
        options = pacsv.ConvertOptions(
            column_types={n: pa.string() if n in text else pa.float64() for n in columns},
            include_columns=columns,
            null_values=["", *written.null],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            decimal_point=written.decimal,
        )
        names: list[str] | None = None
        row = 0
        for piece in self._pieces(BLOCK_BYTES):
            body = piece
            if names is None:
                names, body = self._header(piece)
                refuse_repeated(names, columns, self.place)
            if body.strip():
                table = read_csv(body, names, options, row, self.place, written.separator)
                row += len(table)
                yield from table.to_batches()

    def _pieces(self, size: int) -> Iterator[bytes]:
        """Whole lines in UTF-8, without a byte order mark and without those that are skipped."""
        skip, begun = self.written.skip, False
        plain = codecs.lookup(self.written.encoding).name == "utf-8"
        for piece in self.packed.lines(size):
            body = piece
            if not plain:
                try:
                    body = piece.decode(self.written.encoding).encode()
                except UnicodeError as error:
                    raise DataError(
                        f"the file cannot be read as {self.written.encoding}: {error}",
                        place=self.place,
                    ) from None
            if not begun:
                body, begun = body.removeprefix(b"\xef\xbb\xbf"), True
            while skip and body:
                body, skip = body[(body.find(b"\n") + 1) or len(body) :], skip - 1
            if body:
                yield body

    def _header(self, piece: bytes) -> tuple[list[str], bytes]:
        """The names of the columns, and what follows them."""
        if self.written.columns is not None:
            return [*self.written.columns], piece
        piece = piece.lstrip(b"\r\n")
        line = piece.splitlines()[0] if piece else b""
        try:
            (names,) = csv.reader([line.decode()], delimiter=self.written.separator)
        except (ValueError, csv.Error) as error:
            raise DataError(
                f"the file cannot be read as CSV: its first line is no list of names: {error}",
                place=self.place,
            ) from None
        return names, piece[len(line) :]


def read_csv(
    body: bytes,
    names: Sequence[str],
    options: Any,
    first_row: int,
    place: str,
    separator: str = ",",
) -> pa.Table:
    """Whole lines of CSV without a header.

    Args:
        names: of all columns.
        options: pyarrow's ``ConvertOptions``.
        first_row: the number of the first of them.
        place: what the file is called in messages.
        separator: what stands between cells.

    Raises:
        DataError: a line with other than the columns, or a cell that is not of its type, by row.
    """
    try:
        return pacsv.read_csv(
            pa.BufferReader(body),
            # One block, without threads: only then does an error name the row.
            read_options=pacsv.ReadOptions(
                column_names=list(names), use_threads=False, block_size=len(body) + 1
            ),
            parse_options=pacsv.ParseOptions(delimiter=separator),
            convert_options=options,
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        text = str(error)
        row, column = _ROW.search(text), _COLUMN.match(text)
        where = "" if row is None else f"row {first_row + int(row[1]) - 1} "
        problem = _COLUMN.sub("", _ROW.sub("", text, count=1), count=1)
        name = "" if column is None else f"column {names[int(column[1])]!r}: "
        raise DataError(
            f"{where}cannot be read as CSV: {name}{problem:.200}",
            place=place,
            remedy="Mend or remove the row.",
        ) from None


def refuse_repeated(names: Sequence[str], wanted: Sequence[str], place: str) -> None:
    """Refuse a file with two columns of a name that is read.

    Raises:
        DataError: naming it.
    """
    for name in wanted:
        if list(names).count(name) > 1:
            raise DataError(f"the column {name!r} is there twice", place=place)
