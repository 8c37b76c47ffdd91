"""xLSTM: an sLSTM block, an mLSTM block, a layer norm.

Shapes: T time steps, B events of distinct symbols, D hidden, H heads (sLSTM has H/2), K = V = 2D/H
head size.
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
    causal_convs,
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


def sequence(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer over T steps: x [T, B, D] and state -> y [T, B, D] and the next state."""
    x, slstm = _slstm_sequence(x, state, w)
    x, mlstm = _mlstm_sequence(x, state, w)
    return layer_norm(x, w["final_norm.weight"]), slstm | mlstm


def _slstm_sequence(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    u = layer_norm(x, w["slstm.norm.weight"])
    convolved, conv = causal_convs(
        u, state["slstm.conv"], w["slstm.conv1d.conv.weight"], w["slstm.conv1d.conv.bias"]
    )
    convolved = F.silu(convolved)
    from_inputs = torch.stack(
        [
            block_linear(source, w[f"slstm.{name}gate_input.weight"])
            + w[f"slstm.{name}gate_state.bias"]
            for name, source in (("i", convolved), ("f", convolved), ("z", u), ("o", u))
        ],
        dim=1,
    )  # [T, 4, B, D]
    recurrent = torch.stack([w[f"slstm.{name}gate_state.weight"] for name in "ifzo"])
    y, c, n, m = (state[f"slstm.{name}"] for name in ("y", "c", "n", "m"))
    _, heads, size, _ = recurrent.shape
    weight = recurrent.transpose(0, 1).reshape(heads, 4 * size, size)
    found = []
    for given in from_inputs:
        by_head = y.view(-1, heads, size).permute(1, 2, 0)  # [N, K, B]
        owed = torch.bmm(weight, by_head).view(heads, 4, size, -1)
        i, f, z, o = (given + owed.permute(1, 3, 0, 2).flatten(2)).unbind()
        decayed = m + F.logsigmoid(f)
        m = torch.maximum(i, decayed)
        gain, keep = torch.exp(i - m), torch.exp(decayed - m)
        c = keep * c + gain * torch.tanh(z)
        n = keep * n + gain
        y = torch.sigmoid(o) * c / (n + _EPS)
        found.append(y)
    normed = F.group_norm(
        torch.stack(found).flatten(0, 1),
        heads,
        w["slstm.group_norm.weight"],
        w["slstm.group_norm.bias"],
        1e-5,
    )
    last = {"slstm.conv": conv, "slstm.y": y, "slstm.c": c, "slstm.n": n, "slstm.m": m}
    return x + normed.view(x.shape), last


def _mlstm_sequence(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    u = layer_norm(x, w["mlstm.norm.weight"])
    a = F.linear(u, w["mlstm.x_proj.weight"])
    g = F.linear(u, w["mlstm.gate_proj.weight"])
    convolved, conv = causal_convs(
        a, state["mlstm.conv"], w["mlstm.conv1d.conv.weight"], w["mlstm.conv1d.conv.bias"]
    )
    convolved = F.silu(convolved)
    q = block_linear(convolved, w["mlstm.q_proj.weight"])
    k = block_linear(convolved, w["mlstm.k_proj.weight"])
    v = block_linear(a, w["mlstm.v_proj.weight"])

    cell = "mlstm.mlstm_cell."
    qkv = torch.cat((q, k, v), dim=-1)  # the gates see k before it is scaled
    i = F.linear(qkv, w[cell + "igate_proj.weight"], w[cell + "igate_proj.bias"])  # [T, B, H]
    f = F.logsigmoid(F.linear(qkv, w[cell + "fgate_proj.weight"], w[cell + "fgate_proj.bias"]))
    m, before, after = state["mlstm.m"], [], []
    for i_now, f_now in zip(i, f, strict=True):
        before.append(m + f_now)
        m = torch.maximum(i_now, before[-1])
        after.append(m)
    most = torch.stack(after)
    gain = torch.exp(i - most).unsqueeze(-1)
    keep = torch.exp(torch.stack(before) - most).unsqueeze(-1)

    per_head = (len(x), *state["mlstm.n"].shape)  # [T, B, H, K]
    q, v = q.view(per_head), v.view(per_head)
    k = gain * (k.view(per_head) * per_head[-1] ** -0.5)
    matrix, n, reads, norms = state["mlstm.C"], state["mlstm.n"], [], []
    for now in range(len(x)):
        kept = keep[now].unsqueeze(-1) * matrix
        matrix = torch.addcmul(kept, k[now].unsqueeze(-1), v[now].unsqueeze(-2))  # [B, H, K, V]
        n = keep[now] * n + k[now]
        reads.append(torch.matmul(q[now].unsqueeze(-2), matrix).squeeze(-2))
        norms.append(n)
    weight = torch.maximum((q * torch.stack(norms)).sum(-1).abs(), torch.exp(-most)) + _EPS
    h = (torch.stack(reads) / weight.unsqueeze(-1)).flatten(0, 1).flatten(1)  # [T B, H V]
    h = F.group_norm(h, per_head[2], w[cell + "outnorm.weight"], w[cell + "outnorm.bias"], 1e-5)
    h = torch.addcmul(h.view(a.shape), w["mlstm.learnable_skip"], convolved) * F.silu(g)
    out = x + F.linear(h, w["mlstm.proj_down.weight"])
    return out, {"mlstm.conv": conv, "mlstm.C": matrix, "mlstm.n": n, "mlstm.m": m}
