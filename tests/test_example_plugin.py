"""A strategy in a distribution of its own is found once it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = Path(__file__).parent / "example_plugin"

PREDICT = """
import numpy as np
from backtest import EventBatch, Session
from backtest.plugins.manager import load_plugins

strategy = load_plugins().create("strategy", "last-move:gain=2", place="test")
strategy.bind(Session(symbols=("A", "B")))
prices = np.array([10, 50, 11, 49], dtype=np.int64)
batch = EventBatch(np.array([0, 1, 0, 1], np.int32), np.arange(4), bid=prices, ask=prices + 1)
print(strategy.predict(batch).tolist())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the example installed."""
    target = tmp_path_factory.mktemp("site")
    offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir"]
    pip = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(SOURCE)]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(target), str(ROOT)])}


def python(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


def test_it_is_listed_with_its_distribution(installed: dict[str, str]) -> None:
    listed = json.loads(python(installed, "-m", "backtest", "plugins", "--json"))
    (part,) = [part for part in listed["parts"] if part["name"] == "last-move"]
    assert (part["plugin"], part["distribution"], part["version"]) == (
        "example",
        "ticktoll-example",
        "1.2.3",
    )
    assert part["component"] == "ticktoll_example:LastMove"
    assert [parameter["name"] for parameter in part["parameters"]] == ["gain"]
    assert "example" in [plugin["plugin"] for plugin in listed["plugins"]]


def test_it_answers_events(installed: dict[str, str]) -> None:
    assert json.loads(python(installed, "-c", PREDICT)) == [[0.0], [0.0], [2.0], [-2.0]]
