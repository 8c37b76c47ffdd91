"""Strategies that are trained, for the tests of training, folds and tuning."""

from __future__ import annotations

from pathlib import Path

PLUGIN = '''
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import backtest
from backtest.core.parameters import OutputPath


@dataclass
class Line(backtest.Strategy):
    """Least squares of the targets on the features; notes each training in a file."""

    ridge: float = 1.0
    log: OutputPath | None = None
    wait: float = 0.0
    stateful = False

    def fit(self, data):
        if self.log is not None:
            with self.log.open("a") as log:
                log.write("fit\\n")
        time.sleep(self.wait)
        x, y = data.table()
        gram = x.T @ x + self.ridge * np.eye(x.shape[1], dtype=np.float32)
        return {"slope": np.linalg.solve(gram, x.T @ y.mean(axis=1))}

    def load_weights(self, weights):
        self.slope = weights["slope"]

    def predict(self, batch):
        return np.ascontiguousarray(batch.features @ self.slope)[:, None]


@dataclass
class Forgetful(Line):
    """Claims to have state, but cannot reset it, so that it is bound anew for every pass."""

    stateful = True


@dataclass
class Bad(backtest.Strategy):
    """Cannot be trained."""

    how: str = "nothing"

    def fit(self, data):
        if self.how == "raise":
            raise ValueError("no luck")
        return {"nothing": None, "object": {"w": np.array([None])}}[self.how]

    def load_weights(self, weights):
        raise AssertionError("there are none")

    def predict(self, batch):
        return np.zeros((len(batch), 1), dtype=np.float32)


@dataclass
class Half(backtest.Strategy):
    """Learns, but cannot be given what it learnt."""

    def fit(self, data):
        return {"w": np.zeros(1)}

    def predict(self, batch):
        return np.zeros((len(batch), 1), dtype=np.float32)


class Mix(nn.Module):
    """A mix of the features and of their moving average."""

    def __init__(self, features, outputs):
        super().__init__()
        self.mix = nn.Linear(2 * features, outputs)
        self.features = features

    def init_state(self, n):
        return {"mean": torch.zeros(n, self.features)}

    def forward(self, x, state):
        mean = 0.9 * state["mean"] + 0.1 * x
        return self.mix(torch.cat([x, mean], dim=1)), {"mean": mean}


@dataclass
class Net(backtest.ModuleStrategy):
    """Around ``Mix``."""

    outputs_wanted: int = 1

    def module(self, features):
        return Mix(features, self.outputs_wanted)


@backtest.hookimpl
def backtest_register_strategies(register):
    register("line", Line)
    register("forgetful", Forgetful)
    register("bad", Bad)
    register("half", Half)
    register("net", Net)
'''


def write_plugin(folder: Path) -> Path:
    """The plugin's file."""
    path = folder / "fitted.py"
    path.write_text(PLUGIN)
    return path
