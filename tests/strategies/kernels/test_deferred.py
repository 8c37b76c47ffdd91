"""Matrix states written back now and then: the same bits as writing them every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.deferred import DEPTH, Deferred, settle
from backtest.strategies.kernels.mamba2 import mamba2_state
from backtest.strategies.kernels.mlstm import mlstm_state
from backtest.strategies.kernels.residual import readout
from backtest.strategies.kernels.retnet import retnet_state
from backtest.strategies.kernels.runs import Runs

pytestmark = pytest.mark.one_python

SLOTS = 4
PHASE = 3
_RUNS = [[3, 3, 0], [1] * 8, [0, 0, 0, 2], [2] * 7 + [3] * 5, [3] * 8 + [1, 1], [0] * 8]
_BATCHES = [*([[0], [0, 1], [2, 0], [1]] * 4), *(_RUNS * 2), *([[0, 1, 2, 3]] * 9), *_RUNS]

Launch = Callable[[Runs, int, Tensor, Deferred | None], Tensor]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def runs_of(slots: list[int]) -> Runs:
    """Rows of these slots, neighbours where equal, and one row of padding."""
    turn = [slots[:row].count(slot) for row, slot in enumerate(slots)]
    count = [slots.count(slot) if t == 0 else 0 for slot, t in zip(slots, turn, strict=True)]
    columns: list[list[int]] = [[*slots, -1], [*turn, 0], [*count, 0]]
    return Runs(*(torch.tensor(c, dtype=torch.int32, device=DEVICE) for c in columns))


def mlstm(heads: int = 2, size: int = 20) -> tuple[Tensor, Launch, dict[str, Any]]:
    n, m, bias = (draw(SLOTS, heads, *s, seed=k) for k, s in enumerate([(size,), (), ()]))

    def launch(runs: Runs, seed: int, state: Tensor, deferred: Deferred | None) -> Tensor:
        rows = len(runs.slot)
        qkv = draw(rows, 3, heads * size, seed=seed)
        parts = draw(rows, 2, 2 * heads, seed=seed + 1)
        y = torch.zeros(rows, heads * size, device=DEVICE)
        weight = torch.zeros(rows, heads, device=DEVICE)
        leaves = state, n.clone(), m.clone()
        gates = bias[0].repeat(2)
        mlstm_state(
            qkv, parts, gates, leaves, runs, (y, weight), deferred=deferred, columns=16, warps=4
        )
        return y

    return draw(SLOTS, heads, size, size, seed=9), launch, {"key": (heads, size), "value": size}


def retnet(heads: int = 3, size: int = 20) -> tuple[Tensor, Launch, dict[str, Any]]:
    decay = torch.tensor([0.9, 0.99, 0.5], device=DEVICE)
    angle = draw(size, seed=1).abs()
    offset = torch.zeros(SLOTS, dtype=torch.int32, device=DEVICE)

    def launch(runs: Runs, seed: int, state: Tensor, deferred: Deferred | None) -> Tensor:
        y = torch.zeros(len(runs.slot), heads * size, device=DEVICE)
        qkvg = draw(len(y), 4 * heads * size, seed=seed)
        retnet_state(
            qkvg, (decay, angle), offset + seed, state, runs, y, deferred=deferred, columns=16
        )
        return y

    return draw(SLOTS, heads, size, size, seed=9), launch, {"key": (heads, size), "value": size}


def mamba2(heads: int = 2, p: int = 64, size: int = 128) -> tuple[Tensor, Launch, dict[str, Any]]:
    constants = draw(3, heads, seed=3)

    def launch(runs: Runs, seed: int, state: Tensor, deferred: Deferred | None) -> Tensor:
        y = torch.zeros(len(runs.slot), heads * p, device=DEVICE)
        xbc = draw(len(y), heads * p + 2 * size, seed=seed)
        z, dt = draw(len(y), heads * p, seed=seed + 1), draw(len(y), heads, seed=seed + 2)
        per_head = -constants[0].abs(), constants[1], constants[2]
        mamba2_state(xbc, z, dt, per_head, state, runs, y, deferred=deferred)
        return y

    return draw(SLOTS, heads, p, size, seed=9), launch, {"key": (1, size), "value": p}


def advance(since: Tensor, runs: Runs) -> None:
    """What a tower does at its end."""
    x = torch.zeros(len(runs.slot), 16, device=DEVICE)
    out = torch.empty(len(x), 4, device=DEVICE)
    readout(x, x[None], x[0], (x[0], x[0, :1]), (out, 0), runs, since)


@pytest.mark.parametrize("make", [mlstm, retnet, mamba2])
def test_the_same_bits_as_writing_every_time(make: Callable[[], Any]) -> None:
    state, launch, shapes = make()
    late, at_once = state.clone(), state.clone()
    since = torch.zeros(SLOTS, dtype=torch.int32, device=DEVICE)
    deferred = Deferred.empty(since, state.shape[1], phase=PHASE, **shapes)
    written = 0
    for seed, slots in enumerate(_BATCHES):
        runs, before = runs_of(slots), late.clone()
        found = launch(runs, 10 * seed, late, deferred)
        wanted = launch(runs, 10 * seed, at_once, None)
        assert torch.equal(found, wanted), f"batch {seed}"
        advance(since, runs)
        written += sum(not torch.equal(late[s], before[s]) for s in range(SLOTS))
    assert not torch.equal(late, at_once)
    assert written <= sum(map(len, _BATCHES)) / DEPTH + SLOTS
    transposed = make is mamba2
    some = torch.tensor([2, 0], device=DEVICE)
    settle(late, deferred, some, transposed=transposed)
    since.index_fill_(0, some, 0)
    assert torch.equal(late[some], at_once[some])
    runs = runs_of([2, 1, 0])
    assert torch.equal(launch(runs, 999, late, deferred), launch(runs, 999, at_once, None))
    advance(since, runs)
    settle(late, deferred, torch.arange(SLOTS, device=DEVICE), transposed=transposed)
    assert torch.equal(late, at_once)


@pytest.mark.parametrize("make", [mlstm, retnet, mamba2])
def test_rubbish_in_a_ring_is_not_read(make: Callable[[], Any]) -> None:
    state, launch, shapes = make()
    since = torch.zeros(SLOTS, dtype=torch.int32, device=DEVICE)
    deferred = Deferred.empty(since, state.shape[1], phase=PHASE, **shapes)
    for ring in (deferred.keep, deferred.k, deferred.v):
        ring.fill_(torch.nan)
    late, at_once = state.clone(), state.clone()
    for seed in range(DEPTH + 2):
        runs = runs_of([1, 3])
        found = launch(runs, 10 * seed, late, deferred)
        assert torch.equal(found, launch(runs, 10 * seed, at_once, None))
        advance(since, runs)
