"""CSV and Parquet files as batches of chosen columns."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from backtest.data.parquet import mapped_errors
from backtest.errors import DataError

_BLOCK_BYTES = 1 << 23
_BATCH_ROWS = 65_536


class InputTable(Protocol):
    """A file of rows."""

    @property
    def path(self) -> Path:
        """Where it is."""

    def types(self) -> dict[str, str]:
        """The name and type of every column; CSV has no types, so all are empty."""

    def batches(self, columns: Sequence[str], text: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Some columns; in CSV those in ``text`` as text and the others as float64."""


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file; page checksums are verified where it has them."""

    path: Path

    def types(self) -> dict[str, str]:
        """The name and type of every column."""
        with mapped_errors(str(self.path)):
            schema = self._open().schema_arrow
        return {field.name: str(field.type) for field in schema}

    def batches(self, columns: Sequence[str], text: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Some columns, as they are."""
        with mapped_errors(str(self.path)):
            batches = self._open().iter_batches(_BATCH_ROWS, columns=list(columns))
        while True:
            with mapped_errors(str(self.path)):
                batch: Any = next(batches, None)
            if batch is None:
                return
            yield batch

    def _open(self) -> Any:
        if self.path.stat().st_size == 0:
            raise DataError("the file is empty", place=str(self.path))
        return pq.ParquetFile(self.path, page_checksum_verification=True)


@dataclass(frozen=True)
class CsvFile:
    """A CSV file with a header, gzip or plain."""

    path: Path

    def types(self) -> dict[str, str]:
        """The name of every column."""
        with self._opened(pacsv.ConvertOptions()) as reader:
            return dict.fromkeys(reader.schema.names, "")

    def batches(self, columns: Sequence[str], text: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Some columns: text as it stands, others as float64."""
        options = pacsv.ConvertOptions(
            column_types={n: pa.string() if n in text else pa.float64() for n in columns},
            include_columns=columns,
            null_values=["", "null", "NULL"],
            strings_can_be_null=True,
        )
        with self._opened(options) as reader:
            yield from reader

    @contextmanager
    def _opened(self, options: pacsv.ConvertOptions) -> Iterator[Any]:
        try:
            with self.path.open("rb") as raw:
                packed = raw.read(2) == b"\x1f\x8b"
            with gzip.open(self.path) if packed else self.path.open("rb") as stream:
                yield pacsv.open_csv(
                    stream,
                    read_options=pacsv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
                    convert_options=options,
                )
        except (pa.ArrowException, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
            raise DataError(f"cannot be read as CSV: {error}", place=str(self.path)) from None


def files_in(input: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The input, or the folder's files with these suffixes, at any depth.

    Raises:
        DataError: there are none.
    """
    if not input.is_dir():
        return [input]
    found = sorted(p for p in input.rglob("*") if p.is_file() and p.name.endswith(suffixes))
    if not found:
        raise DataError(f"the folder holds no {' or '.join(suffixes)} files", place=str(input))
    return found
