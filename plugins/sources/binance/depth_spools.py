"""Messages about books on disk, until all grids are known, in the order of their files."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from backtest.core.arrays import Int8Array, Int64Array
from backtest.market.events import NO_TIME
from backtest.plugins.sources.binance.depth_lines import SNAPSHOT, UPDATE, DepthMessages
from backtest.plugins.sources.binance.spools import BatchFile
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
class DepthSpool(BatchFile):
    """One file's messages about a book."""

    first_previous: int = 0
    last: int = -1
    updates: bool = False
    """Whether it has updates; they tell all changes after ``first_previous`` up to ``last``."""

    anchored: bool = False
    """Whether it has a snapshot or partial books."""

    skews: list[Int64Array] = field(default_factory=list)
    _late: set[int] = field(default_factory=set)

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
        self.write(columns, rows)
        updates = np.flatnonzero(rows.kind == UPDATE)
        if len(updates):
            if not self.updates:
                self.first_previous = int(rows.previous[updates[0]])
            self.last, self.updates = max(self.last, int(rows.last[updates].max())), True
        self.anchored |= bool((rows.kind != UPDATE).any())
        timed = (rows.sent != NO_TIME) & (rows.kind != SNAPSHOT)
        if timed.any():
            self.skews.append((rows.recv - rows.sent)[timed])

    def messages(self, grid: Grid) -> Iterator[Message]:
        """The messages in the order of the file, prices in ticks and sizes in lots."""
        with self.opened() as reader:
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
