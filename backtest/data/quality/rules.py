"""What can be wrong with a dataset, and which rows it is wrong with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from backtest.core.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from backtest.core.times import EPOCH_1980, format_span, format_utc, in_another_unit
from backtest.data.parquet import mapped_errors
from backtest.data.prices import wrong_aggressors
from backtest.data.quality.duplicates import Duplicates
from backtest.data.quality.price_checks import PriceChecks, RowFlags
from backtest.data.reading.decode import Columns, integer_column
from backtest.data.reading.matrices import nonfinite_cells, packed_matrix, wide_matrix
from backtest.data.schema import Layout
from backtest.market.events import ABSENT, NO_PRICE, NO_TIME

Severity: TypeAlias = Literal["error", "warning"]

_HALF_MAX = 65_504.0
_LATEST = 60_000_000_000
_NEXT = 1000


@dataclass(frozen=True, slots=True)
class QualityRule:
    """One thing that can be wrong.

    Attributes:
        severity: an error makes the dataset unusable, a warning does not.
        meaning: what is wrong, for a list of findings.
        remedy: what to do about it.
    """

    severity: Severity
    meaning: str
    remedy: str


RULES: Mapping[str, QualityRule] = {
    # Whole files.
    "missing": QualityRule("error", "a file listed in the card is missing", "Fetch it again."),
    "unreadable": QualityRule("error", "it cannot be read", "Fetch or ingest it again."),
    "schema": QualityRule(
        "error",
        "its columns differ from those of the card and the other files",
        "Ingest the files together: `backtest data ingest`.",
    ),
    "digest": QualityRule(
        "error",
        "its SHA-256 is not the one that the card states",
        "The file changed after the card was written: ingest it again.",
    ),
    "unlisted": QualityRule(
        "warning",
        "a Parquet file in the folder that the card's files do not match, so that nobody reads it",
        "Name it under files in the card, or move it away.",
    ),
    "unprotected": QualityRule(
        "warning",
        "neither its pages carry checksums nor the card its digest, so that damage is not noticed",
        "Add digests to the card while the file is known to be whole: `backtest data digest"
        " DATASET`.",
    ),
    "same-file": QualityRule(
        "warning", "it has the same bytes as another file", "Remove one of them."
    ),
    "footer": QualityRule(
        "error",
        "rows outside the times that the file's footer states",
        "The file is damaged: fetch or ingest it again.",
    ),
    # Rows, in the order in which one row is counted: by its first error, and by every warning.
    "null": QualityRule("error", "no ts_event or seq", "Remove the rows: --quarantine DIR."),
    "symbol": QualityRule(
        "error",
        "no symbol, or one that the card does not list",
        "Add it to the symbols of the card, or remove the rows: --quarantine DIR.",
    ),
    "units": QualityRule(
        "error",
        "ts_event is 500 times larger or smaller than in nearby rows or earlier files",
        "Nanoseconds are mixed with another unit: state the units when ingesting the data.",
    ),
    "unsorted": QualityRule(
        "error",
        "earlier than a row before it",
        "Sort the file by ts_event (stably), or remove the rows: --quarantine DIR.",
    ),
    "size": QualityRule("error", "a negative size", "Remove the rows: --quarantine DIR."),
    "aggressor": QualityRule(
        "error",
        "an aggressor other than -1, 0 and 1, or one without a trade",
        "1 means the buyer, -1 the seller, 0 unknown: ingest the data again, or remove the rows:"
        " --quarantine DIR.",
    ),
    "depth": QualityRule(
        "error",
        "a side, price, size, flag or action that no row of depth may have",
        "`backtest docs data` says what they mean: write the depth again, or remove the rows:"
        " --quarantine DIR.",
    ),
    "nonfinite": QualityRule(
        "error",
        "NaN, infinity or null among the features",
        'Remove the rows (--quarantine DIR), or run with nonfinite = "zero".',
    ),
    "target": QualityRule(
        "error",
        "NaN, infinity or null among the targets",
        "Remove the rows: --quarantine DIR.",
    ),
    "epoch": QualityRule(
        "warning",
        "ts_event before 1980",
        "If the times are in micro- or milliseconds, state the unit when ingesting the data.",
    ),
    "huge": QualityRule(
        "warning",
        "a feature beyond ±65504, which float16 cannot hold",
        "Scale or clip it, or do not run variants in float16.",
    ),
    "skew": QualityRule(
        "warning",
        "received before it happened",
        "The clocks disagree; the recorded feed latency counts as 0 there.",
    ),
    "delayed": QualityRule(
        "warning",
        "received more than 60 s after it happened",
        "Events after it wait as long: recorded receipts of a symbol never go back. Correct"
        " ts_recv, or run with a stated feed latency.",
    ),
    "late": QualityRule(
        "warning",
        "received later than each of the next 1,000 events of its symbol",
        "All of them wait for it: recorded receipts of a symbol never go back. Correct ts_recv, or"
        " run with a stated feed latency.",
    ),
    "price": QualityRule(
        "warning",
        "a price of 0 or below, which counts as absent",
        "If prices of the symbol may be, set signed_prices = true for it in the card.",
    ),
    "marker": QualityRule(
        "warning",
        "a price that vendors write where there is none",
        "Only 2^63 - 1 counts as absent by itself: ingest the data with its markers named.",
    ),
    "stray": QualityRule(
        "warning",
        "a price more than 20 times above or below the running median of the symbol",
        "If it is a stub quote or an error, remove it before the data is ingested.",
    ),
    "crossed": QualityRule("warning", "bid above ask", "The simulator leaves such quotes out."),
    "locked": QualityRule(
        "warning", "bid equal to ask", "The simulator trades there at no spread."
    ),
    "outside": QualityRule("warning", "outside every session", "Correct [calendar] in the card."),
    "duplicate": QualityRule(
        "warning",
        "identical to an earlier row of the symbol at the same instant",
        "Identical trades may be real. If the recorder repeated itself, remove the duplicates.",
    ),
}


class RowChecks:
    """Checks the rows of one file, whose batches must come in order.

    Args:
        place: the file, for errors.
        symbols: the card's.
        sessions: int64 ns [k, 2], or ``None``.
        reference: a ts_event of a file before, ns, or ``None``: what ``units`` goes by.
        prices: checks the prices of all files.
        signed: which symbols' prices may be 0 or negative, bool [S]; ``None`` if no symbol's may.
    """

    def __init__(
        self,
        place: str,
        layout: Layout,
        symbols: tuple[str, ...],
        sessions: Int64Array | None,
        reference: int | None,
        prices: PriceChecks,
        signed: BoolArray | None = None,
    ) -> None:
        self.reference = reference
        self._signed = signed
        self._place = place
        self._layout = layout
        self._ids = {symbol: i for i, symbol in enumerate(symbols)}
        self._sessions = sessions
        self._last: tuple[int, int] | None = None
        self._prices = prices
        self._duplicates = Duplicates()

    def check(self, batch: pa.RecordBatch) -> Iterator[RowFlags]:
        """Every rule with the rows of the batch that break it; those of an error come first.

        A row with one error is left out of the checks that follow.

        Raises:
            DataError: the batch cannot be read.
        """
        columns = self._columns(batch)
        # Shared with the generator: each check sees which rows the ones before it left.
        good = np.ones(batch.num_rows, dtype=np.bool_)
        for rule, broken, holds in self._errors(batch, columns, good):
            first = broken & good
            good &= ~broken
            yield rule, first, holds
        yield from self._warnings(columns, good)

    def _columns(self, batch: pa.RecordBatch) -> Columns:
        """The batch as arrays, nulls as the bus has them, unknown symbols as -1."""
        core = self._layout.core
        columns: Columns = {"ts_event": integer_column(batch.column(core["ts_event"]), NO_TIME)}
        symbol = batch.column(core["symbol"])
        with mapped_errors(self._place):  # text that is not UTF-8
            codes = [self._ids.get(name, -1) for name in symbol.dictionary.to_pylist()]
        indices = symbol.indices.fill_null(len(codes)).to_numpy()
        columns["symbol"] = np.array([*codes, -1], dtype=np.int32)[indices]
        self._values(batch, columns)
        return columns

    def _values(self, batch: pa.RecordBatch, columns: Columns) -> None:
        layout = self._layout
        for name, absent in ABSENT.items():
            if layout.has(name):
                columns[name] = integer_column(batch.column(layout.core[name]), absent)
        if layout.packed:
            columns["features"] = packed_matrix(batch.column(layout.packed), len(layout.features))
        elif layout.features:
            columns["features"] = wide_matrix(batch, layout.features)
        if layout.targets:
            columns["targets"] = wide_matrix(batch, layout.targets)

    def _order_errors(
        self, batch: pa.RecordBatch, columns: Columns, good: BoolArray
    ) -> Iterator[RowFlags]:
        ts, symbol = columns["ts_event"], columns["symbol"]
        names = batch.column(self._layout.core["symbol"])
        seq = self._seq(batch)
        null = (ts == NO_TIME) | (False if seq is None else seq == NO_TIME)
        yield "null", null, lambda i: "no ts_event" if ts[i] == NO_TIME else "no seq"
        yield "symbol", symbol < 0, lambda i: repr(names[i].as_py())
        yield "units", self._other_unit(ts, good), lambda i: str(ts[i])
        yield "unsorted", self._unsorted(ts, seq, good), lambda i: f"{ts[i]} ({_instant(ts[i])})"

    def _errors(
        self, batch: pa.RecordBatch, columns: Columns, good: BoolArray
    ) -> Iterator[RowFlags]:
        yield from self._order_errors(batch, columns, good)
        for size in ("bid_size", "ask_size", "trade_size"):
            if size in columns:
                yield "size", columns[size] < 0, _cell(size, columns[size])
        if "aggressor" in columns:
            aggressor = columns["aggressor"]
            wrong = wrong_aggressors(aggressor, columns["trade_price"])
            yield "aggressor", wrong, _cell("aggressor", aggressor)
        for rule, noun in (("nonfinite", "features"), ("target", "targets")):
            matrix = columns.get(noun)
            bad = None if matrix is None else nonfinite_cells(matrix)
            if matrix is not None and bad is not None:
                rows = np.logical_or.reduce(bad, axis=1)
                yield rule, rows, _worst(matrix, bad, getattr(self._layout, noun))

    def _time_warnings(self, ts: Int64Array, good: BoolArray) -> Iterator[RowFlags]:
        yield "epoch", good & (ts < EPOCH_1980), lambda i: f"{ts[i]} ({_instant(ts[i])})"

    def _warnings(self, columns: Columns, good: BoolArray) -> Iterator[RowFlags]:
        ts = columns["ts_event"]
        yield from self._time_warnings(ts, good)
        if "features" in columns and good.any():
            matrix = columns["features"]
            if max(matrix.max(), -matrix.min()) > _HALF_MAX or np.isnan(matrix.min()):
                with np.errstate(invalid="ignore"):
                    cells = np.isfinite(matrix) & (np.abs(matrix) > _HALF_MAX)
                names = self._layout.features
                rows = np.logical_or.reduce(cells, axis=1)
                yield "huge", rows, _worst(matrix, cells, names)
        if "ts_recv" in columns:
            recv = columns["ts_recv"]
            early = good & (recv != NO_TIME) & (recv < ts)
            yield "skew", early, lambda i: f"{ts[i] - recv[i]} ns before"
            late = good & (ts >= EPOCH_1980) & (recv > ts + np.int64(_LATEST))
            yield "delayed", late, lambda i: format_span(int(recv[i] - ts[i]))
            alone = good & _later_than_the_next(recv, columns["symbol"])
            yield "late", alone, lambda i: format_span(int(recv[i] - ts[i]))
        repeated = self._repeated(columns, good)
        yield from self._prices.check(columns, good)
        if "bid" in columns:
            bid, ask = columns["bid"], columns["ask"]
            both = (bid != NO_PRICE) & (ask != NO_PRICE)
            yield "crossed", both & (bid > ask), lambda i: f"{bid[i]} over {ask[i]} ticks"
            yield "locked", both & (bid == ask), lambda i: f"{bid[i]} ticks"
        if self._sessions is not None:
            yield "outside", good & ~in_sessions(ts, self._sessions), lambda i: _instant(ts[i])
        yield "duplicate", repeated, lambda i: _instant(ts[i])

    def _repeated(self, columns: Columns, good: BoolArray) -> BoolArray:
        if good.all():
            return self._duplicates.mark(columns)
        repeated = np.zeros(len(good), dtype=np.bool_)
        repeated[good] = self._duplicates.mark({k: v[good] for k, v in columns.items()})
        return repeated

    def _seq(self, batch: pa.RecordBatch) -> Int64Array | None:
        if not self._layout.has("seq"):
            return None
        return integer_column(batch.column(self._layout.core["seq"]), NO_TIME)

    def _other_unit(self, ts: Int64Array, good: BoolArray) -> BoolArray:
        if self.reference is None and good.any():
            self.reference = int(np.median(ts[good]))
        if self.reference is None:
            return np.zeros(len(ts), dtype=np.bool_)
        return in_another_unit(ts, self.reference)

    def _unsorted(self, ts: Int64Array, seq: Int64Array | None, good: BoolArray) -> BoolArray:
        found = np.zeros(len(ts), dtype=np.bool_)
        rows = np.flatnonzero(good)
        if not len(rows):
            return found
        order = np.zeros(len(rows), dtype=np.int64) if seq is None else seq[rows]
        last_ts, last_order = self._last or (int(ts[rows[0]]), int(order[0]))
        times = np.concatenate([[last_ts], ts[rows]])
        order = np.concatenate([[last_order], order])
        later, tied = times[1:] > times[:-1], times[1:] == times[:-1]
        if (later | (tied & (order[1:] >= order[:-1]))).all():
            self._last = int(times[-1]), int(order[-1])
            return found
        wrong = times[1:] < np.maximum.accumulate(times)[:-1]
        kept = np.concatenate([[True], ~wrong])
        # Among rows in order of time, the largest seq so far of the same instant.
        instant = np.cumsum(np.concatenate([[0], np.diff(times[kept]) != 0]))
        rank = np.unique(order[kept], return_inverse=True)[1].ravel()
        key = instant * (len(rank) + 1) + rank
        back = key < np.maximum.accumulate(key)
        wrong[np.flatnonzero(kept)[back] - 1] = True
        found[rows[wrong]] = True
        final = np.flatnonzero(kept)[~back][-1]
        self._last = int(times[final]), int(order[final])
        return found


def _later_than_the_next(recv: Int64Array, symbol: Int32Array) -> BoolArray:
    """Receipts later than the next 1,000 of their symbol, if the batch has so many, bool [n]."""
    found: BoolArray = np.zeros(len(recv), dtype=np.bool_)
    order = np.argsort(symbol, kind="stable")
    if len(order) <= _NEXT:
        return found
    own = symbol[order]
    times = recv[order]
    # The largest of windows of 1, 2, 4, ... rows; two of 512 that overlap make one of 1,000.
    largest = np.where(times == NO_TIME, np.iinfo(np.int64).max, times)
    width = 1
    while 2 * width <= _NEXT:
        largest = np.maximum(largest[:-width], largest[width:])
        width *= 2
    following = np.maximum(largest[1 : len(own) - _NEXT + 1], largest[1 + _NEXT - width :])
    alone = (times[:-_NEXT] > following) & (own[:-_NEXT] == own[_NEXT:])
    found[order[:-_NEXT][alone]] = True
    return found


def in_sessions(ts: Int64Array, sessions: Int64Array) -> BoolArray:
    """Instants inside a session, bool [n].

    Args:
        sessions: open and close, int64 ns [k, 2], half-open, in order.
    """
    if not len(sessions):
        return np.zeros(len(ts), dtype=np.bool_)
    before = np.searchsorted(sessions[:, 0], ts, side="right") - 1
    return (before >= 0) & (ts < sessions[np.maximum(before, 0), 1])


def _instant(ts: Int64Array | int) -> str:
    return format_utc(int(ts))


def _cell(name: str, values: Int64Array) -> Callable[[int], str]:
    return lambda i: f"{name} {values[i]}"


def _worst(matrix: Float32Array, cells: BoolArray, names: tuple[str, ...]) -> Callable[[int], str]:
    def describe(i: int) -> str:
        k = int(np.argmax(cells[i]))
        return f"{matrix[i, k]} in {names[k]!r}"

    return describe
