"""The fixed-point numbers of NautilusTrader's files, of 64 and 128 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from backtest.core.arrays import BoolArray, Int64Array
from backtest.errors import DataError

BYTES_OF_64, BYTES_OF_128 = 8, 16
SCALE_OF_128 = 16
_SCALE_OF_64 = 9
_SCALES = (9, 12, 16)
_MOST = 2**63 - 1


@dataclass(frozen=True)
class Numbers:
    """Fixed-point numbers as whole ones.

    Attributes:
        values: of 10^-scale, int64 [n]; 0 where there is none.
        absent: which are undefined, bool [n].
        rounded: which were rounded to the file's precision, bool [n].
    """

    values: Int64Array
    scale: int
    absent: BoolArray
    rounded: BoolArray


def numbers(column: Any, precision: int, place: str, *, signed: bool) -> Numbers:
    """Fixed-point numbers, exactly.

    Args:
        column: of fixed-size binary (8 or 16 bytes), or of 64-bit integers as old catalogues have.
        precision: decimals that the file states; numbers of 128 bits that miss them by no more than
            a binary fraction does are rounded to them, as the vendor does.
        signed: prices, of which the largest and the smallest mean none; of sizes the largest does.

    Raises:
        DataError: more digits than 64 bits hold.
    """
    wide = pa.types.is_fixed_size_binary(column.type) and column.type.byte_width == BYTES_OF_128
    words = _words(column, 2 if wide else 1)
    # The markers, by their highest word; all lower bits are set in the largest numbers.
    highest, lowest = words[:, -1], words[:, 0]
    absent = (highest == (_MOST if signed else -1)) & ((lowest == -1) | (not wide))
    if signed:
        absent |= (highest == -(2**63)) & ((lowest == 0) | (not wide))
    words = np.where(absent[:, None], 0, words)
    none = np.zeros(len(words), dtype=np.bool_)
    if not signed and (words[:, -1] < 0).any():
        raise DataError("there are sizes of more digits than 64 bits hold", place=place)
    if not wide:
        return Numbers(words[:, 0], _SCALE_OF_64, absent, none)
    exact = _scaled(words, precision)
    if exact is not None:
        return Numbers(exact, precision, absent, none)
    mended = _without_noise(words, precision)
    if mended is not None:
        return Numbers(mended[0], precision, absent, mended[1])
    for scale in _SCALES:
        exact = _scaled(words, scale)
        if exact is not None:
            return Numbers(exact, scale, absent, none)
    raise DataError("there are numbers of more digits than 64 bits hold", place=place)


def _words(column: Any, width: int) -> Int64Array:
    """The column's 64-bit words, int64 [n, width]."""
    data = np.frombuffer(column.buffers()[1], dtype=np.int64)
    return data[width * column.offset : width * (column.offset + len(column))].reshape(-1, width)


def _scaled(words: Int64Array, scale: int) -> Int64Array | None:
    """Numbers of 128 bits as whole numbers of 10^-scale; ``None`` if some are not."""
    column = pa.Array.from_buffers(
        pa.decimal128(38, SCALE_OF_128),
        len(words),
        [None, pa.py_buffer(np.ascontiguousarray(words))],
    )
    try:
        exact = column.cast(pa.decimal128(38, scale))
    except pa.ArrowInvalid:
        return None
    result = _words(exact, 2)
    if (result[:, 1] != result[:, 0] >> 63).any():
        return None
    return result[:, 0].copy()


def _without_noise(words: Int64Array, precision: int) -> tuple[Int64Array, BoolArray] | None:
    """Numbers rounded to their precision; ``None`` if one is farther off than binary fractions."""
    step = 10 ** (SCALE_OF_128 - precision)
    values = np.empty(len(words), dtype=np.int64)
    rounded = np.zeros(len(words), dtype=np.bool_)
    for i, (low, high) in enumerate(words.tolist()):
        raw = (high << 64) + (low & (2**64 - 1))
        nearest = (2 * raw + step) // (2 * step)
        off = abs(raw - nearest * step)
        if off > (abs(raw) >> 50) or abs(nearest) > _MOST:
            return None
        values[i], rounded[i] = nearest, off > 0
    return values, rounded
