"""Which runs are meant, and what is said when none are."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from backtest.comparison.run_selection import runs_at, runs_of_sweep
from backtest.core.atomic import new_folder
from backtest.errors import DataError, UsageError
from backtest.runs import record
from backtest.runs.folder import MANIFEST, runs_in


def folders(finished_runs: Path) -> list[Path]:
    return sorted(path.parent for path in finished_runs.glob(f"*/{MANIFEST}"))


def test_folders_patterns_and_parents_each_once(finished_runs: Path) -> None:
    some = folders(finished_runs)
    assert [r.folder for r in runs_at([finished_runs])] == some
    assert len(runs_at([some[2], finished_runs, some[0]])) == len(some)
    assert runs_at([some[2], some[0]])[0].folder == some[2]
    assert [r.folder for r in runs_at([finished_runs / "imbal*"])] == some


def test_what_is_no_run(finished_runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the pattern matches no finished run"):
        runs_at([finished_runs / "absent*"])
    with pytest.raises(DataError, match="it cannot be read"):
        runs_at([tmp_path])
    half = tmp_path / "half"
    shutil.copytree(folders(finished_runs)[0], half)
    (half / MANIFEST).write_text('{"run": ')
    with pytest.raises(DataError, match="half"):
        runs_at([tmp_path])


def sweep(runs: Path, sweep_id: str, entries: list[Any], name: str = "night") -> None:
    (runs / "sweeps").mkdir(exist_ok=True)
    table = {"name": name, "id": sweep_id, "runs": entries}
    (runs / "sweeps" / f"{sweep_id}.json").write_text(json.dumps(table))


@pytest.fixture
def swept(finished_runs: Path, tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    shutil.copytree(finished_runs, runs)
    return runs


def entry(run_id: str, state: str = "done", error: str | None = None) -> dict[str, Any]:
    return {"id": run_id, "state": state, "config": {}, "error": error}


def test_a_sweep_by_id_or_name_with_its_failures(swept: Path) -> None:
    done = folders(swept)[0].name
    unplanned = {"id": None, "state": "failed", "config": {"strategy": "odd"}, "error": "no"}
    states = [entry("x-1", "failed", "it broke"), entry("x-2", "pending")]
    sweep(swept, "s1", [entry(done), *states, unplanned])
    for name in ("s1", "night"):
        found, failed = runs_of_sweep(swept, name)
        assert [r.id for r in found] == [done]
        assert [(f.id, f.error) for f in failed] == [
            ("x-1", "it broke"),
            ("x-2", "it has not been run"),
            ("a run of odd", "no"),
        ]


@pytest.mark.parametrize("name", ["../s1", "s1/../../x", "", "absent", "\x1b"])
def test_there_is_no_such_sweep(swept: Path, name: str) -> None:
    sweep(swept, "s1", [])
    with pytest.raises(UsageError):
        runs_of_sweep(swept, name)


def test_two_sweeps_of_one_name(swept: Path) -> None:
    sweep(swept, "s1", [])
    sweep(swept, "s2", [])
    with pytest.raises(UsageError, match=r"several sweeps(.|\n)*s1, s2"):
        runs_of_sweep(swept, "night")


@pytest.mark.parametrize("entries", [[entry("../../etc")], [{"state": "done"}], ["x"], None])
def test_a_damaged_sweep(swept: Path, entries: Any) -> None:
    sweep(swept, "s1", entries)
    with pytest.raises(DataError, match="s1"):
        runs_of_sweep(swept, "s1")
    (swept / "sweeps" / "s1.json").write_text("{")
    with pytest.raises(DataError, match=r"s1\.json"):
        runs_of_sweep(swept, "s1")


@pytest.mark.parametrize("name", [".hidden", ".run.tmp-01234567", ".run.old-89abcdef"])
def test_hidden_and_unfinished_folders_are_no_runs(swept: Path, name: str) -> None:
    some = folders(swept)
    shutil.copytree(some[0], swept / name)
    assert [r.folder for r in runs_at([swept])] == some
    assert [r.folder for r in runs_in(swept)] == some
    with pytest.raises((UsageError, DataError)):
        runs_at([swept / ".run*"])


def test_a_run_that_is_being_written_is_refused_by_name(swept: Path) -> None:
    half = swept / ".run.tmp-01234567"
    shutil.copytree(folders(swept)[0], half)
    with pytest.raises(DataError, match="is a run that is being written"):
        runs_at([half])


def test_a_run_that_vanishes_while_it_is_read_is_none(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = folders(swept)
    read = record.read_metrics

    def vanishing(path: Path) -> dict[str, Any]:
        if path.parent == some[1]:
            shutil.rmtree(path.parent)
        return read(path)

    monkeypatch.setattr(record, "read_metrics", vanishing)
    assert [r.folder for r in runs_at([swept])] == [some[0], *some[2:]]
    with pytest.raises(DataError, match="it cannot be read"):
        runs_at([some[1]])


def test_a_run_of_a_sweep_that_vanishes_is_listed_as_such(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = folders(swept)
    sweep(swept, "s1", [entry(some[0].name), entry(some[1].name)])
    read = record.read_manifest

    def vanishing(path: Path) -> dict[str, Any]:
        if path.parent == some[1]:
            shutil.rmtree(path.parent)
        return read(path)

    monkeypatch.setattr(record, "read_manifest", vanishing)
    found, failed = runs_of_sweep(swept, "s1")
    assert [run.folder for run in found] == [some[0]]
    assert [run.id for run in failed] == [some[1].name]


def test_readers_beside_writers_see_finished_runs_alone(swept: Path) -> None:
    """Runs are put in place and replaced as fast as can be, while others list them."""
    some = folders(swept)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with new_folder(swept / "written", marker=MANIFEST, overwrite=True) as folder:
                shutil.copytree(some[0], folder, dirs_exist_ok=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            names = [run.folder.name for run in runs_at([swept])]
            assert set(names) - {"written"} == {run.name for run in some}
    finally:
        stop.set()
        writer.join()
