"""One event through an LSTM's layer, at sizes that fit no tile."""

from __future__ import annotations

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.lstm import lstm_layer, lstm_layer_plain

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize(("rows", "inputs", "hidden"), [(1, 1, 1), (3, 79, 6), (9, 130, 17)])
def test_a_step(rows: int, inputs: int, hidden: int) -> None:
    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(DEVICE)

    generator = torch.Generator().manual_seed(rows)
    x, h, c = draw(rows, inputs), draw(rows, hidden), draw(rows, hidden)
    weights = draw(4 * hidden, inputs) / 8, draw(4 * hidden, hidden) / 8
    biases = draw(4 * hidden), draw(4 * hidden)
    found = torch.full_like(h, torch.nan), torch.full_like(c, torch.nan)
    lstm_layer(x, h, c, weights, biases, *found)
    for leaf, wanted in zip(found, lstm_layer_plain(x, h, c, weights, biases), strict=True):
        torch.testing.assert_close(leaf, wanted, rtol=0, atol=2e-6)
