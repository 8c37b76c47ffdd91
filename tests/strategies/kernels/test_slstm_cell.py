"""The sLSTM cell, turn by turn, against an event-by-event recurrence in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.product import Tile
from backtest.strategies.kernels.runs import Runs
from backtest.strategies.kernels.slstm_cell import slstm_cell

pytestmark = pytest.mark.one_python

HEADS = 2


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


# Two tiles of rows in the first turn; in the second they are gathered into one, or two.
@pytest.mark.parametrize("lengths", [[1] * 5, [2] * 10, [1, 3, 1, 1] * 4, [2] * 20, [5] * 3])
@pytest.mark.parametrize("size", [8, 20])
def test_cell(lengths: list[int], size: int) -> None:
    rows, hidden = sum(lengths) + 1, HEADS * size  # one row of padding
    slots = [slot for slot, n in enumerate(lengths) for _ in range(n)]
    turn = [t for n in lengths for t in range(n)]
    c, u = draw(rows, hidden), draw(rows, hidden, seed=1)
    w_in, w_state = (size**-0.5 * draw(HEADS, 4, size, size, seed=k) for k in (2, 3))
    bias = draw(4, hidden, seed=4)
    state = [draw(len(lengths), hidden, seed=5 + k).abs() for k in range(4)]
    state[3][0] = -torch.inf

    y_state, cell, norm, most = (leaf.double() for leaf in state)
    wanted = torch.zeros(rows, hidden, dtype=torch.float64, device=DEVICE)
    for row, slot in enumerate(slots):
        x = torch.stack([c[row], c[row], u[row], u[row]]).double().view(4, HEADS, size)
        sums = torch.einsum("hgjk,ghk->ghj", w_in.double(), x)
        y = y_state[slot].view(HEADS, size)
        sums += torch.einsum("hgjk,hk->ghj", w_state.double(), y)
        i, f, z, o = sums.reshape(4, hidden) + bias.double()
        decayed = most[slot] + F.logsigmoid(f)
        m = torch.maximum(i, decayed)
        keep, gain = (decayed - m).exp(), (i - m).exp()
        cell[slot] = keep * cell[slot] + gain * z.tanh()
        norm[slot] = keep * norm[slot] + gain
        most[slot] = m
        y_state[slot] = wanted[row] = o.sigmoid() * cell[slot] / (norm[slot] + 1e-6)

    count = [n if t == 0 else 0 for n in lengths for t in range(n)]
    columns = [*slots, -1], [*turn, 0], [*count, 0]
    runs = Runs(*(torch.tensor(column, dtype=torch.int32, device=DEVICE) for column in columns))
    found, scratch = torch.zeros(rows, hidden, device=DEVICE), draw(4, rows, hidden)
    tile, turns = Tile(16, 16, 16), max(lengths) + 1  # as many as a bucket has, one of them empty
    y, *kept = (leaf.clone() for leaf in state)
    for number in range(turns):
        leaves = y, kept[0], kept[1], kept[2]
        slstm_cell(
            (c, u), (w_in, w_state, bias), leaves, found, scratch, runs, number, turns, tile, "fp32"
        )  # fmt: skip
    torch.testing.assert_close(found, wanted.float(), atol=2e-5, rtol=2e-5)
    for leaf, right in zip(kept, (cell, norm, most), strict=True):
        torch.testing.assert_close(leaf, right.float(), atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(y, state[0], atol=0, rtol=0)  # the exit commits it
