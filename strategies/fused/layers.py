"""The layers of the fused ensemble as kernel launches: which kernels, on what, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from backtest.strategies.fused.deferred_states import DeferredStates
from backtest.strategies.fused.tiles import Tiles
from backtest.strategies.fused.weights import FusedBlock, FusedWeights
from backtest.strategies.kernels.chunks import Prepared, matrix_chunks, parts_of
from backtest.strategies.kernels.convolution import convolve
from backtest.strategies.kernels.deferred import Deferred
from backtest.strategies.kernels.hawk import rglru
from backtest.strategies.kernels.mamba2 import mamba2_entry, mamba2_exit, mamba2_state, mamba2_steps
from backtest.strategies.kernels.mlstm import (
    mlstm_entry,
    mlstm_exit,
    mlstm_state,
    mlstm_steps,
)
from backtest.strategies.kernels.product import Precision, product
from backtest.strategies.kernels.residual import residual_norm, rms_norm
from backtest.strategies.kernels.retnet import retnet_exit, retnet_state, retnet_steps
from backtest.strategies.kernels.runs import Runs
from backtest.strategies.kernels.sequence import matrix_sequence
from backtest.strategies.kernels.slstm import slstm_entry, slstm_exit
from backtest.strategies.kernels.slstm_cell import most_rows, slstm_cell
from backtest.strategies.kernels.slstm_scan import fits, slstm_scan
from backtest.strategies.towers.mamba2 import HEAD_SIZE, STATE_SIZE

MAX_SPLIT = 8
"""Parts that a product is cut into, at most; one where there are more than ``LARGEST`` rows."""

Before: TypeAlias = tuple[Tensor, Tensor]
"""A layer's input besides the residual stream: a split product, and its bias."""

Added: TypeAlias = tuple[Tensor, Tensor | None, Tensor | None]
"""What a layer adds to its block: a split product, and for xLSTM what its last norm needs."""


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


@dataclass(frozen=True)
class TowerBatch:
    """A step in one tower.

    Attributes:
        step: the step.
        tower: which tower.
        scratch: the tower's intermediate results by name, [B, ...].
        parts: buffer for the parts of a product back to the hidden size.
    """

    step: Step
    tower: int
    scratch: Mapping[str, Tensor]
    parts: Tensor


