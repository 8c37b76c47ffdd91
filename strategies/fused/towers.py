"""One batch through the ensemble as kernel launches over slot-indexed state, tower by tower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod

import torch
from torch import Tensor

from backtest.strategies.ensemble import EnsembleConfig
from backtest.strategies.fused.deferred_states import DeferredStates
from backtest.strategies.fused.layers import MAX_SPLIT, Layers, Leaves, Place, Step, TowerBatch
from backtest.strategies.fused.tiles import LARGEST, Tiles
from backtest.strategies.fused.weights import FusedWeights
from backtest.strategies.kernels.chunks import EVENTS, parts_of
from backtest.strategies.kernels.mlstm import gate_tiles
from backtest.strategies.kernels.product import Precision, product
from backtest.strategies.kernels.residual import readout, residual_norm
from backtest.strategies.towers.mamba2 import HEAD_SIZE, STATE_SIZE


class _Scratch:
    """One tower's intermediate results, for up to ``rows`` rows; ``cut`` gives views of fewer."""

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        options: Mapping[str, torch.dtype],
        rows: int,
        device: torch.device,
    ) -> None:
        self._whole = {
            name: torch.zeros((rows, *shape), dtype=options.get(name, torch.float32), device=device)
            for name, shape in shapes.items()
        }
        self._parts = torch.zeros(_part_words(rows, shapes["x"][0]), device=device)

    def cut(self, step: Step, tower: int) -> TowerBatch:
        rows = len(step.features)
        own = {name: whole[:rows] for name, whole in self._whole.items()}
        return TowerBatch(step, tower, own, self._parts)


_ROUNDED = "normed", "mlp", "h", "u", "c", "y_rounded", "qkv_rounded", "xbc_rounded"
"""What products read, by name."""


def _shapes(config: EnsembleConfig) -> list[dict[str, tuple[int, ...]]]:
    """Each tower's intermediate results, a row."""
    d, inner, heads = config.hidden, 2 * config.hidden, config.heads
    small = inner // HEAD_SIZE  # Mamba2's heads

    def chunks(heads: int) -> dict[str, tuple[int, ...]]:
        return {"shares": (heads, EVENTS), **dict.fromkeys(("unit", "begin", "end"), (heads,))}

    xlstm = {
        "t": (d,),
        "u": (d,),
        "c": (d,),
        "y": (d,),
        "y_rounded": (d,),
        "cell": (4 * d,),
        "x1": (d,),
        "up": (2 * inner,),
        "conv": (inner,),
        "qkv": (3, inner),
        "qkv_rounded": (3, inner),
        "gates": (gate_tiles(inner), 2 * heads),
        "keep": (heads,),
        "scale": (heads,),
        "read": (parts_of(inner // heads) * inner,),
        "weight": (heads,),
        "h": (inner,),
    }
    mamba2 = {
        "up": (2 * inner + 2 * STATE_SIZE + small,),
        "xbc": (inner + 2 * STATE_SIZE,),
        "xbc_rounded": (inner + 2 * STATE_SIZE,),
        "keep": (small,),
        "dt": (small,),
        "y": (inner,),
        "h": (inner,),
    }
    retnet = {
        "up": (4 * d,),
        "qkv_rounded": (3, d),
        "y": (parts_of(d // heads) * d,),
        "h": (d,),
    }
    hawk: dict[str, tuple[int, ...]] = {
        "up": (2 * d,),
        "conv": (d,),
        "u": (d,),
        "gates": (2 * d,),
        "h": (d,),
    }
    common = {"x": (d,), "normed": (d,), "mlp": (config.mlp,)}
    return [
        common | xlstm | chunks(heads),
        common | mamba2 | chunks(small),
        common | retnet | chunks(heads),
        common | hawk,
    ]


def scratch_bytes(config: EnsembleConfig, precision: Precision, rows: int) -> int:
    """What the intermediate results of a ``FusedEnsemble`` take."""
    types, towers = _types(precision), _shapes(config)
    row = sum(
        prod(shape) * types.get(name, torch.float32).itemsize
        for shapes in towers
        for name, shape in shapes.items()
    )
    return rows * row + 4 * len(towers) * _part_words(rows, config.hidden)


def _types(precision: Precision) -> dict[str, torch.dtype]:
    """The types of what is not float32."""
    rounded = torch.float16 if precision == "fp16" else torch.float32
    return dict.fromkeys(_ROUNDED, rounded) | {"shares": torch.float16}


def _part_words(rows: int, hidden: int) -> int:
    """Numbers in all parts of a product back to the hidden size."""
    return max(rows, MAX_SPLIT * min(rows, LARGEST)) * hidden


class FusedEnsemble:
    """The ensemble over slot-indexed state, updated in place.

    Args:
        weights: prepared weights.
        precision: what products do.
        state: the pool's tensors by canonical name, float32 [slots, ...].
        rows: the largest batch.
        tiles: how products are cut up; by default what was measured to be best.
        deferred: what matrix states lag behind; ``None``: they are written with every batch.
    """

    def __init__(
        self,
        weights: FusedWeights,
        precision: Precision,
        state: Mapping[str, Tensor],
        rows: int,
        tiles: Tiles | None = None,
        deferred: DeferredStates | None = None,
    ) -> None:
        self.weights = weights
        self._state = state
        self._deferred = deferred
        self.layers = Layers(weights, precision, tiles or Tiles(precision), deferred)
        device, types = weights.readout.device, _types(precision)
        self._scratch = [_Scratch(own, types, rows, device) for own in _shapes(weights.config)]

    def towers(self, step: Step) -> list[Callable[[], None]]:
        """One callable a tower that launches its kernels; they may run side by side."""
        return [partial(self._tower, step, t) for t in range(len(self.weights.towers))]

    def _tower(self, step: Step, index: int) -> None:
        weights, layers = self.weights.towers[index], self.layers
        batch = self._scratch[index].cut(step, index)
        s = batch.scratch
        product(
            step.features,
            weights.up,
            s["mlp"],
            layers.tiles.features(len(step.features), weights.up),
            "fp32",
            bias=weights.up_bias,
            relu=True,
            starts=True,
        )
        before = layers.down(batch, s["mlp"], weights.down), weights.down_bias
        for b, block in enumerate(weights.blocks):
            place = Place(b, Leaves(self._state, f"tower_{index}/block_{b}/"))
            parts, inner, inner_weight = layers.by_tower[index](batch, block, place, before)
            residual_norm(
                s["x"], parts, block.norm2, s["normed"], inner=inner, inner_weight=inner_weight
            )
            layers.up(batch, s["normed"], block.up, s["mlp"], bias=block.up_bias, relu=True)
            before = layers.down(batch, s["mlp"], block.down), block.down_bias
        last = self.weights.readout, self.weights.readout_bias
        since = self._deferred.since.get(index) if self._deferred else None
        readout(s["x"], *before, last, (step.out, index), step.runs, since, written=step.is_history)
