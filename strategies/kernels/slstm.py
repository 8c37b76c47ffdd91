"""sLSTM: entry (residual, norms, convolution), the recurrent cell, exit (group norm, next norm).

Plain reference: ``backtest.strategies.towers.xlstm``.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import (
    decay,
    larger,
    log_sigmoid,
    operand,
    rms_scale,
    sigmoid,
    silu,
    standardise,
    sum_splits,
    tanh,
)
from backtest.strategies.kernels.convolution import keep_window, taps, window
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.product import DOT, Precision, Tile
from backtest.strategies.kernels.residual import FLOAT32_EPS
from backtest.strategies.kernels.runs import Runs, find_run, rows_in_turn

PACKED = 128
"""Rows of the largest batch of which a later turn's rows are sought out, to fill fewer tiles."""


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


def slstm_cell(
    inputs: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor, Tensor],
    state: tuple[Tensor, Tensor, Tensor, Tensor],
    y: Tensor,
    gates: Tensor,
    runs: Runs,
    turn: int,
    turns: int,
    tile: Tile,
    precision: Precision,
) -> None:
    """The cell for every row whose turn it is: gates from inputs and the y before, then C, n, m.

    All four gates of a tile of channels are products of one program, which then updates the cell
    in place. The y before is read by every program of a head, so the new y goes beside it;
    ``slstm_exit`` commits it. The first turn's launch takes all rows' products with the inputs and
    leaves them in ``gates``, and later ones add those with y alone.

    Args:
        inputs: the convolved one (gates i and f), the plain one (gates z and o), [B, D] each.
        weights: input and recurrent [N, 4, K, K] in the order i, f, z, o; bias [4, D].
        state: y, C, n, m, float32 [slots, D] each; all but y updated in place.
        y: float32 [B, D], where the new y is written, and read for turns after the first.
        gates: float32, room for 4 B D: what the first turn leaves to later ones.
        runs: which rows belong together.
        turn: 0 for each run's first event, and so on; at most B // (turn + 1) rows have it.
        turns: how many launches there are, this one included.
        tile: how the products are cut up.
        precision: what ``tl.dot`` does with float32 operands.
    """
    rows, hidden = y.shape
    w_in, w_state, bias = weights
    heads, _, size, _ = w_in.shape
    packed = turn > 0 and rows <= PACKED
    most = rows // (turn + 1) if packed else rows
    grid = (triton.cdiv(size, tile.n), heads, triton.cdiv(most, tile.rows))
    _slstm_cell[grid](
        *inputs,
        w_in,
        w_state,
        bias,
        *state,
        y,
        gates,
        runs.slot,
        runs.turn,
        rows,
        turn,
        HIDDEN=hidden,
        SIZE=size,
        FIRST=turn == 0,
        SAVES=turn == 0 and turns > 1,
        BM=tile.rows,
        BN=tile.n,
        BK=tile.k,
        PACKED=triton.next_power_of_2(rows) if packed else 0,
        EVEN=size % tile.n == 0 and size % tile.k == 0,
        PRECISION=DOT[precision],
        num_warps=tile.warps,
        num_stages=tile.stages,
        **overlap(y),
    )


@triton.jit
def _gate_tile(w, rn, rk, SIZE: tl.constexpr, EVEN: tl.constexpr):
    at = w + rn[:, None] * SIZE + rk[None, :]
    if EVEN:
        return tl.load(at)
    return tl.load(at, mask=(rn[:, None] < SIZE) & (rk[None, :] < SIZE), other=0.0)


