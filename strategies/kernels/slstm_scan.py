"""sLSTM over many events of each symbol in one launch: the recurrent half of the cell, in turn.

What the gates owe to the inputs is one product over all events before. What they owe to the last
output must wait for it: programs take the events turn by turn, each for its own channels, and meet
after every turn, so that the recurrent weights stay on the chip meanwhile. They wait for each
other, so all of them must run at once (``fits``), and never under the interpreter.

Plain reference: ``slstm_cell`` turn by turn.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import larger, log_sigmoid, sigmoid, tanh
from backtest.strategies.kernels.product import DOT, Precision, Tile


@dataclass(frozen=True, slots=True)
class Turns:
    """A batch's rows by turn: all first events, then all second ones, and so on.

    Attributes:
        row: the rows in that order, int32 [rows].
        start: where each turn starts in ``row``, and its end, int32 [turns + 1].
    """

    row: Tensor
    start: Tensor


def fits(weight: Tensor, tile: Tile) -> bool:
    """Whether the programs of a scan are all at once on the weight's device."""
    if weight.device.type != "cuda":
        return False
    heads, _, size, _ = weight.shape
    available = torch.cuda.get_device_properties(weight.device).multi_processor_count
    return heads * triton.cdiv(size, tile.n) <= available


def slstm_scan(
    gates: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
    state: tuple[Tensor, Tensor, Tensor, Tensor],
    y: Tensor,
    slot: Tensor,
    turns: Turns,
    arrived: Tensor,
    tile: Tile,
    precision: Precision,
) -> None:
    """The cell for every row, turn by turn; the last y of each run is left for ``slstm_exit``.

    Args:
        gates: i and f, z and o, as far as the inputs make them, float32 [B, N, 2, K] each.
        weights: recurrent [N, 4, K, K] in the order i, f, z, o; bias [4, D].
        state: y, C, n, m, float32 [slots, D] each; all but y updated in place.
        y: float32 [B, D], where the new y is written.
        slot: of each row, int32 [B].
        turns: the rows by turn.
        arrived: int32 [N], zero: programs of each head that are done with a turn.
        tile: how the products are cut up.
        precision: what ``tl.dot`` does with float32 operands.
    """
    hidden = y.shape[1]
    w_state, bias = weights
    heads, _, size, _ = w_state.shape
    tiles = triton.cdiv(size, tile.n)
    _slstm_scan[tiles, heads](
        *gates,
        w_state,
        bias,
        *state,
        y,
        slot,
        turns.row,
        turns.start,
        arrived,
        len(turns.start) - 1,
        HIDDEN=hidden,
        SIZE=size,
        TILES=tiles,
        BM=tile.rows,
        BN=tile.n,
        BK=tile.k,
        EVEN=size % tile.n == 0 and size % tile.k == 0,
        PRECISION=DOT[precision],
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


@triton.jit
def _weights(w, rn, rk, SIZE: tl.constexpr, EVEN: tl.constexpr):
    at = w + rn[:, None] * SIZE + rk[None, :]
    if EVEN:
        return tl.load(at, eviction_policy="evict_last")
    inside = (rn[:, None] < SIZE) & (rk[None, :] < SIZE)
    return tl.load(at, mask=inside, other=0.0, eviction_policy="evict_last")


@triton.jit
def _from_inputs(gates, at, bias, mask, inside):
    return (
        tl.load(gates + at, mask=mask, other=0.0) + tl.load(bias, mask=inside, other=0.0)[:, None]
    )


@triton.jit
def _meet(arrived, expected):
    """Wait until so many programs have come here; what they wrote before is then visible."""
    tl.debug_barrier()  # all of this program's writes come before its own arrival
    seen = tl.atomic_add(arrived, 1, sem="release", scope="gpu") + 1
    while seen < expected:
        seen = tl.atomic_add(arrived, 0, sem="acquire", scope="gpu")
    tl.debug_barrier()


@triton.jit
def _take_turn(
    gates_if,
    gates_zo,
    w,
    bias,
    y_state,
    cell_state,
    norm_state,
    max_state,
    y_rows,
    slot,
    row_of,
    first,
    last,
    head,
    rn,
    FIRST: tl.constexpr,
    HIDDEN: tl.constexpr,
    SIZE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One event of each symbol that has another; its rows are ``row_of[first:last]``."""
    inside = rn < SIZE
    channel = head * SIZE + rn
    gate: tl.constexpr = SIZE * SIZE
    for start in range(first, last, BM):
        at = start + tl.arange(0, BM)
        live = at < last
        row = tl.load(row_of + at, mask=live, other=0)
        slots = tl.load(slot + row, mask=live, other=0).to(tl.int64)
        mask = live[None, :] & inside[:, None]
        inputs = row[None, :] * (2 * HIDDEN) + head * (2 * SIZE) + rn[:, None]
        i = _from_inputs(gates_if, inputs, bias, mask, inside)
        f = _from_inputs(gates_if, inputs + SIZE, bias + HIDDEN, mask, inside)
        z = _from_inputs(gates_zo, inputs, bias + 2 * HIDDEN, mask, inside)
        o = _from_inputs(gates_zo, inputs + SIZE, bias + 3 * HIDDEN, mask, inside)
        if FIRST:
            before = y_state + slots * HIDDEN + head * SIZE
        else:
            before = y_rows + (row - 1) * HIDDEN + head * SIZE
        for k in range(0, SIZE, BK):
            rk = k + tl.arange(0, BK)
            known = live[None, :] & (rk[:, None] < SIZE)
            # Written by other programs in the turn before: L1 may hold something older.
            y = tl.load(before[None, :] + rk[:, None], mask=known, other=0.0, cache_modifier=".cg")
            y = y.to(w.dtype.element_ty)
            w_i = _weights(w, rn, rk, SIZE, EVEN)
            w_f = _weights(w + gate, rn, rk, SIZE, EVEN)
            w_z = _weights(w + 2 * gate, rn, rk, SIZE, EVEN)
            w_o = _weights(w + 3 * gate, rn, rk, SIZE, EVEN)
            i = tl.dot(w_i, y, i, input_precision=PRECISION)
            f = tl.dot(w_f, y, f, input_precision=PRECISION)
            z = tl.dot(w_z, y, z, input_precision=PRECISION)
            o = tl.dot(w_o, y, o, input_precision=PRECISION)
        own = slots[None, :] * HIDDEN + channel[:, None]
        decayed = tl.load(max_state + own, mask=mask, other=0.0) + log_sigmoid(f)
        m = larger(i, decayed)
        gain = tl.exp(i - m)
        keep = tl.exp(decayed - m)
        cell = keep * tl.load(cell_state + own, mask=mask, other=0.0) + gain * tanh(z)
        norm = keep * tl.load(norm_state + own, mask=mask, other=0.0) + gain
        tl.store(max_state + own, m, mask=mask)
        tl.store(cell_state + own, cell, mask=mask)
        tl.store(norm_state + own, norm, mask=mask)
        y_new = sigmoid(o) * cell / (norm + 1e-6)
        tl.store(y_rows + row[None, :] * HIDDEN + channel[:, None], y_new, mask=mask)


@triton.jit(do_not_specialize=["turns"])
def _slstm_scan(
    gates_if,
    gates_zo,
    w_state,
    bias,
    y_state,
    cell_state,
    norm_state,
    max_state,
    y_rows,
    slot,
    row_of,
    start,
    arrived,
    turns,
    HIDDEN: tl.constexpr,
    SIZE: tl.constexpr,
    TILES: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    head = tl.program_id(1)
    rn = tl.program_id(0) * BN + tl.arange(0, BN)
    w = w_state + head * 4 * SIZE * SIZE
    b = bias + head * SIZE + rn
    last = tl.load(start + 1)
    _take_turn(
        gates_if, gates_zo, w, b, y_state, cell_state, norm_state, max_state, y_rows, slot,
        row_of, 0, last, head, rn, True, HIDDEN, SIZE, BM, BN, BK, EVEN, PRECISION,
    )  # fmt: skip
    for turn in range(1, turns):
        _meet(arrived + head, turn * TILES)
        first = last
        last = tl.load(start + turn + 1)
        _take_turn(
            gates_if, gates_zo, w, b, y_state, cell_state, norm_state, max_state, y_rows, slot,
            row_of, first, last, head, rn, False, HIDDEN, SIZE, BM, BN, BK, EVEN, PRECISION,
        )  # fmt: skip
