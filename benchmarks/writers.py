"""Settings of the Parquet writer on a run's tables: ``python -m benchmarks.writers``.

The tables of one run are written again and again, all settings in turn. CPU seconds are of all
threads; they include the digest of the values, which is also shown separately.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import backtest
from backtest.core import table_files
from backtest.core.arrow import TIME
from backtest.core.table_files import Settings, TableFile
from benchmarks.data import dataset
from benchmarks.running import RUN
from benchmarks.timing import parser_of

_PIECE = 1 << 16


def _like(**changes: Any) -> Settings:
    """The project's settings but for some."""
    return lambda schema: table_files.encodings(schema) | changes


def _differences(compression: str | None) -> Settings:
    """All whole numbers as differences, and all columns compressed, or none."""

    def settings(schema: pa.Schema) -> dict[str, Any]:
        whole = [field.name for field in schema if field.type in (pa.int64(), TIME)]
        named = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        return table_files.encodings(schema) | {
            "compression": compression or "none",
            "use_dictionary": named,
            "column_encoding": dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        }

    return settings


SETTINGS: dict[str, Settings] = {
    "as they are": _like(),
    "without checksums": _like(write_page_checksum=False),
    "with all statistics": _like(write_statistics=True),
    "with no statistics": _like(write_statistics=False),
    "differences": _differences(None),
    "differences, lz4": _differences("lz4"),
    "differences, zstd-1": lambda schema: _differences("zstd")(schema) | {"compression_level": 1},
    "plain": _like(compression="none", column_encoding={}),
    "plain, lz4": _like(compression="lz4", column_encoding={}),
    "pyarrow's own": lambda schema: {"write_page_checksum": True},
}


def main() -> None:
    """Run it."""
    given = parser_of(__doc__, repeats=5).parse_args()
    runs = given.scratch / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    run = backtest.run(dataset=str(dataset(given.scratch, given.events)), runs=runs, **RUN)
    tables = {path.stem: pq.read_table(path) for path in sorted(run.folder.glob("*.parquet"))}
    path = given.scratch / "table.parquet"
    least: dict[str, dict[str, float]] = {name: {} for name in SETTINGS}
    hashing: dict[str, float] = {}
    size: dict[str, int] = dict.fromkeys(SETTINGS, 0)
    for repeat in range(given.repeats + 1):
        for table, rows in tables.items():
            plain = _seconds(path, rows, SETTINGS["as they are"], hashed=False)
            for name, settings in SETTINGS.items():
                seconds = _seconds(path, rows, settings)
                if not repeat:  # it compiles
                    size[name] += path.stat().st_size
                    continue
                least[name][table] = min(least[name].get(table, seconds), seconds)
            if repeat:
                hashing[table] = min(hashing.get(table, plain), plain)
    for name, by_table in least.items():
        spent = ", ".join(f"{t} {s / given.events * 1e9:.1f}" for t, s in by_table.items())
        total = sum(by_table.values()) / given.events * 1e9
        each = size[name] / given.events
        print(f"{name:20} {total:5.1f} ns and {each:4.1f} bytes an event: {spent}")  # noqa: T201
    digest = sum(least["as they are"].values()) - sum(hashing.values())
    print(f"{'the digest of these':20} {digest / given.events * 1e9:5.1f} ns an event")  # noqa: T201
    print(f"load {os.getloadavg()[0]:.2f}")  # noqa: T201


def _seconds(path: Path, rows: pa.Table, settings: Settings, *, hashed: bool = True) -> float:
    """CPU seconds that a table takes."""
    path.unlink(missing_ok=True)
    pieces = rows.to_batches(max_chunksize=_PIECE)
    begun = time.process_time()
    file = TableFile(path, rows.schema, hashed=hashed, settings=settings)
    for piece in pieces:
        file.append(piece)
    file.close()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
