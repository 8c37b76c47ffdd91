"""``S <- a S + k v^T``, ``y = q^T S`` over runs of many events: mLSTM, RetNet and Mamba2 alike.

A program takes a few value columns of one head's state through all events of a run, in registers.
What an event needs is prepared by kernels that see all rows at once, and is loaded while the event
before is applied; so an event costs its arithmetic, not its way to memory. (In batches of a few
events each tower has a kernel of its own, which prepares and applies in one launch.)

Plain reference: ``backtest.strategies.kernels.matrix_state.advance_plain``, event by event.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.deferred import Deferred, rings, up_to_date
from backtest.strategies.kernels.matrix_state import tile_at, update
from backtest.strategies.kernels.runs import Runs, find_run

_REGISTERS = 128
"""Registers of a thread at most, so that two groups of eight warps fit: one waits, one works."""


def matrix_sequence(
    qkv: tuple[Tensor, Tensor, Tensor],
    steps: tuple[Tensor, Tensor],
    state: Tensor,
    runs: Runs,
    out: Tensor,
    *,
    transposed: bool = False,
    deferred: Deferred | None = None,
    columns: int,
    warps: int,
) -> None:
    """The state of every run in place, whatever was deferred, and what is read from it.

    Args:
        qkv: q and k [B, H, K], v [B, H, V], float32; any strides but the last, heads may share.
        steps: a and the factor of k at each event, float32 [B, H], any strides.
        state: float32 [slots, H, K, V], or [slots, H, V, K] if transposed.
        runs: which rows belong together.
        out: float32 [B, H V].
        transposed: whether a row of the state belongs to a value.
        deferred: what the state lags behind; nothing afterwards.
        columns: values of a program.
        warps: warps of a program.
    """
    q, k, v = qkv
    keep, scale = steps
    _, heads, keys = q.shape
    values = v.shape[2]
    columns = min(columns, triton.next_power_of_2(values))
    _matrix_sequence[triton.cdiv(values, columns), heads, runs.programs](
        *qkv,
        *steps,
        state,
        runs.slot,
        runs.count,
        runs.first,
        out,
        *q.stride()[:2],
        *k.stride()[:2],
        *v.stride()[:2],
        *keep.stride(),
        *scale.stride(),
        **rings(deferred),
        HEADS=heads,
        K=keys,
        V=values,
        KEY_HEADS=1 if deferred is None else deferred.k.shape[2],
        TRANSPOSED=transposed,
        EVEN=keys == triton.next_power_of_2(keys) and values % columns == 0,
        BK=triton.next_power_of_2(keys),
        BV=columns,
        num_warps=warps,
        maxnreg=_REGISTERS,
    )


@triton.jit
def _vector(at, r, SIZE: tl.constexpr, EVEN: tl.constexpr):
    if EVEN:
        return tl.load(at + r)
    return tl.load(at + r, mask=r < SIZE, other=0.0)


@triton.jit(do_not_specialize=["phase"])
def _matrix_sequence(
    q_in,
    k_in,
    v_in,
    keep_in,
    scale_in,
    state,
    slot,
    count,
    first,
    out,
    q_row,
    q_head,
    k_row,
    k_head,
    v_row,
    v_head,
    keep_row,
    keep_head,
    scale_row,
    scale_head,
    since,
    keep_ring,
    k_ring,
    v_ring,
    phase,
    DEPTH: tl.constexpr,
    HEADS: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    EVEN: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(2))
    if events == 0:
        return
    head = tl.program_id(1)
    own = tl.load(slot + row).to(tl.int64)
    rk = tl.arange(0, BK)
    rv = tl.program_id(0) * BV + tl.arange(0, BV)
    mask = (rk < K)[:, None] & (rv < V)[None, :]
    at = tile_at(state, own, head, rk, rv, HEADS, K, V, TRANSPOSED)
    s = tl.load(at, mask=mask, other=0.0)
    s = up_to_date(
        s, own, head, rk, rv, events, since, keep_ring, k_ring, v_ring, phase,
        DEPTH, HEADS, KEY_HEADS, K, V,
    )  # fmt: skip
    row = row.to(tl.int64)
    q_at = q_in + row * q_row + head * q_head
    k_at = k_in + row * k_row + head * k_head
    v_at = v_in + row * v_row + head * v_head
    keep_at = keep_in + row * keep_row + head * keep_head
    scale_at = scale_in + row * scale_row + head * scale_head
    y_at = out + row * (HEADS * V) + head * V
    q = _vector(q_at, rk, K, EVEN)
    k = _vector(k_at, rk, K, EVEN)
    v = _vector(v_at, rv, V, EVEN)
    keep = tl.load(keep_at)
    scale = tl.load(scale_at)
    for event in range(1, events + 1):
        # The last event looks at itself again: cheaper than a mask.
        step = tl.where(event < events, 1, 0)
        q_at += step * q_row
        k_at += step * k_row
        v_at += step * v_row
        keep_at += step * keep_row
        scale_at += step * scale_row
        next_q = _vector(q_at, rk, K, EVEN)
        next_k = _vector(k_at, rk, K, EVEN)
        next_v = _vector(v_at, rv, V, EVEN)
        next_keep = tl.load(keep_at)
        next_scale = tl.load(scale_at)
        s = update(s, keep, k, v * scale)
        tl.store(y_at + rv, tl.sum(q[:, None] * s, axis=0), mask=rv < V)
        y_at += HEADS * V
        q = next_q
        k = next_k
        v = next_v
        keep = next_keep
        scale = next_scale
    tl.store(at, s, mask=mask)
