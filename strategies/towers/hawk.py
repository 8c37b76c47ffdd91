"""Hawk: a gated linear recurrence (RG-LRU) after a short convolution.

Shapes: T time steps, B events of distinct symbols, D hidden.
Source: De et al., "Griffin: Mixing Gated Linear Recurrences with Local Attention" (2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backtest.strategies.towers.layers import (
    KERNEL,
    Shapes,
    Sizes,
    State,
    Weights,
    block_linear,
    causal_conv,
    causal_convs,
)

GATE_BLOCKS = 4
_SHARPNESS = 8.0


def shapes(config: Sizes) -> Shapes:
    """Names and shapes of one layer's weights."""
    hidden = config.hidden
    block = hidden // GATE_BLOCKS
    return {
        "gate_proj.weight": (hidden, hidden),
        "recurrent_proj.weight": (hidden, hidden),
        "conv.conv.weight": (hidden, 1, KERNEL),
        "conv.conv.bias": (hidden,),
        "rglru.a": (hidden,),
        "rglru.input_gate.weight": (GATE_BLOCKS, block, block),
        "rglru.recurrence_gate.weight": (GATE_BLOCKS, block, block),
        "out_proj.weight": (hidden, hidden),
    }


def init_state(config: Sizes, n: int, **options: Any) -> State:
    """The state of ``n`` symbols never seen: zeros."""
    return {
        "conv": torch.zeros(n, config.hidden, KERNEL - 1, **options),
        "h": torch.zeros(n, config.hidden, **options),
    }


def step(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer's step: x [B, D] and state -> y [B, D] and the next state."""
    gate = F.gelu(F.linear(x, w["gate_proj.weight"]))
    u = F.linear(x, w["recurrent_proj.weight"])
    u, conv = causal_conv(u, state["conv"], w["conv.conv.weight"], w["conv.conv.bias"])
    i = torch.sigmoid(block_linear(u, w["rglru.input_gate.weight"]))
    r = torch.sigmoid(block_linear(u, w["rglru.recurrence_gate.weight"]))
    keep = torch.pow(w["rglru.a"], _SHARPNESS * r)
    h = torch.addcmul(keep * state["h"], torch.sqrt(1 - keep * keep), i * u)
    return F.linear(gate * h, w["out_proj.weight"]), {"conv": conv, "h": h}


def sequence(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer over T steps: x [T, B, D] and state -> y [T, B, D] and the next state."""
    gate = F.gelu(F.linear(x, w["gate_proj.weight"]))
    u = F.linear(x, w["recurrent_proj.weight"])
    u, conv = causal_convs(u, state["conv"], w["conv.conv.weight"], w["conv.conv.bias"])
    i = torch.sigmoid(block_linear(u, w["rglru.input_gate.weight"]))
    r = torch.sigmoid(block_linear(u, w["rglru.recurrence_gate.weight"]))
    keep = torch.pow(w["rglru.a"], _SHARPNESS * r)
    new = torch.sqrt(1 - keep * keep) * (i * u)
    h, found = state["h"], []
    for keep_now, new_now in zip(keep, new, strict=True):
        h = torch.addcmul(new_now, keep_now, h)
        found.append(h)
    return F.linear(gate * torch.stack(found), w["out_proj.weight"]), {"conv": conv, "h": h}
