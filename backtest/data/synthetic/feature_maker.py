"""Features of the synthetic market: alpha and offset along the same loadings, under noise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.data.synthetic.market import Floats, Loadings, Market, RandomStream

_PIECE = 4096
"""Rows that one draw of random numbers makes; changing it changes the data."""


class FeatureMaker:
    """Makes the features of blocks, pieces of a block at once on two threads."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._loadings = market.loadings()
        self._pool = ThreadPoolExecutor(2)

    def block(self, number: int, signal: Floats) -> Float32Array:
        """Features of a block's events.

        Args:
            number: the block's.
            signal: alpha + offset [n].

        Returns:
            float32 [n, F], each feature contiguous.
        """
        found = np.empty((self._market.features, len(signal)), dtype=np.float32)
        x = (signal / np.sqrt(1 + self._market.offset_variance)).astype(np.float32)
        pieces = range(0, len(signal), _PIECE)

        def fill(low: int) -> None:
            noise = np.empty((self._market.features, _PIECE), dtype=np.float32)
            random = self._market.random(RandomStream.FEATURES, number, low // _PIECE)
            random.standard_normal(out=noise, dtype=np.float32)
            here = slice(low, min(low + _PIECE, len(signal)))
            noise = noise[:, : here.stop - low]
            _shape(noise, x[here], self._loadings, self._market.offset_variance)
            if self._market.feature_step:
                step = np.float32(self._market.feature_step)
                noise /= step
                np.rint(noise, out=noise)
                noise *= step
            found[self._loadings.order, here] = noise

        for _ in self._pool.map(fill, pieces):
            pass
        return found.T


def _shape(e: Float32Array, x: Float32Array, loadings: Loadings, offset_variance: float) -> None:
    """Turn noise e [F, n] into features, given the signal x of unit variance [n]."""
    root = np.sqrt(1 + offset_variance)
    ends = np.cumsum(
        [len(loadings.linear), len(loadings.squared), len(loadings.gated), len(loadings.gated)]
    )
    linear, squared, gate, gated, _ = np.split(e, ends)
    a, b, c = (
        (part * root).astype(np.float32)[:, None]
        for part in (loadings.linear, loadings.squared / root, loadings.gated)
    )
    _mix(linear, a, x)
    _mix(squared, b, (x * x - 1) / np.float32(np.sqrt(2)))
    _mix(gated, c, gate * x)


def _mix(noise: Float32Array, loading: Float32Array, shown: Float32Array) -> None:
    """Make of noise [k, n] of unit variance, in place, what shows something of unit variance."""
    noise *= np.sqrt(1 - loading * loading)
    noise += loading * shown
