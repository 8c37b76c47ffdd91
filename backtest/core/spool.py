"""A matrix with a row for each event of a run, kept on disk: what one pass hands to a later one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.atomic import writing


class Spool:
    """Float32 rows, zero until they are written, in a file without a name.

    Nothing is left of it when the process ends, however that happens.

    Args:
        folder: where the file lies; made if need be.
        rows: how many rows there are.
        width: numbers in each.

    Raises:
        DataError: the disk cannot hold it.
    """

    def __init__(self, folder: Path, rows: int, width: int) -> None:
        self.rows, self.width = rows, width
        self._folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
            self._file.truncate(rows * width * 4)

    def __len__(self) -> int:
        return self.rows

    def read(self, first: int, stop: int) -> Float32Array:
        """The rows ``first`` to ``stop - 1``, float32 [n, width].

        Raises:
            IndexError: there are fewer.
        """
        if stop > self.rows:
            raise IndexError(f"row {stop - 1} of {self.rows}")
        found: Float32Array = np.empty((stop - first, self.width), dtype=np.float32)
        view, at, done = found.reshape(-1).view(np.uint8).data, first * self.width * 4, 0
        while done < len(view):  # one call may read less than asked for
            done += os.preadv(self._file.fileno(), [view[done:]], at + done)
        return found

    def write(self, first: int, values: Float32Array) -> None:
        """Set the rows from ``first`` on, float32 [n, width]."""
        view = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        at, done = first * self.width * 4, 0
        with writing(self._folder):
            while done < len(view):
                done += os.pwrite(self._file.fileno(), view[done:], at + done)

    def put(self, places: Int64Array, values: Float32Array) -> None:
        """Set the rows ``places`` [k], near one another and in any order.

        Args:
            places: their numbers, each once.
            values: float32 [k, width].
        """
        if not len(places):
            return
        first, last = int(places.min()), int(places.max())
        if np.array_equal(places, np.arange(first, last + 1)):
            self.write(first, values)
            return
        stretch = self.read(first, last + 1)
        stretch[places - first] = values
        self.write(first, stretch)

    def take(self, places: Int64Array) -> Float32Array:
        """The rows ``places`` [k], near one another, float32 [k, width]."""
        if not len(places):
            return np.empty((0, self.width), dtype=np.float32)
        first, last = int(places.min()), int(places.max())
        return self.read(first, last + 1)[places - first]

    def close(self) -> None:
        """Give the disk's space back."""
        self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
