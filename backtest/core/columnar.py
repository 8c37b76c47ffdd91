"""Columns of numpy arrays that become tables: what they hold, and how pyarrow has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from numpy.typing import NDArray

from backtest.core.arrays import BoolArray

if TYPE_CHECKING:
    import pyarrow as pa

Kind: TypeAlias = Literal["int64", "time", "uint8", "float32", "float64", "text", "category"]
"""``time``: int64 ns since 1970, UTC. ``text`` and ``category``: int32 indices into names, which
for a category are the same throughout the file and known to its readers."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of some rows.

    Attributes:
        kind: what the values are.
        values: of that type [n]; whatever they are where absent.
        absent: which rows have no value, bool [n]; ``None``: none.
        names: what the indices of ``text`` and ``category`` stand for.
    """

    kind: Kind
    values: NDArray[Any]
    absent: BoolArray | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, rows: slice) -> Column:
        """The same at some rows, as a view."""
        absent = None if self.absent is None else self.absent[rows]
        return Column(self.kind, self.values[rows], absent, self.names)


Frame: TypeAlias = Mapping[str, Column]
"""Columns of equal length by name."""


def arrow_schema(frame: Frame) -> pa.Schema:
    """The types that pyarrow and polars find in a file of such frames."""
    import pyarrow as pa

    types = {
        "int64": pa.int64(), "time": pa.timestamp("ns", "UTC"), "uint8": pa.uint8(),
        "float32": pa.float32(), "float64": pa.float64(), "text": pa.string(),
        "category": pa.dictionary(pa.int32(), pa.string()),
    }  # fmt: skip
    return pa.schema([(name, types[column.kind]) for name, column in frame.items()])


def arrow_table(frame: Frame) -> pa.Table:
    """The same as pyarrow has it."""
    import pyarrow as pa

    schema = arrow_schema(frame)
    arrays = []
    for field, column in zip(schema, frame.values(), strict=True):
        values = pa.array(column.values, mask=column.absent)
        if column.names:
            values = pa.DictionaryArray.from_arrays(values, pa.array(column.names, pa.string()))
        arrays.append(values.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def frame_of(table: pa.Table) -> Frame | None:
    """A table's columns; ``None`` if one of them is of a type that frames do not know."""
    import pyarrow as pa

    kinds: dict[Any, Kind] = {
        pa.int64(): "int64", pa.timestamp("ns", "UTC"): "time", pa.uint8(): "uint8",
        pa.float32(): "float32", pa.float64(): "float64", pa.string(): "text",
    }  # fmt: skip
    if not all(field.type in kinds for field in table.schema):
        return None
    frame: dict[str, Column] = {}
    for field, chunked in zip(table.schema, table.columns, strict=True):
        column = chunked.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = (
                pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], field.type)
            )
        absent = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        names: tuple[str, ...] = ()
        if kinds[field.type] == "text":
            column = column.dictionary_encode()
            names, column = tuple(column.dictionary.to_pylist()), column.indices
        elif kinds[field.type] == "time":
            column = column.view(pa.int64())
        if absent is not None:
            column = column.fill_null(0)
        values = column.to_numpy(zero_copy_only=False)
        frame[field.name] = Column(kinds[field.type], values, absent, names)
    return frame
