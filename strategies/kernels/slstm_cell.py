"""sLSTM's recurrent cell, turn by turn.

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
    sigmoid,
    tanh,
)
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.product import DOT, Precision, Tile
from backtest.strategies.kernels.runs import Runs, rows_in_turn

PACKED = 128
"""Rows of the largest batch of which a later turn's rows are sought out, to fill fewer tiles."""


def most_rows(rows: int, turn: int) -> int:
    """How many rows a turn's launch goes through: for a later one those it seeks out, at most."""
    return rows // (turn + 1) if rows <= PACKED else rows


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
        gates: float32, 4 B D values: what the first turn leaves to later ones.
        runs: which rows belong together.
        turn: 0 for each run's first event, and so on; at most B // (turn + 1) rows have it.
        turns: how many launches there are, this one included.
        tile: how the products are cut up.
        precision: what ``tl.dot`` does with float32 operands.
    """
    rows, hidden = y.shape
    w_in, w_state, bias = weights
    heads, _, size, _ = w_in.shape
    most = most_rows(rows, turn)
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
        PACKED=triton.next_power_of_2(rows) if most < rows else 0,
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
