"""LOBSTER's pairs of CSV files: which there are, and their rows side by side, a block at a time."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from backtest.core.arrays import Int64Array
from backtest.core.zones import time_zone
from backtest.errors import DataError
from backtest.plugins.sources.decimals import parse_decimals
from backtest.plugins.sources.inputs import PACKINGS, input_files
from backtest.plugins.sources.mapped_files import read_csv
from backtest.plugins.sources.packed import Packed, unpacked
from backtest.plugins.sources.rows import first_failure

ADD, CANCEL, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)
"""Types of messages."""

_MESSAGE = ("time", "type", "order", "size", "price", "direction")
_NAME = re.compile(
    r"(?P<symbol>.+)_(?P<day>\d{4}-\d\d-\d\d)_(?P<start>\d{1,9})_(?P<end>\d{1,9})"
    r"_(?P<kind>message|orderbook)_(?P<levels>\d{1,4})\.csv",
    re.IGNORECASE,
)
_ABSENT = 9_999_999_999
_NS = 1_000_000_000
_MS_PER_DAY = 86_400_000
_BLOCK_BYTES = 1 << 20
_LARGEST = 2**42
_FIRST, _LAST = date(1990, 1, 1), date(2100, 1, 1)


@dataclass(frozen=True)
class LobsterFile:
    """One symbol's messages of one day, and the book after each.

    Attributes:
        messages, book: the two files.
        symbol, day: by their names.
        start, end: ms after midnight between which rows lie, by their names.
        levels: of the book.
        midnight: at which the day begins, int64 ns UTC.
    """

    messages: Packed
    book: Packed
    symbol: str
    day: date
    start: int
    end: int
    levels: int
    midnight: int

    def refuse(self, row: int, problem: str, *, book: bool = False) -> NoReturn:
        """Raise for a row, which counts from 0."""
        raise DataError(
            f"row {row} {problem}",
            place=self.book.place if book else self.messages.place,
            remedy="Fetch both files again, or leave them out with --ignore PATTERN.",
        )


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


def lobster_files(
    input: Path, ignore: Sequence[str], zone: str
) -> tuple[list[LobsterFile], dict[str, int]]:
    """The pairs of an input, by symbol and day, and how many files are ignored, by reason.

    Raises:
        DataError: there are none, others are there, a name does not tell what a file holds, one of
            a pair is missing, or two pairs are of the same time.
    """
    found = input_files(input, (".csv", *PACKINGS, ".zip"), ignore, noun=".csv files")
    ignored = Counter(found.ignored)
    pairs: dict[tuple[str, str, int, int, int], dict[str, Packed]] = {}
    for path in _with_others(input, found.paths):
        for packed in unpacked(path, (".csv",), ignore, ignored):
            match = _named(packed)
            start, end, levels = (int(match[name]) for name in ("start", "end", "levels"))
            key = match["symbol"].upper(), match["day"], start, end, levels
            kind = match["kind"].lower()
            other = pairs.setdefault(key, {}).setdefault(kind, packed)
            if other is not packed:
                raise DataError(f"the same file as {other.place}, by its name", place=packed.place)
    files = [_pair(key, pair, zone) for key, pair in sorted(pairs.items())]
    for before, file in itertools.pairwise(files):
        if (before.symbol, before.day) == (file.symbol, file.day) and file.start < before.end:
            raise DataError(
                f"it is of the same symbol and time as {before.messages.place}",
                place=file.messages.place,
                remedy="They would count twice: leave one pair out with --ignore PATTERN.",
            )
    return files, dict(ignored)


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


def _with_others(input: Path, paths: Sequence[Path]) -> list[Path]:
    """The paths; of a single file also the other one of its pair."""
    if input.is_dir() or not (match := _NAME.match(input.name)):
        return [*paths]
    other = {"message": "orderbook", "orderbook": "message"}[match["kind"].lower()]
    start, end = match.span("kind")
    beside = input.with_name(input.name[:start] + other + input.name[end:])
    return [*paths, beside] if beside.is_file() else [*paths]


def _named(packed: Packed) -> re.Match[str]:
    name = (packed.member or packed.path.name).rsplit("/", 1)[-1]
    match = _NAME.match(name)
    day = None
    if match is not None:
        try:
            day = date.fromisoformat(match["day"])
        except ValueError:
            match = None
    if match is None or day is None or not _FIRST <= day <= _LAST:
        raise DataError(
            "its name does not show what it contains",
            place=packed.place,
            remedy="Names are NAME_YYYY-MM-DD_START_END_message_N.csv and …_orderbook_N.csv, as"
            " LOBSTER gives them.",
        )
    return match


def _pair(key: tuple[str, str, int, int, int], pair: dict[str, Packed], zone: str) -> LobsterFile:
    symbol, day, start, end, levels = key
    if len(pair) < 2:
        (there,) = pair.values()
        missing = "orderbook" if "message" in pair else "message"
        raise DataError(
            f"the {missing} file that belongs to it is not there",
            place=there.place,
            remedy="Both are needed: the book gives the quotes, the messages the trades and times.",
        )
    if not levels or not start < end <= _MS_PER_DAY:
        raise DataError(
            "its name states no level, or a time that does not lie in a day",
            place=pair["message"].place,
        )
    try:
        midnight = datetime.combine(date.fromisoformat(day), time(0), time_zone(zone))
    except ValueError as error:
        raise DataError(str(error)) from None
    return LobsterFile(
        pair["message"],
        pair["orderbook"],
        symbol,
        midnight.date(),
        start,
        end,
        levels,
        int(midnight.timestamp()) * _NS,
    )


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
