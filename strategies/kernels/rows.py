"""All leaves of a state in one launch: picked from slots, or written back to them.

Leaves are contiguous and count symbols in any one axis: seen as [outer, symbols, inner]. Rows that
belong to no slot are copied along in the same launch: a batch's features on its way in, its answers
on its way out. Pinned host memory will do for these and for the slots.
"""

# mypy: disable-error-code="no-untyped-def,misc,untyped-decorator"

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256
_WARPS = _BLOCK // 32
"""A word a thread: rows of odd widths cannot be read in more, and must not be read in pieces."""

Along: TypeAlias = Sequence[tuple[Tensor, Tensor]]
"""Pairs (source, target) of rows [B, ..], contiguous, each pair alike in shape."""


def gather_rows(
    pools: Sequence[Tensor], slots: Tensor, axis: int, along: Along = ()
) -> list[Tensor]:
    """Rows [B] of every pool [.., slots, ..], as new leaves [.., B, ..]; int64 slots [B]."""
    batch = [
        torch.empty(
            (*pool.shape[:axis], len(slots), *pool.shape[axis + 1 :]),
            dtype=pool.dtype,
            device=pool.device,
        )
        for pool in pools
    ]
    _copy(pools, batch, slots, axis, along, scatter=False)
    return batch


def gather_rows_plain(
    pools: Sequence[Tensor], slots: Tensor, axis: int, along: Along = ()
) -> list[Tensor]:
    """``gather_rows`` by torch's own operations."""
    _copy_along_plain(along)
    return [pool.index_select(axis, slots) for pool in pools]


def scatter_rows(
    pools: Sequence[Tensor],
    slots: Tensor,
    batch: Sequence[Tensor],
    axis: int,
    along: Along = (),
    skip: int = -1,
) -> None:
    """Write leaves [.., B, ..] into rows [B] of the pools; a slot given twice gets one of both.

    Slots of the number ``skip`` are left as they are.
    """
    batch = [leaf.contiguous() for leaf in batch]
    _copy(pools, batch, slots, axis, along, scatter=True, skip=skip)


def scatter_rows_plain(
    pools: Sequence[Tensor],
    slots: Tensor,
    batch: Sequence[Tensor],
    axis: int,
    along: Along = (),
    skip: int = -1,
) -> None:
    """``scatter_rows`` by torch's own operations."""
    _copy_along_plain(along)
    (written,) = torch.nonzero(slots != skip, as_tuple=True)
    for pool, leaf in zip(pools, batch, strict=True):
        pool.index_copy_(axis, slots[written], leaf.index_select(axis, written))


def copy_block(source: Tensor, target: Tensor) -> None:
    """Copy bytes [N], N divisible by 4; pinned host memory will do for either."""
    source, target = source.view(torch.int32), target.view(torch.int32)
    if len(source):
        words = len(source)
        _copy_words[(triton.cdiv(words, _BLOCK),)](source, target, words, _BLOCK, num_warps=_WARPS)


def copy_block_plain(source: Tensor, target: Tensor) -> None:
    """``copy_block`` by torch's own operation."""
    target.copy_(source)


def _copy_along_plain(along: Along) -> None:
    for source, target in along:
        target.copy_(source)


def _copy(
    pools: Sequence[Tensor],
    batch: Sequence[Tensor],
    slots: Tensor,
    axis: int,
    along: Along,
    *,
    scatter: bool,
    skip: int = -1,
) -> None:
    pools, batch = [_plain(t) for t in pools], [_plain(t) for t in batch]
    words = tuple(pool.numel() // pool.shape[axis] for pool in pools)
    widths = tuple(prod(source.shape[1:]) for source, _ in along)
    _copy_rows[len(slots), triton.cdiv(max(*words, *widths, 1), _BLOCK)](
        tuple(pools),
        tuple(batch),
        slots,
        tuple(_plain(source) for source, _ in along),
        tuple(target for _, target in along),
        tuple(pool.shape[axis] for pool in pools),
        len(slots),
        skip,
        words,
        tuple(prod(pool.shape[axis + 1 :]) for pool in pools),
        widths,
        LEAVES=len(pools),
        ALONG=len(along),
        SCATTER=scatter,
        BLOCK=_BLOCK,
        num_warps=_WARPS,
    )


def _plain(leaf: Tensor) -> Tensor:
    return leaf.view(torch.uint8) if leaf.dtype == torch.bool else leaf


@triton.jit(do_not_specialize=["skip"])
def _copy_rows(
    pools,
    batch,
    slots,
    sources,
    targets,
    heights,
    rows,
    skip,
    words,
    inners,
    widths,
    LEAVES: tl.constexpr,
    ALONG: tl.constexpr,
    SCATTER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    slot = tl.load(slots + row)
    for i in tl.static_range(ALONG):
        mask = word < widths[i]
        at = row.to(tl.int64) * widths[i] + word
        value = tl.load(sources[i] + at, mask=mask)
        tl.store(targets[i] + at, value.to(targets[i].dtype.element_ty), mask=mask)
    for i in tl.static_range(LEAVES):
        mask = word < words[i]
        outer = (word // inners[i]).to(tl.int64)
        inner = word % inners[i]
        there = pools[i] + (outer * heights[i] + slot) * inners[i] + inner
        here = batch[i] + (outer * rows + row) * inners[i] + inner
        if SCATTER:
            mask = word < tl.where(slot == skip, 0, words[i])
            tl.store(there, tl.load(here, mask=mask), mask=mask)
        else:
            tl.store(here, tl.load(there, mask=mask), mask=mask)


@triton.jit
def _copy_words(source, target, words, BLOCK: tl.constexpr):
    word = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = word < words
    tl.store(target + word, tl.load(source + word, mask=mask), mask=mask)
