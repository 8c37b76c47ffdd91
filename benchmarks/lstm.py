"""A small model with nothing hand-written, for timing what ``ModuleStrategy`` adds to it.

backtest profile lstm --plugin benchmarks/lstm.py --device cuda --sizes 1,2,4,8,16,32
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from backtest import Strategy, hookimpl
from backtest.strategies.module import ModuleStrategy


class Recurrent(nn.Module):
    """A two-layer LSTM and one number an event."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, num_layers=2)
        self.head = nn.Linear(hidden, 1)

    def init_state(self, n: int) -> tuple[Tensor, Tensor]:
        shape = self.lstm.num_layers, n, self.lstm.hidden_size
        return torch.zeros(shape), torch.zeros(shape)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, state = self.lstm(x[None], state)
        return self.head(y[0]), state

    def forward_sequence(
        self, x: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, state = self.lstm(x, state)
        return self.head(y), state


class Lstm(ModuleStrategy):
    """A two-layer LSTM of 128 with torch's own kernels."""

    batch_dim: ClassVar[int] = 1

    def module(self, features: int) -> nn.Module:
        return Recurrent(features, 128)


class Uncaptured(Lstm):
    """The same, every kernel launched by itself."""

    captures: ClassVar[bool] = False


class Stepped(Lstm):
    """The same, several events of a symbol one after another."""

    sequences: ClassVar[bool] = False


@hookimpl
def backtest_register_strategies(register: Callable[[str, type[Strategy]], None]) -> None:
    register("lstm", Lstm)
    register("lstm-uncaptured", Uncaptured)
    register("lstm-stepped", Stepped)
