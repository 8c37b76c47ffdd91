"""Rows of a state, picked and written back, against torch's own operations."""

from __future__ import annotations

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.rows import (
    gather_rows,
    gather_rows_plain,
    scatter_rows,
    scatter_rows_plain,
)

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
