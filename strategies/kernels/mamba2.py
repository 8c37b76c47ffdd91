"""Mamba2: the matrix state with its skip and output gate (convolutions come before it).

Plain reference: ``backtest.strategies.towers.mamba2``.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import decay, rms_scale, silu, softplus
from backtest.strategies.kernels.convolution import keep_window, taps, window
from backtest.strategies.kernels.deferred import Deferred, due, rings
from backtest.strategies.kernels.matrix_state import catch_up, update
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.runs import Runs, find_run

_TILE = 128


_REGISTERS = 168
"""Registers of a thread at most, so that three groups of four warps fit on a multiprocessor.

Where state is written now and then, its addresses are then worked out anew rather than kept.
"""


def mamba2_entry(
    x: Tensor,
    conv: tuple[Tensor, Tensor],
    states: tuple[Tensor, Tensor, Tensor],
    runs: Runs,
    out: Tensor,
) -> None:
    """silu(conv(...)) of x, b and c, which lie side by side.

    Args:
        x: projections x, b, c and more, float32, rows contiguous, [B, I + 2Z + ...].
        conv: weight [4, I + 2Z], bias [I + 2Z].
        states: of x [slots, I, 3], b and c [slots, Z, 3], float32, in place.
        runs: which rows belong together.
        out: [B, I + 2Z].
    """
    inner, shared = states[0].shape[1], states[1].shape[1]
    grid = (runs.programs, triton.cdiv(inner, _TILE) + 2 * triton.cdiv(shared, _TILE))
    _mamba2_entry[grid](
        x,
        *conv,
        *states,
        runs.slot,
        runs.count,
        runs.first,
        out,
        x.stride(0),
        INNER=inner,
        SHARED=shared,
        BC=_TILE,
        num_warps=2,
        **overlap(x),
    )


@triton.jit
def _mamba2_entry(
    x,
    weight,
    bias,
    x_state,
    b_state,
    c_state,
    slot,
    count,
    first,
    out,
    x_stride,
    INNER: tl.constexpr,
    SHARED: tl.constexpr,
    BC: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(0))
    if events == 0:
        follow(PDL)
        return
    own = tl.load(slot + row).to(tl.int64)
    tile = tl.program_id(1)
    x_tiles: tl.constexpr = (INNER + BC - 1) // BC
    shared_tiles: tl.constexpr = (SHARED + BC - 1) // BC
    if tile < x_tiles:
        start = 0
        inside = tile * BC + tl.arange(0, BC)
        mask = inside < INNER
        at = x_state + own * (3 * INNER) + 3 * inside
    elif tile < x_tiles + shared_tiles:
        start = INNER
        inside = (tile - x_tiles) * BC + tl.arange(0, BC)
        mask = inside < SHARED
        at = b_state + own * (3 * SHARED) + 3 * inside
    else:
        start = INNER + SHARED
        inside = (tile - x_tiles - shared_tiles) * BC + tl.arange(0, BC)
        mask = inside < SHARED
        at = c_state + own * (3 * SHARED) + 3 * inside
    r = start + inside
    w0, w1, w2, w3, b = taps(weight, bias, r, mask, INNER + 2 * SHARED)
    s0, s1, s2 = window(at, mask)
    follow(PDL)
    for event in range(row, row + events):
        new = tl.load(x + event * x_stride + r, mask=mask, other=0.0)
        y = silu(s0 * w0 + s1 * w1 + s2 * w2 + new * w3 + b)
        tl.store(out + event * (INNER + 2 * SHARED) + r, y, mask=mask)
        s0 = s1
        s1 = s2
        s2 = new
    keep_window(at, s0, s1, s2, mask)


def mamba2_state(
    xbc: Tensor,
    z: Tensor,
    dt: Tensor,
    heads: tuple[Tensor, Tensor, Tensor],
    state: Tensor,
    runs: Runs,
    out: Tensor,
    *,
    deferred: Deferred | None = None,
    warps: int = 4,
) -> None:
    """S <- exp(a dt) S + dt x b^T; out = (S c + d x) * silu(z), one program a head.

    Args:
        xbc: x, b, c side by side, float32 [B, I + 2Z].
        z: the output gate before silu, float32 [B, I], rows contiguous.
        dt: the step sizes before bias and softplus, float32 [B, N], rows contiguous.
        heads: a, d and dt's bias, [N] each.
        state: float32 [slots, N, P, Z], in place.
        runs: which rows belong together.
        out: float32 [B, I].
        deferred: what the state lags behind; ``None``: it never does.
        warps: warps of a program.
    """
    _, count, p, size = state.shape
    _mamba2_state[(count, runs.programs)](
        xbc,
        z,
        dt,
        *heads,
        state,
        runs.slot,
        runs.count,
        runs.first,
        out,
        z.stride(0),
        dt.stride(0),
        **rings(deferred),
        HEADS=count,
        P=p,
        Z=size,
        num_warps=warps,
        maxnreg=_REGISTERS,
        **overlap(xbc),
    )


@triton.jit(do_not_specialize=["phase"])
def _mamba2_state(
    xbc,
    z_in,
    dt_in,
    a_in,
    d_in,
    dt_bias,
    state,
    slot,
    count,
    first,
    out,
    z_stride,
    dt_stride,
    since,
    keep_ring,
    k_ring,
    v_ring,
    phase,
    DEPTH: tl.constexpr,
    HEADS: tl.constexpr,
    P: tl.constexpr,
    Z: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(1))
    if events == 0:
        follow(PDL)
        return
    head = tl.program_id(0)
    rp = tl.arange(0, P)
    rz = tl.arange(0, Z)
    place = tl.load(slot + row).to(tl.int64)
    s_at = state + (place * HEADS + head) * (P * Z) + rp[:, None] * Z + rz[None, :]
    s = tl.load(s_at)
    if since is not None:
        pending, entry, written = due(since, place, phase, events, DEPTH)
        ring = place * (2 * DEPTH)
        oldest = ring + entry - pending
        s = catch_up(
            s,
            pending,
            keep_ring + oldest * HEADS + head,
            HEADS,
            v_ring + (oldest * HEADS + head) * P,
            HEADS * P,
            k_ring + oldest * Z,
            Z,
            rp,
            rz,
            P,
            Z,
        )
    a = tl.load(a_in + head)
    d = tl.load(d_in + head)
    bias = tl.load(dt_bias + head)
    follow(PDL)
    for event in range(row, row + events):
        at = xbc + event * (HEADS * P + 2 * Z)
        x = tl.load(at + head * P + rp)
        b = tl.load(at + HEADS * P + rz)
        c = tl.load(at + HEADS * P + Z + rz)
        dt = softplus(tl.load(dt_in + event * dt_stride + head) + bias)
        keep = decay(a * dt)
        v = dt * x
        s = update(s, keep, v, b)
        y = tl.sum(s * c[None, :], axis=1)
        z = tl.load(z_in + event * z_stride + head * P + rp)
        tl.store(out + event * (HEADS * P) + head * P + rp, (y + d * x) * silu(z))
        if since is not None:
            number = event - row + 1
            if number == written:
                tl.store(s_at, s)
            if number > written:
                to = ring + (entry + number - 1) % (2 * DEPTH)
                tl.store(keep_ring + to * HEADS + head, keep)
                tl.store(v_ring + (to * HEADS + head) * P + rp, v)
                if head == 0:  # all heads have the same key
                    tl.store(k_ring + to * Z + rz, b)
    if since is None:
        tl.store(s_at, s)


def mamba2_steps(dt: Tensor, heads: tuple[Tensor, Tensor], out: tuple[Tensor, Tensor]) -> None:
    """Step sizes: what stays of the state, exp(a softplus(dt + bias)), and softplus(dt + bias).

    Args:
        dt: before bias and softplus, float32 [B, N], rows contiguous.
        heads: a and dt's bias, [N] each.
        out: float32 [B, N] each.
    """
    rows, count = dt.shape
    _mamba2_steps[(rows,)](
        dt,
        *heads,
        *out,
        dt.stride(0),
        HEADS=count,
        BN=triton.next_power_of_2(count),
        num_warps=1,
    )


@triton.jit
def _mamba2_steps(
    dt_in, a_in, bias, keep_out, dt_out, dt_stride, HEADS: tl.constexpr, BN: tl.constexpr
):
    row = tl.program_id(0)
    r = tl.arange(0, BN)
    mask = r < HEADS
    before = tl.load(dt_in + row * dt_stride + r, mask=mask, other=0.0)
    dt = softplus(before + tl.load(bias + r, mask=mask, other=0.0))
    keep = decay(tl.load(a_in + r, mask=mask, other=0.0) * dt)
    tl.store(keep_out + row * HEADS + r, keep, mask=mask)
    tl.store(dt_out + row * HEADS + r, dt, mask=mask)


def mamba2_exit(y: Tensor, xbc: Tensor, z: Tensor, d: Tensor, norm: Tensor, out: Tensor) -> None:
    """RMSNorm((y + d x) * silu(z)) * weight, eps 1e-5, where y was read from the state alone.

    Args:
        y: S c, float32 [B, I].
        xbc: x, b, c side by side, [B, I + 2Z].
        z: the output gate before silu, float32 [B, I], rows contiguous.
        d: [N].
        norm: weight [I].
        out: [B, I] of the products' dtype.
    """
    rows, inner = y.shape
    _mamba2_exit[(rows,)](
        y,
        xbc,
        z,
        d,
        norm,
        out,
        xbc.stride(0),
        z.stride(0),
        INNER=inner,
        P=inner // len(d),
        BLOCK=triton.next_power_of_2(inner),
        num_warps=8,
    )


@triton.jit
def _mamba2_exit(
    y_in,
    xbc,
    z_in,
    d_in,
    weight,
    out,
    x_stride,
    z_stride,
    INNER: tl.constexpr,
    P: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    r = tl.arange(0, BLOCK)
    mask = r < INNER
    y = tl.load(y_in + row * INNER + r, mask=mask, other=0.0)
    d = tl.load(d_in + r // P, mask=mask, other=0.0)
    y += d * tl.load(xbc + row * x_stride + r, mask=mask, other=0.0)
    y *= silu(tl.load(z_in + row * z_stride + r, mask=mask, other=0.0))
    y = y * rms_scale(y, INNER, 1e-5) * tl.load(weight + r, mask=mask, other=0.0)
    tl.store(out + row * INNER + r, y.to(out.dtype.element_ty), mask=mask)
