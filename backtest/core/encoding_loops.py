"""Whole numbers packed as Parquet has them, in loops.

The plain twin is ``backtest.core.encoding``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK, MINIBLOCK = 128, 32
"""Values that share a least difference, and those among them that share a width."""

_LEFTOVER = np.uint64(127)
_MORE = np.uint64(128)


@njit(cache=True, nogil=True)
def delta_binary_packed(values, out, limits):
    """Parquet's DELTA_BINARY_PACKED of int64 ``values`` into uint8 ``out``; how many bytes.

    ``limits`` [2] take the least and the largest value, if there is one.
    """
    count = len(values)
    low = high = values[0] if count else np.int64(0)
    at = _varint(np.uint64(BLOCK), out, 0)
    at = _varint(np.uint64(BLOCK // MINIBLOCK), out, at)
    at = _varint(np.uint64(count), out, at)
    at = _varint(_zigzag(low), out, at)
    above = np.empty(BLOCK, dtype=np.uint64)
    words = np.empty(MINIBLOCK + 1, dtype=np.uint64)
    for first in range(1, count, BLOCK):
        size = min(BLOCK, count - first)
        least = np.iinfo(np.int64).max
        now, before = values[first : first + size], values[first - 1 : first + size - 1]
        for k in range(size):
            # Differences wrap around, so that any two int64 have one.
            step = np.uint64(now[k]) - np.uint64(before[k])
            above[k] = step
            least = min(least, np.int64(step))
        for k in range(size):
            low, high = min(low, now[k]), max(high, now[k])
        for k in range(size):
            above[k] -= np.uint64(least)
        above[size:] = 0
        at = _varint(_zigzag(least), out, at)
        widths = at
        at += BLOCK // MINIBLOCK
        for mini in range(BLOCK // MINIBLOCK):
            part = above[mini * MINIBLOCK : (mini + 1) * MINIBLOCK]
            used = np.uint64(0)
            for k in range(MINIBLOCK):
                used |= part[k]
            width = _bits(used)
            out[widths + mini] = width
            at = _pack(part, width, words, out, at)
    limits[0], limits[1] = low, high
    return at


@njit(cache=True, nogil=True)
def bit_packed(codes, width, out):
    """Whole numbers below ``2**width`` packed low bits first, filled up with zeros to a multiple of
    32; how many bytes. ``width`` is at most 32."""
    at = 0
    part = np.zeros(MINIBLOCK, dtype=np.uint64)
    words = np.empty(MINIBLOCK + 1, dtype=np.uint64)
    for first in range(0, len(codes), MINIBLOCK):
        some = codes[first : first + MINIBLOCK]
        part[len(some) :] = 0
        for k in range(len(some)):
            part[k] = some[k]
        at = _pack(part, width, words, out, at)
    return at


@njit(cache=True, nogil=True)
def _pack(part, width, words, out, at):
    """Place ``MINIBLOCK`` values of ``width`` bits, which are spoilt; the end of what is placed."""
    if width == 0:
        return at
    # Neighbours are joined as long as they fit a word, so that few are left to place one by one.
    left, wide = MINIBLOCK, width
    while wide <= 32 and left > 1:
        left >>= 1
        shift = np.uint64(wide)
        for k in range(left):
            part[k] = part[np.uint64(2 * k)] | (part[np.uint64(2 * k + 1)] << shift)
        wide *= 2
    word, filled, room = np.uint64(0), 0, np.int64(0)
    for k in range(left):
        value = part[k]
        word |= value << np.uint64(room)
        room += wide
        if room >= 64:
            words[filled] = word
            filled += 1
            room -= 64
            word = value >> np.uint64(wide - room) if room > 0 else np.uint64(0)
    words[filled] = word
    octets, placed = words.view(np.uint8), out[at : at + 4 * width]
    for k in range(len(placed)):
        placed[k] = octets[k]
    return at + 4 * width


@njit(cache=True, nogil=True)
def _varint(value, out, at):
    while value > _LEFTOVER:
        out[at] = np.uint8((value & _LEFTOVER) | _MORE)
        at += 1
        value >>= np.uint64(7)
    out[at] = np.uint8(value)
    return at + 1


@njit(cache=True, nogil=True)
def _zigzag(value):
    return (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> np.int64(63))


@njit(cache=True, nogil=True)
def _bits(value):
    """How many bits a value needs."""
    bits = 0
    while value > np.uint64(0):
        value >>= np.uint64(1)
        bits += 1
    return bits
