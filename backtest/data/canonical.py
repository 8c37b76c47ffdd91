"""Writes canonical Parquet: what every source produces and the event bus reads at full speed.

``docs/data.md`` is the reference of the format. Integers are delta-encoded and float32 columns
byte-stream-split, which zstd then packs best; columns of few values, such as symbols, have
dictionaries. Pages carry checksums, so that damage is found on reading. Rows of depth go to files
of their own, with one ``seq`` through both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from backtest.core.arrays import Float32Array, Int32Array, Int64Array
from backtest.core.atomic import new_folder, writing
from backtest.core.interrupts import raise_if_interrupted
from backtest.core.times import in_another_unit
from backtest.data.card import CARD_NAME, Card, write_card
from backtest.data.depth_checks import first_fault, no_sizes
from backtest.data.prices import (
    SIDES,
    absent_prices,
    plain_prices,
    too_large,
    unusable_price,
    unusable_size,
    wrong_aggressor,
    wrong_aggressors,
)
from backtest.data.reading.decode import Nonfinite
from backtest.data.reading.matrices import nonfinite_cells
from backtest.data.schema import DEPTH, ORDERS, TIMESTAMP
from backtest.data.table_files import ROWS_PER_FILE, TableFiles
from backtest.errors import DataError
from backtest.market.depth import DepthBatch, DepthRows
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch

DEPTH_FILES = "depth-*.parquet"
"""What the card of a dataset with depth has in ``depth_files``."""

MENDED = "absent"
"""The key of a card's notes that holds ``CanonicalWriter.mended``."""

NO_PRICES = "{} of 0 or below, or a vendor's marker: that side absent"
NO_SIZES = "{} with a negative size: that side absent"

_ABSENT_WITH = {
    "ts_recv": ("ts_recv", NO_TIME),
    "bid": ("bid", NO_PRICE),
    "ask": ("ask", NO_PRICE),
    "bid_size": ("bid", NO_PRICE),
    "ask_size": ("ask", NO_PRICE),
    "trade_price": ("trade_price", NO_PRICE),
    "trade_size": ("trade_price", NO_PRICE),
    "aggressor": ("trade_price", NO_PRICE),
}


