"""xLSTM: an sLSTM block, an mLSTM block, a layer norm.

Shapes: T time steps, B events of distinct symbols, D hidden, H heads (sLSTM has H/2), K = V = 2D/H
head size.
Source: Beck et al., "xLSTM: Extended Long Short-Term Memory" (2024), without its up-projection in
the sLSTM block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from backtest.strategies.towers.layers import (
    KERNEL,
    Convolution,
    Shapes,
    Sizes,
    State,
    Weights,
    block_linear,
    causal_conv,
    causal_convs,
    layer_norm,
)

_QKV_BLOCK = 4
_EPS = 1e-6

_Gates: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""i, f, z, o."""

_Cell: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""C, n, m."""


def shapes(config: Sizes) -> Shapes:
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


def init_state(config: Sizes, n: int, **options: Any) -> State:
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


def sequence(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer over T steps: x [T, B, D] and state -> y [T, B, D] and the next state."""
    x, slstm = _slstm_sequence(x, state, w)
    x, mlstm = _mlstm_sequence(x, state, w)
    return layer_norm(x, w["final_norm.weight"]), slstm | mlstm


def _slstm(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    u, convolved, conv = _slstm_inputs(x, state, w, causal_conv)

    def gate(name: str, source: Tensor) -> Tensor:
        new = block_linear(source, w[f"slstm.{name}gate_input.weight"])
        old = block_linear(state["slstm.y"], w[f"slstm.{name}gate_state.weight"])
        return new + old + w[f"slstm.{name}gate_state.bias"]

    gates = gate("i", convolved), gate("f", convolved), gate("z", u), gate("o", u)
    y, cell = _slstm_cell(gates, (state["slstm.c"], state["slstm.n"], state["slstm.m"]))
    return _slstm_output(x, y, w), _slstm_state(conv, y, cell)


def _slstm_sequence(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    u, convolved, conv = _slstm_inputs(x, state, w, causal_convs)
    from_inputs = torch.stack(
        [
            block_linear(source, w[f"slstm.{name}gate_input.weight"])
            + w[f"slstm.{name}gate_state.bias"]
            for name, source in (("i", convolved), ("f", convolved), ("z", u), ("o", u))
        ],
        dim=1,
    )  # [T, 4, B, D]
    recurrent = torch.stack([w[f"slstm.{name}gate_state.weight"] for name in "ifzo"], dim=1)
    heads, _, size, _ = recurrent.shape
    recurrent = recurrent.flatten(1, 2)  # [N, 4 K, K]
    y, cell = state["slstm.y"], (state["slstm.c"], state["slstm.n"], state["slstm.m"])
    found = []
    for given in from_inputs:
        owed = torch.bmm(recurrent, y.view(-1, heads, size).permute(1, 2, 0))  # [N, 4 K, B]
        owed = owed.view(heads, 4, size, -1).permute(1, 3, 0, 2).flatten(2)
        i, f, z, o = (given + owed).unbind()
        y, cell = _slstm_cell((i, f, z, o), cell)
        found.append(y)
    return _slstm_output(x, torch.stack(found), w), _slstm_state(conv, y, cell)


def _slstm_inputs(
    x: Tensor, state: State, w: Weights, convolve: Convolution
) -> tuple[Tensor, Tensor, Tensor]:
    """The normed input, its convolution, and the next convolution state."""
    u = layer_norm(x, w["slstm.norm.weight"])
    convolved, conv = convolve(
        u, state["slstm.conv"], w["slstm.conv1d.conv.weight"], w["slstm.conv1d.conv.bias"]
    )
    return u, F.silu(convolved), conv


def _slstm_cell(gates: _Gates, cell: _Cell) -> tuple[Tensor, _Cell]:
    """y and the next C, n, m, [B, D] each."""
    (i, f, z, o), (c, n, m) = gates, cell
    decayed = m + F.logsigmoid(f)
    m = torch.maximum(i, decayed)
    gain, keep = torch.exp(i - m), torch.exp(decayed - m)
    c = keep * c + gain * torch.tanh(z)
    n = keep * n + gain
    return torch.sigmoid(o) * c / (n + _EPS), (c, n, m)


def _slstm_output(x: Tensor, y: Tensor, w: Weights) -> Tensor:
    heads = w["slstm.igate_input.weight"].shape[0]
    weight, bias = w["slstm.group_norm.weight"], w["slstm.group_norm.bias"]
    return x + F.group_norm(y.flatten(0, -2), heads, weight, bias, 1e-5).view(x.shape)


def _slstm_state(conv: Tensor, y: Tensor, cell: _Cell) -> State:
    c, n, m = cell
    return {"slstm.conv": conv, "slstm.y": y, "slstm.c": c, "slstm.n": n, "slstm.m": m}


def _mlstm(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    given = _mlstm_inputs(x, state, w, causal_conv)
    decayed = state["mlstm.m"] + given.f
    m = torch.maximum(given.i, decayed)
    gain, keep = torch.exp(given.i - m).unsqueeze(-1), torch.exp(decayed - m).unsqueeze(-1)
    q, v, k = given.q, given.v, gain * given.k
    matrix = torch.addcmul(
        keep.unsqueeze(-1) * state["mlstm.C"], k.unsqueeze(-1), v.unsqueeze(-2)
    )  # [B, H, K, V]
    n = keep * state["mlstm.n"] + k
    read = torch.matmul(q.unsqueeze(-2), matrix).squeeze(-2)  # [B, H, V]
    out = _mlstm_output(x, read, n, m, given, w)
    return out, {"mlstm.conv": given.conv, "mlstm.C": matrix, "mlstm.n": n, "mlstm.m": m}


def _mlstm_sequence(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    given = _mlstm_inputs(x, state, w, causal_convs)
    m, before, after = state["mlstm.m"], [], []
    for i, f in zip(given.i, given.f, strict=True):
        before.append(m + f)
        m = torch.maximum(i, before[-1])
        after.append(m)
    most = torch.stack(after)  # [T, B, H]
    keep = torch.exp(torch.stack(before) - most).unsqueeze(-1)
    q, v, k = given.q, given.v, torch.exp(given.i - most).unsqueeze(-1) * given.k
    matrix, n, reads, norms = state["mlstm.C"], state["mlstm.n"], [], []
    for now in range(len(x)):
        kept = keep[now].unsqueeze(-1) * matrix
        matrix = torch.addcmul(kept, k[now].unsqueeze(-1), v[now].unsqueeze(-2))  # [B, H, K, V]
        n = keep[now] * n + k[now]
        reads.append(torch.matmul(q[now].unsqueeze(-2), matrix).squeeze(-2))
        norms.append(n)
    out = _mlstm_output(x, torch.stack(reads), torch.stack(norms), most, given, w)
    return out, {"mlstm.conv": given.conv, "mlstm.C": matrix, "mlstm.n": n, "mlstm.m": m}


@dataclass(frozen=True, slots=True)
class _MlstmInputs:
    """What mLSTM makes of its input, step by step or over all steps.

    Attributes:
        q, k, v: [..., H, K], k scaled.
        i, f: the input gate, and log sigmoid of the forget gate, [..., H].
        c: the convolved input, [..., D].
        g: the output gate before silu, [..., D].
        conv: the next convolution state.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    i: Tensor
    f: Tensor
    c: Tensor
    g: Tensor
    conv: Tensor


def _mlstm_inputs(x: Tensor, state: State, w: Weights, convolve: Convolution) -> _MlstmInputs:
    u = layer_norm(x, w["mlstm.norm.weight"])
    a = F.linear(u, w["mlstm.x_proj.weight"])
    convolved, conv = convolve(
        a, state["mlstm.conv"], w["mlstm.conv1d.conv.weight"], w["mlstm.conv1d.conv.bias"]
    )
    c = F.silu(convolved)
    q = block_linear(c, w["mlstm.q_proj.weight"])
    k = block_linear(c, w["mlstm.k_proj.weight"])
    v = block_linear(a, w["mlstm.v_proj.weight"])

    cell = "mlstm.mlstm_cell."
    qkv = torch.cat((q, k, v), dim=-1)  # the gates see k before it is scaled
    i = F.linear(qkv, w[cell + "igate_proj.weight"], w[cell + "igate_proj.bias"])
    f = F.linear(qkv, w[cell + "fgate_proj.weight"], w[cell + "fgate_proj.bias"])
    per_head = (*x.shape[:-1], *state["mlstm.n"].shape[1:])  # [..., H, K]
    return _MlstmInputs(
        q=q.view(per_head),
        k=k.view(per_head) * per_head[-1] ** -0.5,
        v=v.view(per_head),
        i=i,
        f=F.logsigmoid(f),
        c=c,
        g=F.linear(u, w["mlstm.gate_proj.weight"]),
        conv=conv,
    )


def _mlstm_output(
    x: Tensor, read: Tensor, n: Tensor, m: Tensor, given: _MlstmInputs, w: Weights
) -> Tensor:
    """What was read [..., H, V], over its length, normed, gated and projected; plus x."""
    cell = "mlstm.mlstm_cell."
    weight = torch.maximum((given.q * n).sum(-1).abs(), torch.exp(-m)) + _EPS
    h = (read / weight.unsqueeze(-1)).flatten(0, -3).flatten(1)  # [..., H V] as a matrix
    heads = n.shape[-2]
    h = F.group_norm(h, heads, w[cell + "outnorm.weight"], w[cell + "outnorm.bias"], 1e-5)
    h = torch.addcmul(h.view(given.c.shape), w["mlstm.learnable_skip"], given.c) * F.silu(given.g)
    return x + F.linear(h, w["mlstm.proj_down.weight"])
