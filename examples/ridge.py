"""A linear model that is trained within a run: `--plugin examples/ridge.py --strategy ridge`."""

from dataclasses import dataclass

import numpy as np

import backtest


@dataclass
class Ridge(backtest.Strategy):
    """Ridge regression of the targets' mean on the features."""

    penalty: float = 1.0
    stateful = False

    def fit(self, data):
        x, y = data.table()  # float32 [n, F] and [n, K]
        gram = x.T @ x + self.penalty * np.eye(x.shape[1], dtype=np.float32)
        return {"slope": np.linalg.solve(gram, x.T @ y.mean(axis=1))}

    def load_weights(self, weights):
        self.slope = weights["slope"]

    def predict(self, batch):
        return (batch.features @ self.slope)[:, None]


@backtest.hookimpl
def backtest_register_strategies(register):
    register("ridge", Ridge)
