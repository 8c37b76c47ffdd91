"""Depth in mapped files: the levels or orders of their rows, and where their snapshots begin."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.reading.decode import Columns
from backtest.data.reading.merge import rows_of
from backtest.market.depth import ADD, BOTH, CLEAR, LAST, SNAPSHOT, DepthBatch, DepthRows
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.mapped.events import Reader
from backtest.plugins.sources.mapped.files import InputTable
from backtest.plugins.sources.mapped.instruments import Instruments
from backtest.plugins.sources.mapped.mapping import Mapping

_TRUTHS = {"true": 1, "1": 1, "t": 1, "false": 0, "0": 0, "f": 0, "": 0}


def is_depth(file: InputTable, mapping: Mapping) -> bool:
    """The mapping says that a file holds depth, by its name."""
    patterns = () if mapping.depth is None else mapping.depth.files
    return any(fnmatchcase(PurePath(file.place).name, pattern) for pattern in patterns)


class DepthReader(Reader):
    """One file's rows of depth as canonical columns.

    Attributes:
        read: how many rows the file has, known after ``chunks``.
    """

    def __init__(
        self, file: InputTable, mapping: Mapping, nonfinite: Literal["refuse", "zero"]
    ) -> None:
        super().__init__(file, mapping, nonfinite)
        self.read = 0
        self._open: dict[int, dict[str, Any]] = {}
        """The last row of each symbol's snapshot that has not ended."""

    def chunks(self, symbols: list[str], instruments: Instruments, sort: bool) -> Iterator[Columns]:
        """The rows, in time order, with those that clear and end snapshots."""
        for columns in super().chunks(symbols, instruments, sort):
            restated = columns.pop("restated").astype(np.bool_)
            yield self._with_snapshots(columns, restated)

    def _decoded(self, symbols: pa.Array, instruments: Instruments) -> Iterator[Columns]:
        depth = self.mapping.depth
        assert depth is not None  # or no file is of depth
        text = {*self.mapping.depth_texts(), depth.price, depth.size}
        for batch in self.file.batches(self.mapping.depth_columns(), text):
            if not batch.num_rows:
                continue
            rows, row, every = self.rows, self.read, np.ones(batch.num_rows, dtype=np.bool_)
            ids = pc.index_in(rows.symbol(batch, row), symbols).to_numpy()
            columns: Columns = {
                "symbol": ids,
                "ts_event": rows.times(batch, row),
                "side": rows.codes(batch, depth.side, dict(depth.sides()), every, "[depth]", row),
            }
            for canonical, name in (("price", depth.price), ("size", depth.size)):
                grids = instruments.grids(canonical, ids)
                columns[canonical] = rows.grid(batch, canonical, name, grids, row)
            absent = np.flatnonzero(columns["price"] == NO_PRICE)
            if len(absent):
                rows.refuse(row + int(absent[0]), f"has no price in {depth.price!r}")
            if depth.order is not None and depth.action is not None:
                actions = dict(depth.actions())
                columns["order_id"] = self._whole(batch, depth.order)
                columns["action"] = rows.codes(batch, depth.action, actions, every, "[depth]", row)
            columns["restated"] = np.zeros(len(every), dtype=np.int8)
            if depth.snapshot is not None:
                columns["restated"] = rows.codes(
                    batch, depth.snapshot, _TRUTHS, every, "true and false", row
                )
            yield columns
            self.read += batch.num_rows

    def _whole(self, batch: pa.RecordBatch, name: str) -> Int64Array:
        """Numbers of orders, int64 [n]."""
        column = batch.column(name)
        try:
            numbers = column.cast(pa.int64())
        except pa.ArrowInvalid:
            numbers = None
        if numbers is None or numbers.null_count:
            for i, value in enumerate(column):
                try:
                    whole = value.cast(pa.int64()).as_py()
                except pa.ArrowInvalid:
                    whole = None
                if whole is None:
                    text = f"has {value.as_py()!r:.80} in {name!r}, which is no number of an order"
                    self.rows.refuse(self.read + i, text)
        found: Int64Array = numbers.to_numpy()
        return found

    def _with_snapshots(self, columns: Columns, restated: BoolArray) -> Columns:
        """The rows with flags; before the first of a snapshot, one that clears the book.

        If snapshots show the whole book, the first row after one follows on a row that restates the
        last of it and ends it: before, nobody can know that it has ended.
        """
        depth = self.mapping.depth
        assert depth is not None
        columns["flags"] = np.where(restated, np.uint8(SNAPSHOT), np.uint8(0))
        places: list[int] = []
        added: list[dict[str, Any]] = []
        for symbol in np.unique(columns["symbol"]).tolist():
            own = np.flatnonzero(columns["symbol"] == symbol)
            before = np.append(symbol in self._open, restated[own[:-1]])
            for k in np.flatnonzero(restated[own] != before).tolist():
                row = _row(columns, int(own[k]))
                if restated[own[k]]:
                    cleared = {"side": BOTH, "price": 0, "size": 0, "flags": CLEAR | SNAPSHOT}
                    cleared |= {"order_id": 0, "action": ADD} if "action" in columns else {}
                    added.append(row | cleared)
                elif depth.whole:
                    last = _row(columns, int(own[k - 1])) if k else self._open[symbol]
                    ended = last | {"ts_event": row["ts_event"], "flags": SNAPSHOT | LAST}
                    added.append(ended)
                else:
                    continue
                places.append(int(own[k]))
            if restated[own[-1]]:
                self._open[symbol] = _row(columns, int(own[-1]))
            else:
                self._open.pop(symbol, None)
        if not places:
            return columns
        order = np.argsort(places, kind="stable")
        at = np.array(places)[order]
        return {
            name: np.insert(values, at, [added[i][name] for i in order.tolist()])
            for name, values in columns.items()
        }


def _row(columns: Columns, row: int) -> dict[str, Any]:
    return {name: values[row] for name, values in columns.items()}


class Beside:
    """Rows of depth in time order, taken with the events."""

    def __init__(self, pieces: Iterator[Columns]) -> None:
        self._pieces = pieces
        self._held: Columns | None = None

    def before(self, ts: Int64Array) -> DepthBatch | None:
        """The rows before the last of these events, after those that are not later than they are.

        Rows at the last event's time wait: more events may have it.
        """
        parts: list[Columns] = []
        while (piece := self._held or next(self._pieces, None)) is not None:
            count = int(np.searchsorted(piece["ts_event"], ts[-1]))
            parts.append(rows_of(piece, slice(count)))
            self._held = rows_of(piece, slice(count, None))
            if count < len(piece["ts_event"]):
                break
            self._held = None
        if not parts:
            return None
        columns: dict[str, Any] = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        return DepthBatch(**columns, follows=np.searchsorted(ts, columns["ts_event"], "right"))

    def rest(self) -> Iterator[DepthRows]:
        """What is left."""
        for piece in chain([] if self._held is None else [self._held], self._pieces):
            columns: dict[str, Any] = {**piece}
            yield DepthRows(**columns)
