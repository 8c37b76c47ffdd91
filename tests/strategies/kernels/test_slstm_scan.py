"""The sLSTM scan against the cell taken turn by turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.product import Tile, product_plain
from backtest.strategies.kernels.runs import Runs
from backtest.strategies.kernels.slstm_cell import slstm_cell
from backtest.strategies.kernels.slstm_scan import fits, slstm_scan
from tests.strategies.kernels.conftest import SLOTS

pytestmark = pytest.mark.one_python

HEADS = 2


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


# Programs of one head wait for each other, which only a GPU lets them do: elsewhere a head has one.
@pytest.mark.parametrize("size", [8, 16] if DEVICE.type == "cpu" else [8, 16, 50, 512])
@pytest.mark.parametrize("repeat", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_scan(size: int, repeat: int, dtype: torch.dtype) -> None:
    slots, turn, hidden = [*SLOTS[:-1]], [0, 1, 2, 0, 0, 1], HEADS * size
    slots = [slot + 4 * k for k in range(repeat) for slot in slots]
    turn, rows = turn * repeat, 6 * repeat
    c, u = draw(rows, hidden).to(dtype), draw(rows, hidden, seed=1).to(dtype)
    w_in, w_state = ((size**-0.5 * draw(HEADS, 4, size, size, seed=k)).to(dtype) for k in (2, 3))
    bias = draw(4, hidden, seed=4)
    state = [draw(4 * repeat, hidden, seed=5 + k).abs() for k in range(4)]
    state[3][0] = -torch.inf
    kept = [leaf.clone() for leaf in state]

    count = [3, 0, 0, 1, 2, 0] * repeat
    columns = torch.tensor([slots, turn, count], dtype=torch.int32, device=DEVICE)
    first = torch.tensor(np.flatnonzero(count), dtype=torch.int32, device=DEVICE)
    runs = Runs(columns[0], columns[1], columns[2], first)
    wanted = torch.zeros(rows, hidden, device=DEVICE)
    tile = Tile(16, 16, 16, warps=4)
    scratch = torch.full((4, rows, hidden), torch.nan, device=DEVICE)
    y, cell, norm, most = kept
    for number in range(3):
        leaves = y, cell, norm, most
        slstm_cell(
            (c, u), (w_in, w_state, bias), leaves, wanted, scratch, runs, number, 3, tile, "fp32"
        )  # fmt: skip

    gates = (
        product_plain(c.float(), w_in[:, :2].flatten(1, 2).float()),
        product_plain(u.float(), w_in[:, 2:].flatten(1, 2).float()),
    )
    found = torch.full_like(wanted, torch.nan)
    rounded = found if dtype == found.dtype else found.to(dtype)
    arrived = torch.zeros(HEADS, dtype=torch.int32, device=DEVICE)
    y, cell, norm, most = state
    slstm_scan(
        gates, (w_state, bias), (y, cell, norm, most), runs, (found, rounded), arrived, tile, "fp32"
    )  # fmt: skip
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    for leaf, right in zip(state, kept, strict=True):
        torch.testing.assert_close(leaf, right, atol=1e-4, rtol=1e-4)


def test_it_runs_only_where_all_programs_do() -> None:
    tile = Tile(16, 16, 16)
    assert not fits(torch.zeros(4, 4, 64, 64), tile)
    if torch.cuda.is_available():
        assert fits(torch.zeros(4, 4, 512, 512, device=DEVICE), tile)
        assert not fits(torch.zeros(4, 4, 4096, 1, device=DEVICE).expand(-1, -1, -1, 4096), tile)
