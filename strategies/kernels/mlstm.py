"""mLSTM: entry (convolution, q, k, v, gates), the matrix state, exit (norm, skip, output gate).

Plain reference: ``backtest.strategies.towers.xlstm``. The gates W [q; k; v] are linear in the
convolved input c and the plain input a, since q, k and v are: their weights are folded into one
matrix over [c; a] when the weights are loaded, which is exact algebra and saves a pass.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import decay, larger, log_sigmoid, silu, sum_splits
from backtest.strategies.kernels.convolution import keep_window, taps, window
from backtest.strategies.kernels.deferred import Deferred, due, remember, rings
from backtest.strategies.kernels.matrix_state import catch_up, update
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.runs import Runs, find_run

GATE_TILE = 256
"""Channels of one partial sum of the gates."""


_REGISTERS = 128
"""Registers of a thread at most, so that two groups of eight warps fit on a multiprocessor.

Where state is written now and then, its addresses are then worked out anew rather than kept.
"""


def gate_tiles(inner: int) -> int:
    """Partial sums of the gates for an inner size."""
    return triton.cdiv(inner, GATE_TILE)


def mlstm_entry(
    a: Tensor,
    conv: tuple[Tensor, Tensor, Tensor],
    qkv: Tensor,
    gates: Tensor,
    runs: Runs,
    out: tuple[Tensor, Tensor, Tensor],
) -> None:
    """c = silu(conv(a)); q, k from c and v from a, block by block; partial sums of the gates.

    Args:
        a: the projected input, float32 [B, I], rows contiguous.
        conv: weight [4, I], bias [I], state float32 [slots, I, 3].
        qkv: weights of q, k, v, [3, I/4, 4, 4].
        gates: folded weights, [2H, 2, I]: input gates before forget gates, over c and over a.
        runs: which rows belong together.
        out: c [B, I]; q, k, v [B, 3, I]; partial gates [B, tiles, 2H]; all float32.
    """
    _, inner = a.shape
    c, qkv_out, parts = out
    outputs = gates.shape[0]
    tiles = gate_tiles(inner)
    _mlstm_entry[(runs.programs, tiles)](
        a,
        *conv,
        qkv,
        gates,
        runs.slot,
        runs.count,
        runs.first,
        c,
        qkv_out,
        parts,
        a.stride(0),
        INNER=inner,
        OUTPUTS=outputs,
        TILES=tiles,
        BO=triton.next_power_of_2(outputs),
        NB=GATE_TILE // 4,
        num_warps=4,
        **overlap(a),
    )


@triton.jit
def _block_product(x, w):
    """x [NB, 4 in] by w [NB, 4 out, 4 in] -> [NB, 4 out]."""
    return tl.sum(x[:, None, :] * w, axis=2)


@triton.jit
def _mlstm_entry(
    a_in,
    conv_w,
    conv_b,
    conv_state,
    qkv_w,
    gates_w,
    slot,
    count,
    first,
    c_out,
    qkv_out,
    parts,
    a_stride,
    INNER: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TILES: tl.constexpr,
    BO: tl.constexpr,
    NB: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(0))
    if events == 0:
        follow(PDL)
        return
    tile = tl.program_id(1)
    own = tl.load(slot + row).to(tl.int64)
    block = tile * NB + tl.arange(0, NB)
    four = tl.arange(0, 4)
    r = block[:, None] * 4 + four[None, :]
    mask = r < INNER
    w0, w1, w2, w3, wb = taps(conv_w, conv_b, r, mask, INNER)
    state = conv_state + own * (3 * INNER) + 3 * r
    s0, s1, s2 = window(state, mask)
    w_at = qkv_w + block[:, None, None] * 16 + four[None, :, None] * 4 + four[None, None, :]
    w_mask = (block * 4 < INNER)[:, None, None]
    wq = tl.load(w_at, mask=w_mask, other=0.0).to(tl.float32)
    wk = tl.load(w_at + 4 * INNER, mask=w_mask, other=0.0).to(tl.float32)
    wv = tl.load(w_at + 8 * INNER, mask=w_mask, other=0.0).to(tl.float32)
    ro = tl.arange(0, BO)
    flat = tile * (4 * NB) + tl.arange(0, 4 * NB)
    g_at = gates_w + ro[:, None] * (2 * INNER) + flat[None, :]
    g_mask = (ro[:, None] < OUTPUTS) & (flat[None, :] < INNER)
    follow(PDL)
    for event in range(events):
        a_at = a_in + (row + event) * a_stride
        a = tl.load(a_at + r, mask=mask, other=0.0)
        c = silu(s0 * w0 + s1 * w1 + s2 * w2 + a * w3 + wb)
        tl.store(c_out + (row + event) * INNER + r, c, mask=mask)
        out = qkv_out + (row + event) * (3 * INNER) + r
        tl.store(out, _block_product(c, wq), mask=mask)
        tl.store(out + INNER, _block_product(c, wk), mask=mask)
        tl.store(out + 2 * INNER, _block_product(a, wv), mask=mask)
        g = tl.load(g_at, mask=g_mask, other=0.0).to(tl.float32)
        sums = tl.sum(g * tl.reshape(c, [4 * NB])[None, :], axis=1)
        g = tl.load(g_at + INNER, mask=g_mask, other=0.0).to(tl.float32)
        sums += tl.sum(g * tl.reshape(a, [4 * NB])[None, :], axis=1)
        p_at = parts + ((row + event) * TILES + tile) * OUTPUTS + ro
        tl.store(p_at, sums, mask=ro < OUTPUTS)
        s0 = s1
        s1 = s2
        s2 = a
    keep_window(state, s0, s1, s2, mask)


@triton.jit
def _gate(parts, bias, row, output, TILES: tl.constexpr, BT: tl.constexpr, OUTPUTS: tl.constexpr):
    rt = tl.arange(0, BT)
    part = tl.load(parts + (row * TILES + rt) * OUTPUTS + output, mask=rt < TILES, other=0.0)
    return tl.sum(part, axis=0) + tl.load(bias + output)


@triton.jit
def _next_gates(
    m, parts, bias, row, head, HEADS: tl.constexpr, TILES: tl.constexpr, BT: tl.constexpr
):
    """m after a row's event, how much of the state stays, and how much of the key comes in."""
    i = _gate(parts, bias, row, head, TILES, BT, 2 * HEADS)
    f = _gate(parts, bias, row, HEADS + head, TILES, BT, 2 * HEADS)
    decayed = m + log_sigmoid(f)
    m = larger(i, decayed)
    return m, decay(decayed - m), tl.exp(i - m)


