"""Room for columns as long as a history: in memory up to a bound, beyond it in unlinked files.

A file's pages are mapped: the system writes them out when memory runs short, and ``release`` lets
go of those that a pass is done with, so that what stays resident does not grow with the history.
Memory is several times as fast to write to for the first time, so files are the last resort.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.atomic import writing

MEMORY = 384 << 20
"""Bytes of a run's columns that are kept in memory."""

RELEASE = 1 << 18
"""Rows after which a pass that reads or writes them in order lets go of their pages."""


class Room:
    """Makes columns of one length.

    Args:
        rows: how many rows each column has.
        folder: where files may lie; they have no name, so nothing remains of a killed process.
        memory: bytes of columns up to which there are no files; by default ``MEMORY``.
    """

    def __init__(self, rows: int, folder: Path | None = None, memory: int | None = None) -> None:
        self.rows = rows
        self._folder = folder
        self._memory = MEMORY if memory is None else memory
        self._maps: list[mmap.mmap] = []

    @property
    def mapped(self) -> bool:
        """Whether some of the columns lie in files."""
        return bool(self._maps)

    def column(self, dtype: Any, width: int | None = None) -> NDArray[Any]:
        """Zeros of shape [rows], or [rows, width].

        Raises:
            DataError: the disk has no room for it.
        """
        shape = (self.rows,) if width is None else (self.rows, width)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self._folder is None or size <= self._memory:
            self._memory -= size
            return np.zeros(shape, dtype=dtype)
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder) as file:
                file.truncate(size)
                # What is not there yet is made page by page, not megabytes of zeros ahead.
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                mapped = mmap.mmap(file.fileno(), size)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype=dtype).reshape(shape)

    def adopt(self, other: Room) -> None:
        """Release another room's columns with this one's, and count them as its own."""
        self._maps += other._maps
        self._memory = min(self._memory, other._memory)

    def count(self, marks: NDArray[np.bool_]) -> int:
        """How many of some marks [rows] are set; pages are released on the way."""
        count = 0
        for first in range(0, len(marks), RELEASE):
            count += int(np.count_nonzero(marks[first : first + RELEASE]))
            self.release()
        return count

    def release(self) -> None:
        """Let go of resident pages; their content stays in the files."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)
