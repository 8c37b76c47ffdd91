"""The challenge's format, on files made here and on the real ones where they are."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.sources import ingest
from backtest.errors import DataError
from backtest.plugins.sources import backtest_register_sources
from backtest.plugins.sources.challenge import FEATURES, TARGETS, Challenge

START = 1_756_684_800_000_000_000  # 2025-09-01T00:00:00Z
SHARED = Path(os.environ.get("BACKTEST_SHARED", Path(__file__).parents[4] / "shared"))


def table(rows: int = 40) -> pa.Table:
    draw = np.random.default_rng(3)
    columns: dict[str, Any] = {
        name: pa.array(draw.standard_normal(rows).astype(np.float32)) for name in FEATURES
    }
    columns["delay_ms"] = pa.array((1 + draw.exponential(10, rows)).astype(np.float32))
    for name in TARGETS:
        columns[name] = pa.array(draw.standard_normal(rows).astype(np.float32))
    columns["symbol"] = pa.array([f"SYM_{i:03d}" for i in draw.integers(0, 39, rows)], pa.string())
    return pa.table(columns)


def changed(name: str, row: int, value: Any) -> pa.Table:
    made = table()
    values = made[name].to_pylist()
    values[row] = value
    return made.set_column(made.column_names.index(name), name, pa.array(values, made[name].type))


def write(folder: Path, made: pa.Table) -> Path:
    pq.write_table(made, folder / "in.parquet")
    return folder / "in.parquet"


def test_is_registered() -> None:
    found: dict[str, type] = {}

    def register(name: str, part: type, *, unavailable: str | None = None) -> None:
        found[name] = part

    backtest_register_sources(register)
    assert found["challenge"] is Challenge
    others = {"binance-stream", "csv", "databento", "jane-street-kaggle", "nautilus", "parquet"}
    others |= {"binance-vision", "hftbacktest", "lobster", "tardis", "us-equities-ticks"}
    assert found.keys() == {"challenge", *others}


@pytest.mark.parametrize("layout", ["wide", "packed"])
def test_rows_become_events(tmp_path: Path, layout: Any) -> None:
    made = table()
    report = ingest("challenge", Challenge(layout=layout), write(tmp_path, made), tmp_path / "out")
    assert (report.read, report.written) == (40, 40)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.name == "challenge-in"
    assert dataset.features == FEATURES
    assert not dataset.has_quotes
    events = read_events(dataset, features=True)
    # Exactly, by rational arithmetic: float32 milliseconds are rationals.
    delays = [round(Fraction(float(d)) * 1_000_000) for d in made["delay_ms"].to_numpy()]
    assert events.ts_event.tolist() == [START + sum(delays[: i + 1]) for i in range(40)]
    assert [dataset.symbols[i] for i in events.symbol] == made["symbol"].to_pylist()
    assert events.features is not None
    np.testing.assert_array_equal(events.features[:, 78], made["feature_78"].to_numpy())
    np.testing.assert_array_equal(read_targets(dataset)[:, 3], made["target_03"].to_numpy())


def test_the_start_is_a_parameter(tmp_path: Path) -> None:
    source = Challenge(start="1970-01-01T00:00:00Z")
    ingest("challenge", source, write(tmp_path, table(1)), tmp_path / "out")
    first = float(table(1)["delay_ms"][0].as_py())
    assert read_events(open_dataset(tmp_path / "out")).ts_event.tolist() == [round(first * 1e6)]
    with pytest.raises(ValueError, match="not an instant"):
        Challenge(start="yesterday")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (changed("delay_ms", 5, -1.0), "row 5 has delay_ms -1.0"),
        (changed("delay_ms", 5, None), "row 5 has delay_ms nan"),
        (changed("delay_ms", 5, 1e9), "row 5 has delay_ms"),
        (changed("symbol", 5, None), "row 5 has no symbol"),
        (changed("feature_07", 5, float("nan")), "row 5 has nan in 'feature_07'"),
        (changed("feature_07", 5, None), "row 5 has nan in 'feature_07'"),
        (changed("target_01", 5, float("inf")), "row 5 has inf in 'target_01'"),
        (table().drop_columns(["feature_03"]), "'feature_03' is missing"),
        (table().append_column("feature_79", table()["feature_00"]), "'feature_79' is unexpected"),
        (
            table().set_column(79, "delay_ms", table()["delay_ms"].cast("double")),
            "'delay_ms' is double, not float",
        ),
        (table(0), "no rows"),
    ],
)
def test_what_is_not_the_challenge_is_refused(tmp_path: Path, made: pa.Table, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        ingest("challenge", Challenge(), write(tmp_path, made), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_features_that_are_not_finite_may_be_zeroed(tmp_path: Path) -> None:
    made = changed("feature_07", 5, float("nan"))
    source = Challenge(nonfinite="zero")
    report = ingest("challenge", source, write(tmp_path, made), tmp_path / "out")
    assert list(report.repaired.values()) == [1]


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_text("symbol\n")
    with pytest.raises(DataError, match=r"in\.parquet: the file cannot be read as Parquet"):
        ingest("challenge", Challenge(), tmp_path / "in.parquet", tmp_path / "out")


@pytest.mark.parametrize(("name", "rows", "symbols"), [("tiny", 100, 34), ("small", 1000, 39)])
def test_the_real_files(tmp_path: Path, name: str, rows: int, symbols: int) -> None:
    path = SHARED / "data" / "hackathon" / f"{name}.parquet"
    if not path.exists():
        pytest.skip("the challenge's files are not here (BACKTEST_SHARED names their folder)")
    report = ingest("challenge", Challenge(), path, tmp_path / "out")
    assert report.written == rows
    dataset = open_dataset(tmp_path / "out")
    assert len(dataset.symbols) == symbols
    span = read_events(dataset).ts_event[-1] - START
    assert span == pytest.approx(pq.read_table(path)["delay_ms"].to_numpy().sum() * 1e6, rel=1e-5)
