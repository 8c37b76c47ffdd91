"""Parquet files written from numpy columns, with a digest of what they hold.

The columns of a run are as long as its history, and pyarrow's writer would be most of what a run
takes. This one knows few types and no compression (numbers that rise in steps take a byte or two),
writes a row group for every ``BLOCK`` rows, each column in one page with a checksum, and lets any
reader of Parquet read it: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from backtest.core.columnar import Column, Frame, Kind, arrow_schema
from backtest.core.encoding import codes, integers, most_bytes, presence
from backtest.core.thrift import Int32, Struct, Value, struct

BLOCK = 1 << 17
"""Rows of a row group; where pieces end leaves no trace in a file."""

_PHYSICAL = {"int64": 2, "time": 2, "uint8": 1, "float32": 4, "float64": 5, "text": 6}
_PLAIN, _RLE, _DELTA, _DICTIONARY = Int32(0), Int32(3), Int32(5), Int32(8)
_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True)
class _Pages:
    """A column of a row group as it is written.

    Attributes:
        encoding: of the values.
        names: what the values are indices of, if they are.
        levels, values: bytes that say which rows have a value, and those values.
        check: the checksum of both.
        nulls: rows without a value.
        limits: the least and the largest value of whole numbers.
    """

    encoding: Int32
    names: list[bytes] | None
    levels: bytes
    values: Any
    check: int
    nulls: int
    limits: tuple[bytes | None, bytes | None]


class ColumnarFile:
    """A Parquet file that grows by frames; close it before reading it.

    Args:
        path: where.
        like: a frame with the columns of all that will come.
        compiled: encode in compiled loops; the bytes are the same.
        hashed: whether ``digest`` will be asked for.
    """

    def __init__(
        self, path: Path, like: Frame, *, compiled: bool = False, hashed: bool = True
    ) -> None:
        self._like = {name: column.rows(slice(0)) for name, column in like.items()}
        self._names: dict[str, dict[str, int]] = {
            n: {} for n, c in like.items() if c.kind == "text"
        }
        self._waiting: list[Frame] = []
        self._digests = {name: hashlib.sha256() for name in like}
        for name, column in like.items():
            self._digests[name].update("\0".join([column.kind, *self._fixed(column)]).encode())
        self._hashed = hashed
        self._leaders: dict[str, str] = {}
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

    def close(self, *, synced: bool = False) -> None:
        """Write what is left, and the footer, and wait for the disk if it shall be ``synced``."""
        if self._file.closed:
            return
        with self._file:
            if self._waiting and (rows := sum(map(_length, self._waiting))):
                self._flush(rows)
            footer = self._footer()
            self._file.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)
            self._file.flush()
            if synced:
                os.fsync(self._file.fileno())

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
        whole = {n: _joined([part[n] for part in parts]) for n in self._like}
        start = self._at
        same = {name: _identity(column) for name, column in whole.items()}
        again = Counter(same.values())
        self._follow(same)
        made: dict[Any, _Pages] = {}
        chunks = []
        for name, column in whole.items():
            pages = made.get(same[name]) or self._pages(name, column)
            if again[same[name]] > 1 and same[name] not in made:
                # The scratch space will hold another column before this one is written again.
                made[same[name]] = pages = replace(pages, values=bytes(pages.values))
            chunks.append(self._put(name, column, pages))
            if self._hashed and name not in self._leaders:
                self._hash(name, pages)
        count = sum(map(_length, parts))
        self._rows += count
        columns = [struct({2: 0, 3: meta}) for meta, _ in chunks]
        size = sum(size for _, size in chunks)
        self._groups.append(struct({1: columns, 2: size, 3: count}))
        self._file.flush()
        if hasattr(os, "posix_fadvise"):
            # Starts to write it to the disk, so that less is left to wait for in the end.
            handle = self._file.fileno()
            os.posix_fadvise(handle, start, self._at - start, os.POSIX_FADV_DONTNEED)

    def _follow(self, same: Mapping[str, Any]) -> None:
        """Columns that have been the same arrays from the first row on share their digests."""
        if not self._rows:
            first: dict[Any, str] = {}
            for name, identity in same.items():
                leader = first.setdefault(identity, name)
                if leader != name:
                    self._leaders[name] = leader
                    self._digests[name] = self._digests[leader]
        for name, leader in [*self._leaders.items()]:
            if same[name] != same[leader]:
                self._digests[name] = self._digests[leader].copy()
                del self._leaders[name]

    def _hash(self, name: str, pages: _Pages) -> None:
        if pages.names is not None and name in self._names:
            self._digests[name].update(_listed(pages.names))
        self._digests[name].update(pages.levels)
        self._digests[name].update(pages.values)

    def _pages(self, name: str, column: Column) -> _Pages:
        """A column of a row group, encoded."""
        values, absent, names = column.values, column.absent, None
        if absent is not None:
            values = values[~absent]
        encoded: Any
        limits: tuple[bytes | None, bytes | None] = None, None
        if column.kind in ("text", "category"):
            values, names = self._local(name, values)
            width = max((len(names) - 1).bit_length(), 1)
            encoding, encoded = _DICTIONARY, codes(values, width, self._scratch)
        elif column.kind in ("int64", "time", "uint8"):
            encoding = _DELTA
            encoded, extremes = integers(values, self._scratch)
            if extremes:
                size = 4 if column.kind == "uint8" else 8
                low, high = (v.to_bytes(size, "little", signed=True) for v in extremes)
                limits = low, high
        else:
            encoding, encoded = _PLAIN, np.ascontiguousarray(values).data.cast("B")
        levels = presence(len(column), absent)
        check = crc32(encoded, crc32(levels))
        nulls = len(column) - len(values)
        return _Pages(encoding, names, levels, encoded, check, nulls, limits)

    def _put(self, name: str, column: Column, pages: _Pages) -> tuple[Struct, int]:
        """Write a column of a row group: what the footer says of it, and its size."""
        start, dictionary, encoding = self._at, None, pages.encoding
        used = [_RLE, encoding]
        if pages.names is not None:
            dictionary = start
            listed = _listed(pages.names)
            header = {7: struct({1: Int32(len(pages.names)), 2: _PLAIN})}
            self._page(2, header, crc32(listed), listed)
            used.append(_PLAIN)
        first_page = self._at
        header = {5: struct({1: Int32(len(column)), 2: encoding, 3: _RLE, 4: _RLE})}
        self._page(0, header, pages.check, pages.levels, pages.values)
        size = self._at - start
        low, high = pages.limits
        meta: dict[int, Value | None] = {
            1: Int32(_PHYSICAL.get(column.kind, 6)), 2: used, 3: [name], 4: Int32(0),
            5: len(column), 6: size, 7: size, 9: first_page, 11: dictionary,
            12: struct({3: pages.nulls, 5: high, 6: low}),
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

    def _page(self, kind: int, header: dict[int, Struct], check: int, *pieces: Any) -> None:
        size = sum(map(len, pieces))
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


def _identity(column: Column) -> Any:
    """The same for columns of the same arrays."""
    return column.kind, id(column.names), *map(_place, (column.values, column.absent))


def _place(array: NDArray[Any] | None) -> Any:
    return None if array is None else (array.ctypes.data, array.shape, array.strides)


def _listed(names: Sequence[bytes]) -> bytes:
    """Names as a dictionary page has them."""
    return b"".join(len(name).to_bytes(4, "little") + name for name in names)


def _joined(parts: Sequence[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([part.values for part in parts])
    if all(part.absent is None for part in parts):
        return Column(parts[0].kind, values, None, parts[0].names)
    absent = [np.zeros(len(p), np.bool_) if p.absent is None else p.absent for p in parts]
    return Column(parts[0].kind, values, np.concatenate(absent), parts[0].names)


def _length(frame: Frame) -> int:
    return next((len(column) for column in frame.values()), 0)
