"""Finds identical events: of one symbol, at one instant, with the same values throughout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.reading.decode import Columns

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
        ts = columns["ts_event"]
        if not len(ts):
            return np.zeros(0, dtype=np.bool_)
        repeated = _repeated(columns)
        known = self._before
        # Repetitions across batches are possible only within an instant that spans both.
        if known and known["ts_event"][0] == ts[0]:
            head = {k: v[: np.searchsorted(ts, ts[0], side="right")] for k, v in columns.items()}
            joined = {k: np.concatenate([known[k], v]) for k, v in head.items()}
            rows = len(head["ts_event"])
            repeated[:rows] |= _repeated(joined)[-rows:]
        else:
            joined = {}
        tail = {k: v[np.searchsorted(ts, ts[-1]) :] for k, v in columns.items()}
        # An instant that fills the whole batch goes on from before it.
        newest = joined if joined and ts[0] == ts[-1] else tail
        self._before = {k: v[-_REMEMBERED:].copy() for k, v in newest.items()}
        return repeated


def _repeated(columns: Columns) -> BoolArray:
    found = np.zeros(len(columns["ts_event"]), dtype=np.bool_)
    # A hash finds the few candidates; comparing bytes then excludes collisions.
    rows = _alike(columns)
    if len(rows):
        cells = [_as_bytes(values[rows]) for values in columns.values()]
        packed = np.ascontiguousarray(np.concatenate(cells, axis=1))
        whole = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
        _, first = np.unique(whole, return_index=True)
        found[rows] = True
        found[rows[first]] = False
    return found


def _alike(columns: Columns) -> Int64Array:
    """Rows that share instant, symbol and the hash of all one-dimensional columns with another."""
    ts = columns["ts_event"]
    tied = np.zeros(len(ts), dtype=np.bool_)
    same = ts[1:] == ts[:-1]
    tied[1:] |= same
    tied[:-1] |= same
    rows = np.flatnonzero(tied)
    mixed = np.zeros(len(rows), dtype=np.uint64)
    for values in columns.values():
        if values.ndim == 1:
            mixed = (mixed ^ values[rows].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    order = np.argsort(mixed, kind="stable")
    equal = mixed[order][1:] == mixed[order][:-1]
    shared = np.zeros(len(rows), dtype=np.bool_)
    shared[order[1:]] |= equal
    shared[order[:-1]] |= equal
    return rows[shared]


def _as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
