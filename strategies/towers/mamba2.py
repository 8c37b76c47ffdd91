"""Mamba2: a gated state-space layer whose B and C are shared by all heads.

Shapes: T time steps, B events of distinct symbols, D hidden, N = 2D/64 heads of size P = 64, state
size Z = 128.
Source: Dao and Gu, "Transformers are SSMs" (2024).
"""

from __future__ import annotations

from typing import Any

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
    causal_conv,
    causal_convs,
    rms_norm,
)

HEAD_SIZE = 64
STATE_SIZE = 128


def shapes(config: Sizes) -> Shapes:
    """Names and shapes of one layer's weights."""
    hidden, inner = config.hidden, 2 * config.hidden
    heads = inner // HEAD_SIZE
    found: Shapes = {
        "a": (heads,),
        "d": (heads,),
        "input_proj.weight": (inner, hidden),
        "z_proj.weight": (inner, hidden),
        "b_proj.weight": (STATE_SIZE, hidden),
        "c_proj.weight": (STATE_SIZE, hidden),
        "dt_proj.weight": (heads, hidden),
        "dt_proj.bias": (heads,),
    }
    for name, channels in (("input", inner), ("b", STATE_SIZE), ("c", STATE_SIZE)):
        found[f"{name}_conv.conv.weight"] = (channels, 1, KERNEL)
        found[f"{name}_conv.conv.bias"] = (channels,)
    return found | {"norm.weight": (inner,), "out_proj.weight": (hidden, inner)}


def init_state(config: Sizes, n: int, **options: Any) -> State:
    """The state of ``n`` symbols never seen: zeros."""
    inner = 2 * config.hidden
    return {
        "x_conv": torch.zeros(n, inner, KERNEL - 1, **options),
        "b_conv": torch.zeros(n, STATE_SIZE, KERNEL - 1, **options),
        "c_conv": torch.zeros(n, STATE_SIZE, KERNEL - 1, **options),
        "ssm": torch.zeros(n, inner // HEAD_SIZE, HEAD_SIZE, STATE_SIZE, **options),
    }


def step(t: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer's step: t [B, D] and state -> y [B, D] and the next state."""
    x, b, c, dt, new = _inputs(t, state, w, causal_conv)
    keep = torch.exp(w["a"].unsqueeze(-1) * dt).unsqueeze(-1)
    ssm = torch.addcmul(
        keep * state["ssm"], (dt * x).unsqueeze(-1), b[:, None, None, :]
    )  # [B, N, P, Z]
    read = torch.bmm(ssm.flatten(1, 2), c.unsqueeze(-1)).view(x.shape)
    return _output(read, x, t, w), new | {"ssm": ssm}


def sequence(t: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer over T steps: t [T, B, D] and state -> y [T, B, D] and the next state."""
    x, b, c, dt, last = _inputs(t, state, w, causal_convs)
    keep = torch.exp(w["a"].unsqueeze(-1) * dt).unsqueeze(-1)
    new = (dt * x).unsqueeze(-1)
    ssm, reads = state["ssm"], []
    for now in range(len(t)):
        ssm = torch.addcmul(keep[now] * ssm, new[now], b[now, :, None, None, :])  # [B, N, P, Z]
        reads.append(torch.bmm(ssm.flatten(1, 2), c[now].unsqueeze(-1)))
    return _output(torch.stack(reads).view(x.shape), x, t, w), last | {"ssm": ssm}


def _inputs(
    t: Tensor, state: State, w: Weights, convolve: Convolution
) -> tuple[Tensor, Tensor, Tensor, Tensor, State]:
    """x [..., N, P], b and c [..., Z], dt [..., N, 1], and the next convolution states."""

    def convolved(leaf: str, name: str) -> tuple[Tensor, Tensor]:
        projected = F.linear(t, w[f"{name}_proj.weight"])
        weight, bias = w[f"{name}_conv.conv.weight"], w[f"{name}_conv.conv.bias"]
        out, last = convolve(projected, state[leaf], weight, bias)
        return F.silu(out), last

    x, x_conv = convolved("x_conv", "input")
    b, b_conv = convolved("b_conv", "b")
    c, c_conv = convolved("c_conv", "c")
    dt = F.softplus(F.linear(t, w["dt_proj.weight"], w["dt_proj.bias"]))[..., None]
    per_head = x.view(*dt.shape[:-1], HEAD_SIZE)
    return per_head, b, c, dt, {"x_conv": x_conv, "b_conv": b_conv, "c_conv": c_conv}


def _output(read: Tensor, x: Tensor, t: Tensor, w: Weights) -> Tensor:
    """y [..., D] from what was read of the state, and x, [..., N, P] each."""
    y = torch.addcmul(read, w["d"].unsqueeze(-1), x).flatten(-2)
    y = rms_norm(y * F.silu(F.linear(t, w["z_proj.weight"])), w["norm.weight"], 1e-5)
    return F.linear(y, w["out_proj.weight"])
