"""``S <- a S + k v^T``, ``y = q^T S`` over runs of many events, by products of whole chunks.

What ``sequence.py`` does event by event, with q, k, v and the state that q reads rounded to float16
(sums and the state itself stay float32). Within a chunk of L events from the state S_0, where A_j
is the product of a up to event j and b the factor of k,

    y_j = A_j q_j S_0 + sum over i <= j of (A_j / A_i) b_i (q_j k_i) v_i
    S_L = A_L S_0     + sum over i of      (A_L / A_i) b_i k_i v_i^T

so all that is done are products of matrices, which have hardware of their own. One kernel prepares
what depends on no state: the weights of v in the first sum, A_j, and (A_L / A_i) b_i. Another takes
tiles of the state through the chunks. The quotients are exponentials of differences of sums of
logarithms; none exceeds 1. What might exceed float16's range, q k and the state, is divided by a
unit first, which is 1 but for numbers of that size.

Source: Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training" (2024).
Plain reference: ``backtest.strategies.kernels.matrix_state.advance_plain``, event by event.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import larger
from backtest.strategies.kernels.deferred import Deferred, rings, up_to_date
from backtest.strategies.kernels.matrix_state import tile_at
from backtest.strategies.kernels.runs import Runs, find_run

_LARGEST = 32768.0
"""Half of float16's range: larger values are expressed in larger units."""

EVENTS = 64
"""Events of a chunk: the rows of the hardware's largest product."""

_KEYS = 256
"""Keys of a program at most."""

_VALUES = 64
"""Values of a program. With fewer, Triton 3.6 and 3.7 compile products that read past their shared
memory (triton-lang/triton issue 11366): no side of what lies there may be shorter than 64."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a chunk's events need that depends on no state.

    Attributes:
        weights: of the chunk's v in y, in units, float16 [B, H, EVENTS].
        unit: float32 [B, H].
        begin: of the state before the chunk in y, float32 [B, H].
        end: of k v^T in the state after it, float32 [B, H].
    """

    weights: Tensor
    unit: Tensor
    begin: Tensor
    end: Tensor


def parts_of(keys: int) -> int:
    """How many sums y comes in."""
    return triton.cdiv(keys, _KEYS)


def matrix_chunks(
    qkv: tuple[Tensor, Tensor, Tensor],
    steps: tuple[Tensor, Tensor],
    state: Tensor,
    runs: Runs,
    prepared: Prepared,
    out: Tensor,
    *,
    transposed: bool = False,
    deferred: Deferred | None = None,
    warps: int,
) -> None:
    """The state of every run in place, whatever was deferred, and what is read from it.

    Args:
        qkv: q and k [B, H, K], v [B, H, V], float16; any strides but the last, heads may share.
        steps: a and the factor of k at each event, float32 [B, H], any strides.
        state: float32 [slots, H, K, V], or [slots, H, V, K] if transposed.
        runs: which rows belong together.
        prepared: buffers for it, contiguous.
        out: y in ``parts_of(K)`` sums, float32 [parts, B, H V].
        transposed: whether a row of the state belongs to a value.
        deferred: what the state lags behind; nothing afterwards.
        warps: warps of a program.
    """
    q, k, v = qkv
    keep, scale = steps
    _, heads, keys = q.shape
    values = v.shape[2]
    tile = min(_KEYS, max(64, triton.next_power_of_2(keys)))
    buffers = prepared.weights, prepared.unit, prepared.begin, prepared.end
    _prepare[heads, runs.programs](
        q,
        k,
        *steps,
        runs.count,
        runs.first,
        *buffers,
        *q.stride()[:2],
        *k.stride()[:2],
        *keep.stride(),
        *scale.stride(),
        HEADS=heads,
        K=keys,
        BK=64,
        L=EVENTS,
        LARGEST=_LARGEST,
        num_warps=4,
        num_stages=3,
    )
    parts = parts_of(keys)
    _advance[parts * triton.cdiv(values, _VALUES), heads, runs.programs](
        *qkv,
        *buffers,
        state,
        runs.slot,
        runs.count,
        runs.first,
        out,
        out.stride(0),
        *q.stride()[:2],
        *k.stride()[:2],
        *v.stride()[:2],
        **rings(deferred),
        HEADS=heads,
        K=keys,
        V=values,
        PARTS=parts,
        KEY_HEADS=1 if deferred is None else deferred.k.shape[2],
        TRANSPOSED=transposed,
        EVEN=keys % tile == 0,
        BK=tile,
        BV=_VALUES,
        L=EVENTS,
        LARGEST=_LARGEST,
        num_warps=warps,
        num_stages=1,
    )


