"""Whole runs with the project's Parquet writer and pyarrow's: ``python -m benchmarks.writers``.

Both write the same columns, whole numbers delta-encoded and nothing compressed, and hash what they
have written. CPU seconds are of all threads.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import backtest
from backtest.core import columnar_file
from backtest.core.columnar import Frame
from backtest.inference import prediction_store as store
from backtest.runs import tables
from benchmarks.data import dataset
from benchmarks.running import RUN
from benchmarks.timing import parser_of


class PyarrowFile:
    """What ``ColumnarFile`` is, by pyarrow."""

    def __init__(
        self, path: Path, like: Frame, *, compiled: bool = False, hashed: bool = True
    ) -> None:
        self._path = path
        self._hashed = hashed
        integers = [name for name, column in like.items() if column.kind in ("int64", "time")]
        texts = [name for name, column in like.items() if column.names]
        schema = _table(like).schema
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="none",
            use_dictionary=texts,
            column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
        )

    def write(self, frame: Frame) -> None:
        """Add rows."""
        self._writer.write_table(_table(frame))

    def close(self, *, synced: bool = False) -> None:
        """Write the footer."""
        self._writer.close()

    def digest(self) -> str:
        """SHA-256 of the file."""
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _table(frame: Frame) -> pa.Table:
    arrays = {}
    for name, column in frame.items():
        values = pa.array(column.values, mask=column.absent)
        if column.names:
            values = pa.DictionaryArray.from_arrays(values, pa.array(column.names, pa.string()))
        arrays[name] = values.cast(pa.timestamp("ns", "UTC")) if column.kind == "time" else values
    return pa.table(arrays)


def main() -> None:
    """Run it."""
    given = parser_of(__doc__, repeats=5).parse_args()
    folder = dataset(given.scratch, given.events)
    runs = given.scratch / "runs"
    spent: dict[str, list[tuple[float, float]]] = {"its own": [], "pyarrow's": []}
    writers: dict[str, Any] = {"its own": columnar_file.ColumnarFile, "pyarrow's": PyarrowFile}
    size: dict[str, int] = {}
    for _ in range(given.repeats + 1):
        for name, writer in writers.items():
            for module in (tables, store):
                vars(module)["ColumnarFile"] = writer
            shutil.rmtree(runs, ignore_errors=True)
            begun, cpu = time.perf_counter(), time.process_time()
            backtest.run(dataset=str(folder), runs=runs, **RUN)
            spent[name].append((time.perf_counter() - begun, time.process_time() - cpu))
            size[name] = sum(file.stat().st_size for file in runs.rglob("*.parquet"))
    for name, each in spent.items():
        speed = given.events / median(wall for wall, _ in each[1:]) / 1e6
        cpu = median(cpu for _, cpu in each[1:])
        megabytes = size[name] / 1e6
        print(  # noqa: T201
            f"{name:10} writer: {speed:.2f} million events/s, {cpu:.2f} CPU seconds, "
            f"{megabytes:.0f} MB (load {os.getloadavg()[0]:.2f})"
        )


if __name__ == "__main__":
    main()
