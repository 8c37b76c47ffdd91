"""A run killed at any step and started again goes on, and ends as one that was never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def killed(dataset: Path, folder: Path, strategy: str, stride: int) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.killed", dataset, folder, strategy, stride]
    done = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no warning: what a killed process leaves is never half a checkpoint
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.one_python
@pytest.mark.parametrize(
    ("strategy", "stride"),
    [
        ("summing", 15),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (("summing", 2), ("bybatch", 199), ("hiding", 3))
        ),
    ],
)
def test_killed_at_a_step_and_started_again(
    small_dataset: Path, tmp_path: Path, strategy: str, stride: int
) -> None:
    found = killed(small_dataset, tmp_path, strategy, stride)
    whole, others = found["whole"], [*found["killed"], found["again"]]
    assert whole["resumed"] == []
    assert len(others) >= 9
    for run in others:
        assert run["digest"] == whole["digest"]
        assert run["left"] == []
    events = {note["event"] for run in others for note in run["resumed"]}
    if strategy == "summing":
        assert events == {150, 300, 450}
    elif strategy == "hiding":
        assert not events
    else:
        assert len(events) > 5


PLUGIN = """
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from backtest import hookimpl
from backtest.core.parameters import OutputPath
from backtest.data.reading import stream
from backtest.inference import checkpoints
from backtest.strategies.imbalance import Imbalance

stream.WITHOUT_FEATURES = 100
checkpoints.EVERY = 0.0
checkpoints._SHARE = 0

@dataclass
class Killed(Imbalance):
    marker: OutputPath = Path()
    calls = 0

    def predict(self, batch):
        self.calls += 1
        if self.calls == 4 and not self.marker.exists():
            self.marker.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(batch)

@hookimpl
def backtest_register_strategies(register):
    register("killed", Killed)
"""


def test_the_output_and_the_manifest_say_so(small_dataset: Path, tmp_path: Path) -> None:
    plugin, marker = tmp_path / "killed.py", tmp_path / "marker"
    plugin.write_text(PLUGIN)

    def run(runs: str) -> subprocess.CompletedProcess[str]:
        words = [
            *("-m", "backtest", "run", "--plugin", plugin, "--dataset", small_dataset),
            *("--strategy", f"killed:0.5,marker={marker}", "--service", "constant:1ms"),
            *("--no-undropped", "--runs", tmp_path / runs),
        ]
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run("runs").returncode == -signal.SIGKILL
    done = run("runs")
    assert done.returncode == 0, done.stderr
    assert "an interrupted run's checkpoint: answers, from event 300." in done.stderr
    assert run("whole").returncode == 0
    manifests = [
        json.loads(path.read_text())
        for runs in ("runs", "whole")
        for path in (tmp_path / runs).glob("*/manifest.json")
    ]
    assert manifests[0]["digest"] == manifests[1]["digest"]
    assert manifests[0]["predictions"]["answers"]["resumed"]["event"] == 300
    assert "resumed" not in manifests[1]["predictions"]["answers"]
    assert len(os.listdir(tmp_path / "runs" / "predictions")) == 1
