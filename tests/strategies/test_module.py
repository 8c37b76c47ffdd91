"""Modules of one's own: what is accepted, what is refused, and what is kept safe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backtest.errors import DataError, UsageError
from backtest.strategies.base import Session
from backtest.strategies.module import ModuleStrategy
from backtest.strategies.tensor_files import write_safetensors
from tests.conformance_inputs import random_events

SESSION = Session(("A", "B", "C"), ("f", "g"))
EVENTS = random_events(12, symbols=3, features=2, seed=0)


class Counter(nn.Module):
    """Sums its inputs a symbol, and counts events in an integer."""

    def __init__(self, features: int = 2) -> None:
        super().__init__()
        self.mix = nn.Linear(features, 3)

    def init_state(self, n: int) -> Any:
        return {"sum": torch.zeros(n, 3), "age": torch.zeros(n, dtype=torch.int16)}

    def forward(self, x: Tensor, state: Any) -> Any:
        total = state["sum"] + self.mix(x)
        return total, {"age": state["age"] + 1, "sum": total}


@dataclass
class Counting(ModuleStrategy):
    """Around ``Counter``, or around what a test puts there."""

    make: Callable[[int], nn.Module] = Counter

    def module(self, features: int) -> nn.Module:
        return self.make(features)


def bound(strategy: ModuleStrategy, session: Session = SESSION) -> ModuleStrategy:
    strategy.bind(session)
    return strategy


def test_outputs_are_what_forward_gives() -> None:
    strategy = bound(Counting())
    assert strategy.outputs == 3
    assert strategy.predict(EVENTS).shape == (12, 3)
    assert strategy.predict(EVENTS.select(slice(0, 0))).shape == (0, 3)


def test_one_number_an_event_may_come_without_an_axis() -> None:
    class Flat(Counter):
        def forward(self, x: Tensor, state: Any) -> Any:
            y, state = super().forward(x, state)
            return y[:, 0], state

    strategy = bound(Counting(make=Flat))
    assert strategy.outputs == 1
    np.testing.assert_array_equal(
        strategy.predict(EVENTS), bound(Counting()).predict(EVENTS)[:, :1]
    )


def test_leaves_keep_their_dtype_and_are_matched_by_name_not_by_order() -> None:
    strategy = bound(Counting())
    strategy.predict(EVENTS)
    state = strategy.snapshot(range(3))
    assert state["age"].dtype == np.int16
    assert state["age"].tolist() == np.bincount(EVENTS.symbol).tolist()
    assert state["sum"].shape == (3, 3)


def test_draws_are_seeded_by_the_session_and_leave_the_callers_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = bound(Counting()), bound(Counting())
    other = bound(Counting(), Session(SESSION.symbols, SESSION.features, seed=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != other.fingerprint()


def test_weights_are_loaded_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    trained = Counter()
    write_safetensors(path, trained.state_dict())
    strategy = bound(Counting(weights=path))
    x = torch.from_numpy(EVENTS.features[:1].copy()) if EVENTS.features is not None else None
    wanted, _ = trained(x, trained.init_state(1))
    np.testing.assert_allclose(
        strategy.predict(EVENTS.select(slice(0, 1))), wanted.detach().numpy(), atol=1e-6
    )
    assert strategy.fingerprint() == bound(Counting(make=lambda f: trained)).fingerprint()


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, Counter().state_dict() | {"extra": torch.ones(1)})
    with pytest.raises(DataError, match="extra"):
        bound(Counting(weights=path))


def test_modules_run_in_evaluation_mode() -> None:
    class Dropping(Counter):
        def forward(self, x: Tensor, state: Any) -> Any:
            return super().forward(nn.functional.dropout(x, 0.9, self.training), state)

    np.testing.assert_array_equal(
        bound(Counting(make=Dropping)).predict(EVENTS), bound(Counting()).predict(EVENTS)
    )


def test_features_in_column_order_and_read_only_are_fine() -> None:
    assert EVENTS.features is not None
    wanted = bound(Counting()).predict(EVENTS)
    for features in (np.asfortranarray(EVENTS.features), np.repeat(EVENTS.features, 2, 1)[:, ::2]):
        features.flags.writeable = False
        batch = EVENTS.select(slice(None))
        object.__setattr__(batch, "features", features)
        np.testing.assert_array_equal(bound(Counting()).predict(batch), wanted)


class Running(nn.Module):
    """Adds to the state that it is given, and answers with that very state."""

    def init_state(self, n: int) -> Any:
        return {"sum": torch.zeros(n, 1, dtype=torch.float64)}

    def forward(self, x: Tensor, state: Any) -> Any:
        return state["sum"].add_(x[:, :1]), state


def test_answers_that_are_views_of_state_changed_in_place_are_those_of_their_event() -> None:
    x = np.array([[1, 0], [10, 0], [1, 0], [10, 0], [1, 0]], dtype=np.float32)
    symbol = np.array([0, 1, 0, 1, 0], dtype=np.int32)
    wanted = [1, 10, 2, 20, 3]
    strategy = bound(Counting(make=lambda _: Running()))
    events = dataclasses.replace(EVENTS.select(slice(0, 5)), features=x, symbol=symbol)
    assert strategy.predict(events).ravel().tolist() == wanted
    steps = strategy.plain_steps(SESSION, double=True)
    assert steps is not None
    assert steps.run(x, symbol)[0].ravel().tolist() == wanted


class Drops(Counter):
    def forward(self, x: Tensor, state: Any) -> Any:
        y, new = super().forward(x, state)
        return y, {"sum": new["sum"]}


class Adds(Counter):
    def forward(self, x: Tensor, state: Any) -> Any:
        y, new = super().forward(x, state)
        return y, new | {"more": y}


class Casts(Counter):
    def forward(self, x: Tensor, state: Any) -> Any:
        y, new = super().forward(x, state)
        return y, new | {"age": new["age"].float()}


class Grows(Counter):
    def forward(self, x: Tensor, state: Any) -> Any:
        y, new = super().forward(x, state)
        return y, new | {"sum": torch.cat([y, y], 1)}


class Shared(Counter):
    def init_state(self, n: int) -> Any:
        return super().init_state(n) | {"sum": torch.zeros(3)}


class NoTensor(Counter):
    def init_state(self, n: int) -> Any:
        return super().init_state(n) | {"age": 0}


class Collides(Counter):
    def init_state(self, n: int) -> Any:
        return {"a": {"b": torch.zeros(n)}, "a/b": torch.zeros(n)}


class Stateless(nn.Module):
    pass


class Sums(Counter):
    def forward(self, x: Tensor, state: Any) -> Any:
        y, new = super().forward(x, state)
        return y.sum(), new


class Single(Counter):
    def forward(self, x: Tensor, state: Any) -> Any:
        return super().forward(x, state)[0]


class Raises(Counter):
    def forward(self, x: Tensor, state: Any) -> Any:
        raise ValueError("no mood")


class NoNumber(Counter):
    def init_state(self) -> Any:  # type: ignore[override]
        return super().init_state(1)


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (Single, r"forward returns a Tensor, not \(y, state\)"),
        (Raises, r"a step of 2 new symbols raises ValueError: no mood \(.*test_module.py, line"),
        (NoNumber, "raises TypeError: .*init_state"),
        (lambda: lambda x, state: (x, state), "Counting.module returns a function, not a torch"),
        (Drops, "drops the state leaf 'age'"),
        (Adds, "adds a state leaf 'more'"),
        (Casts, "'age' from torch.int16"),
        (Grows, "'sum' from"),
        (Shared, "'sum'.*axis 0 does not count symbols"),
        (NoTensor, "'age' is int"),
        (Collides, "two leaves of the state have the path 'a/b'"),
        (Stateless, "init_state"),
        (Sums, "with shape"),
    ],
)
def test_a_broken_contract_is_named(broken: Callable[[], nn.Module], named: str) -> None:
    make: Callable[[int], nn.Module] = lambda features: broken()  # noqa: E731 - a field's value
    with pytest.raises(UsageError, match=named):
        bound(Counting(make=make))
    with pytest.raises(UsageError, match=named):
        Counting(make=make).plain_steps(SESSION, double=True)
