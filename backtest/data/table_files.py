"""Writes the rows of one canonical table to Parquet files, in row groups of one size."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backtest.core.atomic import writing
from backtest.data.parquet import footer_digest
from backtest.data.schema import TIMESTAMP

ROW_GROUP_ROWS = 131_072
ROWS_PER_FILE = 64 * ROW_GROUP_ROWS

_FEW = ("symbol", "aggressor", "side", "flags", "action")
"""Columns of few values, which have dictionaries."""


class TableFiles:
    """The files ``NAME-00000.parquet``, ``NAME-00001.parquet``, … of a folder.

    Args:
        folder: an existing folder.
        name: what the files' names begin with.
        rows_per_file: a new file is begun after so many rows (a multiple of a row group).

    Attributes:
        schema: that of all tables, once one was added.
        digests, footer_digests: SHA-256 of each finished file, and of its footer.
    """

    def __init__(self, folder: Path, name: str, rows_per_file: int) -> None:
        self.schema: pa.Schema | None = None
        self.digests: dict[str, str] = {}
        self.footer_digests: dict[str, str] = {}
        self._folder = folder
        self._name = name
        self._rows_per_file = rows_per_file
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._file: Any = None
        self._file_rows = 0

    def add(self, table: pa.Table) -> None:
        """Append rows.

        Raises:
            ValueError: columns other than those of the first table.
            DataError: the folder cannot be written.
        """
        if self.schema is None:
            self.schema = table.schema
        elif table.schema != self.schema:
            raise ValueError(f"columns changed from {self.schema.names} to {table.schema.names}")
        self._waiting.append(table)
        self._waiting_rows += len(table)
        # Only whole row groups are written before the end, so their cuts do not depend on tables.
        whole = self._waiting_rows // ROW_GROUP_ROWS * ROW_GROUP_ROWS
        if whole:
            with writing(self._folder):
                self._flush(whole)

    def finish(self) -> None:
        """Write what waits, and end the last file."""
        with writing(self._folder):
            self._flush(self._waiting_rows)
            self._end_file()

    def abandon(self) -> None:
        """Close the file without finishing it: its folder is thrown away."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _flush(self, rows: int) -> None:
        """Write the first ``rows`` waiting rows as row groups."""
        if not rows:
            return
        table = pa.concat_tables(self._waiting)
        for low in range(0, rows, ROW_GROUP_ROWS):
            group = table.slice(low, min(ROW_GROUP_ROWS, rows - low)).combine_chunks()
            if self._file is None:
                self._begin_file(group.schema)
            self._file.write_table(group, row_group_size=ROW_GROUP_ROWS)
            self._file_rows += len(group)
            if self._file_rows >= self._rows_per_file:
                self._end_file()
        # What is left is less than a row group; it waits for more rows, or for the end.
        self._waiting = [table.slice(rows)]
        self._waiting_rows -= rows

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._name}-{len(self.digests):05d}.parquet"

    def _begin_file(self, schema: pa.Schema) -> None:
        integers = [f.name for f in schema if f.type in (pa.int64(), TIMESTAMP)]
        floats = [f.name for f in schema if f.type == pa.float32()]
        self._file = pq.ParquetWriter(
            self._path,
            schema,
            compression="zstd",
            use_dictionary=[f.name for f in schema if f.name in _FEW and f.name not in floats],
            column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED")
            | dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
            write_page_checksum=True,
        )
        self._file_rows = 0

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        path = self._path
        with path.open("rb") as file:
            self.digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            self.footer_digests[path.name] = footer_digest(file)
