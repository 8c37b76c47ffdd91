"""Collects the rows of a table into row groups of one length, whatever pieces they come in.

Columns of fixed width are copied to buffers that are used again for a later group, so a caller may
change its arrays as soon as they are added, and a long table takes no more memory than a short one.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backtest.core.arrow import CATEGORY
from backtest.core.value_digest import ColumnDigest, UInt64Array, tokens

GROUP_BYTES = 2 << 20
"""What the rows of a group take, about: they stay in cache until they are encoded."""

LEAST_ROWS, MOST_ROWS = 1 << 15, 1 << 17
GROUPS = 2
"""Groups of a table in memory: one is encoded while the next is filled."""


def table_schema(schema: pa.Schema) -> pa.Schema:
    """A schema as files have it: names of which there are few are ``CATEGORY``, other dictionaries
    are their values."""
    return pa.schema([field.with_type(_type_in_files(field.type)) for field in schema])


class Group:
    """Rows that are collected, and then written as one row group.

    Args:
        schema: as ``table_schema`` gives it.
        names: of each category column, token and index of each name so far; shared by all groups.
    """

    def __init__(self, schema: pa.Schema, names: list[Names]) -> None:
        self._schema = schema
        self._columns: list[_Fixed | _Other] = []
        width = sum(_width(field.type) or 16 for field in schema)
        rows = 1 << max(GROUP_BYTES // max(width, 1), 1).bit_length() - 1
        self.capacity = min(max(rows, LEAST_ROWS), MOST_ROWS)
        for field, known in zip(schema, names, strict=True):
            fixed = _width(field.type) is not None
            self._columns.append(_Fixed(field, self.capacity, known) if fixed else _Other(field))
        self.rows = 0

    def put(self, rows: pa.RecordBatch) -> int:
        """Take as many of some rows as the group has space for, and return how many."""
        taken = rows.slice(0, self.capacity - self.rows)
        for column, values in zip(self._columns, taken.columns, strict=True):
            column.put(self.rows, values)
        self.rows += len(taken)
        return len(taken)

    def table(self) -> pa.Table:
        """The rows; until ``clear``."""
        arrays = [column.array(self.rows) for column in self._columns]
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def add_to(self, digests: list[ColumnDigest], scratch: UInt64Array) -> None:
        """Add the rows to a digest of each column, by way of ``scratch`` [capacity]."""
        for column, digest in zip(self._columns, digests, strict=True):
            column.add_to(digest, self.rows, scratch)

    def clear(self) -> None:
        """Forget the rows."""
        self.rows = 0
        for column in self._columns:
            column.clear()


class Collector:
    """Fills groups of a table; another thread may write those that are full.

    Args:
        schema: as ``table_schema`` gives it.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._given: pa.Schema | None = None
        self._names = [Names() for _ in schema]
        self._free: SimpleQueue[Group] = SimpleQueue()
        self._made = 0
        self._filling: Group | None = None

    def add(self, rows: pa.RecordBatch | pa.Table) -> Iterator[Group]:
        """Copy rows; the groups that are full with them. Each has to be given back in the end:
        where ``GROUPS`` are in use, this waits for the next one.

        Raises:
            ValueError: columns other than the table's, or no value where there must be one.
        """
        for batch in self._batches(rows):
            done = 0
            while done < len(batch):
                group = self._filling = self._filling or self._next()
                done += group.put(batch.slice(done))
                if group.rows == group.capacity:
                    self._filling = None
                    yield group

    def rest(self) -> Group | None:
        """The last rows, which fill no group."""
        group, self._filling = self._filling, None
        return group

    def give_back(self, group: Group) -> None:
        """Let a group that is written be used again."""
        group.clear()
        self._free.put(group)

    def _next(self) -> Group:
        if self._made == GROUPS:
            return self._free.get()
        self._made += 1
        return Group(self._schema, self._names)

    def _batches(self, rows: pa.RecordBatch | pa.Table) -> list[pa.RecordBatch]:
        if self._given is None or not rows.schema.equals(self._given):
            given = table_schema(rows.schema)
            if given.names != self._schema.names or given.types != self._schema.types:
                raise ValueError(f"columns changed from {self._schema} to {given}")
            self._given = rows.schema
        for field, column in zip(self._schema, rows.columns, strict=True):
            if not field.nullable and column.null_count:
                raise ValueError(f"column {field.name!r} lacks values, which it must have")
        return rows.to_batches() if isinstance(rows, pa.Table) else [rows]


