"""Small datasets on disk for tests: cards, and Parquet files written row by row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.data.card import Card, Features, Targets, write_card
from backtest.data.dataset import Dataset, open_dataset
from backtest.market.events import EventBatch

SYMBOLS = ("A", "B", "C")
TIMESTAMP = pa.timestamp("ns", "UTC")


def write_parquet(path: Path, columns: Mapping[str, Any], row_group: int = 1000) -> None:
    """Columns by name: ``ts_event`` and ``ts_recv`` as timestamps, floats as float32."""
    types = {"ts_event": TIMESTAMP, "ts_recv": TIMESTAMP, "symbol": pa.string()}
    arrays = {
        name: values
        if isinstance(values, pa.Array)
        else pa.array(
            values,
            types.get(name, pa.float32() if name[0] in "ft" and name[1:].isdigit() else pa.int64()),
        )
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), path, row_group_size=row_group, write_page_checksum=True)


def dataset_of(
    folder: Path,
    contents: Mapping[str, Mapping[str, Any]],
    row_group: int = 1000,
    **card: Any,
) -> Dataset:
    """A dataset of hand-written files under a plain card."""
    folder.mkdir(exist_ok=True)
    for name, columns in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_parquet(folder / name, columns, row_group)
    write_card(folder, Card.model_validate({"name": "test", "symbols": list(SYMBOLS)} | card))
    return open_dataset(folder)


def random_events(rows: int, features: int = 3, seed: int = 0) -> EventBatch:
    """Seeded quotes with ties in time and absent sides."""
    draw = np.random.default_rng(seed)
    bid = draw.integers(100, 110, rows)
    bid[draw.random(rows) < 0.05] = np.iinfo(np.int64).min
    size = np.where(bid < 0, 0, draw.integers(1, 9, rows))
    return EventBatch(
        symbol=draw.integers(0, len(SYMBOLS), rows).astype(np.int32),
        ts_event=np.sort(draw.integers(0, rows // 2, rows)) + 1_700_000_000_000_000_000,
        bid=bid,
        ask=draw.integers(110, 120, rows),
        bid_size=size,
        ask_size=draw.integers(1, 9, rows),
        features=draw.standard_normal((rows, features)).astype(np.float32),
    )


def card_of(layout: str = "wide", features: int = 3, targets: int = 0) -> Card:
    """A card for ``random_events``."""
    names = tuple(f"f{i}" for i in range(features))
    wide = Features(columns=names)
    return Card(
        name="test",
        symbols=SYMBOLS,
        features=wide if layout == "wide" else Features(packed="features", names=names),
        targets=Targets(columns=tuple(f"t{i}" for i in range(targets))) if targets else None,
    )


def assert_same(left: EventBatch, right: EventBatch) -> None:
    """The two hold the same columns."""
    for name in EventBatch.__dataclass_fields__:
        one, other = getattr(left, name), getattr(right, name)
        assert (one is None) == (other is None), name
        if one is not None:
            np.testing.assert_array_equal(one, other, err_msg=name)