class Leaves:
    """One block's state by the leaves' own names."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str) -> None:
        self._state = state
        self._prefix = prefix

    def __getitem__(self, name: str) -> Tensor:
        return self._state[self._prefix + name]


@dataclass(frozen=True)
class Place:
    """Which block it is, and its state."""

    block: int
    state: Leaves


class Layers:
    """Launches layers, tower by tower.

    Args:
        weights: prepared weights.
        precision: what products do.
        tiles: how they are cut up.
        deferred: what matrix states lag behind; ``None``: they are written with every batch.
    """

    def __init__(
        self,
        weights: FusedWeights,
        precision: Precision,
        tiles: Tiles,
        deferred: DeferredStates | None,
    ) -> None:
        self.tiles = tiles
        self._config = weights.config
        self._precision = precision
        self._deferred = deferred
        self.by_tower = (self.xlstm, self.mamba2, self.retnet, self.hawk)
        recurrent = weights.towers[0].blocks[0].layer["slstm.state"]
        self._scans = fits(recurrent, tiles.scan(recurrent))
        self._one = torch.ones(1, 1, device=recurrent.device)
        heads = weights.config.heads // 2
        self._arrived = torch.zeros(heads, dtype=torch.int32, device=recurrent.device)

    def up(
        self,
        batch: TowerBatch,
        x: Tensor,
        weight: Tensor,
        out: Tensor,
        *,
        bias: Tensor | None = None,
        relu: bool = False,
    ) -> None:
        """A product whose result is wide, written whole."""
        tile = self.tiles.up(batch.tower, len(x), weight)
        product(x, weight, out, tile, self._precision, bias=bias, relu=relu)

    def down(self, batch: TowerBatch, x: Tensor, weight: Tensor) -> Tensor:
        """A product back to the hidden size, in parts [S, B, D]."""
        rows, hidden = len(x), weight.shape[0]
        tile = self.tiles.down(batch.tower, rows, weight)
        parts = batch.parts[: tile.split * rows * hidden].view(tile.split, rows, hidden)
        product(x, weight, parts, tile, self._precision)
        return parts

    def xlstm(self, batch: TowerBatch, block: FusedBlock, at: Place, before: Before) -> Added:
        """sLSTM, mLSTM; the layer norm that ends it is left to what comes after."""
        step, s, state = batch.step, batch.scratch, at.state
        w, runs, config = block.layer, step.runs, self._config
        rows = s["x"].shape[0]
        slstm_entry(
            s["x"],
            *before,
            (block.norm1, w["slstm.norm"]),
            (w["slstm.taps"], w["slstm.taps_bias"], state["slstm.conv"]),
            runs,
            (s["t"], s["u"], s["c"]),
            first=at.block == 0,
        )
        gates = w["slstm.input"], w["slstm.state"], w["slstm.bias"]
        cell = state["slstm.y"], state["slstm.c"], state["slstm.n"], state["slstm.m"]
        if step.is_history and self._scans:
            tile = self.tiles.scan(w["slstm.state"])
            sums = s["cell"].view(2, rows, -1)
            self.up(batch, s["c"], w["slstm.input"][:, :2].flatten(1, 2), sums[0])
            self.up(batch, s["u"], w["slstm.input"][:, 2:].flatten(1, 2), sums[1])
            self._arrived.zero_()
            slstm_scan(
                (sums[0], sums[1]),
                gates[1:],
                cell,
                runs,
                (s["y"], s["y_rounded"] if s["c"].dtype == torch.float16 else s["y"]),
                self._arrived,
                tile,
                self._precision,
            )
        else:
            for turn in range(step.turns):
                tile = self.tiles.cell(most_rows(rows, turn), w["slstm.input"])
                slstm_cell(
                    (s["c"], s["u"]),
                    gates,
                    cell,
                    s["y"],
                    s["cell"],
                    runs,
                    turn,
                    step.turns,
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
        self.up(batch, s["normed"], w["mlstm.up"], up)
        conv = w["mlstm.taps"], w["mlstm.taps_bias"], state["mlstm.conv"]
        qkv = s["qkv_rounded" if step.is_history else "qkv"]
        read = s["read"].view(-1, rows, inner)
        mlstm_entry(
            up[:, :inner],
            conv,
            w["mlstm.qkv"],
            w["mlstm.gates"],
            runs,
            (s["conv"], qkv, s["gates"]),
        )
        gates_in = s["gates"], w["mlstm.gates_bias"]
        matrix, vectors = state["mlstm.C"], (state["mlstm.n"], state["mlstm.m"])
        if step.is_history:
            mlstm_steps(qkv, *gates_in, vectors, runs, (s["keep"], s["scale"], s["weight"]))
            q, k, v = qkv.view(rows, 3, config.heads, -1).unbind(1)
            steps = s["keep"], s["scale"]
            read = self._sequence(0, batch, at.block, (q, k, v), steps, matrix, read)
        else:
            columns, warps = self.tiles.mlstm
            mlstm_state(
                qkv,
                *gates_in,
                (matrix, *vectors),
                runs,
                (read[0], s["weight"]),
                deferred=self._lag(0, at.block),
                columns=columns,
                warps=warps,
            )
            read = read[:1]
        mlstm_exit(
            read,
            s["weight"],
            s["conv"],
            up[:, inner:],
            (w["mlstm.outnorm"], w["mlstm.outnorm_bias"], w["mlstm.skip"]),
            gates_in,
            state["mlstm.m"],
            runs,
            s["h"],
        )
        return self.down(batch, s["h"], w["mlstm.down"]), s["x1"], w["final_norm"]

    def mamba2(self, batch: TowerBatch, block: FusedBlock, at: Place, before: Before) -> Added:
        """Mamba2's layer."""
        step, s, state = batch.step, batch.scratch, at.state
        w, runs, inner = block.layer, step.runs, 2 * self._config.hidden
        self._enter(batch, block, at, before)
        up = s["up"]
        self.up(batch, s["normed"], w["up"], up)
        z = inner + 2 * STATE_SIZE
        conv = state["x_conv"], state["b_conv"], state["c_conv"]
        xbc = s["xbc_rounded" if step.is_history else "xbc"]
        mamba2_entry(up, (w["taps"], w["taps_bias"]), conv, runs, xbc)
        heads, gate, dt = (w["a"], w["d"], w["dt_bias"]), up[:, z : z + inner], up[:, z + inner :]
        if step.is_history:
            steps = s["keep"], s["dt"]
            mamba2_steps(dt, (w["a"], w["dt_bias"]), steps)
            x, b, c = torch.split(xbc, [inner, STATE_SIZE, STATE_SIZE], dim=1)
            q, k = (shared[:, None].expand(-1, len(w["a"]), -1) for shared in (c, b))
            qkv = q, k, x.view(len(x), -1, HEAD_SIZE)
            self._sequence(1, batch, at.block, qkv, steps, state["ssm"], s["y"][None])
            mamba2_exit(s["y"], xbc, gate, w["d"], w["norm"], s["h"])
        else:
            mamba2_state(
                xbc,
                gate,
                dt,
                heads,
                state["ssm"],
                runs,
                s["y"],
                deferred=self._lag(1, at.block),
                warps=self.tiles.mamba2,
            )
            rms_norm(s["y"], w["norm"], s["h"], 1e-5)
        return self.down(batch, s["h"], w["down"]), None, None

    def retnet(self, batch: TowerBatch, block: FusedBlock, at: Place, before: Before) -> Added:
        """RetNet's layer."""
        step, s, state = batch.step, batch.scratch, at.state
        w, runs, hidden = block.layer, step.runs, self._config.hidden
        self._enter(batch, block, at, before)
        up = s["up"]
        self.up(batch, s["normed"], w["up"], up)
        decay, angle, rows = w["decay"], w["angle"], len(up)
        read = s["y"].view(-1, rows, hidden)
        if step.is_history:
            retnet_steps(up, angle, state["offset"], runs, s["qkv_rounded"])
            q, k, v = s["qkv_rounded"].view(rows, 3, len(decay), -1).unbind(1)
            steps = decay.expand(rows, -1), self._one.expand(rows, len(decay))
            read = self._sequence(2, batch, at.block, (q, k, v), steps, state["S"], read)
        else:
            read = read[:1]
            columns, warps = self.tiles.retnet
            retnet_state(
                up,
                (decay, angle),
                state["offset"],
                state["S"],
                runs,
                read[0],
                deferred=self._lag(2, at.block),
                columns=columns,
                warps=warps,
            )
        scale = state["offset"], state["scale"]
        retnet_exit(read, up[:, 3 * hidden :], decay, scale, runs, s["h"])
        return self.down(batch, s["h"], w["down"]), None, None

    def hawk(self, batch: TowerBatch, block: FusedBlock, at: Place, before: Before) -> Added:
        """Hawk's layer."""
        step, s, state = batch.step, batch.scratch, at.state
        w, runs, hidden = block.layer, step.runs, self._config.hidden
        self._enter(batch, block, at, before)
        up = s["up"]
        self.up(batch, s["normed"], w["up"], up)
        conv = w["taps"], w["taps_bias"], state["conv"]
        convolve(up[:, hidden:], conv, runs, (s["conv"], s["u"]), activate=False)
        self.up(batch, s["u"], w["gates"], s["gates"])
        blocks = w["gates"].shape[0]
        gates = s["gates"].view(-1, blocks, 2, hidden // blocks)
        rglru(gates, s["conv"], up[:, :hidden], w["log_a"], state["h"], runs, s["h"])
        return self.down(batch, s["h"], w["down"]), None, None

    def _enter(self, batch: TowerBatch, block: FusedBlock, at: Place, before: Before) -> None:
        """The residual stream and its first norm."""
        s, (parts, bias) = batch.scratch, before
        residual_norm(s["x"], parts, block.norm1, s["normed"], bias=bias, first=at.block == 0)

    def _sequence(
        self,
        tower: int,
        batch: TowerBatch,
        block: int,
        qkv: tuple[Tensor, Tensor, Tensor],
        steps: tuple[Tensor, Tensor],
        state: Tensor,
        out: Tensor,
    ) -> Tensor:
        """A matrix state through a history: y as sums, in the first places of ``out``."""
        runs, lag, turned = batch.step.runs, self._lag(tower, block), tower == 1
        if self._precision != "fp16":
            columns, warps = self.tiles.sequence(tower)
            matrix_sequence(
                qkv, steps, state, runs, out[0],
                transposed=turned, deferred=lag, columns=columns, warps=warps,
            )  # fmt: skip
            return out[:1]
        s, out = batch.scratch, out[: parts_of(qkv[0].shape[2])]
        prepared = Prepared(s["shares"], s["unit"], s["begin"], s["end"])
        matrix_chunks(
            qkv, steps, state, runs, prepared, out,
            transposed=turned, deferred=lag, warps=self.tiles.chunks[tower],
        )  # fmt: skip
        return out

    def _lag(self, tower: int, block: int) -> Deferred | None:
        return self._deferred[tower, block] if self._deferred else None