def mlstm_state(
    qkv: Tensor,
    gates: Tensor,
    bias: Tensor,
    state: tuple[Tensor, Tensor, Tensor],
    runs: Runs,
    out: tuple[Tensor, Tensor],
    *,
    deferred: Deferred | None = None,
    columns: int = 32,
    warps: int = 8,
) -> None:
    """C and n in place, and what is read from them; m is left for ``mlstm_exit``.

    A program keeps ``columns`` value columns of one head's C in registers for a whole run; one
    more program a head does the same for n, as one more value column.

    Args:
        qkv: float32 [B, 3, I].
        gates: partial sums [B, tiles, 2H].
        bias: of the gates, [2H].
        state: C [slots, H, K, K], n [slots, H, K], m [slots, H], float32.
        runs: which rows belong together.
        out: q^T C [B, I] and the denominator [B, H], float32.
        deferred: what C lags behind; ``None``: it never does.
        columns: value columns of a program.
        warps: warps of a program.
    """
    inner = qkv.shape[2]
    heads, size = state[1].shape[1:]
    columns = min(columns, triton.next_power_of_2(size))
    grid = (triton.cdiv(size, columns) + 1, heads, runs.programs)
    _mlstm_state[grid](
        qkv,
        gates,
        bias,
        *state,
        runs.slot,
        runs.count,
        runs.first,
        *out,
        **rings(deferred),
        SCALE=size**-0.5,
        INNER=inner,
        HEADS=heads,
        SIZE=size,
        TILES=gates.shape[1],
        BT=triton.next_power_of_2(gates.shape[1]),
        BK=triton.next_power_of_2(size),
        BV=columns,
        num_warps=warps,
        maxnreg=_REGISTERS,
        **overlap(qkv),
    )


