"""From DBN records by price, and trades, to rows of events: times, grids, the touch's changes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Int8Array, Int64Array
from backtest.data.reading.decode import Columns
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.databento.files import (
    BBO_1S,
    F_LAST,
    F_MAYBE_BAD_BOOK,
    F_SNAPSHOT,
    MBP_0,
    NO_DBN_PRICE,
    NO_DBN_TIME,
    DbnFile,
    Records,
)
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.lanes import QUOTE
from backtest.plugins.sources.shared.time_order import SLACK

_NS = 1_000_000_000
_EARLIEST, _LATEST = 631_152_000 * _NS, 4_102_444_800 * _NS  # 1990 and 2100

TRADE_WITHOUT = "trade without a price or size"
NO_CHANGE = "record that changes neither side of the touch"
WITHIN = "record within an event of the venue, before its last one"
BAD_BOOK = "book that may be bad by the record's flags: both sides absent"
EMPTY_SIDE = "side with a size of 0: absent"
AHEAD = "ts_event more than a second after ts_recv: set to it"
BEFORE = "received before the event: ts_recv set to ts_event"
NO_RECORD_TIME = "record without a time"
NO_TRADE = "record that is no trade"
TWO_EVENTS = "record of a trade and a new quote, written as two events"


@dataclass(frozen=True)
class Grids:
    """The prices of each symbol.

    Attributes:
        steps: a tick in units of 1e-9, int64 [S].
        signed: prices may be 0 or negative, bool [S].
    """

    steps: Int64Array
    signed: BoolArray


@dataclass(frozen=True)
class Chunk:
    """Records of symbols that are read, with what is common to all schemas.

    Attributes:
        file, records: where they are from, and they themselves.
        symbol: int64 [n].
        ts, recv: int64 ns [n]; ``NO_TIME`` where there is no receipt.
    """

    file: DbnFile
    records: Records
    symbol: Int64Array
    ts: Int64Array
    recv: Int64Array

    def select(self, rows: BoolArray) -> Chunk:
        """Some of them; numbers of records are lost, so errors name the first of the block."""
        records = Records(self.records.rtype, self.records.first, self.records.data[rows])
        return Chunk(self.file, records, self.symbol[rows], self.ts[rows], self.recv[rows])


def receipts(records: Records, place: str) -> Int64Array:
    """When records were received, int64 ns [n]; the venue's time where that is not known."""
    return _known(records, "ts_recv", _known(records, "ts_event", None, place), place)


def times(records: Records, place: str, counts: Counts) -> tuple[Int64Array, Int64Array]:
    """``ts_event`` and ``ts_recv``, int64 ns [n]; ``NO_TIME`` where they are not known.

    Raises:
        DataError: a time before 1990 or after 2100.
    """
    event = _known(records, "ts_event", None, place)
    recv = _known(records, "ts_recv", None, place)
    # A sampled quote stood at the end of its interval, a snapshot when it was made.
    sampled = (records.data["flags"] & F_SNAPSHOT) != 0
    if records.rtype == BBO_1S:
        sampled[:] = True
    known = recv != NO_TIME
    # One wrong time in the future would move all that follows there.
    ahead = known & (event > recv + SLACK) & ~sampled
    counts.repair(AHEAD, ahead)
    ts = np.where((sampled | ahead | (event == NO_TIME)) & known, recv, event)
    if records.rtype == BBO_1S:
        known[:] = False
    counts.repair(BEFORE, known & (recv < ts))
    return ts, np.where(known, np.maximum(recv, ts), NO_TIME)


def _known(records: Records, name: str, instead: Int64Array | None, place: str) -> Int64Array:
    raw = records.data[name]
    absent = raw == NO_DBN_TIME
    wrong = ~absent & ((raw < _EARLIEST) | (raw > _LATEST))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"record {records.first + i} has the {name} {raw[i]}, which is not between 1990 and"
            " 2100",
            place=place,
            remedy="The file is damaged: fetch it again.",
        )
    ts: Int64Array = np.where(absent, 0, raw).astype(np.int64)
    return np.where(absent, NO_TIME if instead is None else instead, ts)


