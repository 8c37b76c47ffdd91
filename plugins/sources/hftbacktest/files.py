"""Files of hftbacktest's events: which there are, and their rows, a block at a time."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from backtest.errors import DataError
from backtest.plugins.hft_layout import ADD, ARRAY, EVENT, EXCHANGE, FILL, KIND, MARKER, TRADE
from backtest.plugins.sources.shared.decimals import decimal_parameter
from backtest.plugins.sources.shared.inputs import input_files
from backtest.plugins.sources.shared.packed import Packed, member_names

BLOCK_ROWS = 1 << 16

_DATE = re.compile(r"[_-](\d{8}|\d{4}-\d\d-\d\d)$")
_NS = 1_000_000_000
_EARLIEST, _LATEST = 631_152_000 * _NS, 4_102_444_800 * _NS  # 1990 and 2100
_HEADER_BYTES = 1 << 16
_MOST_DECIMALS = 12
_CLOSE = 1e-12
"""How far, of its size, a number times a power of ten may be from the whole one that it stands for:
a few thousand roundings of float64."""


@dataclass
class HftFile:
    """One symbol's events.

    Attributes:
        packed: the file, or the array in it.
        symbol: whose they are.
        rows: how many, all sides together.
        first, last: exch_ts of the first and last row for the exchange, ns.
        orders, levels: it has rows of orders, of levels.
        decimals: of its prices and quantities.
        grid: tick and lot, where an export states them.
    """

    packed: Packed
    symbol: str
    rows: int = 0
    first: int = 0
    last: int = 0
    orders: bool = False
    levels: bool = False
    decimals: tuple[int, int] = (0, 0)
    grid: tuple[str, str] | None = None

    def refuse(self, row: int, problem: str) -> NoReturn:
        """Raise for a row, which counts from 0."""
        raise DataError(
            f"row {row} {problem}",
            place=self.packed.place,
            remedy="Convert the data to hftbacktest's format again.",
        )


def hft_files(
    input: Path, ignore: Sequence[str], symbol: str | None
) -> tuple[list[HftFile], dict[str, int]]:
    """The files of an input, by symbol and time, and how many others are ignored, by reason.

    Raises:
        DataError: there are none, others are there, one does not hold events, or two files of a
            symbol overlap in time.
    """
    found = input_files(input, (".npz", ".npy", MARKER), ignore, noun=".npz files")
    ignored = Counter(found.ignored)
    files = []
    for path in found.paths:
        if path.name == MARKER:
            ignored["what an export says of its files"] += 1
            continue
        exported = _exported(path)
        name = _DATE.sub("", path.name.rsplit(".", 1)[0]).upper()
        file = HftFile(_array_of(path), symbol or (exported[0] if exported else name))
        file.grid = exported[1:] if exported else None
        _survey(file)
        files.append(file)
    files = sorted(files, key=lambda file: (file.symbol, file.first, file.last))
    for k in range(1, len(files)):
        before, file = files[k - 1], files[k]
        if before.symbol == file.symbol and file.first < before.last:
            raise DataError(
                f"it begins before {before.packed.place} of the same symbol ends",
                place=file.packed.place,
                remedy="Leave one out with --ignore PATTERN, or ingest them apart.",
            )
    return files, dict(ignored)


def read_rows(file: HftFile) -> Iterator[tuple[int, Any]]:
    """The number of the first row of each block, and the block: ``EVENT`` [n].

    Raises:
        DataError: it is damaged, or does not hold such an array.
    """
    blocks = file.packed.blocks(BLOCK_ROWS * EVENT.itemsize)
    held = b""
    while len(held) < _HEADER_BYTES and (more := next(blocks, b"")):
        held += more
    dtype, count, offset = _header(file, held)
    held = held[offset:]
    row = 0
    while row < count:
        size = min(len(held) // dtype.itemsize, count - row)
        if size:
            block = np.frombuffer(held, dtype=dtype, count=size)
            yield row, block.astype(EVENT, copy=False)
            held = held[size * dtype.itemsize :]
            row += size
            continue
        more = next(blocks, b"")
        if not more:
            raise DataError(
                f"the array has {row} rows, not the {count} that its header states",
                place=file.packed.place,
                remedy="Fetch the file again: it is truncated.",
            )
        held += more
    for _ in blocks:  # to its end, where damage shows
        pass


def _array_of(path: Path) -> Packed:
    """The array of events in a file."""
    if not zipfile.is_zipfile(path):
        return Packed(path)
    names = member_names(path)
    wanted = f"{ARRAY}.npy"
    if wanted not in names and len(names) != 1:
        raise DataError(
            f"it holds no array {ARRAY!r}, but {', '.join(names[:8]) or 'none'}",
            place=str(path),
            remedy="Write the events with numpy.savez_compressed(FILE, data=EVENTS).",
        )
    return Packed(path, wanted if wanted in names else names[0])


def _exported(path: Path) -> tuple[str, str, str] | None:
    """Symbol, tick and lot of a file that ``backtest data export`` wrote; ``None`` for others."""
    beside = path.with_name(MARKER)
    if not beside.is_file():
        return None
    try:
        told = json.loads(beside.read_text())
        of = {
            what["file"]: (name, what["tick_size"], what["lot_size"]) for name, what in told.items()
        }
        for _, tick, lot in of.values():
            decimal_parameter(tick, "tick_size")
            decimal_parameter(lot, "lot_size")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"it is no export's: {error!r:.200}", place=str(beside)) from None
    return of.get(path.name)


def _header(file: HftFile, held: bytes) -> tuple[Any, int, int]:
    """The type and number of rows of an array, and where they begin."""
    stream = io.BytesIO(held)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    except Exception as error:  # numpy raises whatever a damaged header brings about
        raise DataError(
            f"the file is no array of numpy's, or is damaged: {error!s:.200}",
            place=file.packed.place,
            remedy="Fetch the file again.",
        ) from None
    fields = {} if dtype.fields is None else {name: dtype[name] for name in dtype.names or ()}
    wanted = {name: EVENT[name] for name in EVENT.names or ()}
    if fields != wanted or dtype.names != EVENT.names or len(shape) != 1:
        raise DataError(
            f"it holds {dtype!s:.200} {list(shape)}, not hftbacktest's events",
            place=file.packed.place,
            remedy="Its rows are of hftbacktest's event_dtype: ev, exch_ts, local_ts, px, qty,"
            " order_id, ival, fval.",
        )
    return dtype, shape[0], stream.tell()


def _survey(file: HftFile) -> None:
    """Read a file once for what it holds, and check its times and numbers."""
    last = _EARLIEST
    for row, every in read_rows(file):
        seen = (every["ev"] & EXCHANGE) != 0
        rows, block = row + np.flatnonzero(seen), every[seen]
        file.rows = row + len(seen)
        if not len(block):
            continue
        ts = block["exch_ts"]
        for name in ("exch_ts", "local_ts"):
            wrong = (block[name] < _EARLIEST) | (block[name] > _LATEST)
            if wrong.any():
                at = int(np.argmax(wrong))
                problem = f"has {block[name][at]} in {name!r}, which is no time in ns since 1970"
                file.refuse(int(rows[at]), problem)
        back = np.diff(ts, prepend=last) < 0
        if back.any():
            problem = "has an earlier exch_ts than the row for the exchange before it"
            file.refuse(int(rows[np.argmax(back)]), problem)
        file.first = file.first or int(ts[0])
        file.last = last = int(ts[-1])
        kind = block["ev"] & KIND
        orders = (kind >= ADD) & (kind <= FILL)
        file.orders |= bool(orders.any())
        file.levels |= bool(((kind > 0) & (kind < ADD) & (kind != TRADE)).any())
        stated = orders | (kind == TRADE) | (kind == 1) | (kind == 4)
        found = []
        for name in ("px", "qty"):
            values = block[name][stated]
            wrong = ~np.isfinite(values) | (values < 0) if name == "qty" else ~np.isfinite(values)
            if wrong.any():
                at = int(np.argmax(wrong))
                file.refuse(int(rows[stated][at]), f"has {values[at]} in {name!r}")
            found.append(_decimals(values))
        file.decimals = max(file.decimals[0], found[0]), max(file.decimals[1], found[1])


def _decimals(values: Any) -> int:
    """The fewest decimals that tell binary fractions, float64 [n], apart from others."""
    for decimals in range(_MOST_DECIMALS):
        scaled = values * 10.0**decimals
        if (np.abs(scaled - np.rint(scaled)) <= _CLOSE * np.maximum(1, np.abs(scaled))).all():
            return decimals
    return _MOST_DECIMALS
