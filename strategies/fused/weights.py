"""The ensemble's weights as the fused kernels want them: projections side by side, in one dtype.

Everything that reads the same input is one product: x and gate of mLSTM; x, b, c, z and dt of
Mamba2; q, k, v and g of RetNet; both projections of Hawk; the four gates of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from backtest.errors import DataError
from backtest.strategies.ensemble import Ensemble, EnsembleConfig
from backtest.strategies.kernels.product import Precision
from backtest.strategies.towers import TOWERS

KernelWeights: TypeAlias = dict[str, Tensor]
"""One layer's weights by what the kernels do with them."""

StoredForm: TypeAlias = Callable[[Tensor], Tensor]

_FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class FusedBlock:
    """One block: two norms, the layer, and the MLP as two products with biases."""

    norm1: Tensor
    norm2: Tensor
    layer: KernelWeights
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor


@dataclass(frozen=True)
class FusedTower:
    """One tower: the input MLP (its first product reads float32: features may be large), blocks."""

    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor
    blocks: tuple[FusedBlock, ...]


@dataclass(frozen=True)
class FusedWeights:
    """All four towers and the projection that they share."""

    config: EnsembleConfig
    towers: tuple[FusedTower, ...]
    readout: Tensor
    readout_bias: Tensor

    @property
    def bytes(self) -> int:
        """Device memory that a batch streams in once."""
        total = 0
        for tower in self.towers:
            tensors = [tower.up, tower.down]
            for block in tower.blocks:
                tensors += [block.up, block.down, *block.layer.values()]
            total += sum(t.numel() * t.element_size() for t in tensors)
        return total


def prepare(ensemble: Ensemble, precision: Precision) -> FusedWeights:
    """Rearrange an ensemble's weights on its device; the originals are not kept.

    Raises:
        DataError: in fp16, a weight beyond its range, by name.
    """
    named = ensemble.state_dict()
    if precision == "fp16":
        _check_range(named | _folded(ensemble.config, named))
    stored = _STORED[precision]

    def tower(index: int) -> FusedTower:
        prefix = f"towers.{index}."
        blocks = []
        for b in range(ensemble.config.depth):
            block = f"{prefix}blocks.{b}."
            blocks.append(
                FusedBlock(
                    norm1=named[block + "norm1.weight"].clone(),
                    norm2=named[block + "norm2.weight"].clone(),
                    layer=_LAYERS[index](_under(named, block + "layer."), stored),
                    up=stored(named[block + "mlp.fc1.weight"]),
                    up_bias=named[block + "mlp.fc1.bias"].clone(),
                    down=stored(named[block + "mlp.fc2.weight"]),
                    down_bias=named[block + "mlp.fc2.bias"].clone(),
                )
            )
        return FusedTower(
            up=named[prefix + "input_up.weight"].clone(),
            up_bias=named[prefix + "input_up.bias"].clone(),
            down=stored(named[prefix + "input_down.weight"]),
            down_bias=named[prefix + "input_down.bias"].clone(),
            blocks=tuple(blocks),
        )

    return FusedWeights(
        config=ensemble.config,
        towers=tuple(tower(t) for t in range(len(TOWERS))),
        readout=named["output_proj.weight"].flatten().clone(),
        readout_bias=named["output_proj.bias"].clone(),
    )


def _rounded_to_tf32(weight: Tensor) -> Tensor:
    """To the nearest number with ten bits after the point: hardware would cut the others off."""
    bits = (weight.view(torch.int32) + 0x1000) & ~0x1FFF
    return torch.where(weight.isfinite(), bits.view(torch.float32), weight)


_STORED: dict[str, StoredForm] = {
    "fp32": torch.clone,
    "tf32": _rounded_to_tf32,
    "fp16": torch.Tensor.half,
}
"""How products' weights are kept; always a copy."""


def _check_range(named: Mapping[str, Tensor]) -> None:
    largest = torch.stack([value.abs().amax() for value in named.values()]).tolist()
    for name, value in zip(named, largest, strict=True):
        if not value <= _FLOAT16_MAX:
            raise DataError(
                f"weight {name!r} reaches {value:g}, beyond float16's {_FLOAT16_MAX:g}",
                remedy="Use precision tf32 or fp32.",
            )


