"""The server's loops for a closed loop, which calls them for every batch: arrays by address."""

from __future__ import annotations

import numpy as np
from numba import njit

from backtest.core.addresses import int32_array, int64_array, uint8_array
from backtest.timing.loops import serve_in_order, serve_lines


@njit(cache=True, nogil=True)
def step_in_order(places):
    """``serve_in_order`` at scale 1 up to the next live batch, whose span nobody asks here.

    Args:
        places: of its arrays in their order, without ``base``, ``sizes`` and ``quantiles``.
    """
    none = np.zeros(1, dtype=np.int64)
    return serve_in_order(
        int64_array(places, 0), int64_array(places, 1), 1.0,
        int64_array(places, 2), int64_array(places, 3), int32_array(places, 4),
        int64_array(places, 5), none, none[:0], np.zeros((0, 0)),
        int64_array(places, 6), int64_array(places, 7), int64_array(places, 8),
        int64_array(places, 9), int64_array(places, 10), uint8_array(places, 11),
        int64_array(places, 12),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def step_lines(places):
    """The same for ``serve_lines``."""
    none = np.zeros(1, dtype=np.int64)
    return serve_lines(
        int64_array(places, 0), int64_array(places, 1), 1.0,
        int64_array(places, 2), int64_array(places, 3), int32_array(places, 4),
        int64_array(places, 5), int64_array(places, 6), int64_array(places, 7),
        int64_array(places, 8), int64_array(places, 9), int64_array(places, 10),
        int64_array(places, 11), int64_array(places, 12), none, none[:0], np.zeros((0, 0)),
        int64_array(places, 13), int64_array(places, 14), int64_array(places, 15),
        int64_array(places, 16), int64_array(places, 17), uint8_array(places, 18),
        int64_array(places, 19),
    )  # fmt: skip
