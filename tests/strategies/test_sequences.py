"""Batching over time: how events are cut into blocks, and what a module must keep to for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from backtest.core.arrays import Float32Array
from backtest.errors import UsageError
from backtest.market.events import EventBatch
from backtest.strategies import module as module_strategy
from backtest.strategies.base import Session
from backtest.strategies.captured import CapturedSteps
from backtest.strategies.module import ModuleStrategy
from backtest.strategies.sequences import split_blocks
from tests.conformance_inputs import random_events

SESSION = Session(tuple("ABCDE"), tuple("fg"))
EVENTS = random_events(300, symbols=5, features=2, seed=4)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=200),
    st.sampled_from([1, 2, 8, 64]),
    st.integers(64, 300),
)
def test_blocks_cover_every_symbols_events_in_order(
    symbol: list[int], longest: int, rows: int
) -> None:
    given = np.array(symbol, dtype=np.int32)
    symbols, blocks = split_blocks(given, longest=longest, rows=rows)
    assert symbols.tolist() == sorted(set(symbol))
    served: dict[int, list[int]] = {s: [] for s in symbols.tolist()}
    for block in blocks:
        assert len(set(block.places.tolist())) == len(block.places)
        for place, events in zip(block.places.tolist(), block.rows.T.tolist(), strict=True):
            served[int(symbols[place])] += events
    assert served == {s: np.flatnonzero(given == s).tolist() for s in served}
    lengths = [len(block.rows) for block in blocks]
    assert lengths == sorted(lengths, reverse=True)
    assert all(length <= longest and length & (length - 1) == 0 for length in lengths)
    assert all(block.rows.size <= rows for block in blocks)


def test_there_is_one_call_for_each_power_of_two() -> None:
    symbol = np.repeat(np.arange(7, dtype=np.int32), [1, 2, 3, 100, 127, 128, 5])
    _, blocks = split_blocks(np.random.default_rng(1).permutation(symbol), longest=64, rows=8192)
    assert [len(block.rows) for block in blocks] == [64, 64, 32, 16, 8, 4, 2, 1]


class Model(nn.Module):
    """An LSTM and a count of events beside it, a sequence at a time."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, 4)
        self.head = nn.Linear(4, 2)
        self.lengths: list[tuple[int, int]] = []

    def init_state(self, n: int) -> Any:
        return {"cell": (torch.zeros(1, n, 4), torch.full((1, n, 4), 0.5)), "age": self.ages(n)}

    def ages(self, n: int) -> Tensor:
        return torch.zeros(1, n, dtype=torch.int64)

    def forward(self, x: Tensor, state: Any) -> Any:
        y, new = self._sequence(x[None], state)
        return y[0], new

    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        self.lengths.append((x.shape[0], x.shape[1]))
        return self._sequence(x, state)

    def _sequence(self, x: Tensor, state: Any) -> Any:
        y, cell = self.lstm(x, state["cell"])
        age = state["age"] + torch.arange(len(x), device=x.device)[:, None]  # [T, B]
        # Another order of the leaves than init_state's.
        return self.head(y) + age[..., None] / 8, {"age": state["age"] + len(x), "cell": cell}


class Sequenced(ModuleStrategy):
    """Around a model that takes sequences."""

    batch_dim: ClassVar[int] = 1
    make: ClassVar[Callable[[int], nn.Module]] = Model

    def module(self, features: int) -> nn.Module:
        return type(self).make(features)


class Stepped(Sequenced):
    """The same, a step at a time."""

    sequences: ClassVar[bool] = False


def bound(strategy: ModuleStrategy, **changes: Any) -> Any:
    torch.manual_seed(0)
    strategy.bind(Session(**{"symbols": SESSION.symbols, "features": SESSION.features} | changes))
    return strategy


@pytest.mark.parametrize("capacity", [None, 2])
def test_it_answers_as_steps_do(capacity: int | None) -> None:
    sequenced = bound(Sequenced(), capacity=capacity)
    stepped = bound(Stepped(), capacity=capacity)
    for cut in (slice(0, 200), slice(200, 201), slice(201, None)):
        batch = EVENTS.select(cut)
        np.testing.assert_allclose(sequenced.predict(batch), stepped.predict(batch), atol=1e-6)
    found, wanted = (s.snapshot(range(5)) for s in (sequenced, stepped))
    assert found["age"].dtype == np.int64
    np.testing.assert_array_equal(found["age"], wanted["age"])
    np.testing.assert_allclose(found["cell/1"], wanted["cell/1"], atol=1e-6)


def test_sequences_are_long_few_and_never_padded() -> None:
    strategy = bound(Sequenced())
    lengths = strategy._module.lengths
    lengths.clear()
    strategy.predict(EVENTS)
    counts = np.bincount(EVENTS.symbol)
    assert sum(t * b for t, b in lengths) == sum(n - n % 2 for n in counts.tolist())
    assert len(lengths) == len({t for t, _ in lengths}) <= 7
    assert max(t for t, _ in lengths) == 1 << (int(counts.max()).bit_length() - 1)


