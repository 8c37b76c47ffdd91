"""``batched``: all waiting symbols in one step, duplicates in rounds. Exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from backtest.core.arrays import Int32Array
from backtest.strategies.base import Conformance
from backtest.strategies.ensemble_strategy import EnsembleStrategy
from backtest.strategies.pooled import PooledStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from backtest.strategies.pooled import Commits

_MANY = 32
"""Events of one symbol in a call from which on it is taken for a piece of history."""


@dataclass
class Batched(EnsembleStrategy, PooledStrategy):
    """The ensemble, one step for each round of distinct symbols."""

    conformance = cast("Conformance | None", "exact")  # variants of this one claim others

    def advance(self, x: Tensor, symbol: Int32Array) -> tuple[Tensor, Commits]:
        """In rounds; histories, with many events of a symbol, in sequences."""
        if np.bincount(symbol).max() < _MANY:
            return super().advance(x, symbol)
        from backtest.strategies.sequences import advance_in_blocks

        return advance_in_blocks(self._model, self._pool, x, symbol)

    def memory_traffic(self) -> tuple[int, int]:
        """See ``Strategy.memory_traffic``."""
        from backtest.strategies.state_pool import bytes_of

        model: Any = self._model
        return bytes_of(model.state_dict()), 2 * bytes_of(self._pool.init)
