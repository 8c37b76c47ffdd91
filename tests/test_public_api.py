"""The names that ``import backtest`` offers, and what it does not load for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import backtest

ROOT = Path(__file__).parents[1]

EXPORTED = [
    "NO_PRICE",
    "EventBatch",
    "Messages",
    "ModuleStrategy",
    "Session",
    "Strategy",
    "__version__",
    "compare",
    "hookimpl",
    "run",
    "sweep",
]

HEAVY = {"jinja2", "numpy", "pandas", "polars", "pyarrow", "rich", "torch"}


REPORT = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps([*sys.modules]), file=sys.stderr))
"""

IMPORT = REPORT + "import backtest"

COMMAND = REPORT + "from backtest.cli import main; main(sys.argv[1:])"


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded when it is about to leave."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


def test_exported_names() -> None:
    assert backtest.__all__ == EXPORTED
    assert set(EXPORTED) <= set(dir(backtest))


@pytest.mark.parametrize("name", EXPORTED)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(backtest, name) is not None


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        backtest.nonsense  # noqa: B018 - the look-up itself is what fails


def test_importing_loads_nothing_heavy() -> None:
    loaded = loaded_by(IMPORT)
    assert "backtest" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plugins", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = loaded_by(COMMAND, *arguments)
    assert "typer" in loaded
    assert not loaded & HEAVY
