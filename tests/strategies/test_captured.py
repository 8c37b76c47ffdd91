"""Captured steps: buckets, padding, duplicates, and what happens where replays go wrong.

On a CPU the same arrays, buckets and rows are used, and nothing is captured.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.core.arrays import Float32Array
from backtest.market.events import EventBatch
from backtest.strategies.base import Session
from backtest.strategies.captured import CapturedSteps, bucket_sizes, capture_steps
from backtest.strategies.device import exact_float32
from backtest.strategies.module import ModuleStrategy
from backtest.strategies.single_event import single_events
from backtest.strategies.state_pool import SymbolStatePool
from backtest.strategies.state_tree import named_leaves
from tests.conformance_inputs import CHECKS, Case, random_events

FEATURES = 3


class Model(nn.Module):
    """An LSTM's cell, and a count of events."""

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(features, 5)
        self.head = nn.Linear(5, 2)

    def init_state(self, n: int) -> Any:
        return {
            "cell": (torch.zeros(n, 5), torch.full((n, 5), 0.5)),
            "age": torch.zeros(n, dtype=torch.int64),
        }

    def forward(self, x: Tensor, state: Any) -> Any:
        h, c = self.cell(x, state["cell"])
        return self.head(h) + state["age"][:, None], {"age": state["age"] + 1, "cell": (h, c)}


class Captured(ModuleStrategy):
    """Takes the captured way on every device."""

    def module(self, features: int) -> nn.Module:
        return Model(features)

    def bind(self, session: Session) -> None:
        super().bind(session)
        if self._steps is None:
            size = len(session.features), self.outputs
            self._steps = CapturedSteps(self._module, self._pool, *size)

    def predict(self, batch: EventBatch) -> Float32Array:
        with torch.inference_mode():  # a graph needs none; without one the module itself is run
            return super().predict(batch)


@pytest.mark.parametrize("check", CHECKS)
def test_invariances(check: str) -> None:
    session = Session(tuple("ABCDE"), tuple("fgh"), str(DEVICE))
    CHECKS[check](Case(Captured, session, random_events(60, symbols=5, features=3, seed=2)), 3)


def test_it_answers_as_the_plain_way_does() -> None:
    session = Session(tuple("ABCDE"), tuple("fgh"), str(DEVICE))
    events = random_events(60, symbols=5, features=3, seed=2)
    captured, plain = Captured(), Captured()
    captured.bind(session)
    plain.bind(session)
    plain._steps = None
    np.testing.assert_allclose(captured.predict(events), plain.predict(events), atol=1e-6)


@pytest.mark.parametrize(
    ("capacity", "sizes"), [(1, [1]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8]), (999, [192, 256])]
)
def test_buckets_end_at_the_capacity(capacity: int, sizes: list[int]) -> None:
    assert bucket_sizes(capacity)[-len(sizes) :] == sizes


def pool_and_model(model: Model, symbols: int = 300) -> tuple[SymbolStatePool, Model]:
    model = model.eval().to(DEVICE)
    return SymbolStatePool(model.init_state, symbols=symbols, device=DEVICE), model


@pytest.mark.parametrize("kernels", [False, True])
def test_batches_above_the_largest_bucket_and_stale_rows(kernels: bool) -> None:
    count = 270 if not kernels else 7  # interpreted kernels take their time
    pool, model = pool_and_model(Model(), symbols=count)
    steps = CapturedSteps(model, pool, FEATURES, 2, kernels=kernels)
    x = np.random.default_rng(1).standard_normal((count, FEATURES)).astype(np.float32)
    slots = np.random.default_rng(2).permutation(count)
    with exact_float32(), torch.inference_mode():
        steps.run(np.full_like(x[:3], np.nan), slots[:3])
        y, state = model(torch.from_numpy(x[3:]).to(DEVICE), pool.fresh(count - 3))
        found = steps.run(x[3:], slots[3:])
        np.testing.assert_allclose(found, y.cpu().numpy(), atol=1e-6)
        kept = pool.gather(torch.from_numpy(slots[3:]).to(DEVICE))
        torch.testing.assert_close(kept["cell"][1], state["cell"][1])
        assert torch.equal(kept["age"], state["age"])


def test_single_events_leave_no_trace_and_let_sequences_pass() -> None:
    lstm = nn.LSTM(3, 5, num_layers=2).to(DEVICE)
    state = torch.rand(2, 4, 5, device=DEVICE), torch.rand(2, 4, 5, device=DEVICE)
    with exact_float32(), torch.inference_mode():
        for length in (1, 2):
            x = torch.rand(length, 4, 3, device=DEVICE)
            wanted = lstm(x, state)
            with single_events(nn.Sequential(lstm)):
                found = lstm(x, state)
            torch.testing.assert_close(found, wanted)
    assert "forward" not in vars(lstm)


