"""Rows of a stream that come in pieces of one length and are taken in pieces of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)


class Rows(Generic[Number]):
    """Takes any number of rows at once from arrays that follow one another.

    Args:
        pieces: arrays [n, ...] of one type and width.
        nothing: such an array without rows.
    """

    def __init__(self, pieces: Iterator[NDArray[Number]], nothing: NDArray[Number]) -> None:
        self._pieces = pieces
        self._rest = nothing

    def take(self, count: int) -> NDArray[Number]:
        """The next rows [count, ...].

        Raises:
            EOFError: there are fewer.
        """
        parts, held = [self._rest], len(self._rest)
        while held < count:
            piece = next(self._pieces, None)
            if piece is None:
                raise EOFError(f"{held} of {count} rows are left")
            parts.append(piece)
            held += len(piece)
        if not len(self._rest) and len(parts) > 1:
            parts = parts[1:]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._rest = joined[count:]
        return joined[:count]
