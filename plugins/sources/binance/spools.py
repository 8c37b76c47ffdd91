"""Messages of recorded Binance streams on disk, until the grids of all symbols are known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from backtest.data.reading.decode import Columns
from backtest.errors import DataError
from backtest.market.events import NO_TIME
from backtest.plugins.sources.binance.depth_lines import DepthMessages
from backtest.plugins.sources.binance.lines import MessageRows, RowKind


@dataclass
class BatchFile:
    """Batches of one input's messages, kept on disk until every grid is known.

    Attributes:
        path: the file.
        label: the input's path below what is ingested.
        place: what the input is called in messages.
        scales: decimals of prices and of sizes, of each batch.
        first_recv, first_venue: times of the first message, ns.
    """

    path: Path
    label: str
    place: str
    scales: list[tuple[int, int]] = field(default_factory=list)
    first_recv: int = 0
    first_venue: int = NO_TIME
    _writer: Any = None

    def write(self, columns: dict[str, pa.Array], rows: MessageRows | DepthMessages) -> None:
        """Append a batch of messages as these columns."""
        batch = pa.record_batch(columns)
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self.path), batch.schema)
            self.first_recv, self.first_venue = int(rows.recv[0]), int(rows.venue[0])
        self._writer.write_batch(batch)
        self.scales.append((rows.price_scale, rows.size_scale))

    def close(self) -> None:
        """End the file, so that it can be read."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Read it: gives what has ``get_batch``."""
        with pa.OSFile(str(self.path)) as file:
            yield pa.ipc.open_file(file)


@dataclass
class Spool(BatchFile):
    """One file's messages of a kind and symbol."""

    kind: RowKind = field(kw_only=True)
    last: int = NO_TIME

    def add(self, rows: MessageRows) -> None:
        """Append rows whose times must not go back."""
        times = rows.recv if rows.venue[0] == NO_TIME else rows.venue
        back = np.flatnonzero(np.diff(times, prepend=max(self.last, int(times[0]))) < 0)
        if len(back):
            raise DataError(
                f"line {rows.line[back[0]]} has an earlier time than the line before it",
                place=self.place,
                remedy="Messages of one stream must be in time order: sort the file's lines.",
            )
        self.last = int(times[-1])
        columns: Columns = {"recv": rows.recv, "venue": rows.venue, "aggressor": rows.aggressor}
        columns |= {f"price{i}": price for i, price in enumerate(rows.price)}
        columns |= {f"size{i}": size for i, size in enumerate(rows.size)}
        self.write({name: pa.array(values) for name, values in columns.items()}, rows)

    def batches(self) -> Iterator[tuple[Columns, tuple[int, int]]]:
        """Columns of each batch, and the scales of its prices and sizes."""
        with self.opened() as reader:
            for i, scales in enumerate(self.scales):
                batch = reader.get_batch(i)
                yield {name: batch.column(name).to_numpy() for name in batch.schema.names}, scales
