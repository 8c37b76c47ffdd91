"""What the project ships registers without a failure, and without loading torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backtest.plugins.manager import SHIPPED, load_plugins

ROOT = Path(__file__).parents[2]

LOAD = """
import json, sys
from backtest.plugins.manager import load_plugins
load_plugins(entry_points=False)
print(json.dumps([*sys.modules]))
"""


@pytest.mark.parametrize("module", SHIPPED)
def test_every_shipped_module_registers(module: str) -> None:
    plugins = load_plugins(entry_points=False)
    failures = {failure.origin.plugin: failure.error for failure in plugins.failures}
    assert module not in failures, failures[module]
    assert module in [loaded.origin.plugin for loaded in plugins.loaded]


def test_registering_loads_neither_torch_nor_polars() -> None:
    command = [sys.executable, "-c", LOAD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"polars", "torch"} & set(json.loads(done.stdout))
