"""The towers against the plain numpy ensemble and, where they are at hand, the golden vectors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backtest.strategies.ensemble import Ensemble, EnsembleConfig, load_weights
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.state_tree import named_leaves
from backtest.strategies.tensor_files import read_tensors
from backtest.strategies.towers import retnet
from tests.conformance_inputs import random_events
from tests.strategies.oracle import Oracle

# Answers are of order 1. Float64 runs differ by the order of sums alone (about 1e-14); float32 ones
# by a few hundred roundings of 6e-8. States are compared relative to the largest magnitude in the
# leaf (at least 1): mLSTM's and Mamba2's matrices grow to 10 and more.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 5e-5}

SIZES = [
    EnsembleConfig(hidden=32, mlp=24, depth=2, heads=4, features=5),
    EnsembleConfig(hidden=96, mlp=40, depth=1, heads=12, features=7),
]


def run(
    ensemble: Ensemble,
    features: torch.Tensor,
    symbol: list[int],
    *,
    reset: tuple[int, int] | None = None,
) -> tuple[torch.Tensor, dict[int, Any], dict[int, Any]]:
    """Predictions, and the states after each symbol's first and last event.

    ``reset`` is (event, symbol): just before that event the symbol starts afresh.
    """
    states: dict[int, Any] = {}
    first: dict[int, Any] = {}
    predictions = []
    with torch.inference_mode():
        for event, (x, s) in enumerate(zip(features.to(ensemble.dtype), symbol, strict=True)):
            if reset and event == reset[0]:
                del states[reset[1]]
            state = states.get(s) or ensemble.init_state(1)
            y, states[s] = ensemble(x[None], state)
            first.setdefault(s, states[s])
            predictions.append(y)
    return torch.cat(predictions), first, states


def assert_near(found: Any, wanted: Any, dtype: torch.dtype, what: str) -> None:
    wanted = np.asarray(wanted, dtype=np.float64)
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(
        np.asarray(found, dtype=np.float64),
        wanted,
        rtol=0,
        atol=TOLERANCE[dtype] * scale,
        err_msg=what,
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("config", SIZES, ids=lambda c: f"hidden {c.hidden}")
def test_towers_agree_with_the_plain_ensemble(config: EnsembleConfig, dtype: torch.dtype) -> None:
    ensemble = init_weights(config, seed=11)
    # Norms, skips and d are 1 by default, which would hide a forgotten one.
    generator = torch.Generator().manual_seed(5)
    weights = {
        name: w * (0.7 + 0.6 * torch.rand(w.shape, generator=generator)) if (w == 1).all() else w
        for name, w in ensemble.state_dict().items()
    }
    ensemble = Ensemble(config, weights).to(dtype=dtype)
    events = random_events(24, symbols=3, features=config.features, seed=2)
    assert events.features is not None
    plain = [
        Oracle({k: w.numpy() for k, w in weights.items()}, depth=config.depth, heads=config.heads)
        for _ in range(3)
    ]
    wanted: list[NDArray[np.float64]] = []
    for x, s in zip(events.features, events.symbol, strict=True):
        wanted.append(plain[s].step(x))
    found, _, states = run(ensemble, torch.from_numpy(events.features), events.symbol.tolist())
    assert_near(found, np.stack(wanted), dtype, "predictions")
    for s, state in states.items():
        leaves = dict(named_leaves(state))
        assert leaves.keys() == plain[s].state.keys()
        for name, leaf in leaves.items():
            assert_near(leaf[0], plain[s].state[name], dtype, f"symbol {s} {name}")


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("name", "reset"), [("ensemble-small", None), ("ensemble-odd", (100, 2))])
def test_golden_vectors(
    vectors: Path, name: str, reset: tuple[int, int] | None, dtype: torch.dtype
) -> None:
    golden = read_tensors(vectors / f"{name}.vectors.safetensors")
    ensemble = load_weights(vectors / f"{name}.weights.safetensors").to(dtype=dtype)
    found, first, final = run(ensemble, golden["features"], golden["symbol"].tolist(), reset=reset)
    assert_near(found, golden["predictions"], dtype, "predictions")
    compared = 0
    for key, wanted in golden.items():
        when, _, rest = key.partition("/symbol_")
        if when in ("first_state", "final_state"):
            symbol, _, leaf = rest.partition("/")
            states = first if when == "first_state" else final
            assert_near(dict(named_leaves(states[int(symbol)]))[leaf][0], wanted, dtype, key)
            compared += 1
    per_symbol = len(list(named_leaves(final[0])))
    assert compared == per_symbol * len(final) * (2 if name == "ensemble-odd" else 1)


def test_rows_of_a_batch_are_independent(tiny: Ensemble) -> None:
    double = tiny.to(dtype=torch.float64)
    x = torch.randn(5, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = double.init_state(7)
    alone = [double.init_state(1) for _ in range(7)]
    for step in x:
        y, state = double(step, state)
        for row in range(7):
            one, alone[row] = double(step[row : row + 1], alone[row])
            torch.testing.assert_close(y[row : row + 1], one, rtol=0, atol=1e-12)


def test_a_step_leaves_its_inputs_alone(tiny: Ensemble) -> None:
    state = tiny.init_state(3)
    before = {name: leaf.clone() for name, leaf in named_leaves(state)}
    x = torch.ones(3, 5)
    tiny(x, state)
    assert torch.equal(x, torch.ones(3, 5))
    for name, leaf in named_leaves(state):
        assert torch.equal(leaf, before[name]), name


def test_only_slstm_starts_at_minus_infinity_and_no_nan_follows(tiny: Ensemble) -> None:
    state = tiny.init_state(2)
    for name, leaf in named_leaves(state):
        start = -torch.inf if name.endswith("slstm.m") else 0
        assert (leaf == start).all(), name
    y, new = tiny(torch.zeros(2, 5), state)
    assert y.isfinite().all()
    for name, leaf in named_leaves(new):
        assert leaf.isfinite().all(), name


@pytest.mark.parametrize("position", [0, 1, 100_000, 1_000_000, 2**31 - 2])
def test_rotation_stays_exact_at_late_positions(position: int) -> None:
    angle = torch.tensor([1.0, 1.0, 0.3, 0.3])
    cos, sin = retnet.rotation(torch.tensor([position], dtype=torch.int32), angle, torch.float32)
    for found, theta in zip(cos[0, 0].tolist(), angle.double().tolist(), strict=True):
        assert found == pytest.approx(math.cos(position * theta), abs=2e-6)
    for found, theta in zip(sin[0, 0].tolist(), angle.double().tolist(), strict=True):
        assert found == pytest.approx(math.sin(position * theta), abs=2e-6)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("config", SIZES, ids=lambda c: f"hidden {c.hidden}")
@pytest.mark.parametrize(("steps", "symbols"), [(1, 3), (2, 1), (7, 4)])
def test_sequences_are_steps_in_turn(
    config: EnsembleConfig, dtype: torch.dtype, steps: int, symbols: int
) -> None:
    ensemble = init_weights(config, seed=11).to(dtype=dtype)
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(steps + 2, symbols, config.features, generator=generator, dtype=dtype)
    state = ensemble.init_state(symbols)
    for early in x[:2]:  # so that it is no longer the init state
        _, state = ensemble(early, state)
    before = {name: leaf.clone() for name, leaf in named_leaves(state)}
    found, last = ensemble.forward_sequence(x[2:], state)
    assert all(torch.equal(before[name], leaf) for name, leaf in named_leaves(state))
    wanted = []
    for now in x[2:]:
        y, state = ensemble(now, state)
        wanted.append(y)
    assert_near(found, torch.stack(wanted), dtype, "answers")
    kept = dict(named_leaves(last))
    for name, leaf in named_leaves(state):
        assert (kept[name].shape, kept[name].dtype) == (leaf.shape, leaf.dtype), name
        assert_near(kept[name], leaf, dtype, name)
