"""sLSTM over many events of each symbol in one launch: the recurrent half of the cell, in turn.

What the gates owe to the inputs is one product over all events before. What they owe to the last
output must wait for it: programs take the events turn by turn, each for its own channels, whose
cells stay in registers, and meet after every turn. They wait for each other, so all of them must
run at once (``fits``), and never under the interpreter.

Plain reference: ``slstm_cell`` turn by turn.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import torch
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
from backtest.strategies.kernels.product import DOT, Precision, Tile
from backtest.strategies.kernels.runs import Runs


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
    runs: Runs,
    out: tuple[Tensor, Tensor],
    arrived: Tensor,
    tile: Tile,
    precision: Precision,
) -> None:
    """The cell for every row, turn by turn; the last y of each run is left for ``slstm_exit``.

    Args:
        gates: i and f, z and o, as far as the inputs make them, float32 [B, N, 2, K] each.
        weights: recurrent [N, 4, K, K] in the order i, f, z, o; bias [4, D].
        state: y, C, n, m, float32 [slots, D] each; all but y updated in place.
        runs: which rows belong together, and where they start.
        out: the new y in float32 and in the products' dtype, [B, D] each; they may be one.
        arrived: int32 [N], zero: programs of each head that are done with a turn.
        tile: how the products are cut up; ``rows`` counts runs.
        precision: what ``tl.dot`` does with float32 operands.
    """
    assert runs.first is not None
    y, rounded = out
    w_state, bias = weights
    heads, _, size, _ = w_state.shape
    over_n = triton.cdiv(size, tile.n)
    _slstm_scan[over_n, heads](
        *gates,
        w_state,
        bias,
        *state,
        y,
        rounded,
        runs.slot,
        runs.count,
        runs.first,
        arrived,
        runs.programs,
        HIDDEN=y.shape[1],
        SIZE=size,
        TILES=over_n,
        ROUNDS=rounded.dtype != y.dtype,
        BM=min(tile.rows, max(16, triton.next_power_of_2(runs.programs))),
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
def _from_inputs(gates_if, gates_zo, bias, row, mask, inside, rn, HIDDEN, SIZE: tl.constexpr):
    """The gates of these rows [BN, BM] before what they owe to the last output."""
    at = row[None, :] * (2 * HIDDEN) + rn[:, None]
    i = tl.load(gates_if + at, mask=mask, other=0.0)
    f = tl.load(gates_if + at + SIZE, mask=mask, other=0.0)
    z = tl.load(gates_zo + at, mask=mask, other=0.0)
    o = tl.load(gates_zo + at + SIZE, mask=mask, other=0.0)
    i += tl.load(bias + rn, mask=inside, other=0.0)[:, None]
    f += tl.load(bias + HIDDEN + rn, mask=inside, other=0.0)[:, None]
    z += tl.load(bias + 2 * HIDDEN + rn, mask=inside, other=0.0)[:, None]
    o += tl.load(bias + 3 * HIDDEN + rn, mask=inside, other=0.0)[:, None]
    return i, f, z, o


@triton.jit
def _add_recurrent(
    i,
    f,
    z,
    o,
    w,
    before,
    live,
    rn,
    SIZE: tl.constexpr,
    BK: tl.constexpr,
    EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add the products with the last outputs, which lie at ``before`` [BM]."""
    gate: tl.constexpr = SIZE * SIZE
    for k in range(0, SIZE, BK):
        rk = k + tl.arange(0, BK)
        known = live[None, :] & (rk[:, None] < SIZE)
        # Written by other programs in the turn before: L1 may hold something older.
        y = tl.load(before[None, :] + rk[:, None], mask=known, other=0.0, cache_modifier=".cg")
        y = operand(y, w.dtype.element_ty, PRECISION)
        w_i = _weights(w, rn, rk, SIZE, EVEN)
        w_f = _weights(w + gate, rn, rk, SIZE, EVEN)
        w_z = _weights(w + 2 * gate, rn, rk, SIZE, EVEN)
        w_o = _weights(w + 3 * gate, rn, rk, SIZE, EVEN)
        i = tl.dot(w_i, y, i, input_precision=PRECISION)
        f = tl.dot(w_f, y, f, input_precision=PRECISION)
        z = tl.dot(w_z, y, z, input_precision=PRECISION)
        o = tl.dot(w_o, y, o, input_precision=PRECISION)
    return i, f, z, o


