"""``fused``: the ensemble in kernels of its own, over state that is updated where it lies.

A batch is one CUDA graph: one copy in and the four towers side by side, which write their answers
straight to the host. Weights are read once a batch, and the state of each of its symbols at most
read and written once, however many events a symbol has in it. Histories (pass 2) go through in
thousands of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import Float32Array, Int32Array, Int64Array
from backtest.errors import RunError, UsageError
from backtest.market.events import EventBatch
from backtest.strategies.base import Conformance, Session, StateArrays
from backtest.strategies.ensemble_strategy import EnsembleStrategy
from backtest.strategies.fused.batch_order import Chunk, one_each, split_runs
from backtest.strategies.rounds import within_capacity

# torch and triton are imported where they are used, so that listing strategies does not load them.
if TYPE_CHECKING:
    import torch

    from backtest.strategies.graphs import GraphReplay
    from backtest.strategies.state_pool import SymbolStatePool
    from backtest.strategies.state_tree import Tree

ROWS = (1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 112, 128)
"""Batch sizes that graphs are captured for; a batch is padded to the next, or cut."""

TURNS = (1, 2, 4, 8)
"""The same for events of one symbol in a batch; at most ``DEPTH`` of ``kernels/deferred.py``."""

_COPIES = 1.2
"""A slot with its rings, and memory for graphs and intermediate results."""

HISTORY = 2 * ROWS[-1] + 1
"""Events from which on a call is taken for a piece of history, not for a batch of a server."""


@dataclass
class Fused(EnsembleStrategy):
    """The ensemble in fused kernels; needs triton and an NVIDIA GPU.

    Args:
        precision: ``fp32`` keeps products as accurate as plain float32 (three TF32 products each):
            exact. ``tf32`` rounds what products read to TF32; ``fp16`` stores weights and product
            inputs in float16: both close. Accumulation, residuals, norms, gates and state are
            float32 in all of them.
    """

    precision: Literal["fp32", "tf32", "fp16"] = "fp16"

    conformance = cast("Conformance | None", "close")
    reference: ClassVar[str | None] = "batched"

    def __post_init__(self) -> None:
        if self.precision == "fp32":
            self.conformance = "exact"

    def bind(self, session: Session) -> None:
        """Load the weights, allocate all state and capture the graphs.

        Raises:
            DataError: the checkpoint cannot be used, or a weight is beyond float16's range.
            UsageError: no such device, none that kernels run on, or a capacity below 1.
            RunError: weights and state do not fit into the device's memory.
        """
        import torch

        from backtest.strategies.device import find_device

        if session.capacity is not None and session.capacity < 1:
            raise UsageError(f"the capacity is {session.capacity}; it must be at least 1")
        self._device = find_device(session.device)
        _check_kernels_run(self._device)
        try:
            with torch.inference_mode():
                self._allocate(session)
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory on {session.device}: {str(error).partition('. ')[0]}",
                remedy="Keep the state of fewer symbols on the device: lower the capacity.",
            ) from None

    def _allocate(self, session: Session) -> None:
        import torch

        from backtest.strategies.fused.deferred_states import DeferredStates
        from backtest.strategies.fused.histories import ROWS as HISTORY_ROWS
        from backtest.strategies.fused.histories import SequenceSteps
        from backtest.strategies.fused.towers import FusedEnsemble, scratch_bytes
        from backtest.strategies.fused.weights import prepare
        from backtest.strategies.graphs import Branches
        from backtest.strategies.state_pool import SymbolStatePool
        from backtest.strategies.towers import TOWERS

        weights = prepare(self.model(session, self._device), self.precision)
        config = weights.config

        def init_state(n: int) -> Tree:
            return {
                f"tower_{t}": {
                    f"block_{b}": tower.init_state(config, n, dtype=torch.float32)
                    for b in range(config.depth)
                }
                for t, tower in enumerate(TOWERS)
            }

        self._pool: SymbolStatePool = SymbolStatePool(
            init_state,
            symbols=len(session.symbols),
            device=self._device,
            capacity=session.capacity,
            copies=_COPIES,
            reserve=sum(
                scratch_bytes(config, self.precision, rows) for rows in (ROWS[-1], HISTORY_ROWS)
            ),
        )
        self._deferred = deferred = DeferredStates(self._pool.tensors, config.depth)
        self._pool.watcher = deferred
        self._ensemble = FusedEnsemble(
            weights, self.precision, self._pool.tensors, ROWS[-1], deferred=deferred
        )
        self._streams = Branches(self._device, len(TOWERS))
        self._sequences = SequenceSteps(
            weights, self.precision, self._pool.tensors, deferred, self._streams
        )
        self._replays: dict[tuple[int, int], GraphReplay] = {}
        if self._streams.captures:
            for turns in TURNS:
                for rows in ROWS:
                    if turns <= rows:
                        self._replay(rows, turns)

    def _replay(self, rows: int, turns: int) -> GraphReplay:
        """The step for a bucket, made on first use."""
        import torch

        from backtest.strategies.fused.layers import Step
        from backtest.strategies.graphs import Fields, GraphReplay
        from backtest.strategies.kernels.runs import Runs

        if (rows, turns) not in self._replays:
            features = self._ensemble.weights.config.features
            shapes = dict.fromkeys(("slot", "turn", "count"), ((rows,), torch.int32))
            shape = rows, features
            inputs = Fields({**shapes, "x": (shape, torch.float32)}, self._device, "kernel")
            inputs.host["slot"][:] = -1
            y = (rows, self.outputs), torch.float32
            outputs = Fields({"y": y}, self._device, "mapped")
            x = inputs.device
            runs = Runs(x["slot"], x["turn"], x["count"])
            step = Step(x["x"], runs, turns, outputs.device["y"])
            branches = self._ensemble.towers(step)
            self._replays[rows, turns] = GraphReplay(self._streams, inputs, branches, outputs)
        return self._replays[rows, turns]

    def predict(self, batch: EventBatch) -> Float32Array:
        """float32 [n, 4]; see ``Strategy.predict``."""
        import torch

        answers = np.empty((len(batch), self.outputs), dtype=np.float32)
        if not len(batch):
            return answers
        assert batch.features is not None  # the engine decodes them: needs_features is true
        n, capacity = len(batch), self._pool.capacity
        distinct = len(set(batch.symbol.tolist()))
        with torch.inference_mode():
            if n == distinct <= min(capacity, ROWS[-1]):  # the common case: nothing to sort
                slot = self._pool.place(batch.symbol.astype(np.int64))
                self._serve(one_each(n), batch.features, slot, answers)
                return answers
            if distinct <= capacity:
                self._answer(batch.features, batch.symbol, answers)
                return answers
            with self._pool.all_or_nothing() as keep:
                for rows in within_capacity(batch.symbol, capacity):
                    symbol = batch.symbol[rows]
                    keep(symbol)
                    part = answers[rows]
                    self._answer(batch.features[rows], symbol, part)
                    answers[rows] = part
        return answers

    def _answer(self, features: Float32Array, symbol: Int32Array, out: Float32Array) -> None:
        distinct, place = np.unique(symbol, return_inverse=True)
        slot = self._pool.place(distinct.astype(np.int64))[place]
        if len(symbol) >= HISTORY:
            self._sequences.answer(features, symbol, slot, out)
            return
        for chunk in split_runs(symbol, rows=ROWS[-1], turns=TURNS[-1]):
            self._serve(chunk, features, slot, out)

    def _serve(
        self, chunk: Chunk, features: Float32Array, slot: Int64Array, out: Float32Array
    ) -> None:
        n = len(chunk.rows)
        rows = next(size for size in ROWS if size >= n)
        turns = next(size for size in TURNS if size >= chunk.turns)
        replay = self._replay(rows, turns)
        host = replay.inputs.host
        np.take(features, chunk.rows, axis=0, out=host["x"][:n])
        host["x"][n:] = 0
        host["slot"][:n] = slot[chunk.rows]
        host["slot"][n:] = -1
        host["turn"][:n] = chunk.turn
        host["turn"][n:] = 0
        host["count"][:n] = chunk.count
        host["count"][n:] = 0
        replay.run()
        out[chunk.rows] = replay.outputs.host["y"][:n]

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Copies of the symbols' state under the leaves' canonical paths."""
        return self._pool.snapshot(symbols)

    def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
        """Set the symbols' state to what ``snapshot`` returned."""
        self._pool.restore(symbols, state)

    def reset(self, symbols: Sequence[int]) -> None:
        """Give the symbols the state of one never seen."""
        self._pool.reset(symbols)

    def memory_traffic(self) -> tuple[int, int]:
        """See ``Strategy.memory_traffic``; most writes of matrix states are deferred."""
        from backtest.strategies.state_pool import bytes_of

        saved = self._deferred.bytes_saved
        return self._ensemble.weights.bytes, 2 * bytes_of(self._pool.init) - saved


def _check_kernels_run(device: torch.device) -> None:
    """Kernels are compiled for CUDA, or interpreted on the CPU under ``TRITON_INTERPRET=1``."""
    from triton import knobs

    if device.type != "cuda" and not knobs.runtime.interpret:
        raise UsageError(
            f"fused kernels do not run on {str(device)!r}",
            remedy="Use an NVIDIA GPU (cuda:0), or the strategy batched.",
        )
