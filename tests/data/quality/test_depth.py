"""Depth in descriptions, validation, quarantine, and copies with features."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from backtest.data.dataset import open_dataset
from backtest.data.features.derive import add_features
from backtest.data.quality.describe import describe
from backtest.data.quality.quarantine import quarantine
from backtest.data.quality.validate import validate
from backtest.data.reading import depth as reading
from backtest.data.reading.depth import DepthFeed, stream_depth
from backtest.market.depth import ACTIONS, CLEAR, LAST
from backtest.plugins.feature_builders import Imbalance
from backtest.report.dataset_page import render
from tests.data.depth_rows import dataset_with, expected, mixed, rows_of
from tests.data.test_depth_files import changed, swapped, with_value

LEVELS = mixed(300, 500, seed=2)
ORDERS = mixed(300, 500, orders=True, seed=2)


def errors(folder: Path) -> dict[str, tuple[int, str, int | None]]:
    """Rule, count, file and row of what makes a dataset unusable."""
    found = validate(open_dataset(folder)).findings
    return {f.rule: (f.count, Path(f.file).name, f.row) for f in found if f.severity == "error"}


def test_depth_is_described(tmp_path: Path) -> None:
    figures = describe(dataset_with(tmp_path / "l2", LEVELS))
    flags = LEVELS.depth.flags
    assert figures["depth"] == {
        "rows": 500,
        "files": 1,
        "of": "levels",
        "clears": int((flags == CLEAR).sum()),
        "snapshots": int((flags & LAST > 0).sum()),
        "restated": int((flags & 1 > 0).sum()),
        "actions": None,
    }
    assert figures["depth"]["clears"] > 5 < figures["depth"]["snapshots"]
    assert figures["files"] == 2
    counts = np.bincount(LEVELS.depth.symbol, minlength=3).tolist()
    assert [row["depth_rows"] for row in figures["symbols"]] == counts
    assert "rows of depth, of levels" in render(figures)


def test_actions_are_counted_but_for_clears(tmp_path: Path) -> None:
    figures = describe(dataset_with(tmp_path / "l3", ORDERS))
    assert ORDERS.depth.action is not None
    kept = ORDERS.depth.action[ORDERS.depth.flags & CLEAR == 0]
    counts = np.bincount(kept, minlength=4).tolist()
    assert figures["depth"]["actions"] == dict(zip(ACTIONS, counts, strict=True))


def test_sound_depth_is_usable(tmp_path: Path) -> None:
    for name, data in (("l2", LEVELS), ("l3", ORDERS)):
        validation = validate(dataset_with(tmp_path / name, data))
        assert validation.usable
        assert (validation.files, validation.rows) == (2, 800)
        assert {f.rule for f in validation.findings} <= {"crossed", "locked", "duplicate"}


BROKEN: dict[str, tuple[Any, str, int | None]] = {
    "size": (with_value("size", 7, -4), "depth", 7),
    "side": (with_value("side", 9, 3), "depth", 9),
    "action": (with_value("action", 11, 9), "depth", 11),
    "flags": (with_value("flags", 12, 4), "depth", 12),
    "no price": (with_value("price", 13, None), "null", 13),
    "no seq": (with_value("seq", 13, None), "null", 13),
    "symbol": (with_value("symbol", 14, "Z"), "symbol", 14),
    "unsorted": (swapped, "unsorted", 1),
    "schema": (lambda t: t.drop_columns(["flags"]), "schema", None),
}


@pytest.mark.parametrize(("change", "rule", "row"), BROKEN.values(), ids=BROKEN)
def test_broken_depth_is_found(tmp_path: Path, change: Any, rule: str, row: int | None) -> None:
    changed(tmp_path / "d", change)
    found = errors(tmp_path / "d")
    assert list(found) == [rule]
    assert found[rule][1:] == ("depth-00000.parquet", row)
    assert found[rule][0] == (499 if rule == "unsorted" else 1)


def test_events_without_what_depth_needs_are_found(tmp_path: Path) -> None:
    changed(tmp_path / "d", lambda t: t.drop_columns(["bid_size", "ask_size"]), "events")
    assert errors(tmp_path / "d") == {"schema": (1, "events-00000.parquet", None)}


def test_damage_and_loss_are_found(tmp_path: Path) -> None:
    dataset = dataset_with(tmp_path / "d", LEVELS)
    (tmp_path / "d" / "depth-00001.parquet").write_bytes(
        (tmp_path / "d" / "depth-00000.parquet").read_bytes()
    )
    (tmp_path / "d" / "depth-00000.parquet").write_bytes(b"PAR1")
    assert dataset.has_depth
    assert {"digest", "unreadable"} <= set(errors(tmp_path / "d"))
    (tmp_path / "d" / "depth-00000.parquet").unlink()
    assert errors(tmp_path / "d")["missing"] == (1, "depth-00000.parquet", None)


def test_bad_rows_of_depth_are_set_apart(tmp_path: Path) -> None:
    dataset = changed(tmp_path / "d", with_value("size", 7, -4))
    validation, counts = quarantine(dataset, tmp_path / "good")
    assert (counts.kept, counts.refused) == (799, {"depth": 1})
    assert not validation.usable
    good = open_dataset(tmp_path / "good")
    assert validate(good).usable
    assert good.has_depth
    rows = expected(ORDERS)
    assert rows_of([*stream_depth(good)]) == rows[:7] + rows[8:]
    apart = pq.read_table(tmp_path / "good" / "quarantine" / "depth-00000.parquet")
    assert apart["refused_row"].to_pylist() == [7]
    assert apart["refused_for"].to_pylist() == ["depth"]


def test_a_copy_with_features_keeps_its_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "DEPTH_ROWS", 64)
    for name, data in (("l2", LEVELS), ("l3", ORDERS)):
        dataset = dataset_with(tmp_path / name, data)
        add_features(dataset, tmp_path / f"{name}-features", {"imbalance": Imbalance()})
        copy = open_dataset(tmp_path / f"{name}-features")
        assert copy.features
        assert rows_of([*stream_depth(copy)]) == expected(data)


@pytest.mark.parametrize("cuts", [[0, 300], [0, 1, 2, 150, 150, 299, 300], [0, 40, 90]])
def test_rows_are_taken_with_their_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]
) -> None:
    monkeypatch.setattr(reading, "DEPTH_ROWS", 32)
    feed = DepthFeed(stream_depth(dataset_with(tmp_path / "d", LEVELS)))
    found: list[tuple[int, ...]] = []
    for first, stop in itertools.pairwise(cuts):
        rows = feed.among(first, stop)
        for row in [] if rows is None else rows_of([rows]):
            assert 0 <= row[0] < stop - first
            found.append((row[0] + first, *row[1:]))
    assert len(found) == sum(row[0] < cuts[-1] for row in expected(LEVELS))
    found += rows_of([*feed.rest()])
    assert found == expected(LEVELS)
