"""``batched``: all waiting symbols in one step, duplicates in rounds. Exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from backtest.strategies.base import Conformance
from backtest.strategies.ensemble_strategy import EnsembleStrategy
from backtest.strategies.pooled import PooledStrategy


@dataclass
class Batched(EnsembleStrategy, PooledStrategy):
    """The ensemble, one step for each round of distinct symbols."""

    conformance = cast("Conformance | None", "exact")  # variants of this one claim others

    def memory_traffic(self) -> tuple[int, int]:
        """See ``Strategy.memory_traffic``."""
        from backtest.strategies.state_pool import bytes_of

        model: Any = self._model
        return bytes_of(model.state_dict()), 2 * bytes_of(self._pool.init)
