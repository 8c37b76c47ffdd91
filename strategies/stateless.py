"""``stateless``: every event as if it were its symbol's first. Fast, and another function."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.market.events import EventBatch
from backtest.strategies.base import Session
from backtest.strategies.ensemble_strategy import EnsembleStrategy

if TYPE_CHECKING:
    from torch import Tensor

_STATE_BYTES = 2**28
"""Memory for the states of the events that go through one step together, on the CPU."""

_SHARE = 4
"""The fraction of free GPU memory to use is one over this."""


@dataclass
class Stateless(EnsembleStrategy):
    """The ensemble without memory: all of a batch's events in one step, from the init state."""

    conformance = "approximate"
    reference: ClassVar[str | None] = "batched"
    stateful: ClassVar[bool] = False

    def bind(self, session: Session) -> None:
        """Load the weights; see ``EnsembleStrategy.model`` for what is raised."""
        from backtest.strategies.device import find_device
        from backtest.strategies.state_pool import bytes_of

        self._device = find_device(session.device)
        self._model = self.model(session, self._device)
        self._fresh = self._model.init_state(1)
        self._together = max(1, self._state_budget() // bytes_of(self._fresh))

    def _state_budget(self) -> int:
        import torch

        if self._device.type != "cuda":
            return _STATE_BYTES
        return int(torch.cuda.mem_get_info(self._device)[0]) // _SHARE

    def predict(self, batch: EventBatch) -> Float32Array:
        """float32 [n, 4]; see ``Strategy.predict``."""
        import torch

        from backtest.strategies.device import exact_float32, upload
        from backtest.strategies.state_tree import map_leaves

        if not len(batch):
            return np.empty((0, self.outputs), dtype=np.float32)
        assert batch.features is not None  # the engine decodes them: needs_features is true
        answers = []
        with exact_float32(), torch.inference_mode():
            for x in torch.split(upload(batch.features, self._device), self._together):
                shared = map_leaves(partial(_repeat, n=len(x)), self._fresh)
                answers.append(self._model(x, shared)[0])
            y: Float32Array = torch.cat(answers).cpu().numpy()
        return y


def _repeat(row: Tensor, n: int) -> Tensor:
    return row.expand(n, *row.shape[1:])