class CanonicalWriter:
    """Writes a dataset's events, in order, into an existing empty folder; a context manager.

    The card is written last, with the files' digests, when the block ends without an exception.
    Wrap it in ``write_canonical`` or ``backtest.data.sources.ingest`` to have the folder appear
    whole or not at all.

    Attributes:
        card: the card to write; a source may replace it until the block ends.
        rows: events written so far.
        depth_rows: rows of depth written so far.
        replaced: features set to 0 under the policy ``zero``.
        mended: numbers that were no prices or sizes and were written as absent, by what they were;
            the card's notes keep the counts.

    Args:
        folder: an empty folder.
        card: describes the events; its ``files`` and ``columns`` must be the defaults.
        nonfinite: NaN and infinity among features are refused, or set to 0 and counted.
        rows_per_file: a new file is begun after so many rows (a multiple of a row group).
    """

    def __init__(
        self,
        folder: Path,
        card: Card,
        *,
        nonfinite: Nonfinite = "refuse",
        rows_per_file: int = ROWS_PER_FILE,
    ) -> None:
        self.card = card
        self.rows = 0
        self.depth_rows = 0
        self.replaced = 0
        self.mended: Counter[str] = Counter()
        self._folder = folder
        self._nonfinite = nonfinite
        _check_names(card)
        self._events = TableFiles(folder, "events", rows_per_file)
        self._depth = TableFiles(folder, "depth", rows_per_file)
        signed = np.array([i.signed_prices for i in card.resolved_instruments()])
        self._signed = signed if signed.any() else None
        self._last_ts: int | None = None
        self._reference: int | None = None

    def __enter__(self) -> CanonicalWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error the folder is thrown away, so files are closed but not finished.
        if kind is not None:
            self._events.abandon()
            self._depth.abandon()
            return
        self._check_whole()
        update: dict[str, Any] = {}
        if self.depth_rows:
            self._depth.finish()
            update["depth_files"] = (DEPTH_FILES,)
        self._events.finish()
        update["sha256"] = self._events.digests | self._depth.digests
        update["footer_sha256"] = self._events.footer_digests | self._depth.footer_digests
        if self.mended:
            update["notes"] = self.card.notes | {MENDED: dict(sorted(self.mended.items()))}
        with writing(self._folder):
            write_card(self._folder, self.card.model_copy(update=update))

    def _check_whole(self) -> None:
        if self._events.schema is None:
            raise DataError("there are no events to write", place=str(self._folder))
        if self.depth_rows and "bid_size" not in self._events.schema.names:
            raise no_sizes(self.card.name)

    def write(
        self,
        batch: EventBatch,
        targets: Float32Array | None = None,
        *,
        depth: DepthBatch | None = None,
    ) -> None:
        """Append events; ``seq`` counts them, and the rows of depth, through all files.

        Args:
            batch: later than all before it, or at the same time; the same columns every time. Its
                arrays may be kept, uncopied, until the block ends.
            targets: float32 [n, T], if the card names targets.
            depth: rows among these events: ``follows`` counts those of this batch that precede.

        Raises:
            DataError: naming the row (counted over all batches): absent or unsorted times, times
                of another unit, an unknown symbol id, NaN or infinity, prices or sizes beyond
                2^62, an aggressor of no trade or other than -1, 0 and 1, or what ``write_depth``
                refuses; or a folder that cannot be written.
            ValueError: columns other than the card's or the first batch's; ``follows`` that fall,
                are negative, or count more events than there are.
        """
        raise_if_interrupted()
        if depth is None or not len(depth):
            if len(batch):
                self._check_times(batch.ts_event, lambda i: f"row {self.rows + i}")
                self._add(batch, targets, np.arange(len(batch)), None, np.arange(0))
            return
        at, depth_at = _places(len(batch), depth.follows)
        ts = np.empty(len(batch) + len(depth), dtype=np.int64)
        ts[at], ts[depth_at] = batch.ts_event, depth.ts_event

        def row(i: int) -> str:
            k = int(np.searchsorted(depth_at, i))
            if k < len(depth_at) and depth_at[k] == i:
                return f"row {self.depth_rows + k} of depth"
            return f"row {self.rows + i - k}"

        self._check_times(ts, row)
        self._add(batch, targets, at, depth, depth_at)

    def write_depth(self, rows: DepthRows) -> None:
        """Append rows of depth after all events and rows written before, in bus order.

        At one instant, the order of the calls of ``write`` and ``write_depth`` is the bus's. Many
        rows that alternate with events are written faster by ``write(batch, depth=...)``.

        Args:
            rows: later than all before them, or at the same time; all of levels (L2) or all of
                orders (L3). Their arrays may be kept, uncopied, until the block ends.

        Raises:
            DataError: naming the row (counted over all rows of depth): absent or unsorted times,
                an unknown symbol id, negative sizes or ones beyond 2^42, prices that are none,
                unknown sides, flags or actions; or a folder that cannot be written.
            ValueError: L2 after L3 or the other way round.
        """
        raise_if_interrupted()
        if len(rows):
            self._check_times(rows.ts_event, lambda i: f"row {self.depth_rows + i} of depth")
            self._add(None, None, np.arange(0), rows, np.arange(len(rows)))

    def _add(
        self,
        batch: EventBatch | None,
        targets: Float32Array | None,
        at: Int64Array,
        depth: DepthRows | None,
        depth_at: Int64Array,
    ) -> None:
        """Append rows that are in order, at places that count on from those before."""
        seq = self.rows + self.depth_rows
        ends = []
        if depth is not None:
            self._depth.add(self._depth_table(depth, seq + depth_at))
            self.depth_rows += len(depth)
            ends.append(int(depth.ts_event[-1]))
        if batch is not None and len(batch):
            self._events.add(self._table(batch, targets, seq + at))
            self.rows += len(batch)
            ends.append(int(batch.ts_event[-1]))
        self._last_ts = max(ends)

    def _check_times(self, ts: Int64Array, row: Callable[[int], str]) -> None:
        absent = np.flatnonzero(ts == NO_TIME)
        if len(absent):
            problem = f"{row(int(absent[0]))} has no ts_event"
            raise DataError(problem, place=self.card.name, remedy="Remove it.")
        before = np.concatenate([[ts[0] if self._last_ts is None else self._last_ts], ts[:-1]])
        wrong = np.flatnonzero(ts < before)
        if len(wrong):
            i = int(wrong[0])
            raise DataError(
                f"not sorted: {row(i)} has ts_event {ts[i]} after {before[i]}",
                place=self.card.name,
                remedy="Sort the events by ts_event (stably) before writing them.",
            )
        # What `validate` calls an error must not be written, so it is found here by its own rule.
        if self._reference is None:
            self._reference = int(np.median(ts))
        other = in_another_unit(ts, self._reference)
        if other.any():
            i = int(np.argmax(other))
            raise DataError(
                f"{row(i)} has ts_event {ts[i]}, 500 times larger or smaller than those"
                f" of the first rows, such as {self._reference}",
                place=self.card.name,
                remedy="Times are nanoseconds since 1970: state the unit of the input.",
            )

    def _whose(
        self, ts: Int64Array, seq: Int64Array, symbol: Int32Array, row: Callable[[int], str]
    ) -> dict[str, pa.Array]:
        """The columns that both tables begin with."""
        symbols = self.card.symbols
        wrong = np.flatnonzero((symbol < 0) | (symbol >= len(symbols)))
        if len(wrong):
            i = int(wrong[0])
            raise DataError(
                f"{row(i)} has symbol id {symbol[i]}, but the card has {len(symbols)} symbols",
                place=self.card.name,
            )
        index = np.int16 if len(symbols) <= np.iinfo(np.int16).max else np.int32
        return {
            "ts_event": pa.array(ts).view(TIMESTAMP),
            "seq": pa.array(seq),
            "symbol": pa.DictionaryArray.from_arrays(
                pa.array(symbol.astype(index)), pa.array(symbols, type=pa.string())
            ),
        }

    def _table(self, batch: EventBatch, targets: Float32Array | None, seq: Int64Array) -> pa.Table:
        n = len(batch)
        columns = self._whose(batch.ts_event, seq, batch.symbol, lambda i: f"row {self.rows + i}")
        values_of = {name: getattr(batch, name) for name in _ABSENT_WITH}
        self._check_aggressors(values_of)  # before a price that is none makes its trade absent
        self._mend(values_of, batch.symbol)
        for name, values in values_of.items():
            if values is not None:
                marker, absent = _ABSENT_WITH[name]
                missing = values_of[marker] == absent
                column = pa.array(values, mask=missing)
                if name == "aggressor":  # 0 says as much as null, and is read twice as fast
                    column = column.fill_null(0)
                columns[name] = column.view(TIMESTAMP) if name == "ts_recv" else column
        columns |= self._feature_columns(batch.features, n)
        columns |= self._target_columns(targets, n)
        return pa.table(columns)

    def _depth_table(self, rows: DepthRows, seq: Int64Array) -> pa.Table:
        def row(i: int) -> str:
            return f"row {self.depth_rows + i} of depth"

        columns = self._whose(rows.ts_event, seq, rows.symbol, row)
        kinds = {name: kind for name, kind in (DEPTH | ORDERS).items() if name != "seq"}
        values = {name: getattr(rows, name) for name in kinds}
        values = {name: column for name, column in values.items() if column is not None}
        if len(values) == len(kinds) - 1:
            raise ValueError("order_id and action are there together, or neither is")
        found = first_fault(values, rows.symbol, self._signed)
        if found is not None:
            fault, i = found
            raise fault.error(row(i), int(values[fault.column][i]), place=self.card.name)
        columns |= {
            n: pa.array(v.astype(kinds[n].to_pandas_dtype(), copy=False)) for n, v in values.items()
        }
        return pa.table(columns)

    def _mend(self, values: dict[str, Any], symbol: Int32Array) -> None:
        """Take out what is no price or size, so that no reader has to ask, and count it."""
        for price, size in SIDES:
            ticks, lots = values[price], values[size]
            if ticks is None:
                continue
            if not plain_prices(ticks):
                absent = absent_prices(ticks, symbol, self._signed)
                if absent is not None:
                    self.mended[NO_PRICES.format(price)] += int(np.count_nonzero(absent))
                    ticks = np.where(absent, NO_PRICE, ticks)
                self._check_limit(price, ticks, unusable_price(ticks))
            if lots is not None and unusable_size(lots) is not None:
                negative = (lots < 0) & (ticks != NO_PRICE)
                self.mended[NO_SIZES.format(price)] += int(np.count_nonzero(negative))
                ticks = np.where(negative, NO_PRICE, ticks)
                lots = np.where(lots < 0, 0, lots)
                self._check_limit(size, lots, unusable_size(lots))
            values[price], values[size] = ticks, lots

    def _check_aggressors(self, values: dict[str, Any]) -> None:
        aggressor, price = values["aggressor"], values["trade_price"]
        if aggressor is None:
            return
        if price is None:
            raise ValueError("aggressors are there without the trades they belong to")
        wrong = wrong_aggressors(aggressor, price)
        if wrong.any():
            i = int(np.argmax(wrong))
            row, value = f"row {self.rows + i}", int(aggressor[i])
            raise wrong_aggressor(row, "aggressor", value, place=self.card.name)
        values["aggressor"] = aggressor.astype(np.int8)

    def _check_limit(self, name: str, values: Int64Array, wrong: int | None) -> None:
        if wrong is not None:
            row = f"row {self.rows + wrong}"
            raise too_large(row, name, int(values[wrong]), place=self.card.name)

    def _feature_columns(self, features: Float32Array | None, n: int) -> dict[str, pa.Array]:
        names = self.card.features.all if self.card.features else ()
        matrix = _matrix("features", features, names, n)
        bad = nonfinite_cells(matrix) if names else None
        if bad is not None and self._nonfinite == "refuse":
            self._refuse(bad, matrix, names)
        if bad is not None:
            self.replaced += int(np.count_nonzero(bad))
            matrix = np.where(bad, np.float32(0), matrix)
        if self.card.features and self.card.features.packed:
            cells = pa.py_buffer(np.ascontiguousarray(matrix))
            kind = pa.binary(4 * len(names))
            packed = pa.FixedSizeBinaryArray.from_buffers(kind, n, [None, cells])
            return {self.card.features.packed: packed}
        return {name: pa.array(matrix[:, i]) for i, name in enumerate(names)}

    def _target_columns(self, targets: Float32Array | None, n: int) -> dict[str, pa.Array]:
        names = self.card.targets.columns if self.card.targets else ()
        matrix = _matrix("targets", targets, names, n)
        bad = nonfinite_cells(matrix) if names else None
        if bad is not None:
            self._refuse(bad, matrix, names)
        return {name: pa.array(matrix[:, i]) for i, name in enumerate(names)}

    def _refuse(self, bad: Any, matrix: Float32Array, names: tuple[str, ...]) -> None:
        i = int(np.argmax(bad.any(axis=1)))
        k = int(np.argmax(bad[i]))
        raise DataError(
            f"row {self.rows + i} has {matrix[i, k]} in {names[k]!r}",
            place=self.card.name,
            remedy='Fix the data, or set nonfinite = "zero" (features only).',
        )


