"""Arrays handed to compiled loops by address: unpacking one takes 70 ns, a strategy's call 2 µs.

Whoever states an address keeps the array alive and contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic


def places_of(arrays: Sequence[Any], **others: int) -> Any:
    """Address and length of each of some contiguous int64 arrays, uint64 [2 k].

    Args:
        arrays: in the order of their numbers.
        others: the number of an array of another type, by that type's name.

    Raises:
        ValueError: an array of another type, or not in one piece.
    """
    kinds = {number: name for name, number in others.items()}
    for number, array in enumerate(arrays):
        if array.dtype != kinds.get(number, "int64") or not array.flags.carray:
            raise ValueError(f"array {number} is no piece of {kinds.get(number, 'int64')}")
    pairs = [(array.__array_interface__["data"][0], array.size) for array in arrays]
    return np.array(pairs, dtype=np.uint64).reshape(-1)


def _pointer(kind):
    """What turns an address into a pointer to numbers of a type."""

    @intrinsic
    def pointer(typing_context, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.uint64), generate

    return pointer


_int64, _int32, _uint8 = (_pointer(k) for k in (types.int64, types.int32, types.uint8))
float32_at = _pointer(types.float32)
"""Pointer to float32 numbers at an address."""


@njit(inline="always")
def int64_array(places, k):
    """The array number ``k`` of ``places``, int64 [n]."""
    return carray(_int64(places[2 * k]), np.int64(places[2 * k + 1]))


@njit(inline="always")
def int32_array(places, k):
    """The same, int32 [n]."""
    return carray(_int32(places[2 * k]), np.int64(places[2 * k + 1]))


@njit(inline="always")
def uint8_array(places, k):
    """The same, uint8 [n]."""
    return carray(_uint8(places[2 * k]), np.int64(places[2 * k + 1]))
