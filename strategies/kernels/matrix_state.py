"""The primitive behind mLSTM, RetNet and Mamba2: ``S <- a S + k v^T``, ``y = q^T S``.

The state need not be written after every event: ``deferred.py`` keeps the last few (a, k, v) and
``catch_up`` applies them to what was read. The arithmetic of a step is one function, and explicit
about what is fused, so that a step taken late gives the same bits.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def update(s, keep, rows, columns):
    """A tile of the next S: ``keep * s + rows columns^T``, rows and columns being k and v."""
    return tl.fma(rows[:, None], columns[None, :], keep * s)


@triton.jit
def tile_at(
    state,
    slot,
    head,
    rk,
    rv,
    HEADS: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    TRANSPOSED: tl.constexpr,
):
    """Where keys rk and values rv of a head's state lie, in [slots, H, K, V] or [.., V, K]."""
    at = state + (slot * HEADS + head) * (K * V)
    if TRANSPOSED:
        at += rk[:, None] + rv[None, :] * K
    else:
        at += rk[:, None] * V + rv[None, :]
    return at


@triton.jit
def catch_up(
    s,
    pending,
    keep_at,
    keep_step,
    row_at,
    row_step,
    columns_at,
    column_step,
    rr,
    rc,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """The tile of rows rr and columns rc after ``pending`` more events, kept at these places."""
    # What the next event needs is on its way while this one is applied.
    some = pending > 0
    keep = tl.load(keep_at, mask=some, other=1.0)
    rows = tl.load(row_at + rr, mask=rr < tl.where(some, HEIGHT, 0), other=0.0)
    columns = tl.load(columns_at + rc, mask=rc < tl.where(some, WIDTH, 0), other=0.0)
    for event in range(1, pending + 1):
        keep_at += keep_step
        row_at += row_step
        columns_at += column_step
        more = event < pending
        next_keep = tl.load(keep_at, mask=more, other=1.0)
        next_rows = tl.load(row_at + rr, mask=rr < tl.where(more, HEIGHT, 0), other=0.0)
        next_columns = tl.load(columns_at + rc, mask=rc < tl.where(more, WIDTH, 0), other=0.0)
        s = update(s, keep, rows, columns)
        keep = next_keep
        rows = next_rows
        columns = next_columns
    return s


def advance_plain(
    s: Tensor, keep: Tensor, k: Tensor, v: Tensor, q: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in plain operations: s [..., K, V], keep [...], k and q [..., K], v [..., V]."""
    s = keep[..., None, None] * s + k.unsqueeze(-1) * v.unsqueeze(-2)
    return s, torch.einsum("...k,...kv->...v", q, s)
