"""What is checked of a strategy when it is bound to a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backtest.api import run
from backtest.errors import RunError
from backtest.inference.prediction_store import PredictionStore
from backtest.plugins.manager import load_plugins

STRATEGY = """
import numpy as np
import backtest

class Twofold(backtest.Strategy):
    needs_features = False
    duplicates = "pairs"

    def predict(self, batch):
        return np.zeros((len(batch), 1), np.float32)

@backtest.hookimpl
def backtest_register_strategies(register):
    register("twofold", Twofold)
"""


def test_an_unknown_way_to_serve_duplicates_is_refused(small_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "twofold.py").write_text(STRATEGY)
    plugins = load_plugins([tmp_path / "twofold.py"], entry_points=False)
    with pytest.raises(RunError, match="'pairs'") as refused:
        run(
            plugins=plugins,
            runs=tmp_path / "runs",
            dataset=str(small_dataset),
            strategy="twofold",
            latency={"service": "constant:1ms"},
        )
    assert refused.value.remedy == "Set duplicates to one of single, rounds, packed."


COUNTING = """
import numpy as np
import backtest

class Counting(backtest.Strategy):
    needs_features = False

    def bind(self, session):
        self.seen = np.zeros(len(session.symbols))

    def predict(self, batch):
        answers = np.empty((len(batch), 1), np.float32)
        for row, symbol in enumerate(batch.symbol):
            self.seen[symbol] += 1
            answers[row] = (-1) ** self.seen[symbol] * self.seen[symbol]
        return answers

@backtest.hookimpl
def backtest_register_strategies(register):
    register("counting", Counting)
"""


def test_a_strategy_without_reset_is_bound_anew_for_each_inference(
    small_dataset: Path, tmp_path: Path
) -> None:
    """What it is compared with must not begin where its own answers ended."""
    (tmp_path / "counting.py").write_text(COUNTING)
    plugins = load_plugins([tmp_path / "counting.py"], entry_points=False)
    done = run(
        plugins=plugins,
        runs=tmp_path / "runs",
        dataset=str(small_dataset),
        strategy="counting",
        latency={"service": "constant:0ns", "feed": "constant:0ns"},
    )
    assert done.metrics["timing"]["response_rate"] == 1
    accuracy = done.metrics["accuracy"]["reference"]
    assert (accuracy["correlation"], accuracy["rmse"]) == (1.0, 0.0)
    # With some unanswered the two inferences differ, but both begin with the first event.
    busy = run(
        plugins=plugins,
        runs=tmp_path / "runs",
        dataset=str(small_dataset),
        strategy="counting",
        policy="one",
        server={"line_limit": 1},
        latency={"service": "constant:500ms"},
    )
    assert 0 < busy.metrics["timing"]["response_rate"] < 1
    first = busy.table("predictions").row(0, named=True)
    assert (first["event"], first["output_0"]) == (0, -1.0)
    store, rows = (
        PredictionStore(tmp_path / "runs" / "predictions"),
        busy.metrics["timing"]["events"],
    )
    keys = [note["key"] for note in busy.manifest["predictions"].values()]
    assert len(keys) == 2
    for key in keys:
        pieces = store.get(key, rows)
        assert pieces is not None
        assert float(np.concatenate([*pieces])[0, 0]) == -1.0
