"""Messages about books on disk, until all grids are known, in the order of their files."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from backtest.core.arrays import Int8Array, Int64Array
from backtest.market.events import NO_TIME
from backtest.plugins.sources.binance.depth_lines import SNAPSHOT, UPDATE, DepthMessages
from backtest.plugins.sources.shared.sizes import on_their_grid

_MESSAGE = ("line", "recv", "venue", "kind", "last", "previous", "levels")

Levels: TypeAlias = tuple[Int8Array, Int64Array, Int64Array]
"""Side, price and size of some levels, [k] each."""

Grid: TypeAlias = Callable[[Int64Array, Int64Array, tuple[int, int]], tuple[Int64Array, Int64Array]]
"""Prices and sizes, and their scales, as ticks and lots."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: see ``DepthMessages`` for its fields."""

    line: int
    recv: int
    venue: int
    kind: int
    last: int
    previous: int
    limit: int
    levels: Levels


@dataclass
class DepthSpool:
    """One file's messages about a book, kept on disk until every grid is known."""

    path: Path
    label: str
    place: str
    scales: list[tuple[int, int]] = field(default_factory=list)
    first_recv: int = 0
    first_venue: int = NO_TIME
    first_previous: int = 0
    last: int = -1
    updates: bool = False
    """Whether it has updates; they tell all changes after ``first_previous`` up to ``last``."""

    anchored: bool = False
    """Whether it has a snapshot or partial books."""

    skews: list[Int64Array] = field(default_factory=list)
    _late: set[int] = field(default_factory=set)
    _writer: Any = None

    def add(self, rows: DepthMessages, *, late: bool = False) -> None:
        """Append messages of the file, in its order.

        Args:
            late: these are snapshots whose symbol had to be found out; they lie among the others.
        """
        if not len(rows.line):
            return
        if late:
            self._late.add(len(self.scales))
        columns = {name: pa.array(getattr(rows, name)) for name in _MESSAGE}
        start = pa.array(rows.start.astype(np.int32))
        for name in ("side", "price", "size"):
            columns[name] = pa.ListArray.from_arrays(start, pa.array(getattr(rows, name)))
        batch = pa.record_batch(columns)
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self.path), batch.schema)
            self.first_recv, self.first_venue = int(rows.recv[0]), int(rows.venue[0])
        self._writer.write_batch(batch)
        self.scales.append((rows.price_scale, rows.size_scale))
        updates = np.flatnonzero(rows.kind == UPDATE)
        if len(updates):
            if not self.updates:
                self.first_previous = int(rows.previous[updates[0]])
            self.last, self.updates = max(self.last, int(rows.last[updates].max())), True
        self.anchored |= bool((rows.kind != UPDATE).any())
        timed = (rows.sent != NO_TIME) & (rows.kind != SNAPSHOT)
        if timed.any():
            self.skews.append((rows.recv - rows.sent)[timed])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def messages(self, grid: Grid) -> Iterator[Message]:
        """The messages in the order of the file, prices in ticks and sizes in lots."""
        with pa.OSFile(str(self.path)) as file:
            reader = pa.ipc.open_file(file)
            own = (i for i in range(len(self.scales)) if i not in self._late)
            main = chain.from_iterable(self._messages(reader, i, grid) for i in own)
            late = [self._messages(reader, i, grid) for i in sorted(self._late)]
            yield from heapq.merge(main, *late, key=lambda message: message.line)

    def _messages(self, reader: Any, number: int, grid: Grid) -> Iterator[Message]:
        batch = reader.get_batch(number)
        with on_their_grid(self.place):
            price, size = grid(
                batch.column("price").flatten().to_numpy(),
                batch.column("size").flatten().to_numpy(),
                self.scales[number],
            )
        side = batch.column("side").flatten().to_numpy()
        start = batch.column("side").offsets.to_numpy().tolist()
        columns = [batch.column(name).to_numpy().tolist() for name in _MESSAGE]
        for i, values in enumerate(zip(*columns, strict=True)):
            rows = slice(start[i], start[i + 1])
            fields: tuple[Any, ...] = (*values, (side[rows], price[rows], size[rows]))
            yield Message(*fields)
