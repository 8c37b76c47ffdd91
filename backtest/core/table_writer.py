"""Tables of a run folder, written piece by piece on a thread of their own, and their digest."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias, Union

from backtest.core.atomic import sync

if TYPE_CHECKING:
    import pyarrow as pa

    from backtest.core.row_groups import Group
    from backtest.core.table_files import TableFile

Rows: TypeAlias = Union["pa.RecordBatch", "pa.Table"]


class TableWriter:
    """Parquet files in a folder that grow as pieces come; close it before reading them.

    Pieces are copied into row groups where they are given; full ones are encoded and hashed on
    another thread. Its methods are for one thread.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, TableFile] = {}
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="table-writer", daemon=True)
        self._thread.start()

    @property
    def names(self) -> list[str]:
        """The tables that something was written to."""
        return [*self._files]

    def write(self, name: str, rows: Rows) -> None:
        """Add rows to a table, all pieces of which have the same columns.

        Columns of numbers, instants and symbols are copied: their memory may be used for other
        values as soon as this returns. It waits while the two row groups before are not encoded.

        Raises:
            ValueError: other columns than before, or no value in a column that is not nullable.
            OSError: the file, or another one before, could not be written.
        """
        from backtest.core.table_files import TableFile

        self._raise()
        if name not in self._files:
            self._files[name] = TableFile(self._folder / f"{name}.parquet", rows.schema)
        file = self._files[name]
        for group in file.add(rows):
            self._encode(file, group)
            self._raise()

    def end(self, name: str) -> None:
        """Say that a table has all its rows: it goes to the disk while others are made."""
        if name not in self._files:
            return
        file, path = self._files[name], self._folder / f"{name}.parquet"
        self._close(file)
        self._tasks.put(lambda: None if self._stopped else sync(path))

    def wait(self) -> None:
        """Wait until what was given is written; tables that were ended can be read then.

        Raises:
            OSError: a file could not be written.
        """
        done = threading.Event()
        self._tasks.put(done.set)
        done.wait()
        self._raise()

    def discard(self, name: str) -> None:
        """Forget what was written to a table, which then starts anew."""
        self._raise()
        if name in self._files:
            file = self._files.pop(name)
            file.rest()
            self._tasks.put(file.close)
            self.wait()  # a new file of this name must not be opened before

    def abandon(self) -> None:
        """Stop, and leave out whatever is not written yet: the folder will not be kept."""
        self._stopped = True
        with contextlib.suppress(BaseException):
            self.close()

    def close(self) -> None:
        """Write what is left and stop.

        Raises:
            OSError: a file could not be written.
        """
        if self._thread.is_alive():
            for file in self._files.values():
                self._close(file)
            self._tasks.put(None)
            self._thread.join()
        self._raise()

    def digest(self) -> dict[str, str]:
        """SHA-256 of each table's values, whatever pieces they came in; after ``close``."""
        return {name: file.digest() for name, file in sorted(self._files.items())}

    def _encode(self, file: TableFile, group: Group) -> None:
        # Groups go back even when nothing is written any more: whoever adds rows may wait for one.
        self._tasks.put(lambda: file.give_back(group) if self._stopped else file.write(group))

    def _close(self, file: TableFile) -> None:
        if (rest := file.rest()) is not None:
            self._encode(file, rest)
        self._tasks.put(file.close)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except BaseException as error:  # raised where pieces are given
                self._error = self._error or error
                self._stopped = True
