"""The Kaggle layout, on a folder made in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.core.times import parse_utc
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.plugins.sources.kaggle import JaneStreetKaggle
from backtest.plugins.sources.kaggle.events import FEATURES, TARGETS

DAY = 86_400 * 10**9
START = parse_utc("2020-01-01T00:00:00Z")
SYMBOLS = (0, 7, 38)
SMALL_INTEGERS = ("feature_09", "feature_10", "feature_11")


def partition(dates: range, seed: int = 0) -> dict[str, pa.Array]:
    """The competition's columns and types: 3 symbols, 4 times a day."""
    draw = np.random.default_rng(seed)
    keys = np.array([(d, t, s) for d in dates for t in range(4) for s in SYMBOLS])
    n = len(keys)
    columns: dict[str, Any] = {
        "date_id": pa.array(keys[:, 0].astype(np.int16)),
        "time_id": pa.array(keys[:, 1].astype(np.int16)),
        "symbol_id": pa.array(keys[:, 2].astype(np.int8)),
        "weight": pa.array(draw.random(n).astype(np.float32)),
    }
    for name in FEATURES:
        whole = name in SMALL_INTEGERS
        values = draw.integers(0, 80, n) if whole else draw.standard_normal(n)
        columns[name] = pa.array(values.astype(np.int8 if whole else np.float32))
    for name in TARGETS:
        columns[name] = pa.array(draw.uniform(-5, 5, n).astype(np.float32))
    return columns


def written(root: Path, number: int, columns: dict[str, Any]) -> Path:
    folder = root / f"partition_id={number}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    return folder / "part-0.parquet"


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("jane-street-kaggle", JaneStreetKaggle(**parameters), path, out)
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> str:
    with pytest.raises(DataError) as caught:
        ingest("jane-street-kaggle", JaneStreetKaggle(**parameters), path, out)
    assert not out.exists()
    assert not [p for p in out.parent.iterdir() if p.name.startswith(".")]
    return str(caught.value)


def with_cell(columns: dict[str, Any], name: str, row: int, value: Any) -> dict[str, Any]:
    values = columns[name].to_pylist()
    values[row] = value
    return columns | {name: pa.array(values, columns[name].type)}


def test_rows_become_events_partition_after_partition(tmp_path: Path) -> None:
    root = tmp_path / "jane" / "train.parquet"
    parts = {number: partition(range(number, number + 1), seed=number) for number in range(11)}
    for number, columns in parts.items():  # 10 comes after 9, not after 1
        shuffled = dict(sorted(columns.items())) if number == 3 else columns
        written(root, number, shuffled)
    dataset, report = ingested(tmp_path / "jane", tmp_path / "out", step=10**9)
    assert dataset.symbols == ("S00", "S07", "S38")
    assert dataset.features == FEATURES
    assert dataset.targets == TARGETS
    assert (report.read, report.written, report.repaired) == (132, 132, {})
    events, targets = read_events(dataset, features=True), read_targets(dataset)
    assert events.features is not None
    row = 0
    for number, columns in parts.items():
        for i in range(12):
            assert events.ts_event[row] == START + number * DAY + (i // 3) * 10**9
            assert events.symbol[row] == i % 3
            row += 1
        wanted = np.stack([columns[name].to_numpy() for name in FEATURES], axis=1)
        assert (events.features[row - 12 : row] == wanted.astype(np.float32)).all()
        wanted = np.stack([columns[name].to_numpy() for name in TARGETS], axis=1)
        assert (targets[row - 12 : row] == wanted).all()
    assert ingested(root, tmp_path / "direct")[1].written == 132


def test_null_features_follow_the_policy(tmp_path: Path) -> None:
    columns = partition(range(1))
    for row, value in ((0, None), (4, float("nan")), (5, float("inf"))):
        columns = with_cell(columns, "feature_21", row, value)
    written(tmp_path / "in", 0, columns)
    assert "row 0 has nan in 'feature_21'" in refused(tmp_path / "in", tmp_path / "out")
    dataset, report = ingested(tmp_path / "in", tmp_path / "out", nonfinite="zero")
    assert [*report.repaired.values()] == [3]
    features = read_events(dataset, features=["feature_21"]).features
    assert features is not None
    assert (features[[0, 4, 5], 0] == 0).all()


BAD_CELLS = {
    "ids before those of the last row": ("time_id", 6, 0),
    "the ids of the last row again": ("symbol_id", 1, 0),
    "ids out of range": ("date_id", 2, -1),
    "has no time_id": ("time_id", 2, None),
    "row 2 has no symbol_id": ("symbol_id", 2, None),
    "in 'responder_6'": ("responder_6", 3, None),
}


@pytest.mark.parametrize("problem", BAD_CELLS)
def test_bad_cells_are_refused(tmp_path: Path, problem: str) -> None:
    written(tmp_path / "in", 0, with_cell(partition(range(1)), *BAD_CELLS[problem]))
    assert problem in refused(tmp_path / "in", tmp_path / "out")


def test_partitions_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "in", 0, partition(range(1, 2)))
    written(tmp_path / "in", 1, partition(range(1)))
    assert "partition_id=1" in refused(tmp_path / "in", tmp_path / "out")


def test_schema_drift_is_reported_exactly(tmp_path: Path) -> None:
    written(tmp_path / "in", 0, partition(range(1)))
    drifted = partition(range(1, 2))
    drifted["feature_05"] = drifted["feature_05"].cast(pa.string())
    del drifted["weight"]
    drifted["extra"] = drifted["feature_01"]
    path = written(tmp_path / "in", 1, drifted)
    text = refused(tmp_path / "in", tmp_path / "out")
    assert str(path) in text
    for part in ("'weight' is missing", "'extra' is unexpected", "'feature_05' is string"):
        assert part in text


def test_other_folders_and_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert "partition_id=N" in refused(tmp_path / "in", tmp_path / "out")
    path = written(tmp_path / "in", 0, partition(range(1)))
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"date_id,time_id\n1,2\n"):
        path.write_bytes(damaged)
        assert str(path) in refused(tmp_path / "in", tmp_path / "out")


def test_a_step_must_fit_the_day(tmp_path: Path) -> None:
    written(tmp_path / "in", 0, partition(range(1)))
    assert "past the end of the day" in refused(tmp_path / "in", tmp_path / "out", step=DAY // 2)
    with pytest.raises(ValueError, match="above 0"):
        JaneStreetKaggle(step=0)
