"""Room for columns as long as a history: in memory while they are short, else in unlinked files.

A file's pages are mapped: the system writes them out when memory runs short, and ``release`` lets
go of those that a pass is done with, so that what stays resident does not grow with the history.
"""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.atomic import writing

IN_MEMORY = 1 << 21
"""Rows up to which columns are kept in memory."""

RELEASE = 1 << 18
"""Rows after which a pass that reads or writes them in order lets go of their pages."""


class Room:
    """Makes columns of one length.

    Args:
        rows: how many rows each column has.
        folder: where files may lie; they have no name, so nothing remains of a killed process.
        in_memory: rows up to which there are no files.
    """

    def __init__(self, rows: int, folder: Path | None = None, in_memory: int = IN_MEMORY) -> None:
        self.rows = rows
        self._folder = folder if rows > in_memory else None
        self._maps: list[mmap.mmap] = []

    @property
    def mapped(self) -> bool:
        """Whether the columns lie in files."""
        return self._folder is not None

    def column(self, dtype: Any, width: int | None = None) -> NDArray[Any]:
        """Zeros of shape [rows], or [rows, width].

        Raises:
            DataError: the disk has no room for it.
        """
        shape = (self.rows,) if width is None else (self.rows, width)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self._folder is None or size == 0:
            return np.zeros(shape, dtype=dtype)
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder) as file:
                file.truncate(size)
                mapped = mmap.mmap(file.fileno(), size)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype=dtype).reshape(shape)

    def adopt(self, other: Room) -> None:
        """Release another room's columns with this one's."""
        self._maps += other._maps

    def release(self) -> None:
        """Let go of resident pages; their content stays in the files."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)