@triton.jit
def _advance(i, f, z, o, cell, norm, m):
    """The next C, n, m, and y."""
    decayed = m + log_sigmoid(f)
    m = larger(i, decayed)
    gain = tl.exp(i - m)
    keep = decay(decayed - m)
    cell = keep * cell + gain * tanh(z)
    norm = keep * norm + gain
    return cell, norm, m, sigmoid(o) * cell / (norm + 1e-6)


@triton.jit
def _meet(arrived, expected):
    """Wait until so many programs have come here; what they wrote before is then visible."""
    tl.debug_barrier()  # all of this program's writes come before its own arrival
    seen = tl.atomic_add(arrived, 1, sem="acq_rel", scope="gpu") + 1  # the last reads at once
    while seen < expected:
        seen = tl.atomic_add(arrived, 0, sem="acquire", scope="gpu")
    tl.debug_barrier()


@triton.jit(do_not_specialize=["runs"])
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
    y_rounded,
    slot,
    count,
    first,
    arrived,
    runs,
    HIDDEN: tl.constexpr,
    SIZE: tl.constexpr,
    TILES: tl.constexpr,
    ROUNDS: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    head = tl.program_id(1)
    rn = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = rn < SIZE
    w = w_state + head * 4 * SIZE * SIZE
    gates_if += head * 2 * SIZE
    gates_zo += head * 2 * SIZE
    bias += head * SIZE
    y_rows += head * SIZE
    y_rounded += head * SIZE
    met = 0
    for start in range(0, runs, BM):
        lane = start + tl.arange(0, BM)
        row = tl.load(first + lane, mask=lane < runs, other=0)
        events = tl.load(count + row, mask=lane < runs, other=0)
        own = tl.load(slot + row, mask=lane < runs, other=0).to(tl.int64) * HIDDEN + head * SIZE
        live = events > 0
        mask = live[None, :] & inside[:, None]
        at = own[None, :] + rn[:, None]
        cell = tl.load(cell_state + at, mask=mask, other=0.0)
        norm = tl.load(norm_state + at, mask=mask, other=0.0)
        m = tl.load(max_state + at, mask=mask, other=0.0)
        i, f, z, o = _from_inputs(gates_if, gates_zo, bias, row, mask, inside, rn, HIDDEN, SIZE)
        set_out = y_state + own
        i, f, z, o = _add_recurrent(i, f, z, o, w, set_out, live, rn, SIZE, BK, EVEN, PRECISION)
        cell, norm, m, y = _advance(i, f, z, o, cell, norm, m)
        to = row[None, :] * HIDDEN + rn[:, None]
        tl.store(y_rows + to, y, mask=mask)
        if ROUNDS:
            tl.store(y_rounded + to, y.to(y_rounded.dtype.element_ty), mask=mask)
        for _ in range(1, tl.max(events, axis=0)):
            row += 1
            events -= 1
            live = events > 0
            now = live[None, :] & inside[:, None]
            i, f, z, o = _from_inputs(gates_if, gates_zo, bias, row, now, inside, rn, HIDDEN, SIZE)
            met += TILES
            _meet(arrived + head, met)
            before = y_rounded + (row - 1) * HIDDEN
            i, f, z, o = _add_recurrent(i, f, z, o, w, before, live, rn, SIZE, BK, EVEN, PRECISION)
            next_cell, next_norm, next_m, y = _advance(i, f, z, o, cell, norm, m)
            cell = tl.where(now, next_cell, cell)
            norm = tl.where(now, next_norm, norm)
            m = tl.where(now, next_m, m)
            to = row[None, :] * HIDDEN + rn[:, None]
            tl.store(y_rows + to, y, mask=now)
            if ROUNDS:
                tl.store(y_rounded + to, y.to(y_rounded.dtype.element_ty), mask=now)
        tl.store(cell_state + at, cell, mask=mask)
        tl.store(norm_state + at, norm, mask=mask)
        tl.store(max_state + at, m, mask=mask)