def price_columns(records: Records) -> list[str]:
    """The columns that hold prices."""
    names = [name for name in records.data.dtype.names if "_px_" in name]
    return names if records.rtype == BBO_1S else ["price", *names]


def in_ticks(chunk: Chunk, name: str, grids: Grids) -> Int64Array:
    """Prices in ticks, int64 [n]; ``NO_PRICE`` where there is none.

    Raises:
        DataError: a price that is no whole number of ticks.
    """
    values = chunk.records.data[name]
    absent = values == NO_DBN_PRICE
    ticks, rest = np.divmod(values, grids.steps[chunk.symbol])
    off = (rest != 0) & ~absent
    if off.any():
        i = int(np.argmax(off))
        step = int(grids.steps[chunk.symbol[i]])
        raise DataError(
            f"a record from record {chunk.records.first} on has the price {_decimal(values[i])},"
            f" which is not a multiple of {_decimal(step)}",
            place=chunk.file.place,
            remedy="Correct tick_sizes, or leave the tick to be inferred.",
        )
    return np.where(absent, NO_PRICE, ticks)


def aggressors(side: Any) -> Int8Array:
    """Who initiated trades, by their side: int8 [n], 1 the buyer, -1 the seller, 0 unknown."""
    return (side == ord("B")).astype(np.int8) - (side == ord("A")).astype(np.int8)


