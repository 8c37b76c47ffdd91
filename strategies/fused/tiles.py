"""How the fused ensemble's products and state updates are cut up, by batch size and precision.

Measured, not derived: ``docs/performance-log.md`` has the candidates and their times.
"""

from __future__ import annotations

from torch import Tensor

from backtest.strategies.kernels.product import Precision, Tile

LARGEST = 128
"""Rows of the largest tile, and of the largest batch that is not cut up along its rows."""

_LONGEST = 0
"""xLSTM's tower, the longest chain of kernels, which no step ends before. At up to 64 rows the
others leave it bandwidth: with fewer parts and stages, fewer of their loads are on the way."""

_SPLITS = 4, 2, 1, 1
"""Parts of products back to the hidden size, by tower, at few rows."""

_EVEN_SPLIT = 4
"""The same at more rows, for every tower."""


class Tiles:
    """Tiles for one precision."""

    mlstm = (32, 8)
    """Value columns and warps of a program of the mLSTM state."""

    retnet = (32, 4)
    """The same for RetNet."""

    mamba2 = 4
    """Warps of a program of the Mamba2 state."""

    chunks = (8, 4, 8)
    """Warps of a program that takes xLSTM's, Mamba2's, RetNet's states through chunks of events."""

    def sequence(self, tower: int) -> tuple[int, int]:
        """Value columns and warps of a program that takes a tower's states through many events."""
        return ((32, 8), (64, 4), (32, 4))[tower]

    def __init__(self, precision: Precision) -> None:
        self._wide = precision == "fp16"

    def up(self, tower: int, rows: int, weight: Tensor) -> Tile:
        """For products whose result is wide enough to fill the device unsplit."""
        return self._tile(tower, rows, weight, split=1)

    def down(self, tower: int, rows: int, weight: Tensor) -> Tile:
        """For products back to the hidden size."""
        even = _rows(rows) > (64 if self._wide else 16)
        return self._tile(tower, rows, weight, split=_EVEN_SPLIT if even else _SPLITS[tower])

    def features(self, rows: int, weight: Tensor) -> Tile:
        """For the first product, in float32 over few features."""
        return Tile(_rows(rows), 32, 32, stages=2)

    def cell(self, rows: int, weight: Tensor) -> Tile:
        """For sLSTM's gates."""
        m, size = _rows(rows), weight.shape[-1]
        m, k = (min(m, 64), 64) if self._wide else (min(m, 32), 32)
        warps, stages = (2, 4) if m == 16 else (4, 3)
        return Tile(m, 16, _fit(k, size), warps=warps, stages=stages)

    def scan(self, weight: Tensor) -> Tile:
        """For sLSTM's recurrent gates, over many turns; 16 weight rows, so that programs fit."""
        size = weight.shape[-1]
        return Tile(64, 16, _fit(64, size), warps=4, stages=3)

    def _tile(self, tower: int, rows: int, weight: Tensor, split: int) -> Tile:
        n, k = weight.shape[-2:]
        if rows > LARGEST:
            k_tile = 64 if self._wide else 32
            return Tile(LARGEST, _fit(128, n), _fit(k_tile, k), warps=8, stages=3)
        m = _rows(rows)
        warps, stages, n_tile = 4, 4, 64
        if self._wide:
            k_tile = 128 if m < 64 else 64
            if m <= 64 and tower != _LONGEST:
                stages = 3
            elif m == 64:
                stages = 6
        elif m == 16 or (m == 32 and split == 1):
            k_tile, stages = 64, 3
        else:
            k_tile = 32
            if m == LARGEST:
                n_tile, warps = 128, 8
        k_tile = _fit(k_tile, k)
        while split > 1 and k_tile * split > k:
            split //= 2
        return Tile(m, _fit(n_tile, n), k_tile, split=split, warps=warps, stages=stages)


def _rows(rows: int) -> int:
    """The smallest power of two from 16 that holds the rows, at most ``LARGEST``."""
    return min(LARGEST, max(16, 1 << (rows - 1).bit_length()))


def _fit(tile: int, size: int) -> int:
    """The tile, or the smallest power of two from 16 that holds a smaller size."""
    return min(tile, max(16, 1 << (size - 1).bit_length()))
