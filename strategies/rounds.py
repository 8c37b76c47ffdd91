"""Several events of one symbol in one batch: split into rounds of distinct symbols, in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Int32Array, Int64Array


@dataclass(frozen=True, slots=True)
class Rounds:
    """A batch as rounds: round r holds the r-th event of every symbol that has one.

    Symbols with more events come first, so the symbols of round r are the first ``sizes[r]`` of
    ``symbols``, in that order: state kept in the order of ``symbols`` needs only prefixes.

    Attributes:
        symbols: the distinct symbols, most events first, then by first appearance, int64 [U].
        rows: the batch's row numbers, round by round, int64 [n].
        sizes: events in each round, never rising, int64 [R].
    """

    symbols: Int64Array
    rows: Int64Array
    sizes: Int64Array


def split_rounds(symbol: Int32Array) -> Rounds:
    """The rounds of a batch whose events have these symbols, [n] in time order."""
    distinct, first, inverse, counts = np.unique(
        symbol, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -counts))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    by_symbol = np.argsort(inverse, kind="stable")
    start = np.cumsum(counts) - counts
    turn = np.empty(len(symbol), dtype=np.int64)  # how many events of its symbol came before
    turn[by_symbol] = np.arange(len(symbol)) - np.repeat(start, counts)
    rows = np.lexsort((place[inverse], turn))
    return Rounds(distinct[order].astype(np.int64), rows, np.bincount(turn))


def within_capacity(symbol: Int32Array, capacity: int) -> list[Int64Array]:
    """A batch's rows in groups of at most ``capacity`` distinct symbols.

    All of a symbol's events are in one group, in order; symbols are grouped by first appearance.
    """
    _, first, inverse = np.unique(symbol, return_index=True, return_inverse=True)
    if len(first) <= capacity:
        return [np.arange(len(symbol))]
    appearance = np.empty_like(first)
    appearance[np.argsort(first)] = np.arange(len(first))
    group = appearance[inverse] // capacity
    by_group = np.argsort(group, kind="stable")
    return np.split(by_group, np.cumsum(np.bincount(group))[:-1])
