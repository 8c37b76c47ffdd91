"""Depth lines of a recorded Binance stream to whole numbers: updates, partial books, snapshots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import BoolArray, Int8Array, Int64Array
from backtest.market.depth import ASK, BID
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
from backtest.plugins.sources.shared.packed import Packed

UPDATE = 0
"""New sizes of some levels (``depth``)."""

PARTIAL = 1
"""The best levels, as many as the stream's name says (``depth20``)."""

SNAPSHOT = 2
"""An answer to a request for the book, which a recorder writes among the streams."""

_INVERSE = "USD_(PERP|[0-9]{6})$"
"""How names of coin-margined contracts end; dated USD-margined ones end as in USDT_240927."""

_TEXT, _INT = pa.string(), pa.int64()
_LEVELS = pa.list_(pa.list_(_TEXT))
_BOOK = [("lastUpdateId", _INT), ("bids", _LEVELS), ("asks", _LEVELS)]
_DATA = [("s", _TEXT), ("T", _INT), ("E", _INT), ("U", _INT), ("u", _INT), ("pu", _INT)]
_SCHEMA = pa.schema(
    [
        ("stream", _TEXT),
        ("data", pa.struct([*_DATA, ("b", _LEVELS), ("a", _LEVELS), *_BOOK])),
        ("symbol", _TEXT),
        ("T", _INT),
        *_BOOK,
    ]
)
_STREAM = re.compile(r"^([^@]+)@depth([0-9]*)")


@dataclass(frozen=True)
class DepthMessages:
    """Messages about the books of one symbol, in the order of the file.

    Attributes:
        symbol: the venue's name; empty for snapshots that do not say.
        market: where it is traded; ``um`` stands for all futures where the symbol is empty.
        line: number in the file, from 1, int64 [m].
        recv: the recorder's clock, int64 ns [m].
        venue: transaction time, int64 ns [m]; ``NO_TIME`` where there is none.
        sent: when the venue made the message, int64 ns [m]; ``NO_TIME`` where that is unknown.
        kind: ``UPDATE``, ``PARTIAL`` or ``SNAPSHOT``, int8 [m].
        last: the venue's number of the book's last change, int64 [m].
        previous: that of the last change that was told before, int64 [m]; for updates alone.
        levels: how many levels the stream shows a side, int64 [m]; for partial books alone, else 0.
        start: where each message's levels begin, int64 [m + 1].
        side: ``BID`` or ``ASK``, int8 [k].
        price: whole numbers of 10^-price_scale, int64 [k].
        size: whole numbers of 10^-size_scale, int64 [k].
    """

    symbol: str
    market: Market
    line: Int64Array
    recv: Int64Array
    venue: Int64Array
    sent: Int64Array
    kind: Int8Array
    last: Int64Array
    previous: Int64Array
    levels: Int64Array
    start: Int64Array
    side: Int8Array
    price: Int64Array
    price_scale: int
    size: Int64Array
    size_scale: int

    def keep(self, rows: BoolArray) -> DepthMessages:
        """Some of them."""
        counts = np.diff(self.start)
        own = np.repeat(rows, counts)
        return DepthMessages(
            self.symbol,
            self.market,
            self.line[rows],
            self.recv[rows],
            self.venue[rows],
            self.sent[rows],
            self.kind[rows],
            self.last[rows],
            self.previous[rows],
            self.levels[rows],
            np.concatenate([[0], np.cumsum(counts[rows])]),
            self.side[own],
            self.price[own],
            self.price_scale,
            self.size[own],
            self.size_scale,
        )


def markets(symbol: pa.Array, spot: pa.Array) -> Any:
    """Which market each message is of, by its name and whether it has what spot has, text [n]."""
    inverse = pc.match_substring_regex(symbol, _INVERSE).to_numpy(zero_copy_only=False)
    futures = np.where(inverse, "cm", "um")
    return np.where(spot.to_numpy(zero_copy_only=False), "spot", futures)


