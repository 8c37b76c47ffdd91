"""Matrix states over runs of many events, and what prepares them, against plain recurrences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.deferred import Deferred
from backtest.strategies.kernels.mamba2 import mamba2_exit, mamba2_steps
from backtest.strategies.kernels.matrix_state import advance_plain
from backtest.strategies.kernels.mlstm import mlstm_state, mlstm_steps
from backtest.strategies.kernels.retnet import retnet_steps
from backtest.strategies.kernels.runs import Runs
from backtest.strategies.kernels.sequence import matrix_sequence
from backtest.strategies.towers.retnet import rotate, rotation

pytestmark = pytest.mark.one_python

SLOTS = [2, 2, 2, 2, 2, 0, 3, 3, 3]
TURNS = [0, 1, 2, 3, 4, 0, 0, 1, 2]
COUNTS = [5, 0, 0, 0, 0, 1, 3, 0, 0]
ROWS = len(SLOTS)
CLOSE: dict[str, Any] = {"atol": 2e-5, "rtol": 2e-5}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def integers(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32, device=DEVICE)


@pytest.fixture(params=[True, False], ids=["compact", "every row"])
def runs(request: pytest.FixtureRequest) -> Runs:
    first = integers([0, 5, 6]) if request.param else None
    return Runs(integers(SLOTS), integers(TURNS), integers(COUNTS), first)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("heads", "keys", "values", "columns"), [(2, 20, 20, 16), (3, 33, 7, 32)])
def test_matrix_sequence(
    runs: Runs, transposed: bool, heads: int, keys: int, values: int, columns: int
) -> None:
    q, k = draw(ROWS, heads, keys), draw(ROWS, 1, keys, seed=1).expand(-1, heads, -1)
    v = draw(ROWS, heads + 1, values, seed=2)[:, 1:]
    keep = torch.sigmoid(draw(ROWS, heads, seed=3))
    scale = draw(1, heads, seed=4).expand(ROWS, -1)
    state = draw(4, heads, keys, values, seed=5)
    wanted, kept = torch.empty(ROWS, heads, values, device=DEVICE), state.clone()
    for row, slot in enumerate(SLOTS):
        k_row = k[row] * scale[row, :, None]
        kept[slot], wanted[row] = advance_plain(kept[slot], keep[row], k_row, v[row], q[row])
    stored = state.mT.contiguous() if transposed else state
    out = torch.full((ROWS, heads * values), torch.nan, device=DEVICE)
    matrix_sequence(
        (q, k, v), (keep, scale), stored, runs, out,
        transposed=transposed, columns=columns, warps=4,
    )  # fmt: skip
    torch.testing.assert_close(out, wanted.flatten(1), **CLOSE)
    torch.testing.assert_close(stored.mT if transposed else stored, kept, **CLOSE)


def test_it_catches_up_first(runs: Runs) -> None:
    heads, size = 2, 20
    qkv = draw(3, ROWS, heads, size)
    steps = torch.sigmoid(draw(ROWS, heads)), draw(ROWS, heads, seed=1)
    since = integers([0, 0, 1, 0])
    deferred = Deferred.empty(since, heads, (heads, size), size, phase=0)
    # Slot 2, one event behind: the place in its ring is slot + phase.
    for ring, seed in ((deferred.keep, 6), (deferred.k, 7), (deferred.v, 8)):
        ring[2, 2] = draw(*ring.shape[2:], seed=seed)
    late = draw(4, heads, size, size, seed=5)
    at_once = late.clone()
    at_once[2], _ = advance_plain(
        late[2], deferred.keep[2, 2], deferred.k[2, 2], deferred.v[2, 2], qkv[0, 0]
    )
    found, wanted = (torch.zeros(ROWS, heads * size, device=DEVICE) for _ in range(2))
    q, k, v = qkv
    for state, rings, out in ((late, deferred, found), (at_once, None, wanted)):
        matrix_sequence((q, k, v), steps, state, runs, out, deferred=rings, columns=16, warps=4)
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(late, at_once, **CLOSE)


def test_mlstm_steps(runs: Runs) -> None:
    heads, size = 2, 20
    inner = heads * size
    qkv, parts, bias = draw(ROWS, 3, inner), draw(ROWS, 3, 2 * heads, seed=1), draw(2 * heads)
    matrix, n, m = draw(4, heads, size, size), draw(4, heads, size, seed=3), draw(4, heads)
    y, weight = torch.zeros(ROWS, inner, device=DEVICE), torch.zeros(ROWS, heads, device=DEVICE)
    whole = matrix.clone(), n.clone(), m.clone()
    mlstm_state(qkv, parts, bias, whole, runs, (y, weight), columns=16, warps=4)

    found_n, out = n.clone(), tuple(torch.empty(ROWS, heads, device=DEVICE) for _ in range(3))
    keep, scale, found_weight = out
    mlstm_steps(qkv, parts, bias, (found_n, m), runs, (keep, scale, found_weight))
    torch.testing.assert_close(found_n, whole[1], **CLOSE)
    torch.testing.assert_close(found_weight, weight, **CLOSE)
    q, k, v = qkv.view(ROWS, 3, heads, size).unbind(1)
    found = torch.empty_like(y)
    matrix_sequence((q, k, v), (keep, scale), matrix, runs, found, columns=16, warps=4)
    torch.testing.assert_close(found, y, **CLOSE)
    torch.testing.assert_close(matrix, whole[0], **CLOSE)


@pytest.mark.parametrize("offset", [0, 1_000_003])
def test_retnet_steps(runs: Runs, offset: int) -> None:
    heads, size = 3, 20
    qkvg, angle = draw(ROWS, 4 * heads * size), draw(size, seed=1).abs()
    qkv = torch.empty(ROWS, 3, heads * size, device=DEVICE)
    retnet_steps(qkvg, angle, integers([0, 0, offset, 5]), runs, qkv)
    q, k, v = qkv.unbind(1)
    position = torch.tensor([offset if s == 2 else 5 if s == 3 else 0 for s in SLOTS]).to(DEVICE)
    cos, sin = rotation(position + torch.tensor(TURNS).to(DEVICE), angle, torch.float64)
    for found, raw, scale in ((q, qkvg, 1.0), (k, qkvg[:, heads * size :], size**-0.5)):
        plain = raw[:, : heads * size].double().view(ROWS, heads, size) * scale
        torch.testing.assert_close(found, rotate(plain, cos, sin).flatten(1).float(), **CLOSE)
    assert torch.equal(v, qkvg[:, 2 * heads * size : 3 * heads * size])


def test_mamba2_steps_and_exit() -> None:
    heads, p, shared = 3, 64, 128
    inner = heads * p
    wide, bias, a = draw(ROWS, inner + heads), draw(heads, seed=1), -draw(heads, seed=2).abs()
    keep, dt = (torch.empty(ROWS, heads, device=DEVICE) for _ in range(2))
    mamba2_steps(wide[:, inner:], (a, bias), (keep, dt))
    wanted = F.softplus(wide[:, inner:] + bias)
    torch.testing.assert_close(dt, wanted, **CLOSE)
    torch.testing.assert_close(keep, torch.exp(a * wanted), **CLOSE)

    y, xbc, norm = draw(ROWS, inner), draw(ROWS, inner + 2 * shared, seed=3), draw(inner, seed=4)
    out = torch.empty_like(y)
    mamba2_exit(y, xbc, wide[:, :inner], a, norm, out)
    whole = y + a.repeat_interleave(p) * xbc[:, :inner]
    wanted = F.rms_norm(whole * F.silu(wide[:, :inner]), (inner,), norm, 1e-5)
    torch.testing.assert_close(out, wanted, **CLOSE)
