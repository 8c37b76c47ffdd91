"""Matrix states that are written back only now and then.

Reading a symbol's matrix states and writing them again is most of what a large batch moves. A step
adds one outer product; kept as (a, k, v), it is a hundredth of the state. So the last steps of each
symbol lie in a ring beside its state: a kernel reads the state, catches up on what the ring holds,
and answers; it writes the state after every ``DEPTH``-th event. Reads stay, seven in eight writes
go. Catching up repeats the very arithmetic of the steps, so answers and state are, bit for bit,
those of writing every time.

Which steps a ring holds follows from one number a symbol, ``since``: the events since its state was
last set. Rings of different slots and blocks are emptied at different events, so that no batch has
to write all states. A ring has two halves, which take turns: while some programs of a launch still
read the steps before a write, others may already keep the steps after it.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.matrix_state import catch_up

DEPTH = 8
"""Events between two writes of a state, and the most that one batch may hold of a symbol."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """The steps that one matrix state [slots, H, ...] of every slot lags behind.

    Attributes:
        since: events since the slot's state was set from outside, int32 [slots]. The blocks of a
            tower share it; ``readout`` counts it up.
        keep: a of each step, float32 [slots, 2 DEPTH, H].
        k: keys, scaled, float32 [slots, 2 DEPTH, H, K], or [slots, 2 DEPTH, 1, K] if heads share
            them.
        v: values, float32 [slots, 2 DEPTH, H, V].
        phase: added to slot and ``since`` to find the place in the ring.
    """

    since: Tensor
    keep: Tensor
    k: Tensor
    v: Tensor
    phase: int = 0

    @classmethod
    def empty(
        cls, since: Tensor, heads: int, key: tuple[int, int], value: int, phase: int
    ) -> Deferred:
        """Rings for heads with keys of shape ``key`` ([H or 1, K]) and so large a value."""

        def ring(*shape: int) -> Tensor:
            return torch.zeros((len(since), 2 * DEPTH, *shape), device=since.device)

        return cls(since, ring(heads), ring(*key), ring(heads, value), phase)


def rings(deferred: Deferred | None) -> dict[str, Any]:
    """A kernel's arguments about rings; with ``since=None`` state is written every time."""
    if deferred is None:
        none = dict.fromkeys(("since", "keep_ring", "k_ring", "v_ring"))
        return {**none, "phase": 0, "DEPTH": DEPTH}
    return {
        "since": deferred.since,
        "keep_ring": deferred.keep,
        "k_ring": deferred.k,
        "v_ring": deferred.v,
        "phase": deferred.phase,
        "DEPTH": DEPTH,
    }


@triton.jit
def due(since, slot, phase, events, DEPTH: tl.constexpr):
    """How many steps the ring holds, the place of the next, and after which event to write.

    Events are counted from 1; 0 or less means none.
    """
    count = tl.load(since + slot)
    position = count + slot + phase
    pending = tl.minimum(count, position % DEPTH)
    return pending, position % (2 * DEPTH), events - (position + events) % DEPTH


@triton.jit
def up_to_date(
    s,
    slot,
    head,
    rk,
    rv,
    events,
    since,
    keep_ring,
    k_ring,
    v_ring,
    phase,
    DEPTH: tl.constexpr,
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
):
    """A tile of a head's state after the steps that its ring holds, if any are deferred."""
    if since is not None:
        pending, place, _ = due(since, slot, phase, events, DEPTH)
        oldest = slot * (2 * DEPTH) + place - pending
        s = catch_up(
            s,
            pending,
            keep_ring + oldest * HEADS + head,
            HEADS,
            k_ring + (oldest * KEY_HEADS + head % KEY_HEADS) * K,
            KEY_HEADS * K,
            v_ring + (oldest * HEADS + head) * V,
            HEADS * V,
            rk,
            rv,
            K,
            V,
        )
    return s


@triton.jit
def remember(
    keep_ring,
    k_ring,
    v_ring,
    place,
    keep,
    k,
    v,
    rk,
    rv,
    leads,
    K: tl.constexpr,
    V: tl.constexpr,
):
    """Keep a step in a ring; what all programs of a head have is kept by the one that leads."""
    tl.store(v_ring + place * V + rv, v, mask=rv < V)
    if leads:
        tl.store(keep_ring + place, keep)
        tl.store(k_ring + place * K + rk, k, mask=rk < K)


def settle(state: Tensor, deferred: Deferred, slots: Tensor, *, transposed: bool) -> None:
    """Apply to the states of these slots what their rings hold; ``since`` is left to the caller.

    Args:
        state: float32 [slots, H, K, V], or [slots, H, V, K] if transposed; in place.
        deferred: its rings.
        slots: int64 [n], distinct.
        transposed: whether a row of the state belongs to a value.
    """
    _, heads, height, width = state.shape
    rows, columns = (deferred.v, deferred.k) if transposed else (deferred.k, deferred.v)
    tile = min(32, triton.next_power_of_2(width))
    _settle[(triton.cdiv(width, tile), heads, len(slots))](
        state,
        deferred.since,
        deferred.keep,
        rows,
        columns,
        slots,
        deferred.phase,
        HEADS=heads,
        HEIGHT=height,
        WIDTH=width,
        ROW_HEADS=rows.shape[2],
        COLUMN_HEADS=columns.shape[2],
        DEPTH=DEPTH,
        BR=triton.next_power_of_2(height),
        BC=tile,
        num_warps=8,
    )


@triton.jit(do_not_specialize=["phase"])
def _settle(
    state,
    since,
    keep,
    rows,
    columns,
    slots,
    phase,
    HEADS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    ROW_HEADS: tl.constexpr,
    COLUMN_HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    slot = tl.load(slots + tl.program_id(2))
    head = tl.program_id(1)
    pending, place, _ = due(since, slot, phase, 1, DEPTH)
    if pending == 0:
        return
    first = slot * (2 * DEPTH) + place - pending
    rr = tl.arange(0, BR)
    rc = tl.program_id(0) * BC + tl.arange(0, BC)
    in_r = rr < HEIGHT
    in_c = rc < WIDTH
    mask = in_r[:, None] & in_c[None, :]
    at = state + (slot * HEADS + head) * (HEIGHT * WIDTH) + rr[:, None] * WIDTH + rc[None, :]
    s = tl.load(at, mask=mask, other=0.0)
    s = catch_up(
        s,
        pending,
        keep + first * HEADS + head,
        HEADS,
        rows + (first * ROW_HEADS + head % ROW_HEADS) * HEIGHT,
        ROW_HEADS * HEIGHT,
        columns + (first * COLUMN_HEADS + head % COLUMN_HEADS) * WIDTH,
        COLUMN_HEADS * WIDTH,
        rr,
        rc,
        HEIGHT,
        WIDTH,
    )
    tl.store(at, s, mask=mask)
