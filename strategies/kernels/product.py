"""Skinny matrix products: few rows against large weights, limited by how fast weights stream in.

Weights are stored [N, K] as ``nn.Linear`` has them. A tile of weights is the left operand and the
rows are the right one, so that the matrix units' long side is filled by weights, whatever the
number of rows. Where a product has too few tiles to fill the device, K is split; the parts are
written side by side and whoever reads the product adds them in order, so that results never depend
on timing.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import operand
from backtest.strategies.kernels.overlap import follow, overlap

Precision: TypeAlias = Literal["fp32", "tf32", "fp16"]

DOT: dict[str, str] = {"fp32": "tf32x3", "tf32": "tf32", "fp16": "ieee"}
"""How ``tl.dot`` multiplies: fp16 operands are exact in its products whatever is asked."""


@dataclass(frozen=True, slots=True)
class Tile:
    """How one product is cut up.

    Attributes:
        rows: rows of x in a tile, a power of two from 16.
        n: weight rows in a tile.
        k: columns of one step.
        split: parts that K is cut into.
        warps: warps of a program.
        stages: depth of the load pipeline.
    """

    rows: int
    n: int
    k: int
    split: int = 1
    warps: int = 4
    stages: int = 4


def product(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    tile: Tile,
    precision: Precision,
    *,
    bias: Tensor | None = None,
    relu: bool = False,
    starts: bool = False,
) -> None:
    """``out = x @ weight.T`` (then bias and relu), in float32 accumulation.

    Args:
        x: [B, G*K], rows contiguous.
        weight: [N, K], or [G, N, K] for a block-diagonal product of G blocks; blocks contiguous.
        out: [B, G*N], or [split, B, G*N] in float32 for a split one.
        tile: how it is cut up.
        precision: what ``tl.dot`` does with float32 operands; for tf32 the weights are rounded
            already.
        bias: [N], added where nothing is split.
        relu: whether negative results become 0.
        starts: whether it follows a copy rather than a kernel.
    """
    groups = weight.shape[0] if weight.ndim == 3 else 1
    n, k = weight.shape[-2:]
    rows = x.shape[0]
    over_n, over_rows = triton.cdiv(n, tile.n), triton.cdiv(rows, tile.rows)
    # Programs that run side by side share weights, which are larger than what they share of x.
    rows_first = over_rows > 1
    outer = (over_rows, over_n) if rows_first else (over_n, over_rows)
    _product[outer[0], tile.split * groups, outer[1]](
        x,
        weight,
        bias,
        out,
        rows,
        n,
        k,
        x.stride(0),
        weight.stride(0),
        out.stride(-2),
        out.stride(0),
        SPLIT=tile.split,
        ROWS_FIRST=rows_first,
        RELU=relu,
        BM=tile.rows,
        BN=tile.n,
        BK=tile.k,
        EVEN=n % tile.n == 0 and k % (tile.k * tile.split) == 0,
        PRECISION=DOT[precision],
        num_warps=tile.warps,
        num_stages=tile.stages,
        **overlap(x, starts=starts),
    )


@triton.jit(do_not_specialize=["rows"])
def _product(
    x,
    w,
    bias,
    out,
    rows,
    n,
    k,
    x_stride,
    block_stride,
    out_stride,
    split_stride,
    SPLIT: tl.constexpr,
    ROWS_FIRST: tl.constexpr,
    RELU: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
    PDL: tl.constexpr,
):
    group = tl.program_id(1) // SPLIT
    part = tl.program_id(1) % SPLIT
    rn = tl.program_id(2 if ROWS_FIRST else 0) * BN + tl.arange(0, BN)
    rm = tl.program_id(0 if ROWS_FIRST else 2) * BM + tl.arange(0, BM)
    steps = tl.cdiv(k, BK * SPLIT)
    rk = part * steps * BK + tl.arange(0, BK)
    w_at = w + group * block_stride + rn[:, None] * k + rk[None, :]
    x_at = x + group * k + rm[None, :] * x_stride + rk[:, None]
    row_mask = rm[None, :] < rows
    follow(PDL)
    acc = tl.zeros([BN, BM], dtype=tl.float32)
    for step in range(steps):
        if EVEN:
            # With several tiles of rows, others will want these weights again.
            w_tile = tl.load(w_at, eviction_policy="" if ROWS_FIRST else "evict_first")
            x_tile = tl.load(x_at, mask=row_mask, other=0.0)
        else:
            left = k - step * BK
            w_tile = tl.load(w_at, mask=(rn[:, None] < n) & (rk[None, :] < left), other=0.0)
            x_tile = tl.load(x_at, mask=row_mask & (rk[:, None] < left), other=0.0)
        x_tile = operand(x_tile, x.dtype.element_ty, PRECISION)
        acc = tl.dot(w_tile, x_tile, acc, input_precision=PRECISION)
        w_at += BK
        x_at += BK
    if bias is not None:
        acc += tl.load(bias + rn, mask=rn < n, other=0.0)[:, None]
    if RELU:
        acc = tl.where(acc < 0.0, 0.0, acc)  # NaN stays NaN
    at = part * split_stride + rm[None, :] * out_stride + group * n + rn[:, None]
    tl.store(out + at, acc.to(out.dtype.element_ty), mask=row_mask & (rn[:, None] < n))


def product_plain(
    x: Tensor, weight: Tensor, *, bias: Tensor | None = None, relu: bool = False
) -> Tensor:
    """The same in plain operations, unsplit: [B, G*N] of x's dtype."""
    if weight.ndim == 3:
        groups, _, k = weight.shape
        y = torch.einsum("bgk,gnk->bgn", x.view(-1, groups, k), weight).flatten(1)
    else:
        y = x @ weight.T
    if bias is not None:
        y = y + bias
    return torch.relu(y) if relu else y
