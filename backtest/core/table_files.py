"""Parquet files that grow by pieces, with a digest of the values that they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.core.row_groups import Collector, Group, table_schema
from backtest.core.value_digest import ColumnDigest

Settings: TypeAlias = Callable[[pa.Schema], dict[str, Any]]


class TableFile:
    """A Parquet file of a table; close it before reading it.

    ``append`` is all that a single thread needs. Where one thread makes rows and another encodes
    them, the first calls ``add`` and the second calls ``write`` with the groups that it gives.

    Args:
        path: where.
        schema: the columns. Dictionary columns of strings are stored as categories, whose
            dictionaries may differ from piece to piece.
        hashed: whether ``digest`` will be asked for.
        settings: gives the arguments of ``pyarrow.parquet.ParquetWriter`` for a schema.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        hashed: bool = True,
        settings: Settings | None = None,
    ) -> None:
        schema = table_schema(schema)
        self._schema = schema
        self._collector = Collector(schema)
        self._digests = [ColumnDigest() for _ in schema] if hashed else []
        self._scratch = np.empty(0, dtype=np.uint64)
        self._rows = 0
        self._writer = pq.ParquetWriter(path, schema, **(settings or encodings)(schema))

    def append(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Add rows and write what fills a row group.

        Raises:
            ValueError: as for ``add``.
            OSError: the file cannot be written.
        """
        for group in self.add(rows):
            self.write(group)

    def add(self, rows: pa.RecordBatch | pa.Table) -> Iterator[Group]:
        """Copy rows of numbers, whose memory may then be used for others.

        Yields:
            Groups to ``write``, in this order. While two of a file are not written yet, this waits.

        Raises:
            ValueError: other columns than the file has, or no value where there must be one.
        """
        return self._collector.add(rows)

    def rest(self) -> Group | None:
        """The last rows, to be written as a shorter row group."""
        return self._collector.rest()

    def write(self, group: Group) -> None:
        """Encode a group and let it be filled again."""
        try:
            self._writer.write_table(group.table(), row_group_size=group.rows)
            if self._digests:
                if len(self._scratch) < group.capacity:
                    self._scratch = np.empty(group.capacity, dtype=np.uint64)
                group.add_to(self._digests, self._scratch)
            self._rows += group.rows
        finally:
            self.give_back(group)

    def give_back(self, group: Group) -> None:
        """Let a group be filled again without writing it."""
        self._collector.give_back(group)

    def close(self) -> None:
        """Write the rest and the footer.

        Raises:
            OSError: the file cannot be written.
        """
        if not self._writer.is_open:
            return
        try:
            rest = self.rest()
            if rest is not None:
                self.write(rest)
        finally:
            self._writer.close()

    def digest(self) -> str:
        """SHA-256 over the columns' names, types and digests; after ``close``.

        It is of the values in their order: neither pieces, row groups, encodings nor the order of
        the names of a category show in it.
        """
        whole = hashlib.sha256(f"{self._rows}".encode())
        for field, digest in zip(self._schema, self._digests, strict=True):
            kind = "string" if pa.types.is_dictionary(field.type) else field.type
            whole.update(f"\0{field.name}\0{kind}\0{digest.hexdigest()}".encode())
        return whole.hexdigest()


def encodings(schema: pa.Schema) -> dict[str, Any]:
    """What ``pyarrow.parquet.ParquetWriter`` is told of some columns.

    ``benchmarks/writers.py`` compares these settings with others. Instants of every row rise by
    steps that differ: split into streams of bytes and packed, they take fewer instructions than as
    differences. Where instants are absent from some rows they come in runs, as most other whole
    numbers do, and differences are best. Floats of a model hardly pack at all. The least and the
    largest value of a row group are noted for the first column of instants, by which readers skip.
    """
    instants = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    split, delta, packed, named = [], [], [], []
    for field in schema:
        kind = field.type
        if pa.types.is_timestamp(kind) and not field.nullable:
            split.append(field.name)
            packed.append(field.name)
        elif pa.types.is_timestamp(kind) or pa.types.is_int32(kind) or pa.types.is_int64(kind):
            delta.append(field.name)
        elif pa.types.is_dictionary(kind) or pa.types.is_string(kind):
            named.append(field.name)
        elif not pa.types.is_floating(kind):
            packed.append(field.name)
    return {
        "compression": dict.fromkeys(packed, "lz4"),
        "use_dictionary": named,
        "column_encoding": dict.fromkeys(split, "BYTE_STREAM_SPLIT")
        | dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        "write_statistics": instants[:1],
        "write_page_checksum": True,
    }
