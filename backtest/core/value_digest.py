"""A digest of the values of a column, whatever pieces they come in and however they are stored.

Each value is mixed with its row number to 64 bits that look random (the finaliser of splitmix64,
Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), and the results are
summed. That finds every difference but one in 2^128 at a sixth of what SHA-256 of the same bytes
takes. It is no protection against somebody who looks for two tables with the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray

UInt64Array = NDArray[np.uint64]


class ColumnDigest:
    """The digest of one column, which grows by its values in order."""

    def __init__(self) -> None:
        self._rows = self._absent = 0
        self._values, self._gaps = (np.zeros(2, dtype=np.uint64) for _ in range(2))

    def add(self, values: UInt64Array, absent: BoolArray | None = None) -> None:
        """Add rows.

        Args:
            values: their bits, or what stands for them, uint64 [n]; 0 where there is no value.
            absent: which rows have no value, bool [n]; ``None``: every row has one.
        """
        self._add(values, self._rows, self._values)
        if absent is not None:
            # Where values are missing is a sequence of its own, so that 0 and no value differ.
            places = np.flatnonzero(absent).astype(np.uint64) + np.uint64(self._rows)
            self._add(places, self._absent, self._gaps)
            self._absent += len(places)
        self._rows += len(values)

    def hexdigest(self) -> str:
        """What has been added so far, 64 hexadecimal digits."""
        return np.concatenate([self._values, self._gaps]).astype("<u8").tobytes().hex()

    @staticmethod
    def _add(values: UInt64Array, first: int, sums: UInt64Array) -> None:
        from backtest.core.digest_loops import add_values

        with np.errstate(over="ignore"):  # uncompiled, sums modulo 2^64 would warn
            add_values(values, np.uint64(first), sums)


def tokens(values: Iterable[Any]) -> UInt64Array:
    """64 bits for each of some texts, byte strings or other values, uint64 [n]."""
    return np.array([_token(value) for value in values], dtype=np.uint64)


def _token(value: Any) -> int:
    if isinstance(value, str):
        value = value.encode()
    data = value if isinstance(value, bytes) else repr(value).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
