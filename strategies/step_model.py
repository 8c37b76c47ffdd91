"""What a model offers that is stepped over the state of many symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from backtest.strategies.state_tree import Tree


class StepModel(Protocol):
    """A model that advances by one event of each of B distinct symbols."""

    def init_state(self, n: int, /) -> Tree:
        """The state of ``n`` symbols never seen."""

    def __call__(self, x: Tensor, state: Tree, /) -> tuple[Tensor, Tree]:
        """x [B, F] and state -> predictions [B, outputs] and the next state, of the same form."""
