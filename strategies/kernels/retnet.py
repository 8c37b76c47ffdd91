"""RetNet: the matrix state with rotated queries and keys, and its exit (norm, gate, scale).

Plain reference: ``backtest.strategies.towers.retnet``.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import silu, sum_splits
from backtest.strategies.kernels.deferred import Deferred, due, remember, rings
from backtest.strategies.kernels.matrix_state import catch_up, update
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.runs import Runs, find_run

_REGISTERS = 128
"""Registers of a thread at most, so that four groups of four warps fit on a multiprocessor.

Where state is written now and then, its addresses are then worked out anew rather than kept.
"""


def retnet_state(
    qkvg: Tensor,
    constants: tuple[Tensor, Tensor],
    offset: Tensor,
    state: Tensor,
    runs: Runs,
    out: Tensor,
    *,
    deferred: Deferred | None = None,
    columns: int = 32,
    warps: int = 4,
) -> None:
    """S <- decay S + k v^T, out = q^T S, with q and k rotated; offset is left for ``retnet_exit``.

    Args:
        qkvg: projections q, k, v, g side by side, float32 [B, 4D].
        constants: decay [H] and angle [K].
        offset: positions, int32 [slots].
        state: float32 [slots, H, K, K], in place.
        runs: which rows belong together.
        out: float32 [B, D].
        deferred: what the state lags behind; ``None``: it never does.
        columns: value columns of a program.
        warps: warps of a program.
    """
    _, hidden = out.shape
    _, heads, size, _ = state.shape
    columns = min(columns, triton.next_power_of_2(size))
    _retnet_state[(triton.cdiv(size, columns), heads, runs.programs)](
        qkvg,
        *constants,
        offset,
        state,
        runs.slot,
        runs.count,
        runs.first,
        out,
        **rings(deferred),
        SCALE=size**-0.5,
        HIDDEN=hidden,
        HEADS=heads,
        SIZE=size,
        BK=triton.next_power_of_2(size),
        BV=columns,
        num_warps=warps,
        maxnreg=_REGISTERS,
        **overlap(qkvg),
    )


@triton.jit
def _rotation(position, angle, rk):
    """Cosine, and sine with its partner's sign, of position times angle, reduced in float64."""
    turns = position.to(tl.float64) * angle * 0.15915494309189535
    theta = ((turns - tl.floor(turns)) * 6.283185307179586).to(tl.float32)
    return tl.cos(theta), tl.sin(theta) * tl.where(rk % 2 == 0, -1.0, 1.0)


@triton.jit
def _rotated(at, rk, in_k, cos, sin):
    """A vector with its pairs turned."""
    straight = tl.load(at + rk, mask=in_k, other=0.0) * cos
    return straight + tl.load(at + (rk ^ 1), mask=in_k, other=0.0) * sin


@triton.jit(do_not_specialize=["phase"])
def _retnet_state(
    qkvg,
    decay_in,
    angle_in,
    offset_in,
    state,
    slot,
    count,
    first,
    out,
    since,
    keep_ring,
    k_ring,
    v_ring,
    phase,
    DEPTH: tl.constexpr,
    SCALE: tl.constexpr,
    HIDDEN: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(2))
    if events == 0:
        follow(PDL)
        return
    head = tl.program_id(1)
    own = tl.load(slot + row).to(tl.int64)
    rk = tl.arange(0, BK)
    rv = tl.program_id(0) * BV + tl.arange(0, BV)
    in_k = rk < SIZE
    in_v = rv < SIZE
    mask = in_k[:, None] & in_v[None, :]
    s_at = state + (own * HEADS + head) * (SIZE * SIZE) + rk[:, None] * SIZE + rv[None, :]
    s = tl.load(s_at, mask=mask, other=0.0)
    keep = tl.load(decay_in + head)
    angle = tl.load(angle_in + rk, mask=in_k, other=0.0).to(tl.float64)
    offset = tl.load(offset_in + own)
    if since is not None:
        pending, entry, written = due(since, own, phase, events, DEPTH)
        ring = own * (2 * DEPTH * HEADS) + head
        oldest = ring + (entry - pending) * HEADS
        s = catch_up(
            s,
            pending,
            keep_ring + oldest,
            HEADS,
            k_ring + oldest * SIZE,
            HEADS * SIZE,
            v_ring + oldest * SIZE,
            HEADS * SIZE,
            rk,
            rv,
            SIZE,
            SIZE,
        )
    follow(PDL)
    for event in range(events):
        cos, sin = _rotation(offset + event, angle, rk)
        at = qkvg + (row + event) * (4 * HIDDEN) + head * SIZE
        q = _rotated(at, rk, in_k, cos, sin)
        at += HIDDEN
        k = _rotated(at, rk, in_k, cos, sin) * SCALE
        v = tl.load(at + HIDDEN + rv, mask=in_v, other=0.0)
        s = update(s, keep, k, v)
        y = tl.sum(q[:, None] * s, axis=0)
        tl.store(out + (row + event) * HIDDEN + head * SIZE + rv, y, mask=in_v)
        if since is not None:
            if event + 1 == written:
                tl.store(s_at, s, mask=mask)
            if event >= written:
                to = ring + (entry + event) % (2 * DEPTH) * HEADS
                leads = tl.program_id(0) == 0
                remember(keep_ring, k_ring, v_ring, to, keep, k, v, rk, rv, leads, SIZE, SIZE)
    if since is None:
        tl.store(s_at, s, mask=mask)


