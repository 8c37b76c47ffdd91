"""``eager``: the plain ensemble, one event at a time, against which the others are held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from backtest.core.arrays import Int32Array
from backtest.strategies.base import Duplicates
from backtest.strategies.batched import Batched

if TYPE_CHECKING:
    from torch import Tensor

    from backtest.strategies.pooled import Commits
    from backtest.strategies.state_tree import Tree


@dataclass
class Eager(Batched):
    """The ensemble as the challenge gave it: every event is a step of its own."""

    reference: ClassVar[str | None] = "batched"
    duplicates: ClassVar[Duplicates] = "single"

    def advance(self, x: Tensor, symbol: Int32Array) -> tuple[Tensor, Commits]:
        """See ``PooledStrategy.advance``."""
        import numpy as np
        import torch

        distinct, place = np.unique(symbol, return_inverse=True)
        slots = torch.split(self._pool.acquire(distinct.astype(np.int64)), 1)
        states: list[Tree] = [self._pool.gather(slot) for slot in slots]
        answers = []
        for row, owner in zip(torch.split(x, 1), place.tolist(), strict=True):
            y, states[owner] = self._model(row, states[owner])
            answers.append(y)
        return torch.cat(answers), list(zip(slots, states, strict=True))