@triton.jit
def _tile(at, rows, row_step, rk, K: tl.constexpr, EVEN: tl.constexpr):
    """Keys rk of some rows."""
    at += rows[:, None] * row_step + rk[None, :]
    if EVEN:
        return tl.load(at)
    return tl.load(at, mask=(rk < K)[None, :], other=0.0)


@triton.jit
def _size(x):
    """|x|; NaN has none."""
    return tl.where(tl.abs(x) >= 0.0, tl.abs(x), 0.0)


@triton.jit
def _prepare(
    q_in,
    k_in,
    keep_in,
    scale_in,
    count,
    first,
    weights,
    unit_out,
    begin_out,
    end_out,
    q_row,
    q_head,
    k_row,
    k_head,
    keep_row,
    keep_head,
    scale_row,
    scale_head,
    HEADS: tl.constexpr,
    K: tl.constexpr,
    BK: tl.constexpr,
    L: tl.constexpr,
    LARGEST: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(1))
    if events == 0:
        return
    head = tl.program_id(0)
    event = tl.arange(0, L)
    before = event[:, None] >= event[None, :]
    for begin in range(0, events, L):
        live = begin + event < events
        # Where there are no more events, the last once more, with no weight: cheaper than masks.
        at = (row + begin).to(tl.int64) + tl.minimum(event, events - 1 - begin)
        sums = tl.zeros([L, L], dtype=tl.float32)
        for start in range(0, K, BK):
            rk = start + tl.arange(0, BK)
            q = _tile(q_in + head * q_head, at, q_row, rk, K, K % BK == 0)
            k = _tile(k_in + head * k_head, at, k_row, rk, K, K % BK == 0)
            sums = tl.dot(q, tl.trans(k), sums)
        keep = tl.load(keep_in + at * keep_row + head * keep_head, mask=live, other=1.0)
        scale = tl.load(scale_in + at * scale_row + head * scale_head, mask=live, other=0.0)
        # Where nothing is kept, as good as nothing: of two -inf the difference is NaN.
        lost = tl.cumsum(tl.log(larger(keep, 1e-35)), axis=0)
        share = tl.exp(tl.where(before, lost[:, None] - lost[None, :], 0.0)) * scale[None, :]
        sums = tl.where(before, sums * share, 0.0)
        unit = tl.maximum(tl.max(_size(sums), axis=1) / LARGEST, 1.0)
        sums /= unit[:, None]
        to = at * HEADS + head
        tl.store(
            weights + to[:, None] * L + event[None, :], sums.to(tl.float16), mask=live[:, None]
        )
        tl.store(unit_out + to, unit, mask=live)
        total = tl.sum(tl.where(event == L - 1, lost, 0.0), axis=0)
        tl.store(begin_out + to, tl.exp(lost), mask=live)
        tl.store(end_out + to, tl.exp(total - lost) * scale, mask=live)