@triton.jit(do_not_specialize=["phase"])
def _mlstm_state(  # noqa: PLR0915 - a kernel is one function, or its tile leaves the registers
    qkv,
    parts,
    bias,
    c_state,
    n_state,
    m_state,
    slot,
    count,
    first,
    y_out,
    weight_out,
    since,
    keep_ring,
    k_ring,
    v_ring,
    phase,
    DEPTH: tl.constexpr,
    SCALE: tl.constexpr,
    INNER: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    TILES: tl.constexpr,
    BT: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(2))
    if events == 0:
        follow(PDL)
        return
    head = tl.program_id(1)
    place = tl.load(slot + row).to(tl.int64)
    own = place * HEADS + head
    m = tl.load(m_state + own)
    rk = tl.arange(0, BK)
    in_k = rk < SIZE
    if tl.program_id(0) * BV >= SIZE:
        n_at = n_state + own * SIZE + rk
        n = tl.load(n_at, mask=in_k, other=0.0)
        follow(PDL)
        for event in range(row, row + events):
            m, keep, gain = _next_gates(m, parts, bias, event, head, HEADS, TILES, BT)
            at = qkv + event * (3 * INNER) + head * SIZE + rk
            q = tl.load(at, mask=in_k, other=0.0)
            k = tl.load(at + INNER, mask=in_k, other=0.0)
            n = keep * n + (gain * SCALE) * k
            read = tl.abs(tl.sum(q * n, axis=0))
            tl.store(weight_out + event * HEADS + head, larger(read, tl.exp(-m)) + 1e-6)
        tl.store(n_at, n, mask=in_k)
    else:
        rv = tl.program_id(0) * BV + tl.arange(0, BV)
        in_v = rv < SIZE
        mask = in_k[:, None] & in_v[None, :]
        s_at = c_state + own * (SIZE * SIZE) + rk[:, None] * SIZE + rv[None, :]
        s = tl.load(s_at, mask=mask, other=0.0)
        if since is not None:
            pending, entry, written = due(since, place, phase, events, DEPTH)
            ring = place * (2 * DEPTH * HEADS) + head
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
        for event in range(row, row + events):
            m, keep, gain = _next_gates(m, parts, bias, event, head, HEADS, TILES, BT)
            at = qkv + event * (3 * INNER) + head * SIZE
            q = tl.load(at + rk, mask=in_k, other=0.0)
            k = tl.load(at + INNER + rk, mask=in_k, other=0.0) * (gain * SCALE)
            v = tl.load(at + 2 * INNER + rv, mask=in_v, other=0.0)
            s = update(s, keep, k, v)
            y = tl.sum(q[:, None] * s, axis=0)
            tl.store(y_out + event * INNER + head * SIZE + rv, y, mask=in_v)
            if since is not None:
                number = event - row + 1
                if number == written:
                    tl.store(s_at, s, mask=mask)
                if number > written:
                    to = ring + (entry + number - 1) % (2 * DEPTH) * HEADS
                    leads = tl.program_id(0) == 0
                    remember(keep_ring, k_ring, v_ring, to, keep, k, v, rk, rv, leads, SIZE, SIZE)
        if since is None:
            tl.store(s_at, s, mask=mask)


def mlstm_steps(
    qkv: Tensor,
    gates: Tensor,
    bias: Tensor,
    state: tuple[Tensor, Tensor],
    runs: Runs,
    out: tuple[Tensor, Tensor, Tensor],
) -> None:
    """What ``matrix_sequence`` needs of mLSTM, and n in place; m is left for ``mlstm_exit``.

    Args:
        qkv: [B, 3, I].
        gates: partial sums [B, tiles, 2H].
        bias: of the gates, [2H].
        state: n [slots, H, K] and m [slots, H], float32.
        runs: which rows belong together.
        out: what stays, the factor of k, and the denominator, float32 [B, H] each.
    """
    heads, size = state[0].shape[1:]
    _mlstm_steps[runs.programs, heads](
        qkv,
        gates,
        bias,
        *state,
        runs.slot,
        runs.count,
        runs.first,
        *out,
        SCALE=size**-0.5,
        INNER=qkv.shape[2],
        HEADS=heads,
        SIZE=size,
        TILES=gates.shape[1],
        BT=triton.next_power_of_2(gates.shape[1]),
        BK=triton.next_power_of_2(size),
        num_warps=2,
    )


