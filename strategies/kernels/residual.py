"""The work between products: residual sums, norms, and the last projection to one number."""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import rms_scale, standardise, sum_splits
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.runs import Runs

FLOAT32_EPS = 1.1920928955078125e-07


def residual_norm(
    x: Tensor,
    parts: Tensor,
    weight: Tensor,
    out: Tensor,
    *,
    bias: Tensor | None = None,
    first: bool = False,
    inner: Tensor | None = None,
    inner_weight: Tensor | None = None,
) -> None:
    """``x += parts.sum(0) + bias`` in place, then ``out = RMSNorm(x) * weight``.

    Args:
        x: the residual stream, float32 [B, D].
        parts: a split product, float32 [S, B, D].
        weight: [D].
        out: [B, D] of the products' dtype.
        bias: [D].
        first: x holds nothing yet and counts as 0.
        inner: with it, ``x += LayerNorm(inner + parts.sum(0)) * inner_weight`` (xLSTM's end).
        inner_weight: [D].
    """
    rows, size = x.shape
    block = triton.next_power_of_2(size)
    _residual_norm[(rows,)](
        x,
        parts,
        bias,
        inner,
        inner_weight,
        weight,
        out,
        parts.stride(0),
        SIZE=size,
        FIRST=first,
        SPLIT=parts.shape[0],
        BLOCK=block,
        EPS=FLOAT32_EPS,
        num_warps=8 if block >= 2048 else 4,
        **overlap(x),
    )


@triton.jit
def _residual_norm(
    x,
    parts,
    bias,
    inner,
    inner_weight,
    weight,
    out,
    split_stride,
    SIZE: tl.constexpr,
    FIRST: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
    PDL: tl.constexpr,
):
    row = tl.program_id(0)
    r = tl.arange(0, BLOCK)
    mask = r < SIZE
    at = row * SIZE + r
    w = tl.load(weight + r, mask=mask, other=0.0)
    if bias is not None:
        b = tl.load(bias + r, mask=mask, other=0.0)
    follow(PDL)
    value = sum_splits(parts, at, mask, split_stride, SPLIT)
    if bias is not None:
        value += b
    if inner is not None:
        value += tl.load(inner + at, mask=mask, other=0.0)
        value = standardise(value, mask, SIZE) * tl.load(inner_weight + r, mask=mask, other=0.0)
    if not FIRST:
        value += tl.load(x + at, mask=mask, other=0.0)
    tl.store(x + at, value, mask=mask)
    normed = value * rms_scale(value, SIZE, EPS) * w
    tl.store(out + at, normed.to(out.dtype.element_ty), mask=mask)


def residual_norm_plain(
    x: Tensor,
    parts: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    inner: Tensor | None = None,
    inner_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same in plain operations: the new x and its norm, both float32 [B, D]."""
    added = parts.sum(0) + (0 if bias is None else bias)
    if inner is not None:
        assert inner_weight is not None
        added = torch.nn.functional.layer_norm(added + inner, weight.shape, inner_weight)
    x = x + added
    return x, torch.nn.functional.rms_norm(x, weight.shape, weight, FLOAT32_EPS)


def rms_norm(x: Tensor, weight: Tensor, out: Tensor, eps: float) -> None:
    """``out = RMSNorm(x) * weight``: x float32 [B, D], out of the products' dtype."""
    rows, size = x.shape
    block = triton.next_power_of_2(size)
    _rms_norm[(rows,)](
        x,
        weight,
        out,
        SIZE=size,
        BLOCK=block,
        EPS=eps,
        num_warps=8,
        **overlap(x),
    )


@triton.jit
def _rms_norm(
    x,
    weight,
    out,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
    PDL: tl.constexpr,
):
    r = tl.arange(0, BLOCK)
    mask = r < SIZE
    at = tl.program_id(0) * SIZE + r
    w = tl.load(weight + r, mask=mask, other=0.0)
    follow(PDL)
    value = tl.load(x + at, mask=mask, other=0.0)
    value = value * rms_scale(value, SIZE, EPS) * w
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


def readout(
    x: Tensor,
    parts: Tensor,
    bias: Tensor,
    last: tuple[Tensor, Tensor],
    out: tuple[Tensor, int],
    runs: Runs,
    since: Tensor | None = None,
    *,
    written: bool = False,
) -> None:
    """One number a row, ``(x + parts.sum(0) + bias) @ weight + offset``; counts events.

    Args:
        x: float32 [B, D].
        parts: the last split product, float32 [S, B, D].
        bias: that product's, [D].
        last: weight [D] and offset [1].
        out: float32 [B, towers], and the column.
        runs: which rows belong together.
        since: events since a slot's matrix states were set, int32 [slots].
        written: whether this batch has written them, so that nothing lags behind.
    """
    rows, size = x.shape
    block = triton.next_power_of_2(size)
    answers, tower = out
    _readout[(rows,)](
        x,
        parts,
        bias,
        *last,
        answers,
        runs.slot,
        runs.count,
        since,
        parts.stride(0),
        answers.stride(0),
        TOWER=tower,
        SIZE=size,
        SPLIT=parts.shape[0],
        WRITTEN=written,
        BLOCK=block,
        num_warps=8,
        **overlap(x),
    )


@triton.jit
def _readout(
    x,
    parts,
    bias,
    weight,
    offset,
    out,
    slot,
    count,
    since,
    split_stride,
    out_stride,
    TOWER: tl.constexpr,
    SIZE: tl.constexpr,
    SPLIT: tl.constexpr,
    WRITTEN: tl.constexpr,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    follow(PDL)
    row = tl.program_id(0)
    r = tl.arange(0, BLOCK)
    mask = r < SIZE
    at = row * SIZE + r
    value = sum_splits(parts, at, mask, split_stride, SPLIT)
    value += tl.load(bias + r, mask=mask, other=0.0) + tl.load(x + at, mask=mask, other=0.0)
    answer = tl.sum(value * tl.load(weight + r, mask=mask, other=0.0), axis=0) + tl.load(offset)
    tl.store(out + row * out_stride + TOWER, answer)
    if since is not None:
        events = tl.load(count + row)
        at = since + tl.load(slot + row).to(tl.int64)
        first = events > 0
        passed = tl.load(at, mask=first, other=0)
        tl.store(at, 0 if WRITTEN else passed + events, mask=first)
