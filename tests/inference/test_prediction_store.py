"""The store of predictions, and the checkpoints beside them: what is kept, and what is removed."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import backtest
from backtest.cli import main
from backtest.core.arrays import Float32Array
from backtest.core.atomic import lock_folder
from backtest.core.spool import Spool
from backtest.errors import DataError
from backtest.inference.checkpoints import MANIFEST
from backtest.inference.prediction_store import PredictionStore

DAY = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    return PredictionStore(tmp_path / "predictions")


def put(store: PredictionStore, key: str, given: Float32Array) -> None:
    """Store predictions that a pass computed."""
    with Spool(store.folder.parent, *given.shape) as spool:
        spool.write(0, given)
        store.put(key, spool)


def got(store: PredictionStore, key: str, rows: int) -> Float32Array | None:
    """Stored predictions of so many events."""
    pieces = store.get(key, rows)
    return None if pieces is None else np.concatenate([*pieces])


def predictions(store: PredictionStore, key: str, age: float = 0.0) -> Path:
    """Stored predictions, last used so many seconds ago."""
    put(store, key, np.zeros((4, 2), dtype=np.float32))
    os.utime(store.path(key), (time.time() - age,) * 2)
    return store.path(key)


def checkpoint(store: PredictionStore, key: str, age: float = 0.0) -> Path:
    """A checkpoint, written so many seconds ago."""
    folder = store.folder / f"{key}.checkpoint"
    folder.mkdir(parents=True)
    for name in (MANIFEST, "answers-1", "state-1"):
        (folder / name).write_text("x" * 100)
        os.utime(folder / name, (time.time() - age,) * 2)
    return folder


def test_what_is_put_is_got_back(store: PredictionStore) -> None:
    given = np.random.default_rng(1).normal(size=(70_000, 3)).astype(np.float32)
    assert got(store, "a", 70_000) is None
    put(store, "a", given)
    assert store.has("a")
    np.testing.assert_array_equal(got(store, "a", 70_000), given)
    with pytest.raises(DataError, match="70000 rows for 5 events"):
        store.get("a", 5)
    store.path("a").write_bytes(store.path("a").read_bytes()[:-40])
    with pytest.raises(DataError, match="stored predictions cannot be read"):
        got(store, "a", 70_000)


def test_damage_within_a_page_is_noticed_where_it_is_read(store: PredictionStore) -> None:
    put(store, "a", np.random.default_rng(1).normal(size=(1000, 1)).astype(np.float32))
    data = bytearray(store.path("a").read_bytes())
    data[2000] ^= 1
    store.path("a").write_bytes(data)
    with pytest.raises(DataError, match="stored predictions cannot be read"):
        got(store, "a", 1000)


def test_what_is_written_piece_by_piece_is_there_once_it_is_finished(
    store: PredictionStore,
) -> None:
    given = np.random.default_rng(1).normal(size=(999, 2)).astype(np.float32)
    for finished in (False, True):
        writer = store.writer("a", 2)
        for first in range(0, len(given), 100):
            writer.write(given[first : first + 100])
        assert not store.has("a")
        (writer.finish if finished else writer.abandon)()
        assert store.has("a") == finished
        assert [path.suffix for path in store.folder.iterdir()] == [".parquet"] * finished
    np.testing.assert_array_equal(got(store, "a", 999), given)


def test_checkpoints_are_pruned_with_the_predictions_oldest_first(store: PredictionStore) -> None:
    old, new = checkpoint(store, "old", 3 * DAY), checkpoint(store, "new", DAY)
    between = predictions(store, "between", 2 * DAY)
    removed = store.prune(used_before=time.time() - 2.5 * DAY)
    assert [(s.key, s.checkpoint, s.bytes) for s in removed] == [("old", True, 300)]
    assert not old.exists()
    assert [s.key for s in store.prune(most=300)] == ["between"]
    assert not between.exists()
    assert new.exists()
    assert [s.key for s in store.prune()] == ["new"]
    assert list(store.folder.iterdir()) == []


def test_sweeping_removes_what_nobody_will_ask_for(store: PredictionStore) -> None:
    stays = [checkpoint(store, "fresh", 29 * DAY), predictions(store, "used", 99 * DAY)]
    checkpoint(store, "forgotten", 31 * DAY)
    checkpoint(store, "over")
    stays.append(predictions(store, "over"))
    (store.folder / "half.checkpoint").mkdir()
    (store.folder / ".gone.parquet.tmp-01234567").write_text("half")
    assert {s.key for s in store.sweep()} == {"forgotten", "over", "half"}
    assert sorted(store.folder.iterdir()) == sorted(stays)


def test_what_a_process_holds_stays(store: PredictionStore) -> None:
    folder = checkpoint(store, "busy", 99 * DAY)
    predictions(store, "busy", 99 * DAY)
    held = lock_folder(folder, make=False)
    assert held is not None
    assert store.sweep() == []
    assert [s.checkpoint for s in store.prune()] == [False]
    assert len(list(folder.iterdir())) == 3
    os.close(held)
    assert [s.key for s in store.prune()] == ["busy"]


def test_the_command_tells_of_checkpoints(
    store: PredictionStore, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predictions", "prune", "--runs", str(store.folder.parent)]
    for more in ([], ["--json"]):
        checkpoint(store, "a")
        predictions(store, "b")
        with pytest.raises(SystemExit) as left:
            main([*words, *more])
        assert left.value.code == 0
    told = capsys.readouterr()
    assert "Removed 1 stored predictions and 1 checkpoints" in told.err
    assert json.loads(told.out)["removed"] == ["b"]
    assert json.loads(told.out)["checkpoints"] == ["a"]


def test_a_lock_is_never_on_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock_folder(tmp_path / "none", make=False) is None
    real, folder = os.open, tmp_path / "f"
    swaps = iter(["removed", "replaced"])

    def swapped(path: Path, flags: int) -> int:
        handle = real(path, flags)
        how = next(swaps, None)
        if how is not None:
            folder.rmdir()
        if how == "replaced":
            (tmp_path / "other").mkdir()  # so that the old number is not given again
            folder.mkdir()
        return handle

    monkeypatch.setattr(os, "open", swapped)
    held = lock_folder(folder, make=True)
    monkeypatch.undo()
    assert held is not None
    assert os.fstat(held).st_ino == folder.stat().st_ino
    assert lock_folder(folder, make=True) is None
    os.close(held)


@pytest.mark.parametrize("when", ["before it is opened", "once it is open"])
def test_predictions_that_are_pruned_meanwhile_are_read_or_missing(
    when: str, store: PredictionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = np.random.default_rng(1).normal(size=(70_000, 3)).astype(np.float32)
    put(store, "k", given)
    opened = pq.ParquetFile

    def pruned(path: Path, **options: Any) -> Any:
        if when == "before it is opened":
            store.prune()
        file = opened(path, **options)
        store.prune()
        return file

    monkeypatch.setattr(pq, "ParquetFile", pruned)
    found = got(store, "k", 70_000)
    assert not store.has("k")
    if when == "before it is opened":
        assert found is None
    else:
        np.testing.assert_array_equal(found, given)


def test_what_vanishes_while_it_is_listed_is_not_stored(store: PredictionStore) -> None:
    predictions(store, "k")
    (store.folder / "gone.parquet").symlink_to("nothing")
    assert [stored.key for stored in store.stored()] == ["k"]
    assert [stored.key for stored in store.prune()] == ["k"]


def test_runs_beside_one_that_prunes_compute_again(small_dataset: Path, tmp_path: Path) -> None:
    """Predictions that all of them share vanish at every moment, and no run fails."""
    stop, problems = threading.Event(), []
    store = PredictionStore(tmp_path / "predictions")

    def prune() -> None:
        while not stop.is_set():
            try:
                store.prune()
            except Exception as error:
                problems.append(error)

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        keys = {
            backtest.run(
                runs=tmp_path,
                dataset=str(small_dataset),
                strategy="imbalance",
                latency={"service": "affine:1ms,0.1ms", "scale": scale},
            ).manifest["predictions"]["answers"]["key"]
            for scale in map(float, range(12))
        }
    finally:
        stop.set()
        pruner.join()
    assert problems == []
    assert len(keys) == 1
