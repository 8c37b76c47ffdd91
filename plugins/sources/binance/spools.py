"""Messages of recorded Binance streams on disk, until the grids of all symbols are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from backtest.data.reading.decode import Columns
from backtest.errors import DataError
from backtest.market.events import NO_TIME
from backtest.plugins.sources.binance.lines import MessageRows, RowKind


@dataclass
class Spool:
    """One file's messages of a kind and symbol, kept on disk until every grid is known."""

    path: Path
    kind: RowKind
    label: str
    place: str
    scales: list[tuple[int, int]] = field(default_factory=list)
    first_recv: int = 0
    first_venue: int = NO_TIME
    last: int = NO_TIME
    _writer: pa.ipc.RecordBatchFileWriter | None = None

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
        batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self.path), batch.schema)
            self.first_recv, self.first_venue = int(rows.recv[0]), int(rows.venue[0])
        self._writer.write_batch(batch)
        self.scales.append((rows.price_scale, rows.size_scale))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def batches(self) -> Iterator[tuple[Columns, tuple[int, int]]]:
        """Columns of each batch, and the scales of its prices and sizes."""
        with pa.OSFile(str(self.path)) as file:
            reader = pa.ipc.open_file(file)
            for i, scales in enumerate(self.scales):
                batch = reader.get_batch(i)
                yield {name: batch.column(name).to_numpy() for name in batch.schema.names}, scales
