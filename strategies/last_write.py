"""``last-write``: a flaw kept on show, to prove that conformance tests catch it.

When a batch holds several events of a symbol, each starts from the same old state and only the last
one's new state is kept. The public challenge's winning code does this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from backtest.core.arrays import Int32Array
from backtest.strategies.base import Duplicates
from backtest.strategies.batched import Batched

if TYPE_CHECKING:
    from torch import Tensor

    from backtest.strategies.pooled import Commits


@dataclass
class LastWrite(Batched):
    """The ensemble with the last write winning among a symbol's events of one batch."""

    conformance = "approximate"
    reference: ClassVar[str | None] = "batched"
    duplicates: ClassVar[Duplicates] = "packed"
    batch_invariant: ClassVar[bool] = False

    def advance(self, x: Tensor, symbol: Int32Array) -> tuple[Tensor, Commits]:
        """See ``PooledStrategy.advance``."""
        import numpy as np
        import torch

        from backtest.strategies.state_tree import map_leaves

        distinct, place = np.unique(symbol, return_inverse=True)
        slots = self._pool.acquire(distinct.astype(np.int64))
        owner = torch.from_numpy(place).to(self._device)
        y, state = self._model(x, self._pool.gather(slots[owner]))
        last = len(symbol) - 1 - np.unique(symbol[::-1], return_index=True)[1]
        kept = torch.from_numpy(last).to(self._device)
        return y, [(slots, map_leaves(lambda leaf: leaf[kept], state))]
