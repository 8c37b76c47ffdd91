"""Batches for kernels that take all of a symbol's events at once: neighbours, in order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from backtest.core.arrays import Int32Array, Int64Array


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of a batch's events, sorted so that a symbol's events are neighbours, in order.

    Attributes:
        rows: the batch's row numbers, int64 [m].
        turn: how many events of the row's symbol come before it in the chunk, int64 [m].
        count: at a symbol's first row how many rows it has, elsewhere 0, int64 [m].
    """

    rows: Int64Array
    turn: Int64Array
    count: Int64Array

    @property
    def turns(self) -> int:
        """Events of one symbol at most."""
        return int(self.count.max())


@cache
def one_each(n: int) -> Chunk:
    """A batch of ``n`` different symbols as it is."""
    return Chunk(np.arange(n), np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.int64))


def split_runs(symbol: Int32Array, *, rows: int, turns: int) -> list[Chunk]:
    """A batch as chunks to be served one after another.

    Args:
        symbol: whose events they are, in time order, [n].
        rows: events in a chunk, at most.
        turns: events of one symbol in a chunk, at most.
    """
    by_symbol = np.argsort(symbol, kind="stable")
    turn = _position(symbol[by_symbol])
    if len(symbol) <= rows and turn.max() < turns:
        return [_chunk(by_symbol, turn)]
    # All of a symbol's first `turns` events come before anyone's later ones, chunk by chunk, so
    # that no chunk holds two runs of one symbol.
    block = turn // turns
    order = np.lexsort((np.arange(len(symbol)), block))
    edges = np.flatnonzero(np.diff(block[order], prepend=-1))
    chunks = []
    for start, end in zip(edges, [*edges[1:], len(symbol)], strict=True):
        for first in range(start, end, rows):
            picked = by_symbol[order[first : min(first + rows, end)]]
            chunks.append(_chunk(picked, _position(symbol[picked])))
    return chunks


def _position(ordered: Int32Array) -> Int64Array:
    """How many equal neighbours come directly before each element."""
    index = np.arange(len(ordered))
    starts = np.diff(ordered, prepend=-1) != 0
    return index - np.maximum.accumulate(np.where(starts, index, 0))


def _chunk(rows: Int64Array, turn: Int64Array) -> Chunk:
    first = np.flatnonzero(turn == 0)
    count = np.zeros_like(turn)
    count[first] = np.diff(first, append=len(rows))
    return Chunk(rows, turn, count)
