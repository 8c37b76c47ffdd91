"""Arrays handed to compiled loops by address: unpacking one takes 70 ns, a strategy's call 2 µs.

Whoever states an address keeps the array alive and contiguous. Where nothing is compiled
(``NUMBA_DISABLE_JIT=1``) the arrays themselves are handed over, and the same loops run on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray, config, types
from numba.extending import intrinsic

from backtest.core.compiled import inlined


def places_of(arrays: Sequence[Any], **others: Sequence[int]) -> Any:
    """Address and length of each of some contiguous int64 arrays, uint64 [2 k].

    Args:
        arrays: in the order of their numbers.
        others: the numbers of arrays of another type, by that type's name.

    Raises:
        ValueError: an array of another type, or not in one piece.
    """
    kinds = {number: name for name, numbers in others.items() for number in numbers}
    for number, array in enumerate(arrays):
        if array.dtype != kinds.get(number, "int64") or not array.flags.carray:
            raise ValueError(f"array {number} is no piece of {kinds.get(number, 'int64')}")
    if config.DISABLE_JIT:
        return tuple(arrays)
    pairs = [(array.__array_interface__["data"][0], array.size) for array in arrays]
    return np.array(pairs, dtype=np.uint64).reshape(-1)


def _pointer(kind: Any) -> Any:
    """What turns an address into a pointer to numbers of a type."""

    @intrinsic
    def pointer(typing_context, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.uint64), generate

    return pointer


def _reader(kind: Any) -> Any:
    """What finds the array with a number among arrays of one type."""
    if config.DISABLE_JIT:
        return lambda places, k: places[k]
    pointer = _pointer(kind)

    def array(places, k):
        return carray(pointer(places[2 * k]), np.int64(places[2 * k + 1]))

    return inlined(array)


int64_array = _reader(types.int64)
"""(places, k) to the array number ``k`` of ``places``, int64 [n]."""
int32_array = _reader(types.int32)
uint8_array = _reader(types.uint8)
float64_array = _reader(types.float64)
float32_at = _pointer(types.float32)
"""Pointer to float32 numbers at an address."""
