"""What is checked of a strategy when it is bound to a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest.api import run
from backtest.errors import RunError
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
