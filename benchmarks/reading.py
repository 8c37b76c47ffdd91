"""The event bus beside bare pyarrow scans of the same files: every column decoded and dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import by_symbol, dataset, with_features
from benchmarks.timing import timed_together


def reading(scratch: Path, events: int, repeats: int) -> dict[str, Any]:
    """By what is read: the scan, and the bus; features are fewer events, read more often."""
    few = max(events // 10, 1)
    return {
        "quotes": _paired(dataset(scratch, events), events, repeats),
        "merge": _paired(by_symbol(scratch, events), events, repeats),
        **{
            f"features_{layout}": _paired(with_features(scratch, few, layout), few, 6 * repeats)
            for layout in ("wide", "packed")
        },
    }


def _paired(folder: Path, events: int, repeats: int) -> dict[str, Any]:
    import pyarrow.dataset as ds

    from backtest.data.dataset import open_dataset
    from backtest.data.reading.bus import EventBus

    opened = open_dataset(folder)

    def scan() -> None:
        for _ in ds.dataset(folder, format="parquet", exclude_invalid_files=True).to_batches():
            pass

    def bus() -> None:
        for batch in EventBus(opened):
            if batch.features is not None:
                np.ascontiguousarray(batch.features)  # row by row, as a model is given them

    return timed_together(events, repeats, {"scan": scan, "bus": bus})