def depth_messages(
    file: Packed, found: Lines, kinds: list[int], time_unit: str
) -> Iterator[DepthMessages]:
    """The messages of some lines, symbol by symbol.

    Args:
        kinds: ``UPDATE``, ``PARTIAL`` or ``SNAPSHOT`` of each line.

    Raises:
        DataError: a line without the fields of its kind; it names the line.
    """
    table = parse(file, found, _SCHEMA)
    line, recv = receipts(file, found)
    kind = np.array(kinds, dtype=np.int8)
    data = column(table, "data")
    fields = {
        name: pc.struct_field(data, name) for name in ("s", "T", "E", "U", "u", "pu", "b", "a")
    }
    inner = {name: pc.struct_field(data, name) for name, _ in _BOOK}
    outer = {name: column(table, name) for name in ("symbol", "T", "lastUpdateId", "bids", "asks")}
    names, levels = _streams(column(table, "stream"))
    values = {
        "symbol": pc.fill_null(pc.coalesce(fields["s"], names, outer["symbol"]), ""),
        "T": pc.coalesce(fields["T"], outer["T"]),
        "lastUpdateId": pc.coalesce(fields["u"], inner["lastUpdateId"], outer["lastUpdateId"]),
        "U": fields["U"],
        "bids": pc.coalesce(fields["b"], inner["bids"], outer["bids"]),
        "asks": pc.coalesce(fields["a"], inner["asks"], outer["asks"]),
    }
    refuse_missing(file, line, values, ("lastUpdateId", "bids", "asks"))
    updates = pa.array(kind == UPDATE)
    needed = {"s": fields["s"], "U": values["U"], "u": fields["u"]}
    refuse_missing(
        file, line[kind == UPDATE], {n: v.filter(updates) for n, v in needed.items()}, [*needed]
    )
    before = pc.coalesce(fields["pu"], pc.subtract(values["U"], 1), values["lastUpdateId"])
    where = markets(values["symbol"], values["T"].is_null())
    encoded = values["symbol"].dictionary_encode()
    codes = encoded.indices.to_numpy()
    venue = venue_times(file, line, values["T"], time_unit)
    sent = venue_times(file, line, pc.coalesce(values["T"], fields["E"]), time_unit)
    last, previous = (v.to_numpy(zero_copy_only=False) for v in (values["lastUpdateId"], before))
    for code, symbol in enumerate(encoded.dictionary.to_pylist()):
        for market in np.unique(where[codes == code]):
            rows = (codes == code) & (where == market)
            some = pa.array(rows)
            sides = [values[name].filter(some) for name in ("bids", "asks")]
            start, side, text = _levels(file, line[rows], *sides)
            at = np.repeat(line[rows], np.diff(start))
            price, price_scale = numbers(file, at, [text[0]])
            size, size_scale = numbers(file, at, [text[1]])
            yield DepthMessages(
                symbol,
                market,
                line[rows],
                recv[rows],
                venue[rows],
                sent[rows],
                kind[rows],
                last[rows],
                previous[rows],
                levels[rows],
                start,
                side,
                price[0],
                price_scale,
                size[0],
                size_scale,
            )


def _streams(names: pa.Array) -> tuple[pa.Array, Int64Array]:
    """The symbols in names of streams, and how many levels these show, 0 where all."""
    encoded = names.dictionary_encode()
    found = [_STREAM.match(name) for name in encoded.dictionary.to_pylist()]
    symbols = [match[1].upper() if match else None for match in found]
    counts = [int((match and match[2]) or 0) for match in found]
    codes = encoded.indices
    of = pa.array(symbols, _TEXT).take(codes)
    return of, np.array([*counts, 0], dtype=np.int64)[codes.fill_null(-1).to_numpy()]


def _levels(
    file: Packed, line: Int64Array, bids: pa.Array, asks: pa.Array
) -> tuple[Int64Array, Int8Array, tuple[pa.Array, pa.Array]]:
    """Levels message by message, bids first: where each begins, sides, prices and sizes as text."""
    counts = [pc.list_value_length(side).to_numpy() for side in (bids, asks)]
    start = np.concatenate([[0], np.cumsum(counts[0] + counts[1])])
    side = np.empty(start[-1], dtype=np.int8)
    message = [np.repeat(np.arange(len(line)), count) for count in counts]
    order = np.argsort(np.concatenate(message), kind="stable")  # which keeps bids before asks
    side[:] = np.repeat(np.array([BID, ASK], dtype=np.int8), [len(of) for of in message])[order]
    pairs = pa.concat_arrays([bids.flatten(), asks.flatten()]).take(pa.array(order))
    lengths = pc.fill_null(pc.list_value_length(pairs), 0).to_numpy()
    if (lengths != 2).any():
        row = np.searchsorted(start, int(np.argmax(lengths != 2)), "right") - 1
        raise bad_line(file, int(line[row]), "has a level that is not a price and a size")
    text = pairs.flatten()
    even = np.arange(0, len(text), 2)
    return start, side, (text.take(pa.array(even)), text.take(pa.array(even + 1)))