def retnet_steps(qkvg: Tensor, angle: Tensor, offset: Tensor, runs: Runs, qkv: Tensor) -> None:
    """Queries, and keys scaled, rotated by their events' positions; values as they are.

    Args:
        qkvg: projections q, k, v, g side by side, float32 [B, 4D].
        angle: [K].
        offset: positions, int32 [slots], left for ``retnet_exit``.
        runs: which rows belong together; no padding.
        qkv: [B, 3, D], written.
    """
    rows, _, hidden = qkv.shape
    size = len(angle)
    _retnet_steps[rows, hidden // size](
        qkvg,
        angle,
        offset,
        runs.slot,
        runs.turn,
        qkv,
        SCALE=size**-0.5,
        HIDDEN=hidden,
        SIZE=size,
        BK=triton.next_power_of_2(size),
        num_warps=2,
    )


@triton.jit
def _retnet_steps(
    qkvg,
    angle_in,
    offset_in,
    slot,
    turn,
    qkv,
    SCALE: tl.constexpr,
    HIDDEN: tl.constexpr,
    SIZE: tl.constexpr,
    BK: tl.constexpr,
):
    row = tl.program_id(0)
    head = tl.program_id(1)
    rk = tl.arange(0, BK)
    in_k = rk < SIZE
    angle = tl.load(angle_in + rk, mask=in_k, other=0.0).to(tl.float64)
    position = tl.load(offset_in + tl.load(slot + row).to(tl.int64)) + tl.load(turn + row)
    cos, sin = _rotation(position, angle, rk)
    at = qkvg + row * (4 * HIDDEN) + head * SIZE
    to = qkv + row * (3 * HIDDEN) + head * SIZE + rk
    tl.store(to, _rotated(at, rk, in_k, cos, sin), mask=in_k)
    tl.store(to + HIDDEN, _rotated(at + HIDDEN, rk, in_k, cos, sin) * SCALE, mask=in_k)
    tl.store(to + 2 * HIDDEN, tl.load(at + 2 * HIDDEN + rk, mask=in_k, other=0.0), mask=in_k)


def retnet_exit(
    y: Tensor,
    g: Tensor,
    decay: Tensor,
    state: tuple[Tensor, Tensor],
    runs: Runs,
    out: Tensor,
) -> None:
    """RMSNorm(y / sqrt(s)) * silu(g) a head; offset and scale s in place.

    1/sqrt(s) folds into the norm: its eps becomes eps * s.

    Args:
        y: q^T S, float32 [S, B, D], to be summed.
        g: the gate before silu, float32 [B, D], rows contiguous.
        decay: [H].
        state: offset int32 [slots] and scale float32 [slots, H].
        runs: which rows belong together.
        out: [B, D] of the products' dtype.
    """
    sums, _, hidden = y.shape
    heads = decay.shape[0]
    _retnet_exit[(runs.programs, heads)](
        y,
        g,
        decay,
        *state,
        runs.slot,
        runs.count,
        runs.first,
        out,
        y.stride(0),
        g.stride(0),
        SUMS=sums,
        HEADS=heads,
        SIZE=hidden // heads,
        BK=triton.next_power_of_2(hidden // heads),
        num_warps=2,
        **overlap(y),
    )


@triton.jit
def _retnet_exit(
    y_in,
    g_in,
    decay_in,
    offset,
    scale,
    slot,
    count,
    first,
    out,
    y_stride,
    g_stride,
    SUMS: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(0))
    if events == 0:
        follow(PDL)
        return
    head = tl.program_id(1)
    own = tl.load(slot + row).to(tl.int64)
    decay = tl.load(decay_in + head)
    s = tl.load(scale + own * HEADS + head)
    rk = tl.arange(0, BK)
    mask = rk < SIZE
    r = head * SIZE + rk
    follow(PDL)
    for event in range(row, row + events):
        s = decay * s + 1.0
        y = sum_splits(y_in, event * (HEADS * SIZE) + r, mask, y_stride, SUMS)
        y = y / tl.sqrt(tl.sum(y * y, axis=0) / SIZE + 1e-6 * s)
        y *= silu(tl.load(g_in + event * g_stride + r, mask=mask, other=0.0))
        tl.store(out + event * (HEADS * SIZE) + r, y.to(out.dtype.element_ty), mask=mask)
    tl.store(scale + own * HEADS + head, s)
    if head == 0:
        tl.store(offset + own, tl.load(offset + own) + events)
