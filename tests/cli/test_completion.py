"""The shell completes names of strategies, datasets and runs; nothing heavy or noisy happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = """
import backtest
from backtest.strategies.imbalance import Imbalance

@backtest.hookimpl
def backtest_register_strategies(register):
    register("mine", Imbalance)
"""


def completed(folder: Path, line: str) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    environment = os.environ | {
        "_BACKTEST_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "backtest"]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def folder(small_dataset: Path, finished_runs: Path, tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    shutil.copytree(small_dataset, tmp_path / "data" / "small")
    (tmp_path / "samples").mkdir()
    (tmp_path / "runs").symlink_to(finished_runs)
    (tmp_path / "mine.py").write_text(PLUGIN)
    return tmp_path


def test_strategies(folder: Path) -> None:
    assert completed(folder, "backtest run --strategy ba") == ["batched"]
    assert completed(folder, "backtest verify st") == ["stateless"]
    assert completed(folder, "backtest run --strategy mi") == []
    assert completed(folder, "backtest run --plugin mine.py --strategy mi") == ["mine"]
    (folder / "backtest.toml").write_text('plugins = ["mine.py"]\n')
    assert completed(folder, "backtest run --strategy mi") == ["mine"]
    assert completed(folder, "backtest run --policy one-") == ["one-per-symbol"]
    assert completed(folder, "backtest run --quoting two") == ["two-sided"]
    assert completed(folder, "backtest run --queue tr") == ["trades"]
    assert completed(folder, "backtest run --cancel exp") == ["exponential"]
    assert completed(folder, "backtest run --replace exp") == ["exponential"]
    (folder / "backtest.toml").write_text("plugins = [")
    assert completed(folder, "backtest run --strategy ba") == []


def test_datasets(folder: Path) -> None:
    assert completed(folder, "backtest run --dataset sam") == ["sample", "samples/"]
    assert completed(folder, "backtest run --dataset d") == ["data/"]
    assert completed(folder, "backtest data describe data/") == ["data/small"]
    assert completed(folder, f"backtest run --dataset {folder}/data/s") == [f"{folder}/data/small"]
    assert completed(folder, "backtest run --dataset none/at/all") == []


def test_runs(folder: Path) -> None:
    ids = sorted(path.name for path in (folder / "runs").glob("imbalance-*"))
    assert completed(folder, "backtest runs show imb") == ids
    (folder / "elsewhere").mkdir()
    assert completed(folder, "backtest runs rm --runs elsewhere imb") == []


def test_commands_without_loading_anything_heavy(folder: Path) -> None:
    assert completed(folder, "backtest doct") == ["doctor"]
    code = (
        "import sys, atexit\n"
        "heavy = {'numpy', 'pyarrow', 'polars', 'torch'}\n"
        "atexit.register(lambda: print(*(heavy & {*sys.modules})))\n"
        "from backtest.cli import main\nmain()"
    )
    environment = os.environ | {
        "_BACKTEST_COMPLETE": "complete_bash",
        "COMP_WORDS": "backtest doct",
        "COMP_CWORD": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["doctor"]
