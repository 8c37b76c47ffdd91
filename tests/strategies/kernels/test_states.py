"""Kernels that keep state against event-by-event recurrences: runs, padding, awkward sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.convolution import convolve
from backtest.strategies.kernels.hawk import rglru
from backtest.strategies.kernels.mamba2 import mamba2_state
from backtest.strategies.kernels.matrix_state import advance_plain
from backtest.strategies.kernels.mlstm import mlstm_exit, mlstm_state
from backtest.strategies.kernels.retnet import retnet_exit, retnet_state
from backtest.strategies.kernels.runs import Runs
from backtest.strategies.towers.layers import causal_conv
from backtest.strategies.towers.retnet import rotate, rotation
from tests.strategies.kernels.conftest import SLOTS

pytestmark = pytest.mark.one_python

ROWS = len(SLOTS)
LIVE = [row for row, slot in enumerate(SLOTS) if slot >= 0]
CLOSE: dict[str, Any] = {"atol": 2e-5, "rtol": 2e-5}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def halves(y: Tensor) -> Tensor:
    """Two sums that together are y."""
    return torch.stack([y - 1, torch.ones_like(y)])


@pytest.mark.parametrize("channels", [4, 30, 300])
def test_convolve(runs: Runs, channels: int) -> None:
    x, taps, bias = draw(ROWS, channels), draw(4, channels, seed=1), draw(channels, seed=2)
    state = draw(4, channels, 3, seed=3)
    wanted_state, wanted = state.clone(), torch.zeros(ROWS, channels, device=DEVICE)
    for row in LIVE:
        old = wanted_state[SLOTS[row], None]
        y, new = causal_conv(x[row, None], old, taps.T.unsqueeze(1), bias)
        wanted[row], wanted_state[SLOTS[row]] = F.silu(y)[0], new[0]
    out = torch.zeros(ROWS, channels, device=DEVICE)
    convolve(x, (taps, bias, state), runs, (out, None), activate=True)
    torch.testing.assert_close(out, wanted, **CLOSE)
    torch.testing.assert_close(state, wanted_state, **CLOSE)


@pytest.mark.parametrize(("heads", "size", "columns"), [(2, 8, 32), (3, 20, 16)])
def test_mlstm(runs: Runs, heads: int, size: int, columns: int) -> None:
    inner = heads * size
    qkv, parts, bias = draw(ROWS, 3, inner), draw(ROWS, 3, 2 * heads, seed=1), draw(2 * heads)
    state = draw(4, heads, size, size, seed=2), draw(4, heads, size, seed=3), draw(4, heads)
    matrix, n, m = (leaf.clone() for leaf in state)
    wanted = torch.zeros(ROWS, inner, device=DEVICE)
    weight = torch.zeros(ROWS, heads, device=DEVICE)
    for row in LIVE:
        slot = SLOTS[row]
        i, f = (parts[row].sum(0) + bias).chunk(2)
        q, k, v = (part.view(heads, size) for part in qkv[row])
        decayed = m[slot] + F.logsigmoid(f)
        m[slot] = torch.maximum(i, decayed)
        keep, gain = torch.exp(decayed - m[slot]), torch.exp(i - m[slot])
        k = k * size**-0.5 * gain[:, None]
        matrix[slot], y = advance_plain(matrix[slot], keep, k, v, q)
        n[slot] = keep[:, None] * n[slot] + k
        wanted[row] = y.flatten()
        weight[row] = torch.maximum((q * n[slot]).sum(-1).abs(), torch.exp(-m[slot])) + 1e-6

    y, found_weight = torch.zeros_like(wanted), torch.zeros_like(weight)
    mlstm_state(qkv, parts, bias, state, runs, (y, found_weight), columns=columns, warps=4)
    torch.testing.assert_close(y, wanted, **CLOSE)
    torch.testing.assert_close(found_weight, weight, **CLOSE)
    torch.testing.assert_close(state[0], matrix, **CLOSE)
    torch.testing.assert_close(state[1], n, **CLOSE)

    c, g, norm = draw(ROWS, inner, seed=4), draw(ROWS, inner, seed=5), draw(3, inner, seed=6)
    out = torch.zeros(ROWS, inner, device=DEVICE)
    mlstm_exit(
        halves(y),
        found_weight,
        c,
        g,
        (norm[0], norm[1], norm[2]),
        (parts, bias),
        state[2],
        runs,
        out,
    )
    h = (wanted.view(ROWS, heads, size) / weight[..., None]).flatten(1)[LIVE]
    h = F.group_norm(h, heads, norm[0], norm[1], 1e-5) + norm[2] * c[LIVE]
    torch.testing.assert_close(out[LIVE], h * F.silu(g[LIVE]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(state[2], m, **CLOSE)


def test_mamba2(runs: Runs) -> None:
    heads, p, size = 2, 64, 128
    inner = heads * p
    xbc, z = draw(ROWS, inner + 2 * size), draw(ROWS, inner, seed=1)
    dt, constants = draw(ROWS, heads, seed=2), draw(3, heads, seed=3)
    a, d, bias = -constants[0].abs(), constants[1], constants[2]
    state = draw(4, heads, p, size, seed=4)
    kept, wanted = state.clone(), torch.zeros(ROWS, inner, device=DEVICE)
    for row in LIVE:
        step = F.softplus(dt[row] + bias)
        x, (b, c) = xbc[row, :inner].view(heads, p), xbc[row, inner:].view(2, size)
        s, y = advance_plain(
            kept[SLOTS[row]].mT,
            torch.exp(a * step),
            b.expand(heads, -1),
            step[:, None] * x,
            c.expand(heads, -1),
        )
        kept[SLOTS[row]] = s.mT
        wanted[row] = (y + d[:, None] * x).flatten() * F.silu(z[row])
    out = torch.zeros(ROWS, inner, device=DEVICE)
    mamba2_state(xbc, z, dt, (a, d, bias), state, runs, out)
    torch.testing.assert_close(out, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(state, kept, **CLOSE)


@pytest.mark.parametrize("offset", [0, 1_000_003])
@pytest.mark.parametrize(("heads", "size"), [(2, 8), (3, 20)])
def test_retnet(runs: Runs, heads: int, size: int, offset: int) -> None:
    hidden = heads * size
    qkvg = draw(ROWS, 4 * hidden)
    decay, angle = torch.tensor([0.9, 0.99, 0.5][:heads], device=DEVICE), draw(size, seed=1).abs()
    position = torch.full((4,), offset, dtype=torch.int32, device=DEVICE)
    scale, state = draw(4, heads, seed=2).abs() + 1, draw(4, heads, size, size, seed=3)
    kept, t, s = state.double(), position.clone(), scale.double()
    wanted = torch.zeros(ROWS, hidden, device=DEVICE)
    for row in LIVE:
        slot = SLOTS[row]
        q, k, v, g = (part.view(heads, size) for part in qkvg[row].double().chunk(4))
        cos, sin = (part[0] for part in rotation(t[slot, None], angle, torch.float64))
        q, k = rotate(q, cos, sin), rotate(k * size**-0.5, cos, sin)
        kept[slot], y = advance_plain(kept[slot], decay.double(), k, v, q)
        t[slot] += 1
        s[slot] = decay * s[slot] + 1
        o = F.rms_norm(y / s[slot].sqrt()[:, None], (size,), eps=1e-6) * F.silu(g)
        wanted[row] = o.flatten().float()
    y, out = torch.zeros(ROWS, hidden, device=DEVICE), torch.zeros(ROWS, hidden, device=DEVICE)
    retnet_state(qkvg, (decay, angle), position, state, runs, y, columns=16)
    retnet_exit(halves(y), qkvg[:, 3 * hidden :], decay, (position, scale), runs, out)
    torch.testing.assert_close(state, kept.float(), **CLOSE)
    torch.testing.assert_close(scale, s.float(), **CLOSE)
    assert torch.equal(position, t)
    torch.testing.assert_close(out, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("blocks_of", [8, 50])
def test_rglru(runs: Runs, blocks_of: int) -> None:
    hidden = 4 * blocks_of
    gates, u, gate = draw(ROWS, 4, 2, blocks_of), draw(ROWS, hidden, seed=1), draw(ROWS, hidden)
    a = 0.9 + 0.0999 * torch.rand(hidden, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    state = draw(4, hidden, seed=4)
    kept, wanted = state.double(), torch.zeros(ROWS, hidden, device=DEVICE)
    for row in LIVE:
        i, r = (torch.sigmoid(gates[row, :, j].double().flatten()) for j in range(2))
        keep = a.double() ** (8 * r)
        h = keep * kept[SLOTS[row]] + torch.sqrt(1 - keep * keep) * i * u[row]
        kept[SLOTS[row]] = h
        wanted[row] = (F.gelu(gate[row].double()) * h).float()
    out = torch.zeros(ROWS, hidden, device=DEVICE)
    rglru(gates, u, gate, a.double().log().float(), state, runs, out)
    torch.testing.assert_close(state, kept.float(), **CLOSE)
    torch.testing.assert_close(out, wanted, **CLOSE)
