"""Histories through the fused ensemble: thousands of events at once, many of each symbol.

What batches over time is one large product a weight; a symbol's matrix states are read once, taken
through all of its events in registers, and written once; only sLSTM takes turns. Kernels are
launched one by one: each does so much that launching them hides behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from backtest.core.arrays import Float32Array, Int32Array, Int64Array
from backtest.strategies.fused.batch_order import Chunk, split_runs
from backtest.strategies.fused.layers import Step
from backtest.strategies.fused.towers import FusedEnsemble
from backtest.strategies.graphs import Branches, Fields
from backtest.strategies.kernels.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from backtest.strategies.fused.deferred_states import DeferredStates
    from backtest.strategies.fused.weights import FusedWeights
    from backtest.strategies.kernels.product import Precision

ROWS = 4096
"""Events that go through the ensemble together: enough to keep the matrix units busy."""


class SequenceSteps:
    """The fused ensemble over many events of each symbol.

    Args:
        weights: prepared weights.
        precision: what products do.
        state: the pool's tensors by canonical name, float32 [slots, ...].
        deferred: what matrix states lag behind.
        streams: one a tower.
    """

    def __init__(
        self,
        weights: FusedWeights,
        precision: Precision,
        state: Mapping[str, Tensor],
        deferred: DeferredStates,
        streams: Branches,
    ) -> None:
        self._streams = streams
        self._ensemble = FusedEnsemble(weights, precision, state, ROWS, deferred=deferred)
        integers = dict.fromkeys(("slot", "turn", "count", "first"), ((ROWS,), torch.int32))
        self._inputs = Fields(
            {**integers, "x": ((ROWS, weights.config.features), torch.float32)}, streams.device
        )
        self._outputs = Fields({"y": ((ROWS, 4), torch.float32)}, streams.device)

    def answer(
        self, features: Float32Array, symbol: Int32Array, slot: Int64Array, out: Float32Array
    ) -> None:
        """Answer events and advance their symbols' state.

        Args:
            features: [n, F].
            symbol: whose events they are, [n], in time order.
            slot: the slot of each event's symbol, [n].
            out: float32 [n, 4], written.
        """
        # Symbols keep abreast of each other, so that sLSTM has many of them in every turn.
        abreast = max(1, ROWS // len(np.unique(symbol)))
        for chunk in split_runs(symbol, rows=ROWS, turns=abreast):
            self._serve(chunk, features, slot, out)

    def _serve(
        self, chunk: Chunk, features: Float32Array, slot: Int64Array, out: Float32Array
    ) -> None:
        n, first = len(chunk.rows), np.flatnonzero(chunk.count)
        host, device = self._inputs.host, self._inputs.device
        np.take(features, chunk.rows, axis=0, out=host["x"][:n])
        host["slot"][:n] = slot[chunk.rows]
        host["turn"][:n] = chunk.turn
        host["count"][:n] = chunk.count
        host["first"][: len(first)] = first
        runs = Runs(
            device["slot"][:n],
            device["turn"][:n],
            device["count"][:n],
            device["first"][: len(first)],
        )
        step = Step(device["x"][:n], runs, chunk.turns, self._outputs.device["y"][:n])
        self._streams.launch(self._inputs, self._ensemble.towers(step), self._outputs)
        self._streams.wait()
        out[chunk.rows] = self._outputs.host["y"][:n]
