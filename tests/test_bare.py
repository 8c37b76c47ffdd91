"""Verify and profile run where polars and pydantic are missing, as on many a GPU server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

BLOCKED = """
import builtins, sys
real = builtins.__import__
def block(name, globals=None, locals=None, fromlist=(), level=0):
    top = name.partition(".")[0]
    # Newer versions of typer bring pydantic for themselves; the project must not lean on that.
    asking = str((globals or {}).get("__name__", "")).partition(".")[0]
    if level == 0 and top in ("polars", "pydantic") and asking not in ("typer", "pydantic"):
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = block
from backtest.cli import main
main(sys.argv[1:])
"""


def run_bare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_verify() -> None:
    done = run_bare("verify", "imbalance", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert "random features only" in done.stdout


def test_profile(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    done = run_bare(
        *("profile", "imbalance", "--sizes", "2", "--batches", "2"), "--output", str(path), "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["timings"][0]["batch_size"] == 2
    assert path.exists()


def test_the_block_blocks(small_dataset: Path) -> None:
    done = run_bare("run", "--dataset", str(small_dataset), "--strategy", "imbalance")
    assert "No module named 'pydantic'" in done.stderr
