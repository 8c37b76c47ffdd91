"""Lines of a recorded Binance stream to whole numbers, a block of the file at a time."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from backtest.core.arrays import BoolArray, Int8Array, Int64Array
from backtest.errors import DataError
from backtest.market.events import NO_TIME
from backtest.plugins.sources.decimals import parse_decimals
from backtest.plugins.sources.packed import BLOCK_BYTES, Packed
from backtest.plugins.sources.rows import first_failure

RowKind: TypeAlias = Literal["trade", "bookTicker"]
BinanceMarket: TypeAlias = Literal["spot", "um", "cm"]

_FAULTS = (pa.ArrowException, ValueError)
_LINE = re.compile(rb'([0-9]{1,18}|[1-8][0-9]{18}) (?:\{"stream": ?"[^"@]+@([A-Za-z]+)|\{)')
_TEXT, _INT, _BOOL = pa.string(), pa.int64(), pa.bool_()
_COMMON = [("s", _TEXT), ("T", _INT)]
_INVERSE = "USD_(PERP|[0-9]{6})$"
"""How names of coin-margined contracts end; dated USD-margined ones end as in USDT_240927."""
_FIELDS: dict[RowKind, list[tuple[str, Any]]] = {
    "bookTicker": [*_COMMON, ("u", _INT), *((name, _TEXT) for name in "baBA")],
    "trade": [*_COMMON, ("t", _INT), *((n, _TEXT) for n in "pqX"), ("m", _BOOL), ("M", _BOOL)],
}
_NEEDED = {"bookTicker": ("s", "u", "b", "a", "B", "A"), "trade": ("s", "t", "p", "q", "T")}
_OFF_BOOK = "trades outside the order book"
_SECONDS = (631_152_000, 4_102_444_800)
"""1990 and 2100: a time outside them was written in another unit."""


@dataclass(frozen=True)
class MessageRows:
    """Messages of one kind and one symbol, in the order of the file.

    Attributes:
        symbol, market, kind: of all of them.
        line: number in the file, from 1, int64 [n].
        recv: the recorder's clock, int64 ns [n].
        venue: transaction time, int64 ns [n]; ``NO_TIME`` where the stream has none.
        update: the venue's number of the message, int64 [n].
        price: [2, n] bid and ask, or [1, n], whole numbers of 10^-price_scale.
        size: alike, of 10^-size_scale.
        aggressor: who initiated each trade, int8 [n]: 1 the buyer, -1 the seller, 0 unknown.
    """

    symbol: str
    market: BinanceMarket
    kind: RowKind
    line: Int64Array
    recv: Int64Array
    venue: Int64Array
    update: Int64Array
    price: Int64Array
    price_scale: int
    size: Int64Array
    size_scale: int
    aggressor: Int8Array

    def keep(self, rows: BoolArray) -> MessageRows:
        """Some of them."""
        return MessageRows(
            self.symbol,
            self.market,
            self.kind,
            self.line[rows],
            self.recv[rows],
            self.venue[rows],
            self.update[rows],
            self.price[:, rows],
            self.price_scale,
            self.size[:, rows],
            self.size_scale,
            self.aggressor[rows],
        )


def read_rows(file: Packed, time_unit: str, skipped: Counter[str]) -> Iterator[MessageRows]:
    """A file's quotes and trades; other lines are counted in ``skipped`` by what they are.

    Raises:
        DataError: not gzip or damaged, or a line that is not ``local_ns JSON`` with the fields of
            its stream; it names the line.
    """
    for first, lines in _blocks(file):
        chosen: dict[RowKind, list[tuple[int, bytes, bytes]]] = {"trade": [], "bookTicker": []}
        for number, line in enumerate(lines, first):
            match = _LINE.match(line)
            if match is None:
                if not line.strip():
                    continue
                raise _bad_line(file, number, "is not local_ns JSON")
            stream = match[2]
            if stream == b"bookTicker":
                chosen["bookTicker"].append((number, match[1], line))
            elif stream == b"trade":
                chosen["trade"].append((number, match[1], line))
            else:
                skipped[_what(stream, line)] += 1
        for kind, found in chosen.items():
            if found:
                yield from _parsed(file, kind, found, time_unit, skipped)


def first_receipt(file: Packed) -> int:
    """The recorder's time of a file's first line, ns; 0 if it has none that can be read."""
    for _, lines in _blocks(file, 1 << 16):
        match = _LINE.match(lines[0])
        return int(match[1]) if match else 0
    return 0


def _what(stream: bytes | None, line: bytes) -> str:
    if stream is None:
        return "order book snapshots" if b'"lastUpdateId"' in line[:64] else "other messages"
    return "depth updates" if stream == b"depth" else f"stream {stream.decode()}"


def _blocks(file: Packed, size: int = BLOCK_BYTES) -> Iterator[tuple[int, list[bytes]]]:
    """Whole lines, with the number of the first."""
    number = 1
    for piece in file.lines(size):
        lines = piece.removesuffix(b"\n").split(b"\n")
        yield number, lines
        number += len(lines)
    if number == 1:
        raise DataError("the file is empty", place=file.place)


def _parsed(
    file: Packed,
    kind: RowKind,
    found: list[tuple[int, bytes, bytes]],
    time_unit: str,
    skipped: Counter[str],
) -> Iterator[MessageRows]:
    data = _json(file, kind, found)
    if kind == "trade":
        # Futures say how a trade came about; those of the insurance fund may be far from the book.
        book = pc.fill_null(pc.equal(data["X"], "MARKET"), True)
        kept = book.to_numpy(zero_copy_only=False)
        skipped[_OFF_BOOK] += int(np.count_nonzero(~kept))
        data = {name: values.filter(book) for name, values in data.items()}
        found = [line for line, keep in zip(found, kept, strict=True) if keep]
    for name in _NEEDED[kind]:
        if data[name].null_count:
            row = pc.index(data[name].is_null(), True).as_py()
            raise _bad_line(file, found[row][0], f"has no {name!r}")
    line = np.array([number for number, _, _ in found], dtype=np.int64)
    recv = np.array([ns for _, ns, _ in found], dtype="S19").astype(np.int64)
    _check_unit(file, line, recv, 1_000_000_000, "recorder's time is not in nanoseconds")
    per_second = {"ms": 1_000, "us": 1_000_000}[time_unit]
    has_time = data["T"].is_valid().to_numpy(zero_copy_only=False)
    times = data["T"].fill_null(0).to_numpy()
    _check_unit(
        file, line[has_time], times[has_time], per_second, f"venue's time is not in {time_unit}"
    )
    venue = np.where(has_time, times * (1_000_000_000 // per_second), NO_TIME)
    markets = _markets(kind, data)
    prices, sizes = ("b", "a"), ("B", "A")
    if kind == "trade":
        prices, sizes = ("p",), ("q",)  # type: ignore[assignment]
    names = data["s"].dictionary_encode()
    codes = names.indices.to_numpy()
    update = data["u" if kind == "bookTicker" else "t"].to_numpy()
    aggressor = _aggressors(data["m"]) if kind == "trade" else np.zeros(len(line), dtype=np.int8)
    for code, symbol in enumerate(names.dictionary.to_pylist()):
        for market in np.unique(markets[codes == code]):
            rows = (codes == code) & (markets == market)
            price, price_scale = _numbers(file, line, data, prices, rows)
            size, size_scale = _numbers(file, line, data, sizes, rows)
            yield MessageRows(
                symbol,
                market,
                kind,
                line[rows],
                recv[rows],
                venue[rows],
                update[rows],
                price,
                price_scale,
                size,
                size_scale,
                aggressor[rows],
            )


def _aggressors(buyer_is_maker: pa.Array) -> Int8Array:
    """Who initiated each trade, int8 [n]: the side that was not the maker; 0 if that is unknown."""
    side = pc.if_else(buyer_is_maker, pa.scalar(-1, pa.int8()), pa.scalar(1, pa.int8()))
    sides: Int8Array = pc.fill_null(side, 0).to_numpy()
    return sides


def _markets(kind: RowKind, data: dict[str, pa.Array]) -> Any:
    """Which market each message is of, by its name and the fields that spot has not, text [n]."""
    inverse = pc.match_substring_regex(data["s"], _INVERSE).to_numpy(zero_copy_only=False)
    spot = data["M"].is_valid() if kind == "trade" else data["T"].is_null()
    futures = np.where(inverse, "cm", "um")
    return np.where(spot.to_numpy(zero_copy_only=False), "spot", futures)


def _numbers(
    file: Packed,
    line: Int64Array,
    data: dict[str, pa.Array],
    names: tuple[str, ...],
    rows: BoolArray,
) -> tuple[Int64Array, int]:
    mask = pa.array(rows)
    chosen = [data[name].filter(mask) for name in names]
    try:
        values, scale = parse_decimals(pa.concat_arrays(chosen))
    except ValueError:
        found = []
        for text in chosen:
            with suppress(ValueError):
                parse_decimals(text)
                continue
            found.append(first_failure(text, parse_decimals, (ValueError,)))
        if not found:  # each side by itself fits
            raise _bad_line(
                file, int(line[rows][0]), "and those after it have too many digits"
            ) from None
        row, error = min(found, key=lambda item: item[0])
        raise _bad_line(
            file, int(line[rows][row]), f"has a number that is wrong: {error}"
        ) from None
    return values.reshape(len(names), -1), scale


def _json(
    file: Packed, kind: RowKind, found: list[tuple[int, bytes, bytes]]
) -> dict[str, pa.Array]:
    try:
        data = _messages(kind, found)
    except _FAULTS:

        def attempt(some: list[tuple[int, bytes, bytes]]) -> object:
            return _messages(kind, some)

        row, error = first_failure(found, attempt, _FAULTS)
        number, ns, line = found[row]
        try:
            json.loads(line[len(ns) + 1 :])
        except (ValueError, RecursionError):
            raise _bad_line(file, number, "is not JSON, or not whole") from None
        raise _bad_line(file, number, f"is not as expected: {error!s:.200}") from None
    return {name: pc.struct_field(data, name) for name, _ in _FIELDS[kind]}


def _messages(kind: RowKind, found: list[tuple[int, bytes, bytes]]) -> pa.Array:
    """The field ``data`` of some lines."""
    body = b"\n".join(line[len(ns) + 1 :] for _, ns, line in found)
    schema = pa.schema([("data", pa.struct(_FIELDS[kind]))])
    table = pj.read_json(
        pa.BufferReader(body),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(body) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    if len(table) != len(found):
        raise pa.ArrowInvalid(f"{len(found)} lines hold {len(table)} messages")
    str(body, "utf-8")  # which pyarrow does not check
    data = table.column("data").combine_chunks()
    return data.chunk(0) if isinstance(data, pa.ChunkedArray) else data


def _check_unit(
    file: Packed, line: Int64Array, times: Int64Array, per_second: int, problem: str
) -> None:
    wrong = (times < _SECONDS[0] * per_second) | (times > _SECONDS[1] * per_second)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"line {line[i]} has the time {times[i]}: the {problem}",
            place=file.place,
            remedy="Units are stated, never guessed: time_unit is ms, or us for streams that were"
            " asked for microseconds.",
        )


def _bad_line(file: Packed, number: int, problem: str) -> DataError:
    return DataError(
        f"line {number} {problem}",
        place=file.place,
        remedy="A line is the recorder's time in ns, a space, and a message of a combined stream.",
    )
