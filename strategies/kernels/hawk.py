"""Hawk: the gated linear recurrence (RG-LRU) and its output gate.

Plain reference: ``backtest.strategies.towers.hawk``.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import decay, expm1, gelu, sigmoid
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.runs import Runs, find_run

_TILE = 128


def rglru(
    gates: Tensor,
    u: Tensor,
    gate: Tensor,
    log_a: Tensor,
    state: Tensor,
    runs: Runs,
    out: Tensor,
) -> None:
    """h <- A h + sqrt(1 - A^2) (i u) with A = a^(8r); out = gelu(gate) * h.

    Args:
        gates: i and r before sigmoid, float32 [B, blocks, 2, D/blocks].
        u: the convolved input, float32 [B, D].
        gate: the output gate before gelu, float32 [B, D], rows contiguous.
        log_a: log(a), [D].
        state: h, float32 [slots, D], in place.
        runs: which rows belong together.
        out: [B, D] of the products' dtype.
    """
    _, hidden = u.shape
    _rglru[(runs.programs, triton.cdiv(hidden, _TILE))](
        gates,
        u,
        gate,
        log_a,
        state,
        runs.slot,
        runs.count,
        runs.first,
        out,
        gate.stride(0),
        HIDDEN=hidden,
        SIZE=gates.shape[3],
        BC=_TILE,
        num_warps=2,
        **overlap(gates),
    )


@triton.jit
def _rglru(
    gates,
    u_in,
    gate_in,
    log_a,
    state,
    slot,
    count,
    first,
    out,
    gate_stride,
    HIDDEN: tl.constexpr,
    SIZE: tl.constexpr,
    BC: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(0))
    if events == 0:
        follow(PDL)
        return
    r = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = r < HIDDEN
    h_at = state + tl.load(slot + row).to(tl.int64) * HIDDEN + r
    h = tl.load(h_at, mask=mask, other=0.0)
    rate = 8.0 * tl.load(log_a + r, mask=mask, other=0.0)
    i_at = r // SIZE * (2 * SIZE) + r % SIZE
    follow(PDL)
    for event in range(row, row + events):
        at = gates + event * (2 * HIDDEN) + i_at
        i = sigmoid(tl.load(at, mask=mask, other=0.0))
        exponent = rate * sigmoid(tl.load(at + SIZE, mask=mask, other=0.0))
        u = tl.load(u_in + event * HIDDEN + r, mask=mask, other=0.0)
        lost = expm1(exponent)
        h = decay(exponent) * h + tl.sqrt(-lost * (2.0 + lost)) * (i * u)
        gate = gelu(tl.load(gate_in + event * gate_stride + r, mask=mask, other=0.0))
        tl.store(out + event * HIDDEN + r, (gate * h).to(out.dtype.element_ty), mask=mask)
    tl.store(h_at, h, mask=mask)
