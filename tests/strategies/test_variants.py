"""The ensemble's variants: registration, loading, and what a failure leaves behind."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from backtest.api import run
from backtest.core.grammar import parse_spec
from backtest.core.parameters import build
from backtest.errors import DataError, UsageError
from backtest.strategies import registration
from backtest.strategies.base import Session, Strategy
from backtest.strategies.batched import Batched
from backtest.strategies.eager import Eager
from backtest.strategies.ensemble import EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.last_write import LastWrite
from backtest.strategies.pooled import PooledStrategy
from backtest.strategies.stateless import Stateless
from backtest.strategies.weight_files import file_sha256
from tests.conformance_inputs import answers, random_events

SIZES = EnsembleConfig(hidden=32, mlp=64, depth=1, features=5)
SESSION = Session(tuple("ABCDE"), tuple("fghij"))
EVENTS = random_events(40, symbols=5, features=5, seed=4)


def registered() -> dict[str, type[Strategy]]:
    found: dict[str, type[Strategy]] = {}
    registration.backtest_register_strategies(register=found.__setitem__)
    return found


def test_what_is_registered_and_claimed() -> None:
    claims = {
        name: (
            kind.conformance,
            kind.reference,
            kind.duplicates,
            kind.stateful,
            kind.batch_invariant,
        )
        for name, kind in registered().items()
    }
    assert claims == {
        "eager": ("exact", "batched", "single", True, True),
        "batched": ("exact", None, "rounds", True, True),
        "compiled": ("exact", "batched", "rounds", True, True),
        "stateless": ("approximate", "batched", "packed", False, True),
        "pruned": ("approximate", "batched", "rounds", True, True),
        "fused": ("close", "batched", "packed", True, True),
        "last-write": ("approximate", "batched", "packed", True, False),
        "imbalance": (None, None, "packed", True, True),
        "order-list": (None, None, "packed", False, True),
    }


@pytest.mark.parametrize("name", ["eager", "batched", "stateless"])
def test_every_call_of_the_model_is_charged(tmp_path: Path, name: str) -> None:
    done = run(
        runs=tmp_path,
        dataset="sample",
        strategy=name,
        latency={"service": "affine:20ms,1ms"},
        limit=300,
        undropped=False,
    )
    spent = (pl.col("ts_ended") - pl.col("ts_begun")).cast(pl.Int64)
    timing = done.table("timing").filter(pl.col("status") == 0).with_columns(spent=spent)
    seen = set()
    for batch in timing.partition_by("batch"):
        size, most = len(batch), Counter(batch["symbol"]).most_common(1)[0][1]
        calls = {"eager": size, "batched": most, "stateless": 1}[name]
        assert set(batch["spent"]) == {20_000_000 * calls + 1_000_000 * size}
        seen.add((size, most))
    assert any(1 < most < size for size, most in seen)


def test_weights_may_be_drawn() -> None:
    first, same, other = (Batched(Path(f"random:{seed}:32x1")) for seed in (1, 1, 2))
    for strategy in (first, same, other):
        strategy.bind(SESSION)
    wanted = first.predict(EVENTS)
    np.testing.assert_array_equal(same.predict(EVENTS), wanted)
    assert np.abs(other.predict(EVENTS) - wanted).max() > 0.1
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("text", ["random:", "random:x", "random:1:33x1", "random:1:32x0"])
def test_weights_that_cannot_be_drawn(text: str) -> None:
    with pytest.raises(UsageError, match="does not describe random weights"):
        Batched(Path(text)).bind(SESSION)


def test_what_a_batch_must_move() -> None:
    strategy = Batched(Path("random:1:32x1"))
    strategy.bind(SESSION)
    weights, symbol = strategy.memory_traffic()
    assert weights == sum(t.nbytes for t in init_weights(SIZES, 1).state_dict().values())
    assert symbol == 2 * sum(leaf[0].nbytes for leaf in strategy.snapshot([0]).values())


def test_without_triton_fused_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "find_spec", lambda name: None)
    reasons: dict[str, str | None] = {}

    def register(name: str, part: type[Strategy], *, unavailable: str | None = None) -> None:
        reasons[name] = unavailable

    registration.backtest_register_strategies(register=register)
    assert {name for name, reason in reasons.items() if reason} == {"fused"}
    assert "triton" in str(reasons["fused"])


def test_registering_loads_no_torch() -> None:
    code = (
        "import sys; from backtest.strategies import registration; "
        "found = {}; registration.backtest_register_strategies(register=found.__setitem__); "
        "from backtest.core.parameters import parameters; "
        "[parameters(kind) for kind in found.values()]; "
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_the_weights_are_a_parameter(tiny_weights: Path) -> None:
    spec = parse_spec(f"batched:{tiny_weights}", place="test")
    strategy = build(registered()["batched"], spec, place="test")
    assert strategy.weights == tiny_weights
    assert strategy.fingerprint() == {"weights": file_sha256(tiny_weights)}


def test_another_number_of_features_is_refused(tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="reads 5 features, but the dataset has 2"):
        Batched(tiny_weights).bind(Session(("A",), ("f", "g")))


def test_absent_weights_are_named(tmp_path: Path) -> None:
    strategy = Batched(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match=r"none\.safetensors"):
        strategy.bind(SESSION)
    with pytest.raises(DataError, match=r"none\.safetensors"):
        strategy.fingerprint()


@pytest.mark.parametrize("name", ["cuda:99", "nonsense"])
def test_an_absent_device_is_refused(tiny_weights: Path, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Batched(tiny_weights).bind(Session(("A",), tuple("fghij"), device=name))


def test_a_capacity_below_one_is_refused(tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="capacity"):
        Batched(tiny_weights).bind(Session(("A",), tuple("fghij"), capacity=0))


class Failing:
    """A model that fails on one of its calls."""

    def __init__(self, model: object, call: int) -> None:
        self.model, self.left = model, call

    def __call__(self, x: torch.Tensor, state: object) -> object:
        self.left -= 1
        if self.left == 0:
            raise torch.OutOfMemoryError("out of memory")
        return self.model(x, state)  # type: ignore[operator]


@pytest.mark.parametrize("kind", [Eager, Batched, LastWrite])
@pytest.mark.parametrize("capacity", [5, 2])
def test_a_failed_call_leaves_all_state_as_it_was(
    tiny_weights: Path, kind: type[PooledStrategy], capacity: int
) -> None:
    session = Session(SESSION.symbols, SESSION.features, capacity=capacity)
    strategy = kind(tiny_weights)  # type: ignore[call-arg]
    strategy.bind(session)
    strategy.predict(EVENTS.select(slice(0, 10)))
    before = strategy.snapshot(range(5))
    model = strategy._model
    rest = EVENTS.select(slice(10, None))
    strategy._model = Failing(model, 1 if kind is LastWrite and capacity == 5 else 3)  # type: ignore
    with pytest.raises(torch.OutOfMemoryError):
        strategy.predict(rest)
    for name, leaf in strategy.snapshot(range(5)).items():
        np.testing.assert_array_equal(leaf, before[name], err_msg=name)
    strategy._model = model
    untroubled = kind(tiny_weights)  # type: ignore[call-arg]
    untroubled.bind(session)
    wanted = answers(untroubled, EVENTS, [10])[10:]
    np.testing.assert_array_equal(strategy.predict(rest), wanted)


def test_last_write_keeps_the_last_of_a_symbols_new_states(tiny_weights: Path) -> None:
    twice = EVENTS.select(np.array([0, 0]))
    assert twice.features is not None
    twice.features[0] = 3
    flawed, right = LastWrite(tiny_weights), Batched(tiny_weights)
    for strategy in (flawed, right):
        strategy.bind(SESSION)
    flawed.predict(twice)
    right.predict(twice.select(slice(1, 2)))  # as if the first event had never been
    symbol = [int(twice.symbol[0])]
    kept = right.snapshot(symbol)
    for name, leaf in flawed.snapshot(symbol).items():
        np.testing.assert_allclose(leaf, kept[name], rtol=0, atol=1e-5, err_msg=name)


def test_stateless_answers_like_a_first_event(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [Batched(tiny_weights) for _ in range(len(EVENTS))]
    wanted = []
    for row, strategy in enumerate(first):
        strategy.bind(SESSION)
        wanted.append(strategy.predict(EVENTS.select(slice(row, row + 1))))
    monkeypatch.setattr("backtest.strategies.stateless._STATE_BYTES", 10**6)  # several steps
    stateless = Stateless(tiny_weights)
    stateless.bind(SESSION)
    np.testing.assert_allclose(stateless.predict(EVENTS), np.concatenate(wanted), atol=5e-5)


def test_snapshots_have_the_golden_vectors_names(tiny_weights: Path) -> None:
    strategy = Batched(tiny_weights)
    strategy.bind(SESSION)
    state = strategy.snapshot([0, 1])
    assert state["tower_0/block_1/slstm.m"].shape == (2, 32)
    assert (state["tower_0/block_1/slstm.m"] == -np.inf).all()
    assert state["tower_1/block_0/ssm"].shape == (2, 1, 64, 128)
    assert state["tower_2/block_0/offset"].dtype == np.int32
    assert len(state) == 2 * (9 + 4 + 3 + 2)
