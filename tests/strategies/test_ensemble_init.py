"""Random weights: the same for a seed, well scaled, and with a memory that matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backtest.strategies.base import Session, Strategy
from backtest.strategies.batched import Batched
from backtest.strategies.ensemble import EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.stateless import Stateless
from backtest.strategies.tensor_files import write_safetensors
from tests.conformance_inputs import random_events
from tests.strategies.conftest import TINY

SESSION = Session(symbols=("A", "B", "C", "D"), features=tuple("fghij"))


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two, other = (init_weights(TINY, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_every_weight_is_finite_and_in_its_range() -> None:
    weights = init_weights(EnsembleConfig(64, 64, 1, 8, 9), 5).state_dict()
    assert all(w.isfinite().all() and w.dtype == torch.float32 for w in weights.values())
    layer = "towers.{}.blocks.0.layer."
    a = weights[layer.format(3) + "rglru.a"]
    assert (a >= 0.9).all()
    assert (a < 1).all()
    assert (weights[layer.format(1) + "a"] < 0).all()
    decay = weights[layer.format(2) + "decay"]
    assert decay.tolist() == [1 - 2.0 ** (-5 - h) for h in range(8)]
    angle = weights[layer.format(2) + "angle"]
    torch.testing.assert_close(angle[::2], angle[1::2])
    assert angle[0] == 1
    torch.testing.assert_close(angle[-1], torch.tensor(1e-4))


@pytest.mark.parametrize("persistence", [0.5, 0.9, 0.99])
def test_ignoring_state_costs_correlation(tmp_path: Path, persistence: float) -> None:
    with_state, without = mean_answers(tmp_path, 1.0, persistence)
    assert 0.2 < np.corrcoef(with_state, without)[0, 1] < 0.8


def test_without_memory_state_does_not_matter(tmp_path: Path) -> None:
    with_state, without = mean_answers(tmp_path, 0.0, 0.9)
    np.testing.assert_allclose(with_state, without, rtol=0, atol=1e-5)


def mean_answers(folder: Path, memory: float, persistence: float) -> list[np.ndarray]:
    path = folder / "w.safetensors"
    config = replace(TINY, depth=1)
    write_safetensors(path, init_weights(config, 7, memory=memory).state_dict())
    events = random_events(800, symbols=4, features=5, seed=1, persistence=persistence)
    found = []
    for kind in (Batched, Stateless):
        strategy: Strategy = kind(path)
        strategy.bind(SESSION)
        found.append(strategy.forecast(strategy.predict(events)))
    return found
