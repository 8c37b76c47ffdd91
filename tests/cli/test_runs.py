"""``backtest runs`` lists, shows and removes finished runs, and touches nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backtest.cli import main
from backtest.core.atomic import new_folder
from backtest.runs.folder import MANIFEST


@pytest.fixture
def folder(finished_runs: Path, tmp_path: Path) -> Path:
    """A copy of five finished runs, beside which lies what is none."""
    copy = tmp_path / "runs"
    shutil.copytree(finished_runs, copy)
    (copy / "notes").mkdir()
    (copy / "notes" / "text.md").write_text("mine")
    (copy / "damaged").mkdir()
    (copy / "damaged" / MANIFEST).write_text("{}")
    outside = tmp_path / "outside"
    whole = [p for p in copy.glob(f"*-*/{MANIFEST}") if not json.loads(p.read_text())["partial"]]
    shutil.move(str(whole[0].parent), outside)
    (copy / "linked-0123456789ab").symlink_to(outside)
    return copy


def call(folder: Path, *arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(["runs", *arguments, "--runs", str(folder)])
    return left.value.code


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    assert call(folder, "list", "--json", *arguments) == 0
    found: list[Any] = json.loads(capsys.readouterr().out)
    return found


def ids_on_disk(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("imbalance-*")}


def test_they_are_listed_newest_first_with_their_size(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = sorted(ids_on_disk(folder))[1]
    path = folder / older / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"created": "2020-01-01T00:00:00+00:00"}))
    found = listed(folder, capsys)
    assert {row["run"] for row in found} == ids_on_disk(folder)
    assert found[-1]["run"] == older
    assert [row["created"] for row in found] == sorted((r["created"] for r in found), reverse=True)
    files = [path for path in (folder / older).rglob("*") if path.is_file()]
    assert found[-1]["bytes"] == sum(path.stat().st_size for path in files)
    assert call(folder, "list", "--limit", "2") == 0
    captured = capsys.readouterr()
    assert captured.out.count("imbalance-") == 2
    assert older not in captured.out
    assert "4 finished runs in" in captured.err
    assert "; 2 older ones are not shown." in captured.err
    assert f"Not listed: {folder / 'damaged'}" in captured.err


def test_a_run_in_an_older_format_is_said_to_be_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = sorted(ids_on_disk(folder))[0]
    path = folder / older / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["labels"]["sizing"], manifest["in_sample"]
    path.write_text(json.dumps(manifest))
    assert call(folder, "list") == 0
    told = capsys.readouterr().err
    assert f"Not listed: {path}: is the folder of a run in an older format, without " in told
    assert "Run it again with --no-reuse, or remove its folder." in told


def test_weights_that_no_run_uses_are_pruned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = folder / "weights"
    weights.mkdir()
    for key in ("used", "unused", "training"):
        (weights / f"{key}.safetensors").write_bytes(b"x" * 10)
    (weights / "training.lock").touch()
    path = folder / sorted(ids_on_disk(folder))[0] / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"training": {"key": "used"}}))
    assert call(folder, "prune", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"removed": ["unused"], "bytes": 10}
    assert sorted(p.stem for p in weights.glob("*.safetensors")) == ["training", "used"]
    assert call(folder, "prune") == 0
    assert "Removed the weights of 0 trainings" in capsys.readouterr().err


def test_conditions_are_those_of_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = listed(folder, capsys)
    partial = listed(folder, capsys, "--where", "partial")
    others = listed(folder, capsys, "--where", "not partial and scale >= 0")
    assert len(partial) + len(others) == len(every)
    assert call(folder, "list", "--where", "nonsense > 1") == 2
    assert "no field is called 'nonsense'" in capsys.readouterr().err


def test_one_is_shown_by_the_beginning_of_its_id(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sorted(ids_on_disk(folder))[0]
    assert call(folder, "show", run[:-4], "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["run"] == run
    assert shown["settings"]["latency.service"] == "affine:1ms,100us"
    metrics = json.loads((folder / run / "metrics.json").read_text())
    assert shown["figures"]["events"] == metrics["timing"]["events"]
    assert call(folder, "show", run) == 0
    printed = capsys.readouterr().out
    assert "latency.service" in printed
    assert "response_rate" in printed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imbalance", "'imbalance' matches several runs"),
        ("notes", "'notes' is the id of no finished run"),
        ("damaged", "'damaged' is the id of no finished run"),
        ("../runs", "is the id of no finished run"),
        ("", "is the id of no finished run"),
        ("linked-0123456789ab", "is the id of no finished run"),
        ("nothing-*", "'nothing-*' matches no finished run"),
    ],
)
def test_nothing_but_a_finished_run_is_removed(
    name: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert call(folder, "rm", "--yes", name) == 2
    assert message in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_all_means_all_finished_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "predictions").mkdir(exist_ok=True)
    kept = {path for path in folder.rglob("*") if not path.is_relative_to(folder / "predictions")}
    kept = {path for path in kept if not path.relative_to(folder).parts[0].startswith("imbalance-")}
    predictions = sorted((folder / "predictions").iterdir())
    assert predictions
    total = sum(row["bytes"] for row in listed(folder, capsys))
    assert call(folder, "rm", "--yes", "*") == 0
    told = capsys.readouterr().err
    assert f"Removed 4 finished runs, {total / 1e6:,.1f} MB." in told
    assert "`backtest predictions prune`" in told
    assert not ids_on_disk(folder)
    assert sorted((folder / "predictions").iterdir()) == predictions
    assert {p for p in folder.rglob("*") if "predictions" not in p.parts} == kept
    assert (folder.parent / "outside" / MANIFEST).exists()


def test_a_condition_chooses_what_is_removed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partial = {row["run"] for row in listed(folder, capsys, "--where", "partial")}
    every = ids_on_disk(folder)
    assert call(folder, "rm", "imbalance-*", "--where", "partial", "--yes", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["removed"]) == partial
    assert ids_on_disk(folder) == every - partial
    assert call(folder, "rm", "--yes") == 2
    assert "no run is named" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "left"), [("n\n", 4), ("", 4), ("y\n", 0)])
def test_it_asks_first(
    answer: str,
    left: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert call(folder, "rm", "*") == (1 if left else 0)
    assert "Remove 4 finished runs, " in capsys.readouterr().err
    assert len(ids_on_disk(folder)) == left


def test_a_run_that_is_being_written_is_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written, other, *_ = sorted(ids_on_disk(folder))
    with new_folder(folder / written, marker=MANIFEST, overwrite=True) as aside:
        assert call(folder, "rm", "--yes", written, other) == 0
        told = capsys.readouterr().err
        assert f"Left: {written} is being written." in told
        assert "Removed 1 finished run," in told
        assert (folder / written / MANIFEST).exists()
        (aside / MANIFEST).write_text((folder / written / MANIFEST).read_text())
    assert (folder / written / MANIFEST).exists()
    assert not (folder / other).exists()


def test_without_a_folder_of_runs_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "none", "list") == 2
    assert "no such folder of runs" in capsys.readouterr().err
