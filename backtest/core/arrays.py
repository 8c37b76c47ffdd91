"""Types of arrays, and how long columns are handled in stretches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtest.core.room import Room

Int64Array: TypeAlias = NDArray[np.int64]
Int32Array: TypeAlias = NDArray[np.int32]
Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

CHUNK = 1 << 17
"""Rows of a stretch: what is handled at once where whole columns would be too much."""


def chunks(count: int, room: Room | None = None) -> Iterator[tuple[int, int]]:
    """Bounds of successive stretches of at most ``CHUNK`` rows; after each the room is released."""
    for first in range(0, count, CHUNK):
        yield first, min(first + CHUNK, count)
        if room is not None:
            room.release()


def writable(column: Any) -> Any:
    """The column as compiled loops take it: they are compiled anew for each kind of array."""
    return np.require(column, requirements=["C", "W"])
