"""Rows of LOBSTER's messages and books side by side, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from backtest.core.arrays import Int64Array
from backtest.errors import DataError
from backtest.plugins.sources.lobster.files import LobsterFile
from backtest.plugins.sources.mapped.files import read_csv
from backtest.plugins.sources.shared.decimals import parse_decimals
from backtest.plugins.sources.shared.packed import Packed
from backtest.plugins.sources.shared.rows import first_failure

ADD, CANCEL, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)
"""Types of messages."""

_MESSAGE = ("time", "type", "order", "size", "price", "direction")
_ABSENT = 9_999_999_999
_BLOCK_BYTES = 1 << 20
_LARGEST = 2**42


@dataclass(frozen=True)
class LobsterRows:
    """Messages and the book after each.

    Attributes:
        first: the number of the first of them.
        ts: int64 ns UTC [n].
        type, order, size, price, direction: int64 [n]; prices in 1/10,000.
        prices, sizes: int64 [2, N, n], bids and asks from the best; 0 where there is no level.
    """

    first: int
    ts: Int64Array
    type: Int64Array
    order: Int64Array
    size: Int64Array
    price: Int64Array
    direction: Int64Array
    prices: Int64Array
    sizes: Int64Array

    def __len__(self) -> int:
        return len(self.ts)


def read_rows(file: LobsterFile) -> Iterator[LobsterRows]:
    """A pair's rows, a block at a time.

    Raises:
        DataError: damaged, other columns, numbers that are none, times that go back or do not lie
            in the day, or files with different numbers of rows.
    """
    messages, books = _messages(file), _books(file)
    row, last = 0, -1
    held: list[Any] = [None, None]
    while True:
        for k, pieces in enumerate((messages, books)):
            if held[k] is None or not len(held[k]):
                held[k] = next(pieces, None)
        if held[0] is None or held[1] is None:
            break
        count = min(map(len, held))
        message, book = (piece[:count] for piece in held)
        held = [piece[count:] for piece in held]
        rows = _rows(file, row, message, book)
        since = rows.ts - file.midnight
        back = np.diff(since, prepend=last) < 0
        if back.any():
            file.refuse(row + int(np.argmax(back)), "has an earlier time than the row before it")
        last = int(since[-1])
        yield rows
        row += count
    if held[0] is not None or held[1] is not None:
        longer = "message" if held[1] is None else "orderbook"
        file.refuse(row, f"has no counterpart: the {longer} file has more rows than the other one")
    if not row:
        raise DataError("there are no rows", place=file.messages.place)


def _messages(file: LobsterFile) -> Iterator[Any]:
    """Messages as object rows: int64 [n, 6], the time in ns after midnight."""
    types = dict.fromkeys(_MESSAGE, pa.int64()) | {"time": pa.string()}
    names: tuple[str, ...] = ()
    row = 0
    for piece in file.messages.lines(_BLOCK_BYTES):
        if not names:
            # Later versions add a seventh column, which says nothing about the book.
            seventh = piece.split(b"\n", 1)[0].count(b",") == len(_MESSAGE)
            names = (*_MESSAGE, "more") if seventh else _MESSAGE
        options = pacsv.ConvertOptions(
            column_types=types | {"more": pa.string()}, include_columns=_MESSAGE
        )
        for batch in _batches(file.messages, piece, names, options, row):
            table = np.empty((batch.num_rows, len(_MESSAGE)), dtype=np.int64)
            for k, name in enumerate(_MESSAGE):
                column = batch.column(name)
                if column.null_count:
                    file.refuse(row + int(np.argmax(column.is_null())), f"has no {name}")
                table[:, k] = _nanoseconds(file, column, row) if name == "time" else column
            _check_messages(file, table, row)
            row += batch.num_rows
            yield table


def _books(file: LobsterFile) -> Iterator[Any]:
    """Rows of the book, int64 [n, 4 N]: ask price and size, bid price and size of each level."""
    cells = ("ask price", "ask size", "bid price", "bid size")
    names = tuple(f"{cell} {k + 1}" for k in range(file.levels) for cell in cells)
    options = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.int64()))
    row = 0
    for piece in file.book.lines(_BLOCK_BYTES):
        for batch in _batches(file.book, piece, names, options, row):
            for name, column in zip(names, batch.columns, strict=True):
                if column.null_count:
                    at = row + int(np.argmax(column.is_null()))
                    file.refuse(at, f"has an empty cell in {name!r}", book=True)
            table = np.stack([column.to_numpy() for column in batch.columns], axis=1)
            row += batch.num_rows
            yield table


def _batches(
    packed: Packed, piece: bytes, names: Sequence[str], options: Any, row: int
) -> Iterator[pa.RecordBatch]:
    if piece.strip():
        yield from read_csv(piece, names, options, row, packed.place).to_batches()


def _nanoseconds(file: LobsterFile, column: pa.Array, row: int) -> Int64Array:
    """Seconds after midnight as whole ns, int64 [n]."""

    def convert(some: pa.Array) -> Int64Array:
        values, scale = parse_decimals(some)
        if scale > 9 or (len(values) and values.max() > 86_400 * 10**scale):
            raise ValueError("not a time of a day in seconds, with up to 9 decimals")
        return values * 10 ** (9 - scale)

    try:
        return convert(column)
    except ValueError:
        at, error = first_failure(column, convert, (ValueError,))
        file.refuse(row + at, f"has the time {column[at].as_py()!r:.80}: {error}")


def _check_messages(file: LobsterFile, table: Any, row: int) -> None:
    kind, order, size, price, direction = table.T[1:]
    orders = (kind >= ADD) & (kind <= HIDDEN)
    checks = (
        ((kind < ADD) | (kind > HALT), "type", kind),
        (orders & ((size <= 0) | (size > _LARGEST)), "size", size),
        (orders & ((price <= 0) | (price > _LARGEST)), "price", price),
        (orders & (abs(direction) != 1), "direction", direction),
        ((kind == ADD) & (order <= 0), "order", order),
        ((kind == HALT) & (abs(price) > 1), "price of a halt", price),
    )
    for wrong, name, values in checks:
        if wrong.any():
            at = int(np.argmax(wrong))
            file.refuse(row + at, f"has the {name} {values[at]}")


def _rows(file: LobsterFile, row: int, message: Any, book: Any) -> LobsterRows:
    levels = book.reshape(len(book), file.levels, 2, 2)  # [n, N, ask or bid, price or size]
    prices = np.ascontiguousarray(levels[:, :, ::-1, 0].transpose(2, 1, 0))
    sizes = np.ascontiguousarray(levels[:, :, ::-1, 1].transpose(2, 1, 0))
    absent = abs(prices) == _ABSENT
    wrong = ~absent & ((prices <= 0) | (sizes <= 0) | (prices > _LARGEST) | (sizes > _LARGEST))
    gap = absent[:, :-1] & ~absent[:, 1:]
    steps = np.diff(prices, axis=1) * np.array([-1, 1]).reshape(2, 1, 1)
    crooked = ~absent[:, 1:] & ~absent[:, :-1] & (steps <= 0)
    for bad, problem in (
        (wrong, "has a level whose price or size is not above 0"),
        (gap, "has a level after one that is not there"),
        (crooked, "has levels that are not in the order of their prices"),
    ):
        if bad.any():
            file.refuse(row + int(np.argmax(bad.any(axis=(0, 1)))), problem, book=True)
    prices[absent] = 0
    sizes[absent] = 0
    kind, order, size, price, direction = np.ascontiguousarray(message.T[1:])
    ts = file.midnight + message[:, 0]
    return LobsterRows(row, ts, kind, order, size, price, direction, prices, sizes)
