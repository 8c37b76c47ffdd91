"""What runs and pages hold, read plainly, to hold other readings against."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backtest.runs.folder import Run

OLD = ("price", "mid", "mid_half_ticks")
"""Columns that the tables of earlier versions lacked."""


def table(run: Run, name: str) -> list[dict[str, Any]]:
    """A run's table's rows as they are stored, instants in ns; fills with ``all_columns``."""
    stored = pq.read_table(run.folder / f"{name}.parquet")
    stored = all_columns(stored) if name == "fills" else stored
    for k, column in enumerate(stored.schema):
        if pa.types.is_timestamp(column.type):
            stored = stored.set_column(k, column.name, stored[column.name].cast("int64"))
    rows: list[dict[str, Any]] = stored.to_pylist()
    return rows


def all_columns(fills: pa.Table) -> pa.Table:
    """Stored fills with the columns that runs leave out in which no order rests."""
    if "maker" in fills.column_names:
        return fills
    count = len(fills)
    none, takes = (pa.array([value] * count) for value in (-1, False))
    fills = fills.append_column("order", none.cast(pa.int64())).append_column("maker", takes)
    rest = pa.array([0] * count, pa.int64())
    return fills.append_column("ts_arrived", fills["ts_venue"]).append_column("rest", rest)


def charts(page: str) -> dict[str, Any]:
    """The data of every chart of a page, by its caption."""
    found = re.findall(
        r'<figcaption>([^<]*)</figcaption>.*?<script type="application/json">(.*?)</script>',
        page, re.DOTALL,
    )  # fmt: skip
    return {name: json.loads(data) for name, data in found}


def without_prices(run: Run, folder: Path) -> Run:
    """The same run as one had it before its tables held prices and instruments, in ``folder``."""
    shutil.copytree(run.folder, folder / "old")
    (folder / "old" / "instruments.parquet").unlink()
    for name in ("fills", "equity"):
        path = folder / "old" / f"{name}.parquet"
        stored = pq.read_table(path)
        pq.write_table(stored.drop_columns([c for c in stored.column_names if c in OLD]), path)
    return Run(folder / "old")
