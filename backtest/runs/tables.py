"""Tables of a run folder, written piece by piece on a thread of their own, and their digest."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from backtest.core.columnar import Frame, frame_of
from backtest.core.columnar_file import ColumnarFile

if TYPE_CHECKING:
    import pyarrow as pa

Rows: TypeAlias = Union["pa.Table", Frame]

_AHEAD = 4


class TableWriter:
    """Parquet files in a folder that grow as pieces come; close it before reading them.

    Pieces are encoded and hashed on another thread, a few ahead of it at most; it turns to columns
    that stay as they are when there is nothing else.

    Args:
        folder: where.
        written: called after each piece.
        compiled: encode in compiled loops, which are worth loading for many rows.
    """

    def __init__(
        self, folder: Path, written: Callable[[], None] = lambda: None, *, compiled: bool = False
    ) -> None:
        self._folder = folder
        self._written = written
        self._compiled = compiled
        self._files: dict[str, ColumnarFile | _ArrowFile] = {}
        self._tasks = _Tasks()
        self._held = threading.Semaphore(_AHEAD)
        self._error: BaseException | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._work, name="table-writer", daemon=True)
        self._thread.start()

    def write(self, name: str, rows: Rows) -> None:
        """Add rows, whose values stay as they are; all pieces of a table have the same columns."""

        def add() -> None:
            self._held.release()
            self._write(name, lambda: rows)

        self._raise()
        self._held.acquire()
        self._tasks.put(add, first=True)

    def write_later(self, name: str, make: Callable[[], Rows]) -> None:
        """Add rows that are made when their turn comes, from columns that stay as they are."""
        self._raise()
        self._tasks.put(lambda: self._write(name, make))

    def discard(self, name: str) -> None:
        """Forget what was written to a table, which then starts anew."""

        def forget() -> None:
            if name in self._files:
                self._files.pop(name).close()

        self._raise()
        self._tasks.put(forget, first=True)

    def end(self, name: str) -> None:
        """Say that a table has all its rows: it can go to the disk while others are made."""

        def sync() -> None:
            if name in self._files and not self._stopped:
                self._files[name].close()
                with (self._folder / f"{name}.parquet").open("rb") as file:
                    os.fsync(file.fileno())

        self._tasks.put(sync)

    def finish(self) -> None:
        """Wait until all that was given is written.

        Raises:
            OSError: a file could not be written.
        """
        done = threading.Event()
        self._tasks.put(done.set)
        done.wait()
        self._raise()

    def abandon(self) -> None:
        """Stop, and leave out whatever is not written yet: the folder will not be kept."""
        self._abandoned = True
        with contextlib.suppress(BaseException):
            self.close()

    def close(self) -> None:
        """Write what is left and stop.

        Raises:
            OSError: a file could not be written.
        """
        if self._thread.is_alive():
            self._tasks.put(None)
            self._thread.join()
        for file in self._files.values():
            file.close()
        self._raise()

    def digest(self) -> dict[str, str]:
        """SHA-256 of each table's values, whatever pieces they came in; after ``close``."""
        return {name: file.digest() for name, file in sorted(self._files.items())}

    @property
    def _stopped(self) -> bool:
        return self._abandoned or self._error is not None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except BaseException as error:  # raised where pieces are given
                self._error = self._error or error

    def _write(self, name: str, make: Callable[[], Rows]) -> None:
        import pyarrow as pa

        if self._stopped:
            return
        rows: Any = make()
        path = self._folder / f"{name}.parquet"
        file = self._files.get(name)
        frame: Any = frame_of(rows) if isinstance(rows, pa.Table) else rows
        if file is None and frame is None:
            file = _ArrowFile(path, rows.schema)
        elif file is None:
            file = ColumnarFile(path, frame, compiled=self._compiled)
        self._files[name] = file
        file.write(rows if isinstance(file, _ArrowFile) else frame)
        self._written()


class _Tasks:
    """What a thread has to do, those things first that others wait for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._first: deque[Callable[[], None] | None] = deque()
        self._later: deque[Callable[[], None] | None] = deque()

    def put(self, task: Callable[[], None] | None, *, first: bool = False) -> None:
        """Do it after what was put before it."""
        with self._changed:
            (self._first if first else self._later).append(task)
            self._changed.notify()

    def get(self) -> Callable[[], None] | None:
        """Wait for the next one."""
        with self._changed:
            while not self._first and not self._later:
                self._changed.wait()
            return (self._first or self._later).popleft()


class _ArrowFile:
    """A table with columns of types that frames do not know, as an accountant may give."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._schema = schema
        self._digests = [hashlib.sha256() for _ in schema]
        self._rows = 0
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)

    def write(self, table: pa.Table) -> None:
        import pyarrow as pa

        self._writer.write_table(table)
        self._rows += len(table)
        for digest, column in zip(self._digests, table.columns, strict=True):
            exact = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
            digest.update("".join(f"{value!r}\0" for value in exact.to_pylist()).encode())

    def close(self) -> None:
        self._writer.close()

    def digest(self) -> str:
        """SHA-256 of the columns' names, types and values."""
        whole = hashlib.sha256(f"{self._rows}".encode())
        for field, digest in zip(self._schema, self._digests, strict=True):
            whole.update(f"\0{field.name}\0{field.type}\0{digest.hexdigest()}".encode())
        return whole.hexdigest()
