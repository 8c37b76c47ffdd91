"""A model's step over a pool's slots as CUDA graphs, one for each bucket of batch sizes.

A batch is rounded up to the next bucket; the rows added read and write the pool's spare slot. What
is left for Python at each batch is to fill two arrays in pinned memory and to replay a graph.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from backtest.events import Float32Array, Int64Array
from backtest.strategies.device import exact_float32
from backtest.strategies.graphs import Branches, Fields, Replay
from backtest.strategies.pooled import StepModel
from backtest.strategies.state_pool import SymbolStatePool
from backtest.strategies.state_tree import named_leaves

_log = logging.getLogger(__name__)

_BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_SLACK = 64
"""Roundings, in units of the dtype's epsilon, by which a replay may differ from the plain step."""

_Bucket: TypeAlias = tuple[Float32Array, Int64Array, Float32Array, Callable[[], None]]
"""Host arrays of features, slots and answers, and what replays the step."""


def bucket_sizes(capacity: int) -> list[int]:
    """The batch sizes that steps are captured for, rising; the last serves all larger batches."""
    last = min(capacity, _BUCKETS[-1])
    return [*(size for size in _BUCKETS if size < last), last]


class CapturedSteps:
    """The model's step, captured. On a CPU nothing is captured; the arrays and buckets are alike.

    Args:
        model: steps a batch; it must allocate the same and launch the same at every call.
        pool: whose slots the steps read and write. All slots hold the init state.
        features: numbers read for each event.
        outputs: predictions for each event.

    Raises:
        torch.OutOfMemoryError: the buckets' buffers do not fit.
    """

    def __init__(
        self, model: StepModel, pool: SymbolStatePool, features: int, outputs: int
    ) -> None:
        self._model = model
        self._pool = pool
        self._features = features
        self._outputs = outputs
        self._streams = Branches(pool.device, 1)
        self._sizes = bucket_sizes(pool.capacity)
        self._largest = self._sizes[-1]
        with exact_float32(), torch.inference_mode():
            # The largest first: the others then fit into the memory that it took.
            self._replays = {size: self._capture(size) for size in reversed(self._sizes)}
        buckets = {size: _bucket(replay) for size, replay in self._replays.items()}
        self._bucket_of = [
            buckets[next(size for size in self._sizes if size >= count)]
            for count in range(self._largest + 1)
        ]

    @property
    def captured(self) -> bool:
        """Whether every bucket is a graph."""
        return all(replay.captured for replay in self._replays.values())

    def run(self, features: Float32Array, slots: Int64Array) -> Float32Array:
        """Answer one event of each of the distinct slots [n] and advance their state.

        Args:
            features: [n, F], in any memory order.
            slots: distinct slots of the pool, [n].

        Returns:
            float32 [n, outputs].
        """
        n = len(slots)
        if n > self._largest:
            size = self._largest
            pieces = [slice(start, start + size) for start in range(0, n, size)]
            return np.concatenate([self.run(features[at], slots[at]) for at in pieces])
        x, slot, y, replay = self._bucket_of[n]
        x[:n] = features
        slot[:n] = slots
        slot[n:] = self._pool.spare
        replay()
        return y[:n].copy()

    def disagreement(self) -> str | None:
        """What differs between replays and the plain step on fresh rows; ``None``: nothing does.

        Two steps of every bucket, from the init state, which the slots hold again afterwards.
        """
        random = np.random.default_rng(0)
        with exact_float32(), torch.inference_mode():
            for size in self._sizes:
                slots = random.permutation(self._pool.capacity)[:size]
                on_device = torch.from_numpy(slots).to(self._pool.device)
                before = state = self._pool.gather(on_device)
                for _ in range(2):
                    x = random.standard_normal((size, self._features), dtype=np.float32)
                    y, state = self._model(torch.from_numpy(x).to(self._pool.device), state)
                    found = torch.from_numpy(self.run(x, slots))
                    wanted = {"the answers": y.float().reshape(size, -1).cpu()}
                    wanted |= dict(named_leaves(state))
                    kept = dict(named_leaves(self._pool.gather(on_device)))
                    different = _first_difference({"the answers": found, **kept}, wanted)
                    if different:
                        return f"{different} at batches of {size}"
                self._pool.scatter(on_device, before)
        return None

    def _capture(self, size: int) -> Replay:
        inputs = Fields(
            {
                "features": ((size, self._features), torch.float32),
                "slots": ((size,), torch.int64),
            },
            self._pool.device,
        )
        outputs = Fields({"answers": ((size, self._outputs), torch.float32)}, self._pool.device)
        inputs.host["slots"][:] = self._pool.spare

        def step() -> None:
            slots = inputs.device["slots"]
            y, state = self._model(inputs.device["features"], self._pool.gather(slots))
            self._pool.scatter(slots, state)
            outputs.device["answers"].copy_(y.reshape(size, -1))

        return Replay(self._streams, inputs, [step], outputs)


def capture_steps(
    model: StepModel, pool: SymbolStatePool, features: int, outputs: int
) -> CapturedSteps | None:
    """The model's steps as graphs; ``None``, and a warning that says why, if that cannot be."""
    try:
        steps = CapturedSteps(model, pool, features, outputs)
    except torch.OutOfMemoryError as error:
        _log.warning("no CUDA graphs: %s", str(error).partition(". ")[0])
        return None
    if not steps.captured:
        return None  # ``Replay`` has said why
    different = steps.disagreement()
    if different:
        _log.warning(
            "no CUDA graphs: replaying the module's step changes %s, so it is run as it is",
            different,
        )
        with torch.inference_mode():
            _refill(pool)
        return None
    return steps


def _bucket(replay: Replay) -> _Bucket:
    inputs = replay.inputs.host
    return inputs["features"], inputs["slots"], replay.outputs.host["answers"], replay.run


def _refill(pool: SymbolStatePool) -> None:
    slots = torch.arange(pool.capacity, device=pool.device)
    pool.scatter(slots, pool.fresh(pool.capacity))


def _first_difference(found: dict[str, Tensor], wanted: dict[str, Any]) -> str | None:
    for name, right in wanted.items():
        if not right.dtype.is_floating_point:
            if not torch.equal(found[name], right):
                return name
            continue
        scale = max(1.0, float(right.nan_to_num(0, 0, 0).abs().max()))
        slack = _SLACK * torch.finfo(right.dtype).eps * scale
        if not torch.allclose(found[name], right, rtol=0, atol=slack, equal_nan=True):
            return name
    return None
