"""Columns as the pages of a Parquet file hold them.

Whole numbers are DELTA_BINARY_PACKED: in blocks of 128, each number's difference from the one
before, less the least such difference of its block, 32 of them packed with as many bits as their
largest needs (https://parquet.apache.org/docs/file-format/data-pages/encodings/). For long columns
``backtest.core.encoding_loops`` does the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray, Int64Array

Octets = NDArray[np.uint8]

_BLOCK, _MINIBLOCK = 128, 32


def integers(values: Int64Array, scratch: Octets | None = None) -> tuple[Any, list[int]]:
    """The bytes of int64 values, in ``scratch`` (of ``most_bytes``) by the compiled loop, and the
    least and the largest of them: none if there are no values."""
    if scratch is not None:
        from backtest.core.encoding_loops import delta_binary_packed

        limits = np.empty(2, dtype=np.int64)
        whole = np.require(values, np.int64, ["C", "W"])
        size = delta_binary_packed(whole, scratch, limits)
        return scratch[:size], limits.tolist() if len(values) else []
    head = [_BLOCK, _BLOCK // _MINIBLOCK, len(values)]
    first = int(values[0]) if len(values) else 0
    parts = [*map(varint, head), varint(zigzag(first))]
    # Unsigned differences wrap around, so that any two int64 have one.
    steps = np.diff(np.ascontiguousarray(values, dtype=np.int64).view(np.uint64)).view(np.int64)
    for k in range(0, len(steps), _BLOCK):
        block = steps[k : k + _BLOCK]
        least = block.min()
        above = np.zeros(_BLOCK, dtype=np.uint64)
        above[: len(block)] = block.view(np.uint64) - least.view(np.uint64)
        rows = above.reshape(-1, _MINIBLOCK)
        widths = [int(row.max()).bit_length() for row in rows]
        parts += [varint(zigzag(int(least))), bytes(widths)]
        parts += [_packed(row, width) for row, width in zip(rows, widths, strict=True)]
    extremes = [int(values.min()), int(values.max())] if len(values) else []
    return b"".join(parts), extremes


def codes(values: NDArray[np.int32], width: int, scratch: Octets | None = None) -> Any:
    """The bytes of indices into a dictionary, each of ``width`` bits and at least one."""
    groups = -(-len(values) // 8)
    head = bytes([width]) + varint(groups << 1 | 1)
    if scratch is None:
        whole = np.zeros(8 * groups, dtype=np.uint64)
        whole[: len(values)] = values
        return head + _packed(whole, width)
    from backtest.core.encoding_loops import bit_packed

    bit_packed(np.require(values, np.int32, ["C", "W"]), width, scratch)
    return head + scratch[: groups * width].tobytes()


def presence(count: int, absent: BoolArray | None) -> bytes:
    """Which of some rows have a value, as the levels before a page's values say it."""
    if absent is None or not absent.any():
        runs = varint(count << 1) + b"\x01"
    else:
        bits = np.packbits(~absent, bitorder="little").tobytes()
        runs = varint(len(bits) << 1 | 1) + bits
    return len(runs).to_bytes(4, "little") + runs


def most_bytes(rows: int) -> int:
    """Bytes that the compiled loops may need for so many rows."""
    return 8 * rows + (rows // _BLOCK + 2) * 16 + 8 * _BLOCK


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    if value < 128:
        return bytes((value,))
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """An int64 as a number that is small where the int64 is near 0."""
    return (value << 1 ^ value >> 63) & (1 << 64) - 1


def _packed(values: NDArray[np.uint64], width: int) -> bytes:
    """The lowest ``width`` bits of each, one after another, low bits first."""
    bits = values[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
    return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
