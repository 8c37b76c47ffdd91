"""RetNet: retention with a fixed decay a head and rotated queries and keys.

Shapes: T time steps, B events of distinct symbols, D hidden, H heads of size K = V = D/H.
Source: Sun et al., "Retentive Network" (2023), in its recurrent form.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backtest.strategies.towers.layers import Shapes, Sizes, State, Weights, rms_norm


def shapes(config: Sizes) -> Shapes:
    """Names and shapes of one layer's weights; ``decay`` and ``angle`` are buffers."""
    hidden, heads = config.hidden, config.heads
    found: Shapes = {"decay": (heads,), "angle": (hidden // heads,)}
    for name in ("q", "k", "v", "g", "out"):
        found[f"{name}_proj.weight"] = (hidden, hidden)
    return found


def init_state(config: Sizes, n: int, **options: Any) -> State:
    """The state of ``n`` symbols never seen: zeros; ``offset`` is int32."""
    heads, size = config.heads, config.hidden // config.heads
    return {
        "offset": torch.zeros(n, device=options.get("device"), dtype=torch.int32),
        "scale": torch.zeros(n, heads, **options),
        "S": torch.zeros(n, heads, size, size, **options),
    }


def rotation(position: Tensor, angle: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position [B] times angle [K], each [B, 1, K].

    The product is taken in float64 and reduced before the cast: in float32 it would be off by
    hundredths of a radian after 10^5 events.
    """
    turns = position.to(torch.float64).unsqueeze(-1) * angle.to(torch.float64)
    reduced = torch.remainder(turns, 2 * math.pi).to(dtype).unsqueeze(1)
    return torch.cos(reduced), torch.sin(reduced)


def rotate(u: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """u [..., K] with its pairs (u0, u1), (u2, u3), ... turned."""
    turned = torch.stack((-u[..., 1::2], u[..., ::2]), dim=-1).flatten(-2)
    return torch.addcmul(u * cos, turned, sin)


def step(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer's step: x [B, D] and state -> y [B, D] and the next state."""
    matrix = state["S"]
    per_head = matrix.shape[:3]  # [B, H, K]
    cos, sin = rotation(state["offset"], w["angle"], x.dtype)
    q = rotate(F.linear(x, w["q_proj.weight"]).view(per_head), cos, sin)
    k = rotate(F.linear(x, w["k_proj.weight"]).view(per_head) * per_head[-1] ** -0.5, cos, sin)
    v = F.linear(x, w["v_proj.weight"]).view(per_head)
    g = F.linear(x, w["g_proj.weight"])

    decay = w["decay"]
    matrix = torch.addcmul(decay[:, None, None] * matrix, k.unsqueeze(-1), v.unsqueeze(-2))
    scale = decay * state["scale"] + 1
    o = torch.matmul(q.unsqueeze(-2), matrix).squeeze(-2) / scale.sqrt().unsqueeze(-1)  # [B, H, V]
    o = rms_norm(o, eps=1e-6).flatten(1)
    y = F.linear(F.silu(g) * o, w["out_proj.weight"])
    return y, {"offset": state["offset"] + 1, "scale": scale, "S": matrix}


def sequence(x: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
    """One layer over T steps: x [T, B, D] and state -> y [T, B, D] and the next state."""
    matrix, scale, decay = state["S"], state["scale"], w["decay"]
    steps, size = len(x), matrix.shape[2]
    per_head = (*x.shape[:2], *matrix.shape[1:3])  # [T, B, H, K]
    after = torch.arange(steps, device=x.device, dtype=torch.int32)
    position = (state["offset"] + after[:, None]).flatten()
    cos, sin = (
        part.view(*per_head[:2], 1, size) for part in rotation(position, w["angle"], x.dtype)
    )
    q = rotate(F.linear(x, w["q_proj.weight"]).view(per_head), cos, sin)
    k = rotate(F.linear(x, w["k_proj.weight"]).view(per_head) * size**-0.5, cos, sin)
    v = F.linear(x, w["v_proj.weight"]).view(per_head)
    g = F.linear(x, w["g_proj.weight"])

    reads, scales = [], []
    for now in range(steps):
        kept = decay[:, None, None] * matrix
        matrix = torch.addcmul(kept, k[now].unsqueeze(-1), v[now].unsqueeze(-2))
        scale = decay * scale + 1
        reads.append(torch.matmul(q[now].unsqueeze(-2), matrix).squeeze(-2))
        scales.append(scale)
    o = torch.stack(reads) / torch.stack(scales).sqrt().unsqueeze(-1)  # [T, B, H, V]
    o = rms_norm(o, eps=1e-6).flatten(2)
    y = F.linear(F.silu(g) * o, w["out_proj.weight"])
    return y, {"offset": state["offset"] + steps, "scale": scale, "S": matrix}
