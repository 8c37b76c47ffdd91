"""All leaves of a state in one launch: picked from slots, or written back to them.

Leaves are contiguous and count symbols in any one axis: seen as [outer, symbols, inner].
"""

# mypy: disable-error-code="no-untyped-def,misc,untyped-decorator"

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256


def gather_rows(pools: Sequence[Tensor], slots: Tensor, axis: int) -> list[Tensor]:
    """Rows [B] of every pool [.., slots, ..], as new leaves [.., B, ..]; int64 slots [B]."""
    batch = [
        torch.empty(
            (*pool.shape[:axis], len(slots), *pool.shape[axis + 1 :]),
            dtype=pool.dtype,
            device=pool.device,
        )
        for pool in pools
    ]
    _copy(pools, batch, slots, axis, scatter=False)
    return batch


def gather_rows_plain(pools: Sequence[Tensor], slots: Tensor, axis: int) -> list[Tensor]:
    """``gather_rows`` by torch's own operations."""
    return [pool.index_select(axis, slots) for pool in pools]


def scatter_rows(
    pools: Sequence[Tensor], slots: Tensor, batch: Sequence[Tensor], axis: int
) -> None:
    """Write leaves [.., B, ..] into rows [B] of the pools; a slot given twice gets one of both."""
    _copy(pools, [leaf.contiguous() for leaf in batch], slots, axis, scatter=True)


def scatter_rows_plain(
    pools: Sequence[Tensor], slots: Tensor, batch: Sequence[Tensor], axis: int
) -> None:
    """``scatter_rows`` by torch's own operations."""
    for pool, leaf in zip(pools, batch, strict=True):
        pool.index_copy_(axis, slots, leaf)


def _copy(
    pools: Sequence[Tensor], batch: Sequence[Tensor], slots: Tensor, axis: int, *, scatter: bool
) -> None:
    pools, batch = [_plain(t) for t in pools], [_plain(t) for t in batch]
    words = tuple(pool.numel() // pool.shape[axis] for pool in pools)
    _copy_rows[len(slots), triton.cdiv(max(words), _BLOCK)](
        tuple(pools),
        tuple(batch),
        slots,
        tuple(pool.shape[axis] for pool in pools),
        len(slots),
        words,
        tuple(prod(pool.shape[axis + 1 :]) for pool in pools),
        LEAVES=len(pools),
        SCATTER=scatter,
        BLOCK=_BLOCK,
        num_warps=2,
    )


def _plain(leaf: Tensor) -> Tensor:
    return leaf.view(torch.uint8) if leaf.dtype == torch.bool else leaf


@triton.jit
def _copy_rows(
    pools,
    batch,
    slots,
    heights,
    rows,
    words,
    inners,
    LEAVES: tl.constexpr,
    SCATTER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    slot = tl.load(slots + row)
    word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    for i in tl.static_range(LEAVES):
        mask = word < words[i]
        outer = (word // inners[i]).to(tl.int64)
        inner = word % inners[i]
        there = pools[i] + (outer * heights[i] + slot) * inners[i] + inner
        here = batch[i] + (outer * rows + row) * inners[i] + inner
        if SCATTER:
            tl.store(there, tl.load(here, mask=mask), mask=mask)
        else:
            tl.store(here, tl.load(there, mask=mask), mask=mask)