@triton.jit(do_not_specialize=["phase"])
def _advance(  # noqa: PLR0915 - a kernel is one function, or its tiles leave the registers
    q_in,
    k_in,
    v_in,
    weights,
    unit_in,
    begin_in,
    end_in,
    state,
    slot,
    count,
    first,
    out,
    out_part,
    q_row,
    q_head,
    k_row,
    k_head,
    v_row,
    v_head,
    since,
    keep_ring,
    k_ring,
    v_ring,
    phase,
    DEPTH: tl.constexpr,
    HEADS: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    PARTS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    EVEN: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    L: tl.constexpr,
    LARGEST: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(2))
    if events == 0:
        return
    head = tl.program_id(1)
    part = tl.program_id(0) % PARTS
    own = tl.load(slot + row).to(tl.int64)
    row = row.to(tl.int64)
    rk = part * BK + tl.arange(0, BK)
    rv = tl.program_id(0) // PARTS * BV + tl.arange(0, BV)
    in_v = (rv < V)[None, :]
    mask = (rk < K)[:, None] & in_v
    s_at = tile_at(state, own, head, rk, rv, HEADS, K, V, TRANSPOSED)
    s = tl.load(s_at, mask=mask, other=0.0)
    s = up_to_date(
        s, own, head, rk, rv, events, since, keep_ring, k_ring, v_ring, phase,
        DEPTH, HEADS, KEY_HEADS, K, V,
    )  # fmt: skip
    q_in += row * q_row + head * q_head
    k_in += row * k_row + head * k_head
    v_in += row * v_row + head * v_head
    by_row = row * HEADS + head
    weights += by_row * L
    unit_in += by_row
    begin_in += by_row
    end_in += by_row
    out += part * out_part + row * (HEADS * V) + head * V
    event = tl.arange(0, L)
    for begin in range(0, events, L):
        live = begin + event < events
        at = tl.minimum(event, events - 1 - begin)
        q = _tile(q_in, at, q_row, rk, K, EVEN)
        k = _tile(k_in, at, k_row, rk, K, EVEN)
        v = tl.load(v_in + at[:, None] * v_row + rv[None, :], mask=in_v, other=0.0)
        at *= HEADS
        unit = tl.load(unit_in + at)
        from_begin = tl.load(begin_in + at)
        to_end = tl.load(end_in + at, mask=live, other=0.0)
        lasting = tl.load(begin_in + tl.minimum(L - 1, events - 1 - begin) * HEADS)
        # NaN times the 0 of an earlier event would reach it, so it joins in again after products.
        sound = tl.abs(v.to(tl.float32)) < 65504.0
        v = tl.where(sound, v, 0.0)
        s_unit = tl.maximum(tl.max(tl.max(_size(s), axis=1), axis=0) / LARGEST, 1.0)
        y = tl.dot(q, (s / s_unit).to(tl.float16)) * (from_begin * s_unit / unit)[:, None]
        added = v.to(tl.float32) * to_end[:, None]
        v_unit = tl.maximum(tl.max(tl.max(_size(added), axis=1), axis=0) / LARGEST, 1.0)
        added = (added / v_unit).to(tl.float16)
        s = tl.dot(tl.trans(k), added, s * (lasting / v_unit)) * v_unit
        weighed = event < tl.where(part == 0, events - begin, 0)
        w_at = weights + at[:, None] * L + event[None, :]
        y = tl.dot(tl.load(w_at, mask=weighed[:, None], other=0.0), v, y) * unit[:, None]
        rubbish = tl.where(sound, 0, 1)
        if tl.max(tl.max(rubbish, axis=1), axis=0) > 0:
            y = tl.where(tl.cumsum(rubbish, axis=0) > 0, float("nan"), y)
            s = tl.where(tl.max(rubbish, axis=0)[None, :] > 0, float("nan"), s)
        tl.store(out + event[:, None] * (HEADS * V) + rv[None, :], y, mask=live[:, None] & in_v)
        q_in += L * q_row
        k_in += L * k_row
        v_in += L * v_row
        weights += L * HEADS * L
        unit_in += L * HEADS
        begin_in += L * HEADS
        end_in += L * HEADS
        out += L * HEADS * V
    tl.store(s_at, s, mask=mask)
