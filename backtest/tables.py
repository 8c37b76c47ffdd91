"""Tables of a run folder, written piece by piece on a thread of their own, and their digest."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

Piece: TypeAlias = Union["pa.Table", "Callable[[], pa.Table]", None]
"""Rows, what makes them, or ``None``: start anew."""

_AHEAD = 4
_ABSENT = int(np.iinfo(np.int64).min)


class TableWriter:
    """Parquet files in a folder that grow as pieces come; close it before reading them.

    Pieces are encoded and hashed on another thread, a few ahead of it at most.

    Args:
        folder: where.
        written: called after each piece.
    """

    def __init__(self, folder: Path, written: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._written = written
        self._files: dict[str, _TableFile] = {}
        self._pieces: queue.SimpleQueue[tuple[str, Piece] | None] = queue.SimpleQueue()
        self._held = threading.Semaphore(_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="table-writer", daemon=True)
        self._thread.start()

    def write(self, name: str, table: pa.Table) -> None:
        """Add rows to a table; all its pieces have the same columns."""
        self._raise()
        self._held.acquire()
        self._pieces.put((name, table))

    def write_later(self, name: str, make: Callable[[], pa.Table]) -> None:
        """Add rows that are made when their turn comes, from columns that stay as they are."""
        self._raise()
        self._pieces.put((name, make))

    def discard(self, name: str) -> None:
        """Forget what was written to a table, which then starts anew."""
        self._raise()
        self._pieces.put((name, None))

    def close(self) -> None:
        """Write what is left and stop.

        Raises:
            OSError: a file could not be written.
        """
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()
        for file in self._files.values():
            file.close()
        if self._error is not None:
            raise self._error

    def digest(self) -> dict[str, str]:
        """SHA-256 of each table's values, whatever pieces they came in; after ``close``."""
        return {name: file.digest() for name, file in sorted(self._files.items())}

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        import pyarrow as pa

        while (piece := self._pieces.get()) is not None:
            name, content = piece
            if isinstance(content, pa.Table):
                self._held.release()
            if self._error is not None:
                continue
            try:
                if content is None:
                    if name in self._files:
                        self._files.pop(name).close()
                    continue
                table = content if isinstance(content, pa.Table) else content()
                if name not in self._files:
                    self._files[name] = _TableFile(self._folder / f"{name}.parquet", table.schema)
                self._files[name].write(table)
                self._written()
            except BaseException as error:  # raised where pieces are given
                self._error = error


class _TableFile:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        steady = [
            field.name
            for field in schema
            if pa.types.is_timestamp(field.type) or pa.types.is_int64(field.type)
        ]
        self._schema = schema
        self._digests = [hashlib.sha256() for _ in schema]
        self._rows = 0
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=1,
            write_page_checksum=True,
            use_dictionary=[field.name for field in schema if _repeats(field.type)],
            column_encoding=dict.fromkeys(steady, "DELTA_BINARY_PACKED"),
        )

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)
        self._rows += len(table)
        for digest, column in zip(self._digests, table.columns, strict=True):
            for chunk in column.chunks:
                _hash(digest, chunk)

    def close(self) -> None:
        self._writer.close()

    def digest(self) -> str:
        whole = hashlib.sha256(f"{self._rows}".encode())
        for field, digest in zip(self._schema, self._digests, strict=True):
            whole.update(f"\0{field.name}\0{field.type}\0{digest.hexdigest()}".encode())
        return whole.hexdigest()


def _repeats(kind: pa.DataType) -> bool:
    """Whether a column's values are few: names and codes."""
    import pyarrow as pa

    return pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_uint8(kind)


def _hash(digest: Any, column: pa.Array) -> None:
    """Add a column's values; nulls of whole numbers and times count as the least int64."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.indices
    elif pa.types.is_string(kind):
        digest.update(np.asarray(pc.binary_length(column).fill_null(-1)))
        offsets = np.frombuffer(column.buffers()[1], np.int32)
        first, last = offsets[column.offset], offsets[column.offset + len(column)]
        digest.update(memoryview(column.buffers()[2] or b"")[first:last])
        return
    elif pa.types.is_timestamp(kind):
        column = column.view(pa.int64())
    if column.null_count:
        absent = _ABSENT if pa.types.is_int64(column.type) else 0
        column = pc.fill_null(column, absent)
    digest.update(np.ascontiguousarray(column.to_numpy(zero_copy_only=False)))