def write_canonical(
    folder: Path | str,
    card: Card,
    batches: Iterable[EventBatch | DepthRows | tuple[EventBatch, Float32Array | DepthBatch]],
    *,
    overwrite: bool = False,
    nonfinite: Nonfinite = "refuse",
    rows_per_file: int = ROWS_PER_FILE,
) -> None:
    """Write a dataset folder that appears whole or not at all.

    Args:
        folder: the folder to make.
        card: describes the events.
        batches: events in order, each batch alone, or with its targets float32 [n, T] or the rows
            of depth among its events; rows of depth between batches by themselves.
        overwrite: replace a dataset that is already there.
        nonfinite, rows_per_file: as for ``CanonicalWriter``.

    Raises:
        DataError: the folder is there and may not be replaced or cannot be written, or events
            that ``CanonicalWriter.write`` refuses.
    """
    with (
        new_folder(folder, marker=CARD_NAME, overwrite=overwrite) as temporary,
        CanonicalWriter(
            temporary, card, nonfinite=nonfinite, rows_per_file=rows_per_file
        ) as writer,
    ):
        for item in batches:
            if isinstance(item, DepthRows):
                writer.write_depth(item)
                continue
            batch, beside = item if isinstance(item, tuple) else (item, None)
            if isinstance(beside, DepthBatch):
                writer.write(batch, depth=beside)
            else:
                writer.write(batch, beside)