def test_a_layer_with_a_forward_of_its_own_keeps_it() -> None:
    layer = nn.Linear(3, 2).to(DEVICE)
    own = lambda x: x[:, :2]  # noqa: E731 - set on the instance, as hooks and wrappers do
    layer.forward = own  # type: ignore[method-assign]
    with single_events(nn.Sequential(layer)), torch.inference_mode():
        x = torch.rand(4, 3, device=DEVICE)
        assert torch.equal(layer(x), x[:, :2])
    assert layer.forward is own


class Drawing(Model):
    """Answers with noise, which no replay repeats."""

    def forward(self, x: Tensor, state: Any) -> Any:
        y, state = super().forward(x, state)
        return y + torch.rand_like(y), state


class Counting(Model):
    """Keeps state in itself."""

    calls = 0

    def forward(self, x: Tensor, state: Any) -> Any:
        y, state = super().forward(x, state)
        self.calls += 1
        return y, {**state, "age": state["age"] + self.calls}


@pytest.mark.parametrize(("kind", "named"), [(Drawing, "the answers"), (Counting, "answers|age")])
def test_replays_that_differ_are_not_used(
    kind: type[Model], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool, model = pool_and_model(kind(), symbols=2)
    with caplog.at_level(logging.WARNING):
        assert capture_steps(model, pool, FEATURES, 2) is None
    assert "they are not used" in caplog.text
    fresh = pool.gather(torch.tensor([0, 1], device=DEVICE))
    assert torch.equal(fresh["cell"][1], pool.fresh(2)["cell"][1])


class InPlace(nn.Module):
    """Changes the state that it is given."""

    def init_state(self, n: int) -> Any:
        return {"mean": torch.full((n, FEATURES), 2.0)}

    def forward(self, x: Tensor, state: Any) -> Any:
        return state["mean"].mul_(0.5).add_(x)[:, :2], state


class Exhausted(Model):
    """Has no memory left for a call."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.calls = last

    def forward(self, x: Tensor, state: Any) -> Any:
        self.calls -= 1
        if not self.calls:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x, state)


class Table(nn.Module):
    """Looks up what it has for the number of events seen, and has something for few."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(4.0))

    def init_state(self, n: int) -> Any:
        return {"seen": torch.zeros(n, dtype=torch.int64)}

    def forward(self, x: Tensor, state: Any) -> Any:
        seen = state["seen"]
        return self.table[seen][:, None] + 0 * x[:, :2], {"seen": seen + 1}


def test_a_module_that_changes_its_state_in_place_is_checked_without_a_trace() -> None:
    module = InPlace().to(DEVICE)
    pool = SymbolStatePool(module.init_state, symbols=3, device=DEVICE)
    steps = capture_steps(module, pool, FEATURES, 2)
    assert steps is not None
    x = np.ones((2, FEATURES), np.float32)
    with torch.inference_mode():
        np.testing.assert_array_equal(steps.run(x, np.array([2, 0])), np.full((2, 2), 2.0))


@pytest.mark.parametrize("last", range(1, 9))
def test_an_attempt_that_fails_leaves_the_init_state(last: int) -> None:
    pool, model = pool_and_model(Exhausted(last), symbols=2)
    assert capture_steps(model, pool, FEATURES, 2) is None
    for name, leaf in pool.tensors.items():
        assert torch.equal(leaf, dict(named_leaves(pool.fresh(3)))[name])


@pytest.mark.parametrize("kernels", [False, True])
def test_padding_does_not_step_the_spare_slot_ever_further(kernels: bool) -> None:
    module = Table().to(DEVICE)
    pool = SymbolStatePool(module.init_state, symbols=9, device=DEVICE)
    with torch.inference_mode():
        steps = CapturedSteps(module, pool, FEATURES, 2, kernels=kernels)
        for first in (0, 3, 6):  # three symbols of a bucket for four
            for age in (0, 1, 2):
                found = steps.run(np.ones((3, FEATURES), np.float32), np.arange(first, first + 3))
                np.testing.assert_array_equal(found, np.full((3, 2), age))


class Waiting(Model):
    """Looks at the answers before it gives them."""

    def forward(self, x: Tensor, state: Any) -> Any:
        y, state = super().forward(x, state)
        return y + 0 * y.sum().item(), state


@pytest.mark.skipif(DEVICE.type != "cuda", reason="nothing waits for a CPU")
def test_a_module_that_waits_is_not_captured(caplog: pytest.LogCaptureFixture) -> None:
    pool, model = pool_and_model(Waiting(), symbols=2)
    with caplog.at_level(logging.WARNING):
        assert capture_steps(model, pool, FEATURES, 2) is None
    assert "waits for the device" in caplog.text
