"""One batch through the ensemble as kernel launches over slot-indexed state, tower by tower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from backtest.strategies.deferred_states import DeferredStates
from backtest.strategies.fused_tiles import LARGEST, Tiles
from backtest.strategies.fused_weights import FusedBlock, FusedWeights
from backtest.strategies.kernels.convolution import convolve
from backtest.strategies.kernels.deferred import Deferred
from backtest.strategies.kernels.hawk import rglru
from backtest.strategies.kernels.mamba2 import mamba2_entry, mamba2_exit, mamba2_state, mamba2_steps
from backtest.strategies.kernels.mlstm import (
    gate_tiles,
    mlstm_entry,
    mlstm_exit,
    mlstm_state,
    mlstm_steps,
)
from backtest.strategies.kernels.product import Precision, product
from backtest.strategies.kernels.residual import readout, residual_norm, rms_norm
from backtest.strategies.kernels.retnet import retnet_exit, retnet_state, retnet_steps
from backtest.strategies.kernels.runs import Runs
from backtest.strategies.kernels.sequence import matrix_sequence
from backtest.strategies.kernels.slstm import slstm_cell, slstm_entry, slstm_exit
from backtest.strategies.kernels.slstm_scan import fits, slstm_scan
from backtest.strategies.towers.mamba2 import HEAD_SIZE, STATE_SIZE

MAX_SPLIT = 8
"""Parts that a product is cut into, at most; one where there are more than ``LARGEST`` rows."""


@dataclass(frozen=True)
class Step:
    """The inputs and outputs of one batch, on the device.

    Attributes:
        features: float32 [B, F].
        runs: the rows' symbols.
        turns: events of one symbol that the batch holds at most.
        out: float32 [B, 4], written.
    """

    features: Tensor
    runs: Runs
    turns: int
    out: Tensor

    @property
    def is_history(self) -> bool:
        """Whether it holds many events of few symbols, rather than a few of many."""
        return self.runs.first is not None


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
        self._hidden = shapes["x"][0]
        words = max(rows, MAX_SPLIT * min(rows, LARGEST)) * self._hidden
        self._parts = torch.zeros(words, device=device)

    def cut(self, rows: int) -> dict[str, Tensor]:
        return {name: whole[:rows] for name, whole in self._whole.items()}

    def parts(self, split: int, rows: int) -> Tensor:
        words = split * rows * self._hidden
        return self._parts[:words].view(split, rows, self._hidden)


_Added: TypeAlias = tuple[Tensor, Tensor | None, Tensor | None]
"""What a layer adds to its block: a split product, and for xLSTM what its last norm needs."""


class _Leaves:
    """One block's state by the leaves' own names."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str) -> None:
        self._state = state
        self._prefix = prefix

    def __getitem__(self, name: str) -> Tensor:
        return self._state[self._prefix + name]


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
        self._precision = precision
        self._state = state
        self._tiles = tiles or Tiles(precision)
        self._deferred = deferred
        self._layers = (self._xlstm, self._mamba2, self._retnet, self._hawk)
        config, device = weights.config, weights.readout.device
        d, inner = config.hidden, 2 * config.hidden
        rounded = torch.float16 if precision == "fp16" else torch.float32
        common = {"x": (d,), "normed": (d,), "mlp": (config.mlp,)}
        shapes: tuple[dict[str, tuple[int, ...]], ...] = (
            {
                "t": (d,),
                "u": (d,),
                "c": (d,),
                "y": (d,),
                "y_rounded": (d,),
                "gates_if": (2 * d,),
                "gates_zo": (2 * d,),
                "x1": (d,),
                "up": (2 * inner,),
                "conv": (inner,),
                "qkv": (3, inner),
                "gates": (gate_tiles(inner), 2 * config.heads),
                "keep": (config.heads,),
                "scale": (config.heads,),
                "read": (inner,),
                "weight": (config.heads,),
                "h": (inner,),
            },
            {
                "up": (2 * inner + 2 * STATE_SIZE + inner // HEAD_SIZE,),
                "xbc": (inner + 2 * STATE_SIZE,),
                "keep": (inner // HEAD_SIZE,),
                "dt": (inner // HEAD_SIZE,),
                "y": (inner,),
                "h": (inner,),
            },
            {"up": (4 * d,), "q": (d,), "k": (d,), "y": (d,), "h": (d,)},
            {"up": (2 * d,), "conv": (d,), "u": (d,), "gates": (2 * d,), "h": (d,)},
        )
        products = dict.fromkeys(("normed", "mlp", "h", "u", "c", "y_rounded"), rounded)
        weight = weights.towers[0].blocks[0].layer["slstm.state"]
        self._scans = fits(weight, self._tiles.scan(weight))
        self._one = torch.ones(1, 1, device=device)
        self._arrived = torch.zeros(config.heads // 2, dtype=torch.int32, device=device)
        self._scratch = [_Scratch(common | own, products, rows, device) for own in shapes]

    def towers(self, step: Step) -> list[Callable[[], None]]:
        """One callable a tower that launches its kernels; they may run side by side."""
        return [partial(self._tower, step, t) for t in range(len(self.weights.towers))]

    def _tower(self, step: Step, index: int) -> None:
        weights = self.weights.towers[index]
        rows = step.features.shape[0]
        scratch = self._scratch[index]
        s = scratch.cut(rows)
        tiles = self._tiles
        first = tiles.features(rows, weights.up)
        product(
            step.features,
            weights.up,
            s["mlp"],
            first,
            "fp32",
            bias=weights.up_bias,
            relu=True,
            starts=True,
        )
        parts, bias = self._down(scratch, s["mlp"], weights.down), weights.down_bias
        for b, block in enumerate(weights.blocks):
            state = _Leaves(self._state, f"tower_{index}/block_{b}/")
            inner = self._layers[index](step, block, state, scratch, s, parts, bias, b)
            normed = s["normed"]
            residual_norm(
                s["x"], inner[0], block.norm2, normed, inner=inner[1], inner_weight=inner[2]
            )
            self._up(normed, block.up, s["mlp"], bias=block.up_bias, relu=True)
            parts, bias = self._down(scratch, s["mlp"], block.down), block.down_bias
        w = self.weights
        since = self._deferred.since.get(index) if self._deferred else None
        last = w.readout, w.readout_bias
        readout(
            s["x"], parts, bias, last, (step.out, index), step.runs, since, written=step.is_history
        )

    def _sequence(
        self,
        tower: int,
        block: int,
        qkv: tuple[Tensor, Tensor, Tensor],
        steps: tuple[Tensor, Tensor],
        state: Tensor,
        runs: Runs,
        out: Tensor,
    ) -> None:
        columns, warps = self._tiles.sequence(tower)
        matrix_sequence(
            qkv,
            steps,
            state,
            runs,
            out,
            transposed=tower == 1,
            deferred=self._lag(tower, block),
            columns=columns,
            warps=warps,
        )

    def _lag(self, tower: int, block: int) -> Deferred | None:
        return self._deferred[tower, block] if self._deferred else None

    def _up(
        self,
        x: Tensor,
        weight: Tensor,
        out: Tensor,
        *,
        bias: Tensor | None = None,
        relu: bool = False,
    ) -> None:
        tile = self._tiles.up(x.shape[0], weight)
        product(x, weight, out, tile, self._precision, bias=bias, relu=relu)

    def _down(self, scratch: _Scratch, x: Tensor, weight: Tensor) -> Tensor:
        tile = self._tiles.down(x.shape[0], weight)
        parts = scratch.parts(tile.split, x.shape[0])
        product(x, weight, parts, tile, self._precision)
        return parts

    def _xlstm(
        self,
        step: Step,
        block: FusedBlock,
        state: _Leaves,
        scratch: _Scratch,
        s: dict[str, Tensor],
        parts: Tensor,
        bias: Tensor,
        number: int,
    ) -> _Added:
        w, runs, config = block.layer, step.runs, self.weights.config
        rows = s["x"].shape[0]
        slstm_entry(
            s["x"],
            parts,
            bias,
            (block.norm1, w["slstm.norm"]),
            (w["slstm.taps"], w["slstm.taps_bias"], state["slstm.conv"]),
            runs,
            (s["t"], s["u"], s["c"]),
            first=number == 0,
        )
        gates = w["slstm.input"], w["slstm.state"], w["slstm.bias"]
        cell = state["slstm.y"], state["slstm.c"], state["slstm.n"], state["slstm.m"]
        if not (step.is_history and self._scans):
            tile = self._tiles.cell(rows, w["slstm.input"])
            for turn in range(step.turns):
                slstm_cell(s["c"], s["u"], gates, cell, s["y"], runs, turn, tile, self._precision)
        else:
            tile = self._tiles.scan(w["slstm.state"])
            self._up(s["c"], w["slstm.input"][:, :2].flatten(1, 2), s["gates_if"])
            self._up(s["u"], w["slstm.input"][:, 2:].flatten(1, 2), s["gates_zo"])
            self._arrived.zero_()
            slstm_scan(
                (s["gates_if"], s["gates_zo"]),
                gates[1:],
                cell,
                runs,
                (s["y"], s["y_rounded"] if s["c"].dtype == torch.float16 else s["y"]),
                self._arrived,
                tile,
                self._precision,
            )
        slstm_exit(
            s["y"],
            s["t"],
            (w["slstm.group_norm"], w["slstm.group_norm_bias"], w["mlstm.norm"]),
            state["slstm.y"],
            runs,
            (s["x1"], s["normed"]),
            config.heads // 2,
        )
        up, inner = s["up"], 2 * config.hidden
        self._up(s["normed"], w["mlstm.up"], up)
        conv = w["mlstm.taps"], w["mlstm.taps_bias"], state["mlstm.conv"]
        mlstm_entry(
            up[:, :inner],
            conv,
            w["mlstm.qkv"],
            w["mlstm.gates"],
            runs,
            (s["conv"], s["qkv"], s["gates"]),
        )
        gates_in = s["gates"], w["mlstm.gates_bias"]
        matrix, vectors = state["mlstm.C"], (state["mlstm.n"], state["mlstm.m"])
        if step.is_history:
            mlstm_steps(s["qkv"], *gates_in, vectors, runs, (s["keep"], s["scale"], s["weight"]))
            q, k, v = s["qkv"].view(rows, 3, config.heads, -1).unbind(1)
            self._sequence(0, number, (q, k, v), (s["keep"], s["scale"]), matrix, runs, s["read"])
        else:
            columns, warps = self._tiles.mlstm
            mlstm_state(
                s["qkv"],
                *gates_in,
                (matrix, *vectors),
                runs,
                (s["read"], s["weight"]),
                deferred=self._lag(0, number),
                columns=columns,
                warps=warps,
            )
        mlstm_exit(
            s["read"],
            s["weight"],
            s["conv"],
            up[:, inner:],
            (w["mlstm.outnorm"], w["mlstm.outnorm_bias"], w["mlstm.skip"]),
            gates_in,
            state["mlstm.m"],
            runs,
            s["h"],
        )
        return self._down(scratch, s["h"], w["mlstm.down"]), s["x1"], w["final_norm"]

    def _mamba2(
        self,
        step: Step,
        block: FusedBlock,
        state: _Leaves,
        scratch: _Scratch,
        s: dict[str, Tensor],
        parts: Tensor,
        bias: Tensor,
        number: int,
    ) -> _Added:
        w, runs, inner = block.layer, step.runs, 2 * self.weights.config.hidden
        residual_norm(s["x"], parts, block.norm1, s["normed"], bias=bias, first=number == 0)
        up = s["up"]
        self._up(s["normed"], w["up"], up)
        z = inner + 2 * STATE_SIZE
        conv = state["x_conv"], state["b_conv"], state["c_conv"]
        mamba2_entry(up, (w["taps"], w["taps_bias"]), conv, runs, s["xbc"])
        heads, gate, dt = (w["a"], w["d"], w["dt_bias"]), up[:, z : z + inner], up[:, z + inner :]
        if step.is_history:
            steps = s["keep"], s["dt"]
            mamba2_steps(dt, (w["a"], w["dt_bias"]), steps)
            x, b, c = torch.split(s["xbc"], [inner, STATE_SIZE, STATE_SIZE], dim=1)
            q, k = (shared[:, None].expand(-1, len(w["a"]), -1) for shared in (c, b))
            qkv = q, k, x.view(len(x), -1, HEAD_SIZE)
            self._sequence(1, number, qkv, steps, state["ssm"], runs, s["y"])
            mamba2_exit(s["y"], s["xbc"], gate, w["d"], w["norm"], s["h"])
        else:
            mamba2_state(
                s["xbc"],
                gate,
                dt,
                heads,
                state["ssm"],
                runs,
                s["y"],
                deferred=self._lag(1, number),
                warps=self._tiles.mamba2,
            )
            rms_norm(s["y"], w["norm"], s["h"], 1e-5)
        return self._down(scratch, s["h"], w["down"]), None, None

    def _retnet(
        self,
        step: Step,
        block: FusedBlock,
        state: _Leaves,
        scratch: _Scratch,
        s: dict[str, Tensor],
        parts: Tensor,
        bias: Tensor,
        number: int,
    ) -> _Added:
        w, runs, hidden = block.layer, step.runs, self.weights.config.hidden
        residual_norm(s["x"], parts, block.norm1, s["normed"], bias=bias, first=number == 0)
        up = s["up"]
        self._up(s["normed"], w["up"], up)
        decay, angle = w["decay"], w["angle"]
        if step.is_history:
            retnet_steps(up, angle, state["offset"], runs, (s["q"], s["k"]))
            rows, heads = len(up), len(decay)
            v = up[:, 2 * hidden : 3 * hidden].view(rows, heads, -1)
            qkv = s["q"].view(v.shape), s["k"].view(v.shape), v
            steps = decay.expand(rows, -1), self._one.expand(rows, heads)
            self._sequence(2, number, qkv, steps, state["S"], runs, s["y"])
        else:
            columns, warps = self._tiles.retnet
            retnet_state(
                up,
                (decay, angle),
                state["offset"],
                state["S"],
                runs,
                s["y"],
                deferred=self._lag(2, number),
                columns=columns,
                warps=warps,
            )
        scale = state["offset"], state["scale"]
        retnet_exit(s["y"], up[:, 3 * hidden :], decay, scale, runs, s["h"])
        return self._down(scratch, s["h"], w["down"]), None, None

    def _hawk(
        self,
        step: Step,
        block: FusedBlock,
        state: _Leaves,
        scratch: _Scratch,
        s: dict[str, Tensor],
        parts: Tensor,
        bias: Tensor,
        number: int,
    ) -> _Added:
        w, runs, hidden = block.layer, step.runs, self.weights.config.hidden
        residual_norm(s["x"], parts, block.norm1, s["normed"], bias=bias, first=number == 0)
        up = s["up"]
        self._up(s["normed"], w["up"], up)
        conv = w["taps"], w["taps_bias"], state["conv"]
        convolve(up[:, hidden:], conv, runs, (s["conv"], s["u"]), activate=False)
        self._up(s["u"], w["gates"], s["gates"])
        blocks = w["gates"].shape[0]
        gates = s["gates"].view(-1, blocks, 2, hidden // blocks)
        rglru(gates, s["conv"], up[:, :hidden], w["log_a"], state["h"], runs, s["h"])
        return self._down(scratch, s["h"], w["down"]), None, None
