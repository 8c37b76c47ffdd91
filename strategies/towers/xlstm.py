"""xLSTM, one step: an sLSTM block, an mLSTM block, a layer norm.

Shapes: B events of distinct symbols, D hidden, H heads (sLSTM has H/2), K = V = 2D/H head size.
Source: Beck et al., "xLSTM: Extended Long Short-Term Memory" (2024), without its up-projection in
the sLSTM block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backtest.strategies.towers.layers import (
    KERNEL,
    Shapes,
    State,
    Weights,
    block_linear,
    causal_conv,
    layer_norm,
)

if TYPE_CHECKING:
    from backtest.strategies.ensemble import EnsembleConfig

_QKV_BLOCK = 4
_EPS = 1e-6


def shapes(config: EnsembleConfig) -> Shapes:
    """Names and shapes of one layer's weights."""
    hidden, heads = config.hidden, config.heads
    inner = 2 * hidden
    block = hidden // (heads // 2)
    found: Shapes = {
        "slstm.norm.weight": (hidden,),
        "slstm.conv1d.conv.weight": (hidden, 1, KERNEL),
        "slstm.conv1d.conv.bias": (hidden,),
    }
    for gate in "ifzo":
        found[f"slstm.{gate}gate_input.weight"] = (heads // 2, block, block)
    for gate in "ifzo":
        found[f"slstm.{gate}gate_state.weight"] = (heads // 2, block, block)
        found[f"slstm.{gate}gate_state.bias"] = (hidden,)
    found |= {
        "slstm.group_norm.weight": (hidden,),
        "slstm.group_norm.bias": (hidden,),
        "mlstm.learnable_skip": (inner,),
        "mlstm.norm.weight": (hidden,),
        "mlstm.x_proj.weight": (inner, hidden),
        "mlstm.gate_proj.weight": (inner, hidden),
    }
    for name in "qkv":
        found[f"mlstm.{name}_proj.weight"] = (inner // _QKV_BLOCK, _QKV_BLOCK, _QKV_BLOCK)
    found |= {
        "mlstm.conv1d.conv.weight": (inner, 1, KERNEL),
        "mlstm.conv1d.conv.bias": (inner,),
    }
    for gate in "if":
        found[f"mlstm.mlstm_cell.{gate}gate_proj.weight"] = (heads, 3 * inner)
        found[f"mlstm.mlstm_cell.{gate}gate_proj.bias"] = (heads,)
    return found | {
        "mlstm.mlstm_cell.outnorm.weight": (inner,),
        "mlstm.mlstm_cell.outnorm.bias": (inner,),
        "mlstm.proj_down.weight": (hidden, inner),
        "final_norm.weight": (hidden,),
    }


def init_state(config: EnsembleConfig, n: int, **options: Any) -> State:
    """The state of ``n`` symbols never seen; sLSTM's m is minus infinity, all else zero."""
    hidden, heads = config.hidden, config.heads
    size = 2 * hidden // heads
    return {
        "slstm.conv": torch.zeros(n, hidden, KERNEL - 1, **options),
        "slstm.y": torch.zeros(n, hidden, **options),
        "slstm.c": torch.zeros(n, hidden, **options),
        "slstm.n": torch.zeros(n, hidden, **options),
        "slstm.m": torch.full((n, hidden), -torch.inf, **options),
        "mlstm.conv": torch.zeros(n, 2 * hidden, KERNEL - 1, **options),
        "mlstm.C": torch.zeros(n, heads, size, size, **options),
        "mlstm.n": torch.zeros(n, heads, size, **options),
        "mlstm.m": torch.zeros(n, heads, **options),
    }


def step(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer's step: x [B, D] and state -> y [B, D] and the next state."""
    x, slstm = _slstm(x, state, w)
    x, mlstm = _mlstm(x, state, w)
    return layer_norm(x, w["final_norm.weight"]), slstm | mlstm


def _slstm(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    u = layer_norm(x, w["slstm.norm.weight"])
    convolved, conv = causal_conv(
        u, state["slstm.conv"], w["slstm.conv1d.conv.weight"], w["slstm.conv1d.conv.bias"]
    )
    convolved = F.silu(convolved)

    def gate(name: str, source: Tensor) -> Tensor:
        new = block_linear(source, w[f"slstm.{name}gate_input.weight"])
        old = block_linear(state["slstm.y"], w[f"slstm.{name}gate_state.weight"])
        return new + old + w[f"slstm.{name}gate_state.bias"]

    i, f, z, o = gate("i", convolved), gate("f", convolved), gate("z", u), gate("o", u)
    decayed = state["slstm.m"] + F.logsigmoid(f)
    m = torch.maximum(i, decayed)
    gain, keep = torch.exp(i - m), torch.exp(decayed - m)
    c = keep * state["slstm.c"] + gain * torch.tanh(z)
    n = keep * state["slstm.n"] + gain
    y = torch.sigmoid(o) * c / (n + _EPS)
    heads = w["slstm.igate_input.weight"].shape[0]
    out = x + F.group_norm(y, heads, w["slstm.group_norm.weight"], w["slstm.group_norm.bias"], 1e-5)
    return out, {"slstm.conv": conv, "slstm.y": y, "slstm.c": c, "slstm.n": n, "slstm.m": m}


def _mlstm(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    u = layer_norm(x, w["mlstm.norm.weight"])
    a = F.linear(u, w["mlstm.x_proj.weight"])
    g = F.linear(u, w["mlstm.gate_proj.weight"])
    convolved, conv = causal_conv(
        a, state["mlstm.conv"], w["mlstm.conv1d.conv.weight"], w["mlstm.conv1d.conv.bias"]
    )
    convolved = F.silu(convolved)
    q = block_linear(convolved, w["mlstm.q_proj.weight"])
    k = block_linear(convolved, w["mlstm.k_proj.weight"])
    v = block_linear(a, w["mlstm.v_proj.weight"])

    cell = "mlstm.mlstm_cell."
    qkv = torch.cat((q, k, v), dim=-1)  # the gates see k before it is scaled
    i = F.linear(qkv, w[cell + "igate_proj.weight"], w[cell + "igate_proj.bias"])  # [B, H]
    f = F.linear(qkv, w[cell + "fgate_proj.weight"], w[cell + "fgate_proj.bias"])
    decayed = state["mlstm.m"] + F.logsigmoid(f)
    m = torch.maximum(i, decayed)
    gain, keep = torch.exp(i - m).unsqueeze(-1), torch.exp(decayed - m).unsqueeze(-1)

    per_head = state["mlstm.n"].shape  # [B, H, K]
    q, v = q.view(per_head), v.view(per_head)
    k = gain * (k.view(per_head) * per_head[-1] ** -0.5)
    matrix = torch.addcmul(
        keep.unsqueeze(-1) * state["mlstm.C"], k.unsqueeze(-1), v.unsqueeze(-2)
    )  # [B, H, K, V]
    n = keep * state["mlstm.n"] + k
    read = torch.matmul(q.unsqueeze(-2), matrix).squeeze(-2)  # [B, H, V]
    weight = torch.maximum((q * n).sum(-1).abs(), torch.exp(-m)) + _EPS
    h = (read / weight.unsqueeze(-1)).flatten(1)
    h = F.group_norm(h, per_head[1], w[cell + "outnorm.weight"], w[cell + "outnorm.bias"], 1e-5)
    h = torch.addcmul(h, w["mlstm.learnable_skip"], convolved) * F.silu(g)
    out = x + F.linear(h, w["mlstm.proj_down.weight"])
    return out, {"mlstm.conv": conv, "mlstm.C": matrix, "mlstm.n": n, "mlstm.m": m}
