"""Loops of shipped rule strategies, each average needing the one before it."""

from __future__ import annotations

import numpy as np

from backtest.core.compiled import compiled

_NO_PRICE = np.iinfo(np.int64).min


@compiled
def smoothed_imbalance(symbol, bid, ask, bid_size, ask_size, smoothing, level, answers):
    """``imbalance``: ``level`` [S] are the averages (NaN: none), ``answers`` float32 [n]."""
    for i in range(len(symbol)):
        s = symbol[i]
        b, a = bid[i], ask[i]
        shown = bid_size[i] + ask_size[i]
        if b != _NO_PRICE and a != _NO_PRICE and b <= a and shown > 0:
            now = (bid_size[i] - ask_size[i]) / shown
            old = level[s]
            level[s] = now if np.isnan(old) else old + smoothing * (now - old)
        answers[i] = 0.0 if np.isnan(level[s]) else level[s]