class PriceRows:
    """Rows of the schemas by price, and of trades; quotes are written when they change.

    Args:
        grids: of the symbols.
        counts: take what becomes of records.
        depth: records that are no trades become rows of depth besides.
    """

    def __init__(self, grids: Grids, counts: Counts, *, depth: bool = False) -> None:
        self._depth = depth
        self._grids = grids
        self._counts = counts
        symbols = len(grids.steps)
        self._last = np.zeros((4, symbols), dtype=np.int64)
        self._last[:2] = NO_PRICE

    def rows(self, chunk: Chunk) -> Columns:
        """The events of some records: quotes that changed, and trades, which follow theirs."""
        return self.placed_rows(chunk)[0]

    def placed_rows(self, chunk: Chunk) -> tuple[Columns, Int64Array]:
        """``rows``, and which of the records each of them is of, int64."""
        said, trade = self._trades(chunk)
        quoted, whole = np.zeros_like(trade), np.ones_like(trade)
        quote = np.zeros((4, len(trade)), dtype=np.int64)
        kind = chunk.records.rtype
        if kind != MBP_0:
            if kind != BBO_1S and chunk.file.schema != "tbbo":
                whole = (chunk.records.data["flags"] & F_LAST) != 0
            quote = self._quotes(chunk, whole)
            quoted = self.changed(chunk.symbol, quote, whole)
        self._count(said, trade, quoted, whole, NO_TRADE if kind == MBP_0 else NO_CHANGE)
        rows = _joined(self._quote_rows(chunk, quote, quoted), self._trade_rows(chunk, trade))
        place = rows.pop("place")
        return rows, place // 2

    def _count(
        self, said: BoolArray, trade: BoolArray, quoted: BoolArray, whole: BoolArray, idle: str
    ) -> None:
        """Say of each record whether it is an event, becomes depth, or why it is left out."""
        if self._depth:
            self._counts.refuse(TRADE_WITHOUT, said & ~trade)
            self._counts.refuse(WITHIN, ~said & ~whole)
            self._counts.depth += int(np.count_nonzero(~said & whole))
            self._counts.quotes += int(np.count_nonzero(quoted))
            return
        silent = ~quoted & ~trade
        self._counts.refuse(TRADE_WITHOUT, silent & said)
        self._counts.refuse(WITHIN, silent & ~said & ~whole)
        self._counts.refuse(idle, silent & ~said & whole)
        self._counts.repair(TWO_EVENTS, quoted & trade)

    def _trades(self, chunk: Chunk) -> tuple[BoolArray, BoolArray]:
        """Records that are trades, and those of them with a price and a size, bool [n]."""
        data = chunk.records.data
        if chunk.records.rtype == BBO_1S:
            none = np.zeros(len(data), dtype=np.bool_)
            return none, none
        said = data["action"] == ord("T")
        usable = (data["price"] != NO_DBN_PRICE) & (data["size"] > 0)
        usable &= (data["price"] > 0) | self._grids.signed[chunk.symbol]
        return said, said & usable

    def _quotes(self, chunk: Chunk, quoted: BoolArray) -> Int64Array:
        """Bid, ask (ticks), bid size and ask size (lots), [4, n]."""
        data = chunk.records.data
        bad = quoted & ((data["flags"] & F_MAYBE_BAD_BOOK) != 0)
        self._counts.repair(BAD_BOOK, bad)
        quote = np.empty((4, len(bad)), dtype=np.int64)
        for k, side in enumerate(("bid", "ask")):
            price = in_ticks(chunk, f"{side}_px_00", self._grids)
            size = data[f"{side}_sz_00"].astype(np.int64)
            none = (price != NO_PRICE) & (size == 0) & ~bad
            self._counts.repair(EMPTY_SIDE, quoted & none)
            absent = bad | none | (price == NO_PRICE)
            quote[k] = np.where(absent, NO_PRICE, price)
            quote[k + 2] = np.where(absent, 0, size)
        return quote

    def changed(self, symbol: Int64Array, quote: Int64Array, rows: BoolArray) -> BoolArray:
        """Those of the rows whose quote differs from the symbol's quote before, bool [n]."""
        chosen = np.flatnonzero(rows)
        order = chosen[np.argsort(symbol[chosen], kind="stable")]
        grouped = symbol[order]
        first = np.append(True, grouped[1:] != grouped[:-1])[: len(grouped)]
        now = quote[:, order]
        before = np.where(first, self._last[:, grouped], np.roll(now, 1, axis=1))
        result = np.zeros(len(rows), dtype=np.bool_)
        result[order] = (now != before).any(axis=0)
        ends = np.flatnonzero(np.append(first[1:], True)[: len(grouped)])
        self._last[:, grouped[ends]] = now[:, ends]
        return result

    def _quote_rows(self, chunk: Chunk, quote: Int64Array, rows: BoolArray) -> Columns:
        n = int(np.count_nonzero(rows))
        at = np.flatnonzero(rows)
        columns = base_rows(2 * at, chunk.symbol[at], chunk.ts[at], chunk.recv[at])
        columns |= dict(zip(QUOTE, quote[:, at], strict=True))
        columns["trade_price"] = np.full(n, NO_PRICE, dtype=np.int64)
        columns["trade_size"] = np.zeros(n, dtype=np.int64)
        columns["aggressor"] = np.zeros(n, dtype=np.int8)
        return columns

    def _trade_rows(self, chunk: Chunk, rows: BoolArray) -> Columns:
        part = chunk.select(rows)
        data = part.records.data
        columns = base_rows(2 * np.flatnonzero(rows) + 1, part.symbol, part.ts, part.recv)
        for k, name in enumerate(QUOTE):
            columns[name] = np.full(len(data), NO_PRICE if k < 2 else 0, dtype=np.int64)
        columns["trade_price"] = in_ticks(part, "price", self._grids)
        columns["trade_size"] = data["size"].astype(np.int64)
        columns["aggressor"] = aggressors(data["side"])
        return columns


def base_rows(place: Int64Array, symbol: Int64Array, ts: Int64Array, recv: Int64Array) -> Columns:
    """The columns that all rows begin with; ``place`` orders those of one chunk."""
    return {
        "place": place,
        "symbol": symbol.astype(np.int32),
        "ts_event": ts,
        "ts_recv": recv,
    }


def _joined(*parts: Columns) -> Columns:
    """All rows, in the order of ``place``."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(whole["place"], kind="stable")
    return {name: values[order] for name, values in whole.items()}


def _decimal(nanos: Any) -> str:
    return f"{(Decimal(int(nanos)) * Decimal('1e-9')).normalize():f}"
