"""A sweep computes each inference once, loses only what is in flight, and resumes to one table."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import backtest
import backtest.core.atomic
from backtest.cli import main
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from tests.sweep_files import write_plugin, write_sweep

ROOT = Path(__file__).parents[2]


def call(*arguments: object) -> int | str | None:
    """The exit code of ``backtest sweep``."""
    with pytest.raises(SystemExit) as caught:
        main(["sweep", *map(str, arguments)])
    return caught.value.code


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return write_plugin(tmp_path)


@pytest.fixture
def good(small_dataset: Path, tmp_path: Path) -> Path:
    """Eight runs, none of which fails."""
    strategies = '[{ name = "imbalance", smoothing = [0.5, 1.0] }]'
    return write_sweep(tmp_path / "good.toml", small_dataset, strategies)


def mixed(tmp_path: Path, dataset: Path, fault: str, times: int = 99) -> Path:
    """Twelve runs, four of them with the fault."""
    faulty = f'name = "faulty", log = "{tmp_path}/log", fault = "{fault}", times = {times}'
    strategies = f'["imbalance", "imbalance:0.5", {{ {faulty} }}]'
    return write_sweep(tmp_path / f"{fault}.toml", dataset, strategies)


def manifests(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in runs.glob("[!.]*/manifest.json")]


def test_every_inference_is_computed_once(good: Path, tmp_path: Path) -> None:
    for executor, runs in (("inline", tmp_path / "a"), ("local:workers=2", tmp_path / "b")):
        assert call(good, "--runs", runs, "--executor", executor) == 0
        notes = [note for m in manifests(runs) for note in m["predictions"].values()]
        computed = [note["key"] for note in notes if not note["reused"]]
        assert len(manifests(runs)) == 8
        assert len(computed) == len(set(computed)) == len({note["key"] for note in notes})
        assert len(computed) < len(notes)


def test_the_table_does_not_depend_on_the_executor_nor_on_being_repeated(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = []
    for executor, runs in (("inline", "a"), ("local:workers=2", "b"), ("inline", "b")):
        assert call(good, "--runs", tmp_path / runs, "--executor", executor) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] == tables[2]
    header, *rows = tables[0].splitlines()
    assert header.split()[:5] == ["run", "state", "strategy", "latency.scale", "policy"]
    earned = [float(row.split()[-1].replace(",", "")) for row in rows]
    assert len(rows) == 8
    assert earned == sorted(earned, reverse=True)


def test_from_python(good: Path, plugin: Path, tmp_path: Path, small_dataset: Path) -> None:
    runs = tmp_path / "runs"
    swept = backtest.sweep(good, runs=runs, executor="inline", plugin_files=[plugin])
    assert repr(swept) == "Sweep('good': 8 done)"
    frame = swept.frame()
    assert frame.columns[:5] == ["run", "state", "strategy", "latency.scale", "policy"]
    assert frame["net"].is_sorted(descending=True)
    planned: list[int] = []
    table = {
        "dataset": str(small_dataset),
        "strategy": ["imbalance"],
        "policy": ["one", "all"],
        "latency": {"service": "affine:1ms,0.2ms"},
    }
    part = backtest.sweep(
        table, runs=runs, executor="inline", watch=lambda s, _: planned.append(s.planned)
    )
    assert {point.id for point in part.points} <= set(frame["run"])
    assert planned == [1, 2]


def test_the_manifest_lists_every_run(good: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert call(good, "--runs", runs, "--executor", "inline") == 0
    (file,) = (runs / "sweeps").iterdir()
    sweep = json.loads(file.read_text())
    assert sweep["name"] == "good"
    assert file.stem == sweep["id"]
    assert {run["state"] for run in sweep["runs"]} == {"done"}
    assert {run["id"] for run in sweep["runs"]} == {m["run"] for m in manifests(runs)}
    assert {run["config"]["strategy"]["smoothing"] for run in sweep["runs"]} == {0.5, 1.0}
    assert {run["error"] for run in sweep["runs"]} == {None}


def test_a_run_of_a_sweep_is_the_run_of_the_same_settings(
    good: Path, small_dataset: Path, tmp_path: Path
) -> None:
    words = ["--dataset", str(small_dataset), "--strategy", "imbalance:0.5", "--policy", "one"]
    words += ["--service", "affine:1ms,0.2ms", "--runs", str(tmp_path / "runs")]
    with pytest.raises(SystemExit):
        main(["run", *words])
    (before,) = (tmp_path / "runs").glob("[!.]*/manifest.json")
    stamp = before.stat().st_mtime_ns
    assert call(good, "--runs", tmp_path / "runs", "--executor", "inline") == 0
    assert before.stat().st_mtime_ns == stamp
    assert len(manifests(tmp_path / "runs")) == 8


@pytest.mark.parametrize("executor", ["inline", "local:workers=2"])
def test_failed_runs_are_listed_and_the_others_go_on(
    executor: str,
    small_dataset: Path,
    plugin: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = mixed(tmp_path, small_dataset, "raise")
    words = (file, "--runs", tmp_path / "runs", "--executor", executor, "--plugin", plugin)
    assert call(*words, "--json") == 4
    captured = capsys.readouterr()
    output = json.loads(captured.out)
    assert [run["state"] for run in output["runs"]] == ["done"] * 8 + ["failed"] * 4
    for run in output["runs"][8:]:
        assert run["error"].startswith("RuntimeError: no [bold]mood[/bold]")
        assert run["settings"]["strategy"].startswith("faulty:")
    assert "Failed in 4 of 12 runs, the first being strategy faulty:" in captured.err
    assert "talking" not in captured.out
    assert "Traceback" not in captured.err
    saved = json.loads((tmp_path / "runs" / "sweeps" / f"{output['sweep']}.json").read_text())
    assert sorted(run["state"] for run in saved["runs"]) == ["done"] * 8 + ["failed"] * 4


def test_a_run_that_kills_its_workers_is_set_aside_and_a_later_sweep_tries_it_again(
    small_dataset: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = mixed(tmp_path, small_dataset, "exit", times=3)
    words = (file, "--runs", tmp_path / "runs", "--plugin", plugin, "--limit", 60)
    assert call(*words, "--executor", "local:workers=1,retries=1") == 4
    captured = capsys.readouterr()
    assert captured.out.count(" failed ") == 1
    assert "set aside: it killed 2 workers; the last exited with 3" in captured.err
    assert call(*words, "--executor", "inline") == 0
    assert captured.out.count(" done ") == 11


def test_a_part_that_does_not_fit_the_data_fails_its_own_runs_alone(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (good, "--runs", tmp_path / "runs", "--executor", "inline")
    assert call(*words, "--set", 'dataset=["sample", "no-such"]', "--limit", 50, "--json") == 4
    output = json.loads(capsys.readouterr().out)
    failed = [run for run in output["runs"] if run["state"] == "failed"]
    assert len(failed) == 8
    assert all(run["run"] is None and "no-such" in run["error"] for run in failed)


def test_a_dry_run_counts_and_estimates_and_runs_nothing(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (good, "--runs", tmp_path / "runs", "--executor", "inline")
    assert call(*words, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["runs"], plan["finished"], plan["to_run"]) == (8, 0, 8)
    assert plan["inferences_stored"] == 0
    assert plan["work_seconds"] > 0
    assert not list((tmp_path / "runs").glob("[!.]*/manifest.json"))
    assert call(*words) == 0
    capsys.readouterr()
    keys = {note["key"] for m in manifests(tmp_path / "runs") for note in m["predictions"].values()}
    assert call(*words, "--dry-run", "--json") == 0
    after = json.loads(capsys.readouterr().out)
    assert after["to_run"] == after["answers_to_compute"] == after["work_seconds"] == 0
    assert after["inferences"] == after["inferences_stored"] == len(keys) == plan["inferences"]
    assert call(*words, "--dry-run") == 0
    assert "8: 8 finished, 0 to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    "part", ['symbols = ["BBB"]', 'window = {{ start = "{start}" }}'], ids=["symbols", "window"]
)
def test_parts_of_a_dataset_are_planned_and_run(
    part: str, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = read_events(open_dataset(small_dataset))
    middle = events.ts_event[7]
    more = part.format(start=middle) if part.startswith("window") else part
    sweep = write_sweep(tmp_path / "part.toml", small_dataset, '["imbalance"]', more)
    words = (sweep, "--runs", tmp_path / "runs", "--executor", "inline")
    assert call(*words, "--dry-run") == 0
    assert call(*words) == 0
    metrics = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("[!.]*/metrics.json")]
    assert len(metrics) == 4
    counts = {found["timing"]["events"] for found in metrics}
    assert len(counts) == 1
    assert 0 < counts.pop() < len(events)


def test_a_probe_that_fails_is_reported(
    small_dataset: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = mixed(tmp_path, small_dataset, "raise")
    words = (file, "--runs", tmp_path / "runs", "--plugin", plugin, "--executor", "inline")
    assert call(*words, "--dry-run", "--json") == 0
    captured = capsys.readouterr()
    (problem,) = json.loads(captured.out)["unmeasured"]
    assert problem.startswith("faulty on cpu: RuntimeError")
    assert "Not included in the estimate" in captured.err


def test_mistakes_are_reported_before_anything_runs(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (good, "--runs", tmp_path / "runs")
    for more, problem in (
        (["--executor", "cloud"], "no executor is called 'cloud'"),
        (["--executor", "local:workers=0"], "must be at least 1"),
        (["--set", "policy=[]"], "policy: the list is empty"),
        (["--limit", "0"], "limit: should be greater"),
    ):
        assert call(*words, *more) == 2
        assert problem in capsys.readouterr().err
    assert call(tmp_path / "absent.toml") == 2
    assert not (tmp_path / "runs").exists()


def process(*words: object) -> subprocess.Popen[str]:
    """``backtest sweep`` in a process of its own."""
    command = [sys.executable, "-m", "backtest", "sweep", *map(str, words)]
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_runs(runs: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(list(runs.glob("[!.]*/manifest.json"))) < count:
        assert time.monotonic() < end, "no run was finished"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "blow", [pytest.param(signal.SIGKILL, marks=pytest.mark.one_python), signal.SIGINT]
)
def test_a_sweep_that_is_killed_goes_on_to_the_same_table(
    blow: signal.Signals,
    small_dataset: Path,
    plugin: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    slow = mixed(tmp_path, small_dataset, "slow", times=4)
    words = (slow, "--plugin", plugin, "--json")
    runs = tmp_path / "runs"
    with process(*words, "--runs", runs, "--executor", "local:workers=2") as sweep:
        wait_for_runs(runs, 2)
        sweep.send_signal(blow)
        out, err = sweep.communicate(timeout=30)
    assert out == ""
    if blow == signal.SIGINT:
        assert sweep.returncode == 130
        assert "Traceback" not in err
    else:
        assert sweep.returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in runs.glob("[!.]*/manifest.json")}
    if blow == signal.SIGINT:
        assert f"with {len(before)} of 12 runs done; the same command continues" in err
    assert 2 <= len(before) < 12
    for remains in (runs / ".x-1.tmp-00000000", runs / "predictions" / ".y.parquet.tmp-11111111"):
        remains.mkdir(parents=True)
        (remains / "half").write_text("")

    assert call(*words, "--runs", runs, "--executor", "inline") == 0
    resumed = capsys.readouterr().out
    assert call(*words, "--runs", tmp_path / "other", "--executor", "inline") == 0
    assert resumed == capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(runs.rglob(".*.tmp-*"))


def test_what_others_are_still_writing_is_left_alone(good: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with (
        backtest.core.atomic.new_folder(runs / "busy", marker="x") as folder,
        backtest.core.atomic.new_file(runs / "predictions" / "busy.parquet") as file,
    ):
        assert call(good, "--runs", runs, "--executor", "inline", "--limit", 20) == 0
        assert folder.exists()
        assert file.exists()


def test_a_full_disk_fails_runs_cleanly_and_a_rerun_succeeds(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = tmp_path / "runs"
    sync = backtest.core.atomic.sync
    left = [12]

    def full(path: Path) -> None:
        if "sweeps" not in path.parts:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(path)

    words = (good, "--runs", runs, "--executor", "inline")
    with monkeypatch.context() as patch:
        patch.setattr(backtest.core.atomic, "sync", full)
        assert call(*words) == 4
    captured = capsys.readouterr()
    assert "The disk is full" in captured.err
    done = captured.out.count(" done ")
    assert 1 <= done < 8
    assert len(manifests(runs)) == done
    assert not list(runs.rglob(".*"))
    assert call(*words) == 0
    assert capsys.readouterr().out.count(" done ") == 8


def test_a_folder_that_may_not_be_written_to_is_named(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    words = (good, "--runs", tmp_path / "runs", "--executor", "inline")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        assert call(*words) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Permission denied" in captured.err
    assert "may write to" in captured.err
    assert call(*words) == 0


def test_a_damaged_run_is_listed_as_failed(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (good, "--runs", tmp_path / "runs", "--executor", "inline")
    assert call(*words) == 0
    manifest = sorted((tmp_path / "runs").glob("[!.]*/manifest.json"))[0]
    manifest.write_text(manifest.read_text()[:200])
    capsys.readouterr()
    assert call(*words) == 4
    captured = capsys.readouterr()
    assert captured.out.count(" done ") == 7
    assert "cannot be read" in captured.err
    assert manifest.parent.name in captured.err


def test_a_half_written_run_is_neither_taken_nor_overwritten(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (good, "--runs", tmp_path / "runs", "--executor", "inline")
    assert call(*words) == 0
    manifest = sorted((tmp_path / "runs").glob("[!.]*/manifest.json"))[0]
    manifest.unlink()
    capsys.readouterr()
    assert call(*words) == 4
    assert "it contains no manifest.json" in capsys.readouterr().err
    assert (manifest.parent / "metrics.json").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--executor", "inline", "--timeout", "1s"], "'inline' cannot limit the time of a run"),
        (["--timeout", "0s"], "--timeout: the time limit must be longer than 0"),
        (["--timeout=-1s"], "--timeout: the time limit must be longer than 0"),
        (["--timeout", "10"], "--timeout: '10' is not a time span"),
    ],
)
def test_a_time_limit_that_cannot_be_kept_is_refused(
    words: list[str], problem: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(good, "--runs", tmp_path / "runs", *words) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_run_that_hangs_is_set_aside_and_the_sweep_goes_on(
    small_dataset: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hanging = f'{{ name = "faulty", log = "{tmp_path}/log", fault = "ignore" }}'
    file = write_sweep(tmp_path / "hang.toml", small_dataset, f'["imbalance", {hanging}]')
    words = [file, "--runs", tmp_path / "runs", "--plugin", plugin, "--set", "policy=all"]
    words += ["--set", "latency.scale=1.0", "--json", "--timeout", "30s"]
    assert call(*words, "--executor", "local:workers=2") == 4
    captured = capsys.readouterr()
    rows = {row["settings"]["strategy"].partition(":")[0]: row for row in
            json.loads(captured.out)["runs"]}  # fmt: skip
    assert (rows["imbalance"]["state"], rows["faulty"]["state"]) == ("done", "failed")
    assert rows["faulty"]["error"].startswith("set aside: it had not ended after 30 s")
    assert "Failed: " in captured.err


def test_runs_that_fail_for_one_reason_are_told_together(
    small_dataset: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = mixed(tmp_path, small_dataset, "raise")
    runs = tmp_path / "runs"
    assert call(file, "--runs", runs, "--executor", "inline", "--plugin", plugin) == 4
    said = capsys.readouterr().err
    _, _, end = said.partition("Failed in ")
    assert end.startswith("4 of 12 runs, the first being strategy faulty:")
    assert end.count("no [bold]mood[/bold]") == 1
    with pytest.raises(SystemExit):
        main(["compare", "--runs", str(runs), "--sweep", file.stem])
    said = capsys.readouterr().err
    assert said.count("no [bold]mood[/bold]") == 1
    assert "Not compared: 4 runs, faulty-" in said
