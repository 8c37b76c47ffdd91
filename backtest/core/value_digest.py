"""A digest of the values of a column, whatever pieces they come in and however they are stored.

It is XXH3 with 128 bits over the values in their order, at a thirtieth of what SHA-256 of the same
bytes takes: it tells tables apart that differ, but is no protection against somebody who looks for
two with the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray

UInt64Array = NDArray[np.uint64]


class ColumnDigest:
    """The digest of one column, which grows by its values in order."""

    def __init__(self) -> None:
        self._rows = 0
        self._values, self._gaps = xxhash.xxh3_128(), xxhash.xxh3_128()

    def add(self, values: UInt64Array, absent: BoolArray | None = None) -> None:
        """Add rows.

        Args:
            values: their bits, or what stands for them, uint64 [n]; 0 where there is no value.
            absent: which rows have no value, bool [n]; ``None``: every row has one.
        """
        self._values.update(_bytes(values))
        if absent is not None:
            # Where values are missing is a sequence of its own, so that 0 and no value differ.
            places = np.flatnonzero(absent).astype(np.uint64) + np.uint64(self._rows)
            self._gaps.update(_bytes(places))
        self._rows += len(values)

    def hexdigest(self) -> str:
        """What has been added so far, 64 hexadecimal digits."""
        return str(self._values.hexdigest() + self._gaps.hexdigest())


def _bytes(values: UInt64Array) -> Any:
    """The numbers in memory as little-endian machines have them, without a copy on those."""
    return np.ascontiguousarray(values, dtype="<u8").data


def tokens(values: Iterable[Any]) -> UInt64Array:
    """64 bits for each of some texts, byte strings or other values, uint64 [n]."""
    return np.array([_token(value) for value in values], dtype=np.uint64)


def _token(value: Any) -> int:
    if isinstance(value, str):
        value = value.encode()
    data = value if isinstance(value, bytes) else repr(value).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
