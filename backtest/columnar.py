"""Parquet files written from numpy columns, with a digest of what they hold.

The columns of a run are as long as its history, and pyarrow's writer would be most of what a run
takes. This one knows few types and no compression (numbers that rise in steps take a byte or two),
writes a row group for every ``BLOCK`` rows, each column in one page with a checksum, and lets any
reader of Parquet read it: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from backtest.encoding import codes, integers, most_bytes, presence
from backtest.events import BoolArray
from backtest.thrift import Int32, Struct, Value, struct

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 1 << 17
"""Rows of a row group; where pieces end leaves no trace in a file."""

Kind: TypeAlias = Literal["int64", "time", "uint8", "float32", "float64", "text", "category"]
"""``time``: int64 ns since 1970, UTC. ``text`` and ``category``: int32 indices into names, which
for a category are the same throughout the file and known to its readers."""

_PHYSICAL = {"int64": 2, "time": 2, "uint8": 1, "float32": 4, "float64": 5, "text": 6}
_PLAIN, _RLE, _DELTA, _DICTIONARY = Int32(0), Int32(3), Int32(5), Int32(8)
_MAGIC = b"PAR1"


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


class ColumnarFile:
    """A Parquet file that grows by frames; close it before reading it.

    Args:
        path: where.
        like: a frame with the columns of all that will come.
        compiled: encode in compiled loops; the bytes are the same.
    """

    def __init__(self, path: Path, like: Frame, *, compiled: bool) -> None:
        self._like = {name: column.rows(slice(0)) for name, column in like.items()}
        self._names: dict[str, dict[str, int]] = {
            n: {} for n, c in like.items() if c.kind == "text"
        }
        self._waiting: list[Frame] = []
        self._digests = {name: hashlib.sha256() for name in like}
        for name, column in like.items():
            self._digests[name].update("\0".join([column.kind, *self._fixed(column)]).encode())
        self._scratch = np.zeros(most_bytes(BLOCK), dtype=np.uint8) if compiled else None
        self._groups: list[Struct] = []
        self._rows = 0
        self._file = path.open("wb")
        self._file.write(_MAGIC)
        self._at = len(_MAGIC)

    def write(self, frame: Frame) -> None:
        """Add rows. The arrays must stay as they are until the file is closed."""
        self._waiting.append({n: self._renamed(n, c) if c.names else c for n, c in frame.items()})
        while sum(map(_length, self._waiting)) >= BLOCK:
            self._flush(BLOCK)

    def close(self) -> None:
        """Write what is left, and the footer."""
        if self._file.closed:
            return
        with self._file:
            if self._waiting and (rows := sum(map(_length, self._waiting))):
                self._flush(rows)
            footer = self._footer()
            self._file.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)

    def digest(self) -> str:
        """SHA-256 of the columns' names and pages, and so of all values; after ``close``."""
        whole = hashlib.sha256(f"{self._rows}".encode())
        for name, digest in self._digests.items():
            whole.update(f"\0{name}\0{digest.hexdigest()}".encode())
        return whole.hexdigest()

    @staticmethod
    def _fixed(column: Column) -> Sequence[str]:
        return column.names if column.kind == "category" else ()

    def _renamed(self, name: str, column: Column) -> Column:
        """A text column whose indices are into the names of the whole file so far."""
        if column.kind != "text":
            return column
        known = self._names[name]
        ours = np.array([known.setdefault(n, len(known)) for n in column.names], dtype=np.int32)
        values = ours[np.where(column.absent, 0, column.values) if column.absent is not None else
                      column.values]  # fmt: skip
        return Column("text", values, column.absent)

    def _flush(self, rows: int) -> None:
        """Write the first rows of those that wait as a row group."""
        parts: list[Frame] = []
        while rows:
            frame = self._waiting.pop(0)
            if _length(frame) > rows:
                self._waiting.insert(0, {n: c.rows(slice(rows, None)) for n, c in frame.items()})
                frame = {n: c.rows(slice(rows)) for n, c in frame.items()}
            parts.append(frame)
            rows -= _length(frame)
        chunks = [self._chunk(name, [part[name] for part in parts]) for name in self._like]
        count = sum(map(_length, parts))
        size = sum(size for _, size in chunks)
        self._rows += count
        columns = [struct({2: self._at, 3: meta}) for meta, _ in chunks]
        self._groups.append(struct({1: columns, 2: size, 3: count}))

    def _chunk(self, name: str, parts: Sequence[Column]) -> tuple[Struct, int]:
        """Write one column of a row group: what the footer says of it, and its size."""
        column = parts[0] if len(parts) == 1 else _joined(parts)
        start, dictionary = self._at, None
        values, absent = column.values, column.absent
        if absent is not None:
            values = values[~absent]
        encoding, limits = _PLAIN, None
        if column.kind in ("text", "category"):
            values, names = self._local(name, values)
            dictionary = start
            listed = b"".join(len(n).to_bytes(4, "little") + n for n in names)
            self._page(2, {7: struct({1: Int32(len(names)), 2: _PLAIN})}, listed)
            if column.kind == "text":
                self._digests[name].update(listed)
            encoding, width = _DICTIONARY, max((len(names) - 1).bit_length(), 1)
            encoded = codes(values, width, self._scratch)
        elif column.kind in ("int64", "time", "uint8"):
            encoding, encoded = _DELTA, integers(values, self._scratch)
            if len(values):
                size = 4 if column.kind == "uint8" else 8
                limits = [int(v).to_bytes(size, "little", signed=True)
                          for v in (values.max(), values.min())]  # fmt: skip
        else:
            encoded = np.ascontiguousarray(values).data.cast("B")
        levels = presence(len(column), absent)
        first_page = self._at
        header = {1: Int32(len(column)), 2: encoding, 3: _RLE, 4: _RLE}
        self._page(0, {5: struct(header)}, levels, encoded)
        for piece in (levels, encoded):
            self._digests[name].update(piece)
        size = self._at - start
        high, low = limits or (None, None)
        statistics = struct({3: len(column) - len(values), 5: high, 6: low})
        used = [_RLE, encoding] if dictionary is None else [_RLE, encoding, _PLAIN]
        meta: dict[int, Value | None] = {
            1: Int32(_PHYSICAL.get(column.kind, 6)), 2: used, 3: [name], 4: Int32(0),
            5: len(column), 6: size, 7: size, 9: first_page, 11: dictionary, 12: statistics,
        }  # fmt: skip
        return struct(meta), size

    def _local(self, name: str, values: Any) -> tuple[Any, list[bytes]]:
        """Indices into the names of this row group alone, for text by first appearance."""
        if name not in self._names:
            return values, [n.encode() for n in self._like[name].names]
        every = [*self._names[name]]
        first = np.full(len(every), len(values))
        first[values[::-1]] = np.arange(len(values))[::-1]
        order = np.argsort(first, kind="stable")[: int((first < len(values)).sum())]
        place = np.zeros(len(every), dtype=np.int32)
        place[order] = np.arange(len(order))
        return place[values], [every[k].encode() for k in order]

    def _page(self, kind: int, header: dict[int, Struct], *pieces: Any) -> None:
        size, check = 0, 0
        for piece in pieces:
            size += len(piece)
            check = crc32(piece, check)
        signed = check - (1 << 32) if check >> 31 else check
        sizes = {1: Int32(kind), 2: Int32(size), 3: Int32(size), 4: Int32(signed)}
        head = struct({**sizes, **header})
        for piece in (head, *pieces):
            self._file.write(piece)
        self._at += len(head) + size

    def _footer(self) -> bytes:
        columns = [_element(name, column.kind) for name, column in self._like.items()]
        root = struct({3: Int32(0), 4: "schema", 5: Int32(len(columns))})
        arrow = base64.b64encode(arrow_schema(self._like).serialize().to_pybytes())
        return struct({
            1: Int32(2), 2: [root, *columns], 3: self._rows, 4: self._groups,
            5: [struct({1: "ARROW:schema", 2: arrow})], 6: "ticktoll",
            7: [struct({1: struct({})})] * len(columns),
        })  # fmt: skip


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


def _element(name: str, kind: Kind) -> Struct:
    """What the footer says of a column's type."""
    converted = logical = None
    if kind == "time":
        logical = struct({8: struct({1: True, 2: struct({3: struct({})})})})
    elif kind == "uint8":
        converted = Int32(11)
    elif kind in ("text", "category"):
        converted, logical = Int32(0), struct({1: struct({})})
    optional = Int32(1)
    return struct(
        {1: Int32(_PHYSICAL.get(kind, 6)), 3: optional, 4: name, 6: converted, 10: logical}
    )


def _joined(parts: Sequence[Column]) -> Column:
    values = np.concatenate([part.values for part in parts])
    if all(part.absent is None for part in parts):
        return Column(parts[0].kind, values, None, parts[0].names)
    absent = [np.zeros(len(p), np.bool_) if p.absent is None else p.absent for p in parts]
    return Column(parts[0].kind, values, np.concatenate(absent), parts[0].names)


def _length(frame: Frame) -> int:
    return next((len(column) for column in frame.values()), 0)