def test_a_failure_between_two_calls_leaves_all_state_as_it_was() -> None:
    strategy = bound(Sequenced())
    strategy.predict(EVENTS.select(slice(0, 50)))
    before = strategy.snapshot(range(5))

    def fails(x: Tensor, state: Any) -> Any:
        raise ZeroDivisionError

    strategy._module.forward = fails  # met after the sequences
    with pytest.raises(ZeroDivisionError):
        strategy.predict(EVENTS.select(slice(50, 121)))
    for name, leaf in strategy.snapshot(range(5)).items():
        np.testing.assert_array_equal(leaf, before[name], err_msg=name)


class InPlace(Model):
    """Changes the state that it is given, and answers with a view of it."""

    def init_state(self, n: int) -> Any:
        return torch.zeros(1, n, 2)

    def forward(self, x: Tensor, state: Any) -> Any:
        return state.add_(x[None])[0].clone(), state

    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        sums = state + x.cumsum(0)
        state.copy_(sums[-1:])
        return torch.cat([sums[:-1], state]), state


def test_a_module_may_change_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sequenced, "make", InPlace)
    assert EVENTS.features is not None
    wanted = np.empty((len(EVENTS), 2))
    for s in range(5):
        mine = EVENTS.symbol == s
        wanted[mine] = EVENTS.features[mine].astype(np.float64).cumsum(0)
    strategy = bound(Sequenced())
    assert strategy._by_sequence
    np.testing.assert_allclose(strategy.predict(EVENTS), wanted, atol=1e-4)


class Flat(Model):
    """One number an event, without an axis for it."""

    def _sequence(self, x: Tensor, state: Any) -> Any:
        y, state = super()._sequence(x, state)
        return y[..., 0], state


def test_one_number_an_event_may_come_without_an_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = bound(Sequenced()).predict(EVENTS)[:, :1]
    monkeypatch.setattr(Sequenced, "make", Flat)
    strategy = bound(Sequenced())
    assert strategy._by_sequence
    np.testing.assert_array_equal(strategy.predict(EVENTS), wanted)


class Backwards(Model):
    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        y, state = super().forward_sequence(x, state)
        return y.flip(0), state


class Tiny(Backwards):
    """Answers so small that their differences could pass for rounding."""

    def _sequence(self, x: Tensor, state: Any) -> Any:
        y, state = super()._sequence(x, state)
        return y * 1e-9, state


class Forgets(Model):
    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        y, new = super().forward_sequence(x, state)
        return y, new | {"cell": (new["cell"][0], state["cell"][1])}


class Miscounts(Model):
    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        y, new = super().forward_sequence(x, state)
        return y, new | {"age": state["age"] + 1}


class OnlyOnce(Model):
    """Right from the init state alone."""

    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        y, new = super().forward_sequence(x, state)
        return y + (state["age"][..., None] > 0), new


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Backwards, "the answers"),
        (Tiny, "the answers"),
        (OnlyOnce, "the answers"),
        (Forgets, "cell/1"),
        (Miscounts, "age"),
    ],
)
def test_sequences_that_differ_are_not_used(
    kind: type[nn.Module],
    named: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sequenced, "make", kind)
    with caplog.at_level(logging.WARNING):
        strategy = bound(Sequenced())
    assert f"forward_sequence differs from forward in {named}," in caplog.text
    np.testing.assert_array_equal(strategy.predict(EVENTS), bound(Stepped()).predict(EVENTS))


class Last(Model):
    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        y, state = super().forward_sequence(x, state)
        return y[-1], state


class Drops(Model):
    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        y, state = super().forward_sequence(x, state)
        return y, {"cell": state["cell"]}


class Casts(Model):
    def forward_sequence(self, x: Tensor, state: Any) -> Any:
        y, state = super().forward_sequence(x, state)
        return y, state | {"age": state["age"].float()}


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Last, r"2 events of 3 symbols with shape \(3, 2\), not \[2, 3, 2\]"),
        (Drops, "forward_sequence drops the state leaf 'age'"),
        (Casts, "forward_sequence turns the state leaf 'age' from torch.int64"),
    ],
)
def test_another_form_is_named_at_bind(
    kind: type[nn.Module], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sequenced, "make", kind)
    with pytest.raises(UsageError, match=named):
        bound(Sequenced())


class Graphs(Sequenced):
    """Takes the captured way on every device."""

    def bind(self, session: Session) -> None:
        super().bind(session)
        size = len(session.features), self.outputs
        self._steps = CapturedSteps(self._module, self._pool, *size)

    def predict(self, batch: EventBatch) -> Float32Array:
        with torch.inference_mode():  # a graph needs none
            return super().predict(batch)


def test_captured_steps_serve_few_events_and_sequences_many() -> None:
    graphs, stepped = bound(Graphs()), bound(Stepped())
    lengths = graphs._module.lengths
    lengths.clear()
    one = EVENTS.select(np.flatnonzero(EVENTS.symbol == 2)[: module_strategy._MANY])
    calls = [(EVENTS.select(slice(0, 60)), False), (EVENTS, True), (one, True)]
    calls.append((one.select(slice(1, None)), False))
    for batch, sequenced in calls:
        longest = int(np.bincount(batch.symbol).max())
        np.testing.assert_allclose(graphs.predict(batch), stepped.predict(batch), atol=1e-6)
        assert bool(lengths) == sequenced == (longest >= module_strategy._MANY)
        lengths.clear()
    np.testing.assert_array_equal(
        graphs.snapshot(range(5))["age"], stepped.snapshot(range(5))["age"]
    )