class Names:
    """The names of a category column in order of their first appearance.

    Attributes:
        values: the names, Arrow strings.
        tokens: 64 bits for each, uint64 [names].
    """

    def __init__(self) -> None:
        self.values = pa.array([], pa.string())
        self.tokens = tokens([])

    def codes(self, column: pa.DictionaryArray) -> pa.Array:
        """Indices int32 into ``values`` of a column, whose own dictionary may be any."""
        indices, given = column.indices.cast(pa.int32()), column.dictionary.cast(pa.string())
        if given.equals(self.values):
            return indices
        # Most tables come with the same dictionary every time, so this is done once for each.
        known = {name: k for k, name in enumerate(self.values.to_pylist())}
        ours = [known.setdefault(name, len(known)) for name in given.to_pylist()]
        if len(known) > len(self.values):
            self.values = pa.array(list(known), pa.string())
            self.tokens = tokens(known)
        return pa.array(ours, pa.int32()).take(indices)


class _Fixed:
    """A column whose values have one width: numbers, instants, indices of names."""

    def __init__(self, field: pa.Field, capacity: int, names: Names) -> None:
        width = _width(field.type)
        assert width is not None
        self._type, self._names = field.type, names
        self._category = field.type == CATEGORY
        # Arrow's allocator keeps memory at hand where malloc would ask the system for fresh pages.
        self._buffer = pa.allocate_buffer(capacity * width)
        self._bits: NDArray[Any] = np.frombuffer(self._buffer, dtype=f"u{width}")
        self._absent = np.zeros(capacity if field.nullable else 0, dtype=np.bool_)
        self._gaps = False

    def put(self, at: int, values: pa.Array) -> None:
        if self._category:
            values = self._names.codes(values)
        rows = slice(at, at + len(values))
        validity, data = values.buffers()
        first = values.offset
        if data is None:
            self._bits[rows] = 0
        else:
            bits = np.frombuffer(data, dtype=self._bits.dtype)
            self._bits[rows] = bits[first : first + len(values)]
        if not len(self._absent):
            return
        if not values.null_count:
            self._absent[rows] = False
            return
        if validity is None:
            self._absent[rows] = True
        else:
            present = np.frombuffer(validity, dtype=np.uint8)[first // 8 :]
            shift = first % 8
            present = np.unpackbits(present, count=shift + len(values), bitorder="little")
            np.equal(present[shift:], 0, out=self._absent[rows])
        # What lies where a value is absent is no value, and must not show in the digest.
        np.copyto(self._bits[rows], 0, where=self._absent[rows])
        self._gaps = True

    def array(self, rows: int) -> pa.Array:
        validity, missing = None, 0
        if self._gaps:
            absent = self._absent[:rows]
            missing = int(np.count_nonzero(absent))
            validity = pa.py_buffer(np.packbits(~absent, bitorder="little"))
        kind = pa.int32() if self._category else self._type
        values = pa.Array.from_buffers(kind, rows, [validity, self._buffer], missing)
        if self._category:
            return pa.DictionaryArray.from_arrays(values, self._names.values, safe=False)
        return values

    def add_to(self, digest: ColumnDigest, rows: int, scratch: UInt64Array) -> None:
        absent = self._absent[:rows] if self._gaps else None
        bits = self._bits[:rows]
        if self._category:
            bits = np.take(self._names.tokens, bits, out=scratch[:rows], mode="clip")
            if absent is not None:
                np.copyto(bits, 0, where=absent)
        elif bits.dtype != np.uint64:
            scratch[:rows] = bits
            bits = scratch[:rows]
        digest.add(bits, absent)

    def clear(self) -> None:
        self._gaps = False


class _Other:
    """A column of another type; such arrays are not over memory of numpy, and are kept."""

    def __init__(self, field: pa.Field) -> None:
        self._type = field.type
        self._parts: list[pa.Array] = []

    def put(self, at: int, values: pa.Array) -> None:
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        self._parts.append(values)

    def array(self, rows: int) -> pa.ChunkedArray:
        return pa.chunked_array(self._parts, self._type)

    def add_to(self, digest: ColumnDigest, rows: int, scratch: UInt64Array) -> None:
        for part in self._parts:
            if pa.types.is_boolean(part.type):  # two values, however many rows
                places = part.fill_null(False).cast(pa.uint8()).to_numpy()
                values = tokens([False, True])[places]
            else:
                values = tokens(part.to_pylist())
            absent = part.is_null().to_numpy(zero_copy_only=False)
            values[absent] = 0
            digest.add(values, absent if part.null_count else None)

    def clear(self) -> None:
        self._parts.clear()


def _type_in_files(kind: pa.DataType) -> pa.DataType:
    if not pa.types.is_dictionary(kind):
        return kind
    return CATEGORY if pa.types.is_string(kind.value_type) else kind.value_type


def _width(kind: pa.DataType) -> int | None:
    """Bytes of a value, where numpy has numbers of that width; ``None``: of another type."""
    if kind == CATEGORY:
        return 4
    if not pa.types.is_primitive(kind) or kind.bit_width not in (8, 16, 32, 64):
        return None
    return int(kind.bit_width // 8)
