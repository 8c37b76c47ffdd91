"""Copies of finished runs that differ in what a test is about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.runs.folder import MANIFEST, Run, open_run

HOUR = 3_600_000_000_000


def changed(run: Run, folder: Path, *, data: str = "other data", **changes: Any) -> Run:
    """A copy of a run on other data: ``a__b=1`` sets ``manifest["a"]["b"]``.

    Changes of ``metrics`` begin with ``metrics__``.
    """
    shutil.copytree(run.folder, folder)
    tables = {"manifest": run.manifest, "metrics": run.metrics}
    made = {name: json.loads(json.dumps(table)) for name, table in tables.items()}
    made["manifest"]["run"] = folder.name
    made["manifest"]["determined_by"]["data"] = data
    for path, value in changes.items():
        *keys, last = path.split("__")
        at = made
        for key in keys if keys[:1] == ["metrics"] else ["manifest", *keys]:
            at = at[key]
        at[last] = value
    (folder / MANIFEST).write_text(json.dumps(made["manifest"]))
    (folder / "metrics.json").write_text(json.dumps(made["metrics"]))
    return open_run(folder)


def stretched(run: Run, *, hours: float, later: float = 0.0) -> Run:
    """The run with an equity curve over another span, which may begin hours later."""
    path = run.folder / "equity.parquet"
    table = pq.read_table(path)
    times = table["ts"].cast("int64").to_numpy()
    ends = np.unique(times)
    length = round(hours * HOUR / len(ends))
    start = int(ends[0]) + round(later * HOUR)
    new = start + (np.searchsorted(ends, times) + 1) * length
    column = pa.array(new).view(pa.timestamp("ns", "UTC"))
    pq.write_table(table.set_column(table.schema.get_field_index("ts"), "ts", column), path)
    return run
