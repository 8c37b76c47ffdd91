"""Lines of a recorded Binance stream to whole numbers, a block of the file at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import BoolArray, Int8Array, Int64Array
from backtest.errors import DataError
from backtest.plugins.sources.binance.depth_lines import (
    PARTIAL,
    SNAPSHOT,
    UPDATE,
    DepthMessages,
    depth_messages,
    markets,
)
from backtest.plugins.sources.binance.message_json import (
    Lines,
    bad_line,
    column,
    numbers,
    parse,
    receipts,
    refuse_missing,
    venue_times,
)
from backtest.plugins.sources.binance.symbols import Market
from backtest.plugins.sources.shared.packed import BLOCK_BYTES, Packed

RowKind: TypeAlias = Literal["trade", "bookTicker"]

_LINE = re.compile(rb'([0-9]{1,18}|[1-8][0-9]{18}) (?:\{"stream": ?"[^"@]+@([A-Za-z]+)([0-9]*)|\{)')
_TEXT, _INT, _BOOL = pa.string(), pa.int64(), pa.bool_()
_COMMON = [("s", _TEXT), ("T", _INT)]
_FIELDS: dict[RowKind, list[tuple[str, Any]]] = {
    "bookTicker": [*_COMMON, ("u", _INT), *((name, _TEXT) for name in "baBA")],
    "trade": [*_COMMON, ("t", _INT), *((n, _TEXT) for n in "pqX"), ("m", _BOOL), ("M", _BOOL)],
}
_NEEDED = {"bookTicker": ("s", "u", "b", "a", "B", "A"), "trade": ("s", "t", "p", "q", "T")}
_OFF_BOOK = "trades outside the order book"


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
    market: Market
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


def read_rows(
    file: Packed, time_unit: str, skipped: Counter[str], *, depth: bool
) -> Iterator[MessageRows | DepthMessages]:
    """A file's quotes, trades and depth; other lines are counted in ``skipped`` by what they are.

    Raises:
        DataError: not gzip or damaged, or a line that is not ``local_ns JSON`` with the fields of
            its stream; it names the line.
    """
    for first, lines in _blocks(file):
        chosen: dict[RowKind, Lines] = {"trade": [], "bookTicker": []}
        books: Lines = []
        kinds: list[int] = []
        for number, line in enumerate(lines, first):
            match = _LINE.match(line)
            if match is None:
                if not line.strip():
                    continue
                raise bad_line(file, number, "is not local_ns JSON")
            stream = match[2]
            if stream == b"bookTicker":
                chosen["bookTicker"].append((number, match[1], line))
            elif stream == b"trade":
                chosen["trade"].append((number, match[1], line))
            elif not (stream == b"depth" or (stream is None and b'"lastUpdateId"' in line[:64])):
                noun = "other messages" if stream is None else f"stream {stream.decode()}"
                skipped[noun] += 1
            elif not depth:
                skipped["depth updates" if stream else "order book snapshots"] += 1
            else:
                books.append((number, match[1], line))
                kinds.append(SNAPSHOT if stream is None else PARTIAL if match[3] else UPDATE)
        for kind, found in chosen.items():
            if found:
                yield from _parsed(file, kind, found, time_unit, skipped)
        if books:
            yield from depth_messages(file, books, kinds, time_unit)


def first_receipt(file: Packed) -> int:
    """The recorder's time of a file's first line, ns; 0 if it has none that can be read."""
    for _, lines in _blocks(file, 1 << 16):
        match = _LINE.match(lines[0])
        return int(match[1]) if match else 0
    return 0


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
    found: Lines,
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
    line, recv = receipts(file, found)
    refuse_missing(file, line, data, _NEEDED[kind])
    venue = venue_times(file, line, data["T"], time_unit)
    market_of = _markets(kind, data)
    prices, sizes = ("b", "a"), ("B", "A")
    if kind == "trade":
        prices, sizes = ("p",), ("q",)  # type: ignore[assignment]
    names = data["s"].dictionary_encode()
    codes = names.indices.to_numpy()
    update = data["u" if kind == "bookTicker" else "t"].to_numpy()
    aggressor = _aggressors(data["m"]) if kind == "trade" else np.zeros(len(line), dtype=np.int8)
    for code, symbol in enumerate(names.dictionary.to_pylist()):
        for market in np.unique(market_of[codes == code]):
            rows = (codes == code) & (market_of == market)
            mask = pa.array(rows)
            price, price_scale = numbers(file, line[rows], [data[n].filter(mask) for n in prices])
            size, size_scale = numbers(file, line[rows], [data[n].filter(mask) for n in sizes])
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
    return markets(data["s"], data["M"].is_valid() if kind == "trade" else data["T"].is_null())


def _json(file: Packed, kind: RowKind, found: Lines) -> dict[str, pa.Array]:
    """The fields of ``data`` of some lines."""
    schema = pa.schema([("data", pa.struct(_FIELDS[kind]))])
    data = column(parse(file, found, schema), "data")
    return {name: pc.struct_field(data, name) for name, _ in _FIELDS[kind]}
