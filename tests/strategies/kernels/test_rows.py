"""Rows of a state, picked and written back, against torch's own operations."""

from __future__ import annotations

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.rows import (
    copy_block,
    copy_block_plain,
    gather_rows,
    gather_rows_plain,
    scatter_rows,
    scatter_rows_plain,
)

pytestmark = pytest.mark.one_python

SLOTS = torch.tensor([4, 0, 5], device=DEVICE)


def pools(axis: int) -> list[torch.Tensor]:
    """Leaves of six slots: odd sizes, none, integers, doubles, and one with an axis before."""
    shapes = [(6, 3, 5), (6,), (6, 300)] if axis == 0 else [(2, 6, 5), (1, 6), (3, 6, 101)]
    kinds = (torch.float32, torch.int64, torch.float64)
    generator = torch.Generator().manual_seed(3)
    return [
        (100 * torch.rand(shape, generator=generator)).to(kind).to(DEVICE)
        for shape, kind in zip(shapes, kinds, strict=True)
    ]


@pytest.mark.parametrize("axis", [0, 1])
def test_gathered(axis: int) -> None:
    found = gather_rows(pools(axis), SLOTS, axis)
    for leaf, wanted in zip(found, gather_rows_plain(pools(axis), SLOTS, axis), strict=True):
        assert torch.equal(leaf, wanted)


@pytest.mark.parametrize("axis", [0, 1])
def test_scattered(axis: int) -> None:
    found, wanted = pools(axis), pools(axis)
    new = [leaf + 1 for leaf in gather_rows_plain(found, SLOTS, axis)]
    scatter_rows(found, SLOTS, new, axis)
    scatter_rows_plain(wanted, SLOTS, new, axis)
    for leaf, right in zip(found, wanted, strict=True):
        assert torch.equal(leaf, right)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_skipped_slot_is_left_as_it_is(axis: int) -> None:
    before, found, wanted = pools(axis), pools(axis), pools(axis)
    slots = torch.tensor([5, 1, 5], device=DEVICE)
    new = [leaf + 1 for leaf in gather_rows_plain(found, slots, axis)]
    scatter_rows(found, slots, new, axis, skip=5)
    scatter_rows_plain(wanted, slots, new, axis, skip=5)
    for leaf, right, old in zip(found, wanted, before, strict=True):
        assert torch.equal(leaf, right)
        assert torch.equal(leaf.select(axis, 5), old.select(axis, 5))
        assert not torch.equal(leaf.select(axis, 1), old.select(axis, 1))


@pytest.mark.parametrize("scatter", [False, True])
@pytest.mark.parametrize("width", [0, 1, 700])  # 700: wider than any leaf
def test_rows_copied_along(scatter: bool, width: int) -> None:
    """In any dtype, to float32 or as they are, from and to what a kernel reaches of the host."""
    pinned = DEVICE.type == "cuda"
    sources = torch.rand(3, width, pin_memory=pinned), torch.arange(3, device=DEVICE)
    doubles = torch.rand(3, 2, dtype=torch.float64, device=DEVICE)
    targets = torch.zeros(3, width, device=DEVICE), torch.zeros_like(sources[1])
    host = torch.zeros(3, 2, pin_memory=pinned)
    along = [*zip(sources, targets, strict=True), (doubles, host)]
    if scatter:
        scatter_rows(pools(0), SLOTS, gather_rows(pools(0), SLOTS, 0), 0, along)
    else:
        gather_rows(pools(0), SLOTS, 0, along)
    if pinned:
        torch.cuda.synchronize()
    for source, target in zip(sources, targets, strict=True):
        assert torch.equal(source.cpu(), target.cpu())
    assert torch.equal(doubles.float().cpu(), host)


@pytest.mark.parametrize("size", [0, 4, 1024, 2052])
def test_a_block(size: int) -> None:
    source = torch.randint(256, (size,), dtype=torch.uint8).to(DEVICE)
    found, wanted = (torch.zeros_like(source) for _ in range(2))
    copy_block(source, found)
    copy_block_plain(source, wanted)
    assert torch.equal(found, wanted)
