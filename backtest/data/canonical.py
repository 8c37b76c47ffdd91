"""Writes canonical Parquet: what every source produces and the event bus reads at full speed.

``docs/data.md`` is the reference of the format. Integers are delta-encoded and float32 columns
byte-stream-split, which zstd then packs best; symbols and aggressors, of which there are few, have
dictionaries. Pages carry checksums, so that damage is found on reading.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.core.arrays import Float32Array, Int32Array, Int64Array
from backtest.core.atomic import new_folder, writing
from backtest.core.interrupts import raise_if_interrupted
from backtest.core.times import in_another_unit
from backtest.data.card import CARD_NAME, Card, write_card
from backtest.data.parquet import footer_digest
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
from backtest.data.schema import TIMESTAMP
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch

ROW_GROUP_ROWS = 131_072
ROWS_PER_FILE = 64 * ROW_GROUP_ROWS

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
        self.replaced = 0
        self.mended: Counter[str] = Counter()
        self._folder = folder
        self._nonfinite = nonfinite
        self._rows_per_file = rows_per_file
        _check_names(card)
        self._schema: pa.Schema | None = None
        signed = np.array([i.signed_prices for i in card.resolved_instruments()])
        self._signed = signed if signed.any() else None
        self._last_ts: int | None = None
        self._reference: int | None = None
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._file: Any = None
        self._file_rows = 0
        self._digests: dict[str, str] = {}
        self._footer_digests: dict[str, str] = {}

    def __enter__(self) -> CanonicalWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error the folder is thrown away, so the file is closed but not finished.
        if kind is not None:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
            return
        if self._schema is None:
            raise DataError("there are no events to write", place=str(self._folder))
        with writing(self._folder):
            self._flush(self._waiting_rows)
            self._end_file()
            update: dict[str, Any] = {"sha256": self._digests}
            update["footer_sha256"] = self._footer_digests
            if self.mended:
                update["notes"] = self.card.notes | {MENDED: dict(sorted(self.mended.items()))}
            write_card(self._folder, self.card.model_copy(update=update))

    def write(self, batch: EventBatch, targets: Float32Array | None = None) -> None:
        """Append events; ``seq`` counts them through all files.

        Args:
            batch: later than all before it, or at the same time; the same columns every time. Its
                arrays may be kept, uncopied, until the block ends.
            targets: float32 [n, T], if the card names targets.

        Raises:
            DataError: naming the row (counted over all batches): absent or unsorted times, times
                of another unit, an unknown symbol id, NaN or infinity, prices or sizes beyond
                2^62, an aggressor of no trade or other than -1, 0 and 1; or a folder that cannot
                be written.
            ValueError: columns other than the card's or the first batch's.
        """
        raise_if_interrupted()
        if not len(batch):
            return
        self._check_times(batch.ts_event)
        table = self._table(batch, targets)
        if self._schema is None:
            self._schema = table.schema
        elif table.schema != self._schema:
            raise ValueError(f"columns changed from {self._schema.names} to {table.schema.names}")
        self.rows += len(batch)
        self._last_ts = int(batch.ts_event[-1])
        self._waiting.append(table)
        self._waiting_rows += len(batch)
        # Only whole row groups are written before the end, so their cuts do not depend on batches.
        whole = self._waiting_rows // ROW_GROUP_ROWS * ROW_GROUP_ROWS
        if whole:
            with writing(self._folder):
                self._flush(whole)

    def _check_times(self, ts: Int64Array) -> None:
        absent = np.flatnonzero(ts == NO_TIME)
        if len(absent):
            row = f"row {self.rows + int(absent[0])}"
            raise DataError(f"{row} has no ts_event", place=self.card.name, remedy="Remove it.")
        before = np.concatenate([[ts[0] if self._last_ts is None else self._last_ts], ts[:-1]])
        wrong = np.flatnonzero(ts < before)
        if len(wrong):
            i = int(wrong[0])
            raise DataError(
                f"not sorted: row {self.rows + i} has ts_event {ts[i]} after {before[i]}",
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
                f"row {self.rows + i} has ts_event {ts[i]}, 500 times larger or smaller than those"
                f" of the first rows, such as {self._reference}",
                place=self.card.name,
                remedy="Times are nanoseconds since 1970: state the unit of the input.",
            )

    def _table(self, batch: EventBatch, targets: Float32Array | None) -> pa.Table:
        n = len(batch)
        symbols = self.card.symbols
        wrong = np.flatnonzero((batch.symbol < 0) | (batch.symbol >= len(symbols)))
        if len(wrong):
            i = int(wrong[0])
            raise DataError(
                f"row {self.rows + i} has symbol id {batch.symbol[i]}, but the card has"
                f" {len(symbols)} symbols",
                place=self.card.name,
            )
        index = np.int16 if len(symbols) <= np.iinfo(np.int16).max else np.int32
        columns = {
            "ts_event": pa.array(batch.ts_event).view(TIMESTAMP),
            "seq": pa.array(np.arange(self.rows, self.rows + n, dtype=np.int64)),
            "symbol": pa.DictionaryArray.from_arrays(
                pa.array(batch.symbol.astype(index)), pa.array(symbols, type=pa.string())
            ),
        }
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

    def _flush(self, rows: int) -> None:
        """Write the first ``rows`` waiting rows as row groups."""
        if not rows:
            return
        table = pa.concat_tables(self._waiting)
        for low in range(0, rows, ROW_GROUP_ROWS):
            group = table.slice(low, min(ROW_GROUP_ROWS, rows - low)).combine_chunks()
            if self._file is None:
                self._begin_file(group.schema)
            self._file.write_table(group, row_group_size=ROW_GROUP_ROWS)
            self._file_rows += len(group)
            if self._file_rows >= self._rows_per_file:
                self._end_file()
        # What is left is less than a row group; it waits for more rows, or for the end.
        self._waiting = [table.slice(rows)]
        self._waiting_rows -= rows

    def _begin_file(self, schema: pa.Schema) -> None:
        integers = [f.name for f in schema if f.type in (pa.int64(), TIMESTAMP)]
        floats = [f.name for f in schema if f.type == pa.float32()]
        self._file = pq.ParquetWriter(
            self._folder / f"events-{len(self._digests):05d}.parquet",
            schema,
            compression="zstd",
            use_dictionary=[name for name in ("symbol", "aggressor") if name in schema.names],
            column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED")
            | dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
            write_page_checksum=True,
        )
        self._file_rows = 0

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        path = self._folder / f"events-{len(self._digests):05d}.parquet"
        with path.open("rb") as file:
            self._digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            self._footer_digests[path.name] = footer_digest(file)


def write_canonical(
    folder: Path | str,
    card: Card,
    batches: Iterable[EventBatch | tuple[EventBatch, Float32Array]],
    *,
    overwrite: bool = False,
    nonfinite: Nonfinite = "refuse",
    rows_per_file: int = ROWS_PER_FILE,
) -> None:
    """Write a dataset folder that appears whole or not at all.

    Args:
        folder: the folder to make.
        card: describes the events.
        batches: events in order, each batch alone or with its targets float32 [n, T].
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
            batch, targets = item if isinstance(item, tuple) else (item, None)
            writer.write(batch, targets)


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