@triton.jit
def _mlstm_steps(
    qkv,
    parts,
    bias,
    n_state,
    m_state,
    slot,
    count,
    first,
    keep_out,
    scale_out,
    weight_out,
    SCALE: tl.constexpr,
    INNER: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    TILES: tl.constexpr,
    BT: tl.constexpr,
    BK: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(0))
    if events == 0:
        return
    head = tl.program_id(1)
    own = tl.load(slot + row).to(tl.int64) * HEADS + head
    m = tl.load(m_state + own)
    rk = tl.arange(0, BK)
    n_at = n_state + own * SIZE + rk
    n = tl.load(n_at, mask=rk < SIZE, other=0.0)
    for event in range(row, row + events):
        at = qkv + event * (3 * INNER) + head * SIZE + rk
        q = tl.load(at, mask=rk < SIZE, other=0.0).to(tl.float32)
        k = tl.load(at + INNER, mask=rk < SIZE, other=0.0).to(tl.float32)
        m, keep, gain = _next_gates(m, parts, bias, event, head, HEADS, TILES, BT)
        n = keep * n + (gain * SCALE) * k
        read = tl.abs(tl.sum(q * n, axis=0))
        tl.store(keep_out + event * HEADS + head, keep)
        tl.store(scale_out + event * HEADS + head, gain * SCALE)
        tl.store(weight_out + event * HEADS + head, larger(read, tl.exp(-m)) + 1e-6)
    tl.store(n_at, n, mask=rk < SIZE)


def mlstm_exit(
    y: Tensor,
    weight: Tensor,
    c: Tensor,
    g: Tensor,
    norm: tuple[Tensor, Tensor, Tensor],
    gates: tuple[Tensor, Tensor],
    m_state: Tensor,
    runs: Runs,
    out: Tensor,
) -> None:
    """(GroupNorm(y / weight) + skip * c) * silu(g); m in place.

    Args:
        y: q^T C, float32 [S, B, I], to be summed.
        weight: the denominator, float32 [B, H].
        c: the convolved input, float32 [B, I].
        g: the output gate before silu, float32 [B, I], rows contiguous.
        norm: the group norm's weight and bias, and skip, [I] each.
        gates: partial sums [B, tiles, 2H] and bias [2H].
        m_state: float32 [slots, H].
        runs: which rows belong together.
        out: [B, I] of the products' dtype.
    """
    sums, rows, inner = y.shape
    heads = weight.shape[1]
    parts, bias = gates
    _mlstm_exit[(rows, heads)](
        y,
        weight,
        c,
        g,
        *norm,
        parts,
        bias,
        m_state,
        runs.slot,
        runs.count,
        out,
        y.stride(0),
        g.stride(0),
        SUMS=sums,
        INNER=inner,
        HEADS=heads,
        SIZE=inner // heads,
        TILES=parts.shape[1],
        BT=triton.next_power_of_2(parts.shape[1]),
        BK=triton.next_power_of_2(inner // heads),
        num_warps=4,
        **overlap(y),
    )


@triton.jit
def _mlstm_exit(
    y_in,
    weight_in,
    c_in,
    g_in,
    norm_w,
    norm_b,
    skip,
    parts,
    bias,
    m_state,
    slot,
    count,
    out,
    y_stride,
    g_stride,
    SUMS: tl.constexpr,
    INNER: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    TILES: tl.constexpr,
    BT: tl.constexpr,
    BK: tl.constexpr,
    PDL: tl.constexpr,
):
    row = tl.program_id(0)
    own = tl.load(slot + row)
    if own < 0:
        follow(PDL)
        return
    head = tl.program_id(1)
    events = tl.load(count + row)
    rk = tl.arange(0, BK)
    mask = rk < SIZE
    r = head * SIZE + rk
    w = tl.load(norm_w + r, mask=mask, other=0.0)
    b = tl.load(norm_b + r, mask=mask, other=0.0)
    w_skip = tl.load(skip + r, mask=mask, other=0.0)
    follow(PDL)
    if events > 0:
        m_at = m_state + own.to(tl.int64) * HEADS + head
        m = tl.load(m_at)
        for event in range(row, row + events):
            m, _, _ = _next_gates(m, parts, bias, event, head, HEADS, TILES, BT)
        tl.store(m_at, m)
    y = sum_splits(y_in, row * INNER + r, mask, y_stride, SUMS)
    y = y / tl.load(weight_in + row * HEADS + head)
    mean = tl.sum(y, axis=0) / SIZE
    centred = tl.where(mask, y - mean, 0.0)
    h = centred / tl.sqrt(tl.sum(centred * centred, axis=0) / SIZE + 1e-5)
    h = h * w + b + w_skip * tl.load(c_in + row * INNER + r, mask=mask, other=0.0)
    h *= silu(tl.load(g_in + row * g_stride + r, mask=mask, other=0.0))
    tl.store(out + row * INNER + r, h.to(out.dtype.element_ty), mask=mask)
