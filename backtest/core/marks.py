"""A yes or no for each event of a run, eight to a byte."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray

_STRETCH = 1 << 18
"""Marks unpacked at once; a multiple of 8, so that no byte is padded within."""


class Marks:
    """Marks of ``count`` events, all unset or all set to begin with.

    Args:
        count: how many.
        value: of all of them, until ``set``.
    """

    def __init__(self, count: int, value: bool) -> None:
        self._count = count
        self._uniform: bool | None = value
        self._bits: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def __len__(self) -> int:
        return self._count

    def set(self, first: int, marks: BoolArray) -> None:
        """Set the marks from ``first`` on, once and in order: up to seven behind them are lost."""
        if self._uniform is not None:
            if bool((marks == self._uniform).all()):
                return
            fill = 255 if self._uniform else 0
            self._bits = np.full(-(-self._count // 8), fill, dtype=np.uint8)
            self._uniform = None
        start = first // 8
        before = np.unpackbits(self._bits[start : start + 1])[: first - start * 8]
        packed = np.packbits(np.concatenate([before.view(np.bool_), marks]))
        self._bits[start : start + len(packed)] = packed

    def __getitem__(self, rows: slice) -> BoolArray:
        """Marks of a stretch of events, bool [n]."""
        first, stop, _ = rows.indices(self._count)
        if self._uniform is not None:
            return np.full(stop - first, self._uniform)
        start = first // 8
        bits = np.unpackbits(self._bits[start : -(-stop // 8)])
        return bits[first - start * 8 : stop - start * 8].view(np.bool_)

    @property
    def all(self) -> bool:
        """Whether every mark is set."""
        return self.count() == self._count

    def count(self) -> int:
        """How many marks are set."""
        if self._uniform is not None:
            return self._count * self._uniform
        return sum(
            int(np.count_nonzero(self[first : first + _STRETCH]))
            for first in range(0, self._count, _STRETCH)
        )

    def sha256(self) -> str:
        """Of the packed marks, hexadecimal; the same however they are held."""
        digest = hashlib.sha256()
        for first in range(0, self._count, _STRETCH):
            digest.update(np.packbits(self[first : first + _STRETCH]).data)
        return digest.hexdigest()
