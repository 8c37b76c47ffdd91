"""Arrow arrays and batches over numpy columns, which are not copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from backtest.core.arrays import BoolArray, Int64Array

TIME = pa.timestamp("ns", "UTC")
"""The type of instants in tables: int64 ns since 1970."""

CATEGORY = pa.dictionary(pa.int32(), pa.string())
"""The type of names of which there are few, such as symbols."""


def time_array(instants: Int64Array, absent: BoolArray | None = None) -> pa.Array:
    """Instants, int64 ns [n]; none where ``absent``."""
    return pa.array(instants, mask=absent).view(TIME)


def symbol_array(codes: Any, symbols: Sequence[str]) -> pa.DictionaryArray:
    """The symbols with some indices [n] into a symbol table."""
    indices = pa.array(np.asarray(codes, dtype=np.int32))
    # Codes come from the engine, so their bounds are not looked through once more.
    return pa.DictionaryArray.from_arrays(indices, _names(tuple(symbols)), safe=False)


def integers(column: pa.Array) -> Int64Array:
    """A column of integers or instants as int64 [n]; 0 where it has no value."""
    return column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)


class Codes:
    """Numbers for the names in a dictionary column, whose pieces may each have their own table.

    Attributes:
        names: those seen so far, by number.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def __call__(self, column: pa.Array) -> Int64Array:
        """The numbers of a piece's names, int64 [n]."""
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        found = [self._number(str(name)) for name in encoded.dictionary.to_pylist()]
        return np.array(found, dtype=np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]

    def _number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number


@lru_cache(maxsize=16)
def _names(symbols: tuple[str, ...]) -> pa.StringArray:
    return pa.array(symbols, pa.string())


def batch_of(columns: Mapping[str, Any], nullable: Sequence[str] = ()) -> pa.RecordBatch:
    """A batch of columns by name, each a numpy or an Arrow array [n].

    Args:
        columns: the columns.
        nullable: those in which any batch of the table may lack values; writing others takes less.
    """
    arrays = [c if isinstance(c, pa.Array) else pa.array(c) for c in columns.values()]
    fields = [
        pa.field(name, array.type, nullable=name in nullable)
        for name, array in zip(columns, arrays, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