def _places(events: int, follows: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Places in one order of some events and of the rows among them."""
    if (np.diff(follows) < 0).any() or follows[0] < 0 or follows[-1] > events:
        raise ValueError(f"follows must rise from 0 to {events}, the events of the batch")
    own = np.arange(events)
    return own + np.searchsorted(follows, own, "right"), follows + np.arange(len(follows))


def _check_names(card: Card) -> None:
    """Refuse features and targets that would take the place of another column.

    Raises:
        DataError: naming them.
    """
    packed = card.features.packed if card.features else None
    names = [packed] if packed else [*(card.features.all if card.features else ())]
    names += card.targets.columns if card.targets else ()
    taken = Counter([*names, *dict(card.columns).values()])
    wrong = sorted(str(name) for name, count in taken.items() if count > 1)
    if wrong:
        raise DataError(
            f"two columns would be called {', '.join(map(repr, wrong))}",
            place=card.name,
            remedy="Give features and targets names that no other column has.",
        )


def _matrix(noun: str, values: Float32Array | None, names: tuple[str, ...], n: int) -> Float32Array:
    """The values, or an empty matrix where none are expected."""
    if values is None:
        values = np.empty((n, 0), dtype=np.float32)
    if values.shape != (n, len(names)) or values.dtype != np.float32:
        raise ValueError(f"{noun} are {values.dtype} {values.shape}, not float32 {(n, len(names))}")
    return values
