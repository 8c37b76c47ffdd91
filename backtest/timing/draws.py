"""Uniform draws that meet the same luck in every scenario."""

from __future__ import annotations

from typing import Literal

import numpy as np

from backtest.core.arrays import Float64Array

Stream = Literal["service", "feed", "entry", "cancel", "replace", "response"]

_STREAMS = {"service": 1, "feed": 2, "entry": 3, "response": 4, "cancel": 5, "replace": 6}
_BLOCK = 4096


class Draws:
    """Uniform draws in [0, 1), the ``k``-th a function of (seed, stream, ``k``) alone.

    Philox is keyed by seed and stream and its counter set by block, so any draw is reached without
    making those before it (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3").
    """

    def __init__(self, seed: int, stream: Stream) -> None:
        self._key = np.array([seed % 2**64, _STREAMS[stream]], dtype=np.uint64)
        self._number = -1
        self._values = np.empty(0)

    def __getitem__(self, number: int) -> float:
        block, offset = divmod(number, _BLOCK)
        if block != self._number:
            self._number, self._values = block, self._block(block)
        return float(self._values[offset])

    def first(self, count: int) -> Float64Array:
        """The draws 0 to ``count - 1``, float64 [count]."""
        return self.range(0, count)

    def range(self, first: int, last: int) -> Float64Array:
        """The draws ``first`` to ``last - 1``, float64 [last - first]."""
        start = first // _BLOCK
        blocks = [self._block(b) for b in range(start, -(-last // _BLOCK))]
        if not blocks:
            return np.empty(0)
        return np.concatenate(blocks)[first - start * _BLOCK : last - start * _BLOCK]

    def _block(self, block: int) -> Float64Array:
        bits = np.random.Philox(key=self._key, counter=[0, block, 0, 0])
        return np.random.Generator(bits).random(_BLOCK)
