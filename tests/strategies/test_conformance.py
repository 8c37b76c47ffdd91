"""Every shipped strategy, and a module of one's own, against the general properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backtest.market.events import EventBatch
from backtest.strategies import module
from backtest.strategies.base import Session, Strategy
from backtest.strategies.batched import Batched
from backtest.strategies.eager import Eager
from backtest.strategies.imbalance import Imbalance
from backtest.strategies.last_write import LastWrite
from backtest.strategies.module import ModuleStrategy
from backtest.strategies.stateless import Stateless
from tests.conformance_inputs import CHECKS, Case, check_batching, random_events

pytestmark = pytest.mark.one_python

SYMBOLS = tuple("ABCDE")
SEEDS = (1, 2)
EVENTS = random_events(60, symbols=5, features=5, seed=9)
CROWDED = random_events(60, symbols=5, features=5, seed=9, crowd=0.6)
"""Many events of one symbol, for which captured steps give way to sequences."""


class Recurrent(nn.Module):
    """torch's own LSTM, its state a tuple that counts symbols in axis 1, and an integer beside."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, 8, num_layers=2)
        self.head = nn.Linear(8, 2)

    def init_state(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.zeros(2, n, 8)
        return h, h.clone(), torch.zeros(1, n, dtype=torch.int64)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        h, c, age = state
        y, (h, c) = self.lstm(x[None], (h, c))
        return self.head(y[0]) + age[0, :, None] / 1000, (h, c, age + 1)


class RecurrentStrategy(ModuleStrategy):
    batch_dim = 1

    def module(self, features: int) -> nn.Module:
        return Recurrent(features)


class Sequenced(Recurrent):
    """The same, which takes several events of each symbol at once."""

    def forward_sequence(
        self, x: Tensor, state: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        h, c, age = state
        y, (h, c) = self.lstm(x, (h, c))
        ages = age + torch.arange(len(x), device=x.device)[:, None]  # [T, B]
        return self.head(y) + ages[..., None] / 1000, (h, c, age + len(x))


class SequencedStrategy(ModuleStrategy):
    batch_dim = 1

    def module(self, features: int) -> nn.Module:
        return Sequenced(features)

    def bind(self, session: Session) -> None:
        super().bind(session)
        assert self._by_sequence


def case(make: Callable[[], Strategy], tolerance: float = 5e-5, device: str = "cpu") -> Case:
    return Case(make, Session(SYMBOLS, tuple("fghij"), device=device), EVENTS, tolerance)


@pytest.fixture(params=["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("kind", [Eager, Batched, Stateless])
def test_ensemble_variants(
    tiny_weights: Path, device: str, kind: Callable[[Path], Strategy], check: str, seed: int
) -> None:
    CHECKS[check](case(partial(kind, tiny_weights), device=device), seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("kind", "events"), [(RecurrentStrategy, EVENTS), (SequencedStrategy, CROWDED)]
)
def test_a_module_of_ones_own(
    device: str, kind: type[ModuleStrategy], events: EventBatch, check: str, seed: int
) -> None:
    CHECKS[check](replace(case(kind, device=device), events=events), seed)


def test_the_crowd_is_large_enough_for_sequences() -> None:
    assert np.bincount(CROWDED.symbol).max() >= module._MANY


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("smoothing", [1.0, 0.3])
def test_imbalance(smoothing: float, check: str, seed: int) -> None:
    CHECKS[check](case(partial(Imbalance, smoothing), tolerance=0), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_last_write_is_caught(tiny_weights: Path, seed: int) -> None:
    flawed = case(partial(LastWrite, tiny_weights))
    with pytest.raises(AssertionError):
        check_batching(flawed, seed)


def test_eager_and_batched_agree(tiny_weights: Path) -> None:
    reference = case(partial(Eager, tiny_weights))
    found = case(partial(Batched, tiny_weights)).bound().predict(EVENTS)
    reference.assert_same(found, reference.alone(), "batched against eager")
