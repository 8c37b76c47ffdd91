"""Depth in mapped files: the levels or orders of their rows, and where their snapshots begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.reading.decode import Columns
from backtest.market.depth import ADD, BOTH, CLEAR, LAST, SNAPSHOT
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.mapped_events import Reader
from backtest.plugins.sources.mapped_files import InputTable
from backtest.plugins.sources.mapping import DepthMapping, Mapping

_TRUTHS = {"true": 1, "1": 1, "t": 1, "false": 0, "0": 0, "f": 0, "": 0}


def is_depth(file: InputTable, mapping: Mapping) -> bool:
    """The mapping says that a file holds depth, by its name."""
    patterns = () if mapping.depth is None else mapping.depth.files
    return any(fnmatchcase(PurePath(file.place).name, pattern) for pattern in patterns)


@dataclass
class DepthReader(Reader):
    """One file's rows of depth as canonical columns.

    Attributes:
        rows: how many the file has, known after ``chunks``.
    """

    rows: int = 0
    _open: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The last row of each symbol's snapshot that has not ended."""

    def chunks(self, symbols: list[str], sort: bool) -> Iterator[Columns]:
        """The rows, in time order, with those that clear and end snapshots."""
        for columns in super().chunks(symbols, sort):
            restated = columns.pop("restated").astype(np.bool_)
            yield self._with_snapshots(columns, restated)

    def _decoded(self, symbols: pa.Array) -> Iterator[Columns]:
        depth, price, size = self.mapping.depth, self.mapping.price, self.mapping.size
        assert depth is not None  # or no file is of depth
        assert price is not None
        assert size is not None
        grids = {
            "price": (depth.price, price.unit, price.tick_size),
            "size": (depth.size, size.unit, size.lot_size),
        }
        for batch in self.file.batches(self.mapping.depth_columns(), self.mapping.depth_texts()):
            if not batch.num_rows:
                continue
            row, every = self.rows, np.ones(batch.num_rows, dtype=np.bool_)
            ids = pc.index_in(self._symbol(batch, row), symbols)
            columns: Columns = {
                "symbol": ids.to_numpy(),
                "ts_event": self._times(batch.column(self.mapping.time.event), row),
                "side": self._codes(batch, depth.side, dict(depth.sides()), every, "[depth]", row),
            }
            for canonical, grid in grids.items():
                columns[canonical] = self._steps(batch, canonical, *grid, row)
            absent = np.flatnonzero(columns["price"] == NO_PRICE)
            if len(absent):
                self._refuse(row + int(absent[0]), f"has no price in {depth.price!r}")
            columns |= self._order_columns(batch, depth, every)
            columns["restated"] = np.zeros(len(every), dtype=np.int8)
            if depth.snapshot is not None:
                columns["restated"] = self._codes(
                    batch, depth.snapshot, _TRUTHS, every, "true and false", row
                )
            yield columns
            self.rows += batch.num_rows

    def _order_columns(
        self, batch: pa.RecordBatch, depth: DepthMapping, every: BoolArray
    ) -> Columns:
        if depth.order is None or depth.action is None:
            return {}
        actions = dict(depth.actions())
        codes = self._codes(batch, depth.action, actions, every, "[depth]", self.rows)
        return {"order_id": self._whole(batch, depth.order), "action": codes}

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
                    self._refuse(self.rows + i, text)
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
