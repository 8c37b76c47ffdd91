"""Compiled: the levels of a side: where they lie, and how rows and quotes change them.

A level is looked for from the best price on, in steps that double: most of what happens is near.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from backtest.core.compiled import compiled, compiled_inline
from backtest.trading import depth_layout as dl


class Depth(NamedTuple):
    """The rows of depth, and the books that they make, as ``depth_layout`` has them."""

    state: Any
    rows: Any
    books: Any
    sides: Any
    levels: Any
    entries: Any


@compiled_inline
def has_room(s, depth):
    """Whether a row or a quote of a symbol finds room for the levels and the order that it adds."""
    state, sides, wanted = depth.state, depth.sides, 0
    for k in range(2 * s, 2 * s + 2):
        if sides[k, dl.COUNT] == sides[k, dl.CAPACITY]:
            wanted += 2 * sides[k, dl.CAPACITY] + 4
    if state[dl.USED] + wanted > len(depth.levels):
        return False
    return state[dl.BY_ORDER] == 0 or 2 * state[dl.HELD] < len(depth.entries)


@compiled
def find_level(of, levels, key):
    """The place of a side's first level whose key is no less; behind the best one if there is none.

    Args:
        of: the side's row of ``sides``.
        key: the price times the side.
    """
    first = of[dl.START]
    high, step = first + of[dl.COUNT], 1
    while high > first:
        low = max(high - step, first)
        here = levels[low, dl.KEY]
        if here == key:
            return low
        if here < key:
            low += 1
            while low < high:
                middle = (low + high) >> 1
                if levels[middle, dl.KEY] < key:
                    low = middle + 1
                else:
                    high = middle
            return high
        high, step = low, 2 * step
    return first


@compiled
def is_level(of, levels, place, key):
    """Whether the level at a place that ``find_level`` gave has the key itself."""
    return place < of[dl.START] + of[dl.COUNT] and levels[place, dl.KEY] == key


@compiled
def size_at(of, levels, key):
    """Lots that a level displays; ``NOT_LISTED`` if there is none."""
    place = find_level(of, levels, key)
    return levels[place, dl.SIZE] if is_level(of, levels, place, key) else dl.NOT_LISTED


@compiled
def set_level(of, levels, state, key, size):
    """A level displays ``size`` lots now; 0: it is gone. There is room for it."""
    place = find_level(of, levels, key)
    if is_level(of, levels, place, key):
        _resize(of, levels, place, size)
    elif size > 0:
        _insert(of, levels, state, place, key, size)


@compiled
def add_to_level(of, levels, state, key, lots):
    """A level displays some lots more, or less where they are negative. Returns how many."""
    place = find_level(of, levels, key)
    if is_level(of, levels, place, key):
        size = levels[place, dl.SIZE] + lots
        _resize(of, levels, place, size)
        return size
    _insert(of, levels, state, place, key, lots)
    return lots


@compiled
def _resize(of, levels, place, size):
    """Another size is another level, of which nothing has been taken."""
    if size <= 0:
        of[dl.COUNT] -= 1
        for k in range(place, of[dl.START] + of[dl.COUNT]):
            for column in range(dl.LEVEL_SIZE):
                levels[k, column] = levels[k + 1, column]
    elif size != levels[place, dl.SIZE]:
        levels[place, dl.SIZE], levels[place, dl.TAKEN] = size, 0


@compiled
def _insert(of, levels, state, place, key, size):
    stop = of[dl.START] + of[dl.COUNT]
    if of[dl.COUNT] == of[dl.CAPACITY]:
        moved = state[dl.USED] - of[dl.START]
        for k in range(of[dl.START], stop):
            for column in range(dl.LEVEL_SIZE):
                levels[k + moved, column] = levels[k, column]
        of[dl.START], of[dl.CAPACITY] = state[dl.USED], 2 * of[dl.CAPACITY] + 4
        state[dl.USED] += of[dl.CAPACITY]
        place, stop = place + moved, stop + moved
    for k in range(stop, place, -1):
        for column in range(dl.LEVEL_SIZE):
            levels[k, column] = levels[k - 1, column]
    levels[place, dl.KEY], levels[place, dl.SIZE], levels[place, dl.TAKEN] = key, size, 0
    of[dl.COUNT] += 1


@compiled
def drop_better(of, levels, key):
    """The levels that are better than a price are gone."""
    stop = of[dl.START] + of[dl.COUNT]
    while of[dl.COUNT] > 0 and levels[stop - 1, dl.KEY] > key:
        stop -= 1
        of[dl.COUNT] -= 1


@compiled
def clear(of):
    """All levels of a side are gone, and what it displays is not known any more."""
    of[dl.COUNT] = of[dl.COMPLETE] = 0
    of[dl.CLEARED] += 1


@compiled
def take_from_level(of, levels, key, lots):
    """Own orders take some lots of a level, if it is there."""
    place = find_level(of, levels, key)
    if is_level(of, levels, place, key):
        levels[place, dl.TAKEN] += lots
