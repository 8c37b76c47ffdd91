"""The four recurrent towers as pure step functions; the order is that of the outputs."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from backtest.strategies.towers import hawk, mamba2, retnet, xlstm
from backtest.strategies.towers.layers import Shapes, Sizes, State, Weights


class Tower(Protocol):
    """What each tower's module offers: the layer inside its blocks."""

    def shapes(self, config: Sizes) -> Shapes:
        """Names and shapes of one layer's weights."""

    def init_state(self, config: Sizes, n: int, **options: Any) -> State:
        """The state of ``n`` symbols never seen; ``options`` are ``dtype`` and ``device``."""

    def step(self, x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
        """x [B, D] and state -> y [B, D] and the next state; nothing is changed in place."""

    def sequence(self, x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
        """``step`` by ``step`` over x [T, B, D], with all that can be batched over time batched."""


TOWERS: tuple[Tower, ...] = (xlstm, mamba2, retnet, hawk)

__all__ = ["TOWERS", "Shapes", "State", "Tower", "Weights"]
