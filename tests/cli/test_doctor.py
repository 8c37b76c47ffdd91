"""``backtest doctor`` says what is there, what is wrong with it, and how to mend it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from backtest.cli import health, main
from backtest.cli.project import NAME
from tests.plugins.test_manager import install

ROOT = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, which is the current folder."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, Any]:
    """The exit code, and the findings by topic."""
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--json", *arguments])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    told = json.loads(captured.out)
    assert told["healthy"] == (left.value.code == 0)
    assert left.value.code in (0, 1)
    findings: dict[str, list[Any]] = {}
    for finding in told["findings"]:
        findings.setdefault(finding["topic"], []).append(finding)
    return left.value.code, findings


def problem(findings: dict[str, list[Any]], topic: str) -> Any:
    (found,) = [finding for finding in findings[topic] if finding["state"] == "problem"]
    assert found["remedy"]
    return found


def test_a_sound_installation(capsys: pytest.CaptureFixture[str], small_dataset: Path) -> None:
    shutil.copytree(small_dataset, "data/small")
    code, found = doctor(capsys)
    assert code == 0, found
    assert found["Python"][0]["found"].startswith(sys.version.split()[0])
    for name in ("torch", "polars", "numba", "xxhash"):
        assert found[name][0]["found"] == metadata.version(name)
    assert found["plugins"][0]["found"] == "11 of backtest itself"
    assert any(f["found"].startswith("cpu, ") for f in found["device"])
    datasets = [finding["found"] for finding in found["dataset"]]
    assert datasets[0].startswith("sample: 20,000 events, 12 symbols")
    assert "data/small: 600 events, 3 symbols" in datasets
    assert "ticktoll/compiled" in found["compiled code"][0]["found"]
    assert "GB free" in found["runs"][0]["found"]
    assert "terminal" in found
    assert found["project file"][0]["found"] == "none (no backtest.toml)"


def test_it_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    told = capsys.readouterr()
    assert left.value.code == 0
    assert "Nothing is wrong." in told.err
    assert "what was found" in told.out
    Path(NAME).write_text("run = 1")
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    assert left.value.code == 1
    told = capsys.readouterr()
    assert "problem: project file: " in told.err
    assert "  Did you mean 'runs'?" in told.err
    assert "Found 1 problem." in told.err


def test_missing_old_and_broken_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version, load = metadata.version, importlib.import_module

    def installed(name: str) -> str:
        if name == "polars":
            raise metadata.PackageNotFoundError(name)
        return "1.20.1" if name == "numpy" else version(name)

    def loaded(name: str, package: str | None = None) -> Any:
        if name == "safetensors":
            raise OSError("libgomp is missing")
        return load(name, package)

    monkeypatch.setattr(metadata, "version", installed)
    monkeypatch.setattr(health, "import_module", loaded)
    code, found = doctor(capsys)
    assert code == 1
    assert problem(found, "polars")["found"] == "not installed"
    assert problem(found, "polars")["remedy"] == "pip install 'polars>=1.20'"
    assert problem(found, "numpy")["found"] == "1.20.1, older than 1.26"
    assert "cannot be imported: OSError: libgomp" in problem(found, "safetensors")["found"]


def test_plugins_that_work_and_that_fail(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = "import backtest\n@backtest.hookimpl\ndef backtest_run_started(run_id): pass\n"
    install(folder / "site", monkeypatch, {"works": good, "fails": "import nothing_such"})
    (folder / "mine.py").write_text(good)
    (folder / "torn.py").write_text("1 +")
    (folder / NAME).write_text('plugins = ["mine.py", "torn.py"]\n')
    code, found = doctor(capsys, "--plugin", "absent.py")
    assert code == 1
    told = [(finding["state"], finding["found"]) for finding in found["plugin"]]
    assert ("ok", "works (acme 1.0): backtest_run_started") in told
    assert ("ok", "mine.py: backtest_run_started") in told
    wrong = [f for f in found["plugin"] if f["state"] == "problem"]
    assert "fails (acme 1.0): it fails to import: ModuleNotFoundError" in wrong[0]["found"]
    assert "--no-plugin fails" in wrong[0]["remedy"]
    assert wrong[1]["found"].startswith("torn.py: it fails to import: SyntaxError")
    assert wrong[2]["found"] == "absent.py: no such Python file"
    assert doctor(capsys, "--no-plugin", "fails")[0] == 1
    (folder / NAME).write_text('plugins = ["mine.py"]\n')
    code, found = doctor(capsys, "--no-plugin", "fails")
    assert code == 0
    assert found["project file"][0]["found"] == str(folder / NAME)


def test_a_dataset_that_cannot_be_opened(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data" / "empty").mkdir(parents=True)
    (folder / "data" / "empty" / "dataset.toml").write_text("name = 3")
    code, found = doctor(capsys)
    assert code == 1
    assert problem(found, "dataset")["found"].startswith("data/empty: ")


def test_a_full_disk_and_a_file_in_place_of_the_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / NAME).write_text('runs = "results"\n')
    (folder / "results").mkdir()
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 10**8))
        code, found = doctor(capsys)
    assert code == 1
    assert problem(found, "runs")["found"] == "results: 0 finished, 0.1 GB free"
    (folder / "taken").touch()
    code, found = doctor(capsys, "--runs", "taken")
    assert code == 1
    assert problem(found, "runs")["found"] == "taken cannot be written to"


def test_a_cache_that_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cache").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "cache"))
    code, found = doctor(capsys)
    assert code == 1
    assert "NUMBA_CACHE_DIR" in problem(found, "compiled code")["remedy"]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "new"))
    code, found = doctor(capsys)
    assert code == 0
    assert found["compiled code"][0]["found"].endswith(": empty, so the first run takes longer")


def test_a_check_that_crashes_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    code, found = doctor(capsys)
    assert code == 1
    assert "cannot be imported" in problem(found, "torch")["found"]
    assert "ModuleNotFoundError" in problem(found, "devices")["found"]
    assert found["terminal"][0]["topic"] == "terminal"


def test_a_terminal_that_cannot_show_signs() -> None:
    command = [sys.executable, "-m", "backtest", "doctor", "--json"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found = {finding["topic"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["terminal"]["found"].startswith("its encoding is ascii")
    assert "PYTHONUTF8=1" in found["terminal"]["remedy"]