def _folded(config: EnsembleConfig, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is folded before it is stored, by the name of a weight that it is folded from."""
    found = {}
    for b in range(config.depth):
        layer = f"towers.0.blocks.{b}.layer."
        name = f"{layer}mlstm.mlstm_cell.igate_proj.weight with q, k, v"
        found[name] = _fold_gates(_under(named, layer))
    return found


def _under(named: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): w for name, w in named.items() if name.startswith(prefix)}


def _conv(w: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return w[name + ".conv.weight"].squeeze(1).T.contiguous(), w[name + ".conv.bias"]


def _xlstm(w: Mapping[str, Tensor], stored: StoredForm) -> KernelWeights:
    slstm_taps, slstm_bias = _conv(w, "slstm.conv1d")
    mlstm_taps, mlstm_bias = _conv(w, "mlstm.conv1d")
    cell = "mlstm.mlstm_cell."
    return {
        "slstm.norm": w["slstm.norm.weight"].clone(),
        "slstm.taps": slstm_taps,
        "slstm.taps_bias": slstm_bias.clone(),
        "slstm.input": stored(torch.stack([w[f"slstm.{g}gate_input.weight"] for g in "ifzo"], 1)),
        "slstm.state": stored(torch.stack([w[f"slstm.{g}gate_state.weight"] for g in "ifzo"], 1)),
        "slstm.bias": torch.stack([w[f"slstm.{g}gate_state.bias"] for g in "ifzo"]),
        "slstm.group_norm": w["slstm.group_norm.weight"].clone(),
        "slstm.group_norm_bias": w["slstm.group_norm.bias"].clone(),
        "mlstm.norm": w["mlstm.norm.weight"].clone(),
        "mlstm.up": stored(torch.cat([w["mlstm.x_proj.weight"], w["mlstm.gate_proj.weight"]])),
        "mlstm.taps": mlstm_taps,
        "mlstm.taps_bias": mlstm_bias.clone(),
        "mlstm.qkv": torch.stack([w[f"mlstm.{n}_proj.weight"] for n in "qkv"]),
        "mlstm.gates": stored(_fold_gates(w)),
        "mlstm.gates_bias": torch.cat([w[f"{cell}{g}gate_proj.bias"] for g in "if"]),
        "mlstm.outnorm": w[cell + "outnorm.weight"].clone(),
        "mlstm.outnorm_bias": w[cell + "outnorm.bias"].clone(),
        "mlstm.skip": w["mlstm.learnable_skip"].clone(),
        "mlstm.down": stored(w["mlstm.proj_down.weight"]),
        "final_norm": w["final_norm.weight"].clone(),
    }


def _fold_gates(w: Mapping[str, Tensor]) -> Tensor:
    """Gates W [q; k; v] as functions of what q, k (c) and v (a) are made from: [2H, 2, I]."""
    gates = torch.cat([w[f"mlstm.mlstm_cell.{g}gate_proj.weight"] for g in "if"]).double()
    blocks, size, _ = w["mlstm.q_proj.weight"].shape
    over_q, over_k, over_v = (
        torch.einsum("gnk,nkh->gnh", part, w[f"mlstm.{name}_proj.weight"].double()).flatten(1)
        for name, part in zip("qkv", gates.view(-1, 3, blocks, size).unbind(1), strict=True)
    )
    return torch.stack((over_q + over_k, over_v), dim=1).float()


def _mamba2(w: Mapping[str, Tensor], stored: StoredForm) -> KernelWeights:
    convs = [_conv(w, f"{name}_conv") for name in ("input", "b", "c")]
    projections = [w[f"{name}_proj.weight"] for name in ("input", "b", "c", "z", "dt")]
    return {
        "up": stored(torch.cat(projections)),
        "taps": torch.cat([taps for taps, _ in convs], dim=1),
        "taps_bias": torch.cat([bias for _, bias in convs]),
        "a": w["a"].clone(),
        "d": w["d"].clone(),
        "dt_bias": w["dt_proj.bias"].clone(),
        "norm": w["norm.weight"].clone(),
        "down": stored(w["out_proj.weight"]),
    }


def _retnet(w: Mapping[str, Tensor], stored: StoredForm) -> KernelWeights:
    return {
        "up": stored(torch.cat([w[f"{name}_proj.weight"] for name in "qkvg"])),
        "decay": w["decay"].clone(),
        "angle": w["angle"].clone(),
        "down": stored(w["out_proj.weight"]),
    }


def _hawk(w: Mapping[str, Tensor], stored: StoredForm) -> KernelWeights:
    taps, bias = _conv(w, "conv")
    gates = [w["rglru.input_gate.weight"], w["rglru.recurrence_gate.weight"]]
    return {
        "up": stored(torch.cat([w["gate_proj.weight"], w["recurrent_proj.weight"]])),
        "taps": taps,
        "taps_bias": bias.clone(),
        "gates": stored(torch.cat(gates, dim=1)),
        "log_a": w["rglru.a"].double().log().float(),
        "down": stored(w["out_proj.weight"]),
    }


_LAYERS = (_xlstm, _mamba2, _retnet, _hawk)
