"""sLSTM: entry (residual, norms, convolution) and exit (group norm, next norm).

Plain reference: ``backtest.strategies.towers.xlstm``.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import (
    rms_scale,
    silu,
    standardise,
    sum_splits,
)
from backtest.strategies.kernels.convolution import keep_window, taps, window
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.residual import FLOAT32_EPS
from backtest.strategies.kernels.runs import Runs, find_run


def slstm_entry(
    x: Tensor,
    parts: Tensor,
    bias: Tensor,
    norms: tuple[Tensor, Tensor],
    conv: tuple[Tensor, Tensor, Tensor],
    runs: Runs,
    out: tuple[Tensor, Tensor, Tensor],
    *,
    first: bool,
) -> None:
    """``x += parts.sum(0) + bias``; t = RMSNorm(x); u = LayerNorm(t); c = silu(conv(u)).

    Args:
        x: the residual stream, float32 [B, D], updated in place.
        parts: the product before, float32 [S, B, D].
        bias: its bias, [D].
        norms: weights of the block's RMS norm and sLSTM's layer norm, [D] each.
        conv: weight [4, D], bias [D], state float32 [slots, D, 3].
        runs: which rows belong together.
        out: t float32, u and c of the products' dtype, [B, D] each.
        first: x holds nothing yet and counts as 0.
    """
    _, size = x.shape
    t, u, c = out
    _slstm_entry[(runs.programs,)](
        x,
        parts,
        bias,
        *norms,
        *conv,
        runs.slot,
        runs.count,
        runs.first,
        t,
        u,
        c,
        parts.stride(0),
        SIZE=size,
        FIRST=first,
        SPLIT=parts.shape[0],
        BLOCK=triton.next_power_of_2(size),
        EPS=FLOAT32_EPS,
        num_warps=8,
        **overlap(x),
    )


@triton.jit
def _slstm_entry(
    x,
    parts,
    bias,
    norm1,
    norm2,
    conv_w,
    conv_b,
    conv_state,
    slot,
    count,
    first,
    t_out,
    u_out,
    c_out,
    split_stride,
    SIZE: tl.constexpr,
    FIRST: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(0))
    if events == 0:
        follow(PDL)
        return
    own = tl.load(slot + row).to(tl.int64)
    r = tl.arange(0, BLOCK)
    mask = r < SIZE
    state = conv_state + own * (3 * SIZE) + 3 * r
    s0, s1, s2 = window(state, mask)
    w0, w1, w2, w3, wb = taps(conv_w, conv_b, r, mask, SIZE)
    n1 = tl.load(norm1 + r, mask=mask, other=0.0)
    n2 = tl.load(norm2 + r, mask=mask, other=0.0)
    b = tl.load(bias + r, mask=mask, other=0.0)
    follow(PDL)
    for event in range(events):
        at = (row + event) * SIZE + r
        value = sum_splits(parts, at, mask, split_stride, SPLIT) + b
        if not FIRST:
            value += tl.load(x + at, mask=mask, other=0.0)
        tl.store(x + at, value, mask=mask)
        t = value * rms_scale(value, SIZE, EPS) * n1
        tl.store(t_out + at, t, mask=mask)
        u = standardise(t, mask, SIZE) * n2
        tl.store(u_out + at, u.to(u_out.dtype.element_ty), mask=mask)
        c = silu(s0 * w0 + s1 * w1 + s2 * w2 + u * w3 + wb)
        tl.store(c_out + at, c.to(c_out.dtype.element_ty), mask=mask)
        s0 = s1
        s1 = s2
        s2 = u
    keep_window(state, s0, s1, s2, mask)


def slstm_exit(
    y: Tensor,
    t: Tensor,
    weights: tuple[Tensor, Tensor, Tensor],
    y_state: Tensor,
    runs: Runs,
    out: tuple[Tensor, Tensor],
    heads: int,
) -> None:
    """x = GroupNorm(y) + t; u = LayerNorm(x); each run's last y becomes its state.

    Args:
        y: the cell's outputs, float32 [B, D].
        t: the layer's input, float32 [B, D].
        weights: the group norm's weight and bias, mLSTM's layer norm weight, [D] each.
        y_state: float32 [slots, D].
        runs: which rows belong together.
        out: x float32, u of the products' dtype, [B, D] each.
        heads: groups of the group norm.
    """
    rows, hidden = y.shape
    size = hidden // heads
    _slstm_exit[(rows,)](
        y,
        t,
        *weights,
        y_state,
        runs.slot,
        runs.turn,
        runs.count,
        *out,
        HEADS=heads,
        SIZE=size,
        BH=triton.next_power_of_2(heads),
        BK=triton.next_power_of_2(size),
        num_warps=8,
        **overlap(y),
    )


@triton.jit
def _slstm_exit(
    y_rows,
    t,
    weight,
    bias,
    norm,
    y_state,
    slot,
    turn,
    count,
    x_out,
    u_out,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    BH: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
):
    row = tl.program_id(0)
    own = tl.load(slot + row)
    if own < 0:
        follow(PDL)
        return
    hidden: tl.constexpr = HEADS * SIZE
    rh = tl.arange(0, BH)[:, None]
    rk = tl.arange(0, BK)[None, :]
    mask = (rh < HEADS) & (rk < SIZE)
    r = rh * SIZE + rk
    w = tl.load(weight + r, mask=mask, other=0.0)
    b = tl.load(bias + r, mask=mask, other=0.0)
    w_next = tl.load(norm + r, mask=mask, other=0.0)
    follow(PDL)
    y = tl.load(y_rows + row * hidden + r, mask=mask, other=0.0)
    turns = tl.load(turn + row)
    if turns + 1 == tl.load(count + row - turns):
        tl.store(y_state + own.to(tl.int64) * hidden + r, y, mask=mask)
    mean = tl.sum(y, axis=1) / SIZE
    centred = tl.where(mask, y - mean[:, None], 0.0)
    spread = tl.sqrt(tl.sum(centred * centred, axis=1) / SIZE + 1e-5)
    x = centred / spread[:, None] * w + b
    x += tl.load(t + row * hidden + r, mask=mask, other=0.0)
    tl.store(x_out + row * hidden + r, x, mask=mask)
    x_mean = tl.sum(tl.sum(x, axis=1), axis=0) / hidden
    centred = tl.where(mask, x - x_mean, 0.0)
    var = tl.sum(tl.sum(centred * centred, axis=1), axis=0) / hidden
    u = centred / tl.sqrt(var + 1e-5) * w_next
    tl.store(u_out + row * hidden + r, u.to(u_out.dtype.element_ty), mask=mask)