@triton.jit(do_not_specialize=["rows", "this_turn"])
def _slstm_cell(  # noqa: PLR0915 - a kernel is one function, or its tile leaves the registers
    c_in,
    u_in,
    w_in,
    w_state,
    bias,
    y_state,
    cell_state,
    norm_state,
    max_state,
    y_rows,
    gates,
    slot,
    turn,
    rows,
    this_turn,
    HIDDEN: tl.constexpr,
    SIZE: tl.constexpr,
    FIRST: tl.constexpr,
    SAVES: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PACKED: tl.constexpr,
    EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
    PDL: tl.constexpr,
):
    head = tl.program_id(1)
    rn = tl.program_id(0) * BN + tl.arange(0, BN)
    w_in += head * 4 * SIZE * SIZE
    w_state += head * 4 * SIZE * SIZE
    gate: tl.constexpr = SIZE * SIZE
    first = tl.program_id(2) * BM
    if PACKED:
        rm = rows_in_turn(slot, turn, rows, this_turn, first, BM, PACKED)
        slots = tl.load(slot + rm, mask=rm >= 0, other=-1)
        now = rm >= 0
    else:
        rm = first + tl.arange(0, BM)
        slots = tl.load(slot + rm, mask=rm < rows, other=-1)
        now = (tl.load(turn + rm, mask=rm < rows, other=-1) == this_turn) & (slots >= 0)
    follow(PDL)
    live = slots >= 0 if SAVES else now
    if tl.max(live.to(tl.int32), axis=0) == 0:
        return
    slots = slots.to(tl.int64)
    channel = head * SIZE + rn
    inside = rn < SIZE
    mask = now[None, :] & inside[:, None]
    gates += rm[None, :] * HIDDEN + channel[:, None]
    part = rows * HIDDEN
    if FIRST:
        before = y_state + slots * HIDDEN + head * SIZE
    else:
        before = y_rows + (rm - 1) * HIDDEN + head * SIZE
    inputs = rm * HIDDEN + head * SIZE
    if FIRST:
        i = tl.zeros([BN, BM], dtype=tl.float32)
        f = tl.zeros([BN, BM], dtype=tl.float32)
        z = tl.zeros([BN, BM], dtype=tl.float32)
        o = tl.zeros([BN, BM], dtype=tl.float32)
    else:
        i = tl.load(gates, mask=mask, other=0.0)
        f = tl.load(gates + part, mask=mask, other=0.0)
        z = tl.load(gates + 2 * part, mask=mask, other=0.0)
        o = tl.load(gates + 3 * part, mask=mask, other=0.0)
    for k in range(0, SIZE, BK):
        rk = k + tl.arange(0, BK)
        even = rk[:, None] < SIZE
        y = tl.load(before[None, :] + rk[:, None], mask=now[None, :] & even, other=0.0)
        y = operand(y, w_state.dtype.element_ty, PRECISION)
        if FIRST:
            c = tl.load(c_in + inputs[None, :] + rk[:, None], mask=live[None, :] & even, other=0.0)
            u = tl.load(u_in + inputs[None, :] + rk[:, None], mask=live[None, :] & even, other=0.0)
            c = operand(c, w_in.dtype.element_ty, PRECISION)
            u = operand(u, w_in.dtype.element_ty, PRECISION)
            w = w_in
            i = tl.dot(_gate_tile(w, rn, rk, SIZE, EVEN), c, i, input_precision=PRECISION)
            f = tl.dot(_gate_tile(w + gate, rn, rk, SIZE, EVEN), c, f, input_precision=PRECISION)
            w = w_in + 2 * gate
            z = tl.dot(_gate_tile(w, rn, rk, SIZE, EVEN), u, z, input_precision=PRECISION)
            o = tl.dot(_gate_tile(w + gate, rn, rk, SIZE, EVEN), u, o, input_precision=PRECISION)
        w = w_state
        i = tl.dot(_gate_tile(w, rn, rk, SIZE, EVEN), y, i, input_precision=PRECISION)
        f = tl.dot(_gate_tile(w + gate, rn, rk, SIZE, EVEN), y, f, input_precision=PRECISION)
        z = tl.dot(_gate_tile(w + 2 * gate, rn, rk, SIZE, EVEN), y, z, input_precision=PRECISION)
        o = tl.dot(_gate_tile(w + 3 * gate, rn, rk, SIZE, EVEN), y, o, input_precision=PRECISION)
    if SAVES:
        later = live[None, :] & inside[:, None] & ~now[None, :]
        tl.store(gates, i, mask=later)
        tl.store(gates + part, f, mask=later)
        tl.store(gates + 2 * part, z, mask=later)
        tl.store(gates + 3 * part, o, mask=later)
    bias += channel
    i += tl.load(bias, mask=inside, other=0.0)[:, None]
    f += tl.load(bias + HIDDEN, mask=inside, other=0.0)[:, None]
    z += tl.load(bias + 2 * HIDDEN, mask=inside, other=0.0)[:, None]
    o += tl.load(bias + 3 * HIDDEN, mask=inside, other=0.0)[:, None]
    at = slots[None, :] * HIDDEN + channel[:, None]
    decayed = tl.load(max_state + at, mask=mask, other=0.0) + log_sigmoid(f)
    m = larger(i, decayed)
    gain = tl.exp(i - m)
    keep = decay(decayed - m)
    cell = keep * tl.load(cell_state + at, mask=mask, other=0.0) + gain * tanh(z)
    norm = keep * tl.load(norm_state + at, mask=mask, other=0.0) + gain
    y_new = sigmoid(o) * cell / (norm + 1e-6)
    tl.store(max_state + at, m, mask=mask)
    tl.store(cell_state + at, cell, mask=mask)
    tl.store(norm_state + at, norm, mask=mask)
    tl.store(y_rows + rm[None, :] * HIDDEN + channel[:, None], y_new, mask=mask)


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
