"""Finds identical events: of one symbol, at one instant, with the same values throughout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.data.decode import Columns
from backtest.events import BoolArray, Int64Array

_REMEMBERED = 65_536


class Duplicates:
    """Marks repetitions in batches that come in time order, across their borders too.

    Of an instant that spans batches, the last 65,536 rows are remembered.
    """

    def __init__(self) -> None:
        self._before: Columns = {}

    def mark(self, columns: Columns) -> BoolArray:
        """Rows that repeat an earlier one, bool [n].

        Args:
            columns: ``symbol`` and ``ts_event`` [n], sorted by the latter, and whatever else is to
                be compared, one- or two-dimensional.
        """
        n = len(columns["ts_event"])
        if not n:
            return np.zeros(0, dtype=np.bool_)
        known = self._before
        if known and known["ts_event"][-1] == columns["ts_event"][0]:
            joined = {k: np.concatenate([known[k], v]) for k, v in columns.items()}
        else:
            joined = columns
        repeated = _repeated(joined)[-n:]
        ts = joined["ts_event"]
        start = max(int(np.searchsorted(ts, ts[-1])), len(ts) - _REMEMBERED)
        self._before = {k: v[start:].copy() for k, v in joined.items()}
        return repeated


def _repeated(columns: Columns) -> BoolArray:
    found = np.zeros(len(columns["ts_event"]), dtype=np.bool_)
    rows = _together(columns["ts_event"], columns["symbol"])
    if len(rows):
        cells = [_as_bytes(values[rows]) for values in columns.values()]
        packed = np.ascontiguousarray(np.concatenate(cells, axis=1))
        whole = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
        _, first = np.unique(whole, return_index=True)
        found[rows] = True
        found[rows[first]] = False
    return found


def _together(ts: Int64Array, symbol: NDArray[Any]) -> Int64Array:
    """Rows that share symbol and instant with another, in order."""
    tied = np.zeros(len(ts), dtype=np.bool_)
    same = ts[1:] == ts[:-1]
    tied[1:] |= same
    tied[:-1] |= same
    rows = np.flatnonzero(tied)
    if not len(rows):
        return rows
    instant = np.cumsum(np.concatenate([[0], ts[rows][1:] != ts[rows][:-1]]))
    key = instant * (int(symbol.max()) + 2) + symbol[rows]
    order = np.argsort(key, kind="stable")
    equal = key[order][1:] == key[order][:-1]
    shared = np.zeros(len(rows), dtype=np.bool_)
    shared[order[1:]] |= equal
    shared[order[:-1]] |= equal
    return rows[shared]


def _as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
