"""The fused ensemble against the batched one: outputs and states, whatever the grouping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.core.grammar import parse_spec
from backtest.core.parameters import build
from backtest.errors import DataError, UsageError
from backtest.strategies.base import Session, Strategy
from backtest.strategies.batched import Batched
from backtest.strategies.ensemble import Ensemble, EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.fused.strategy import ROWS, Fused
from backtest.strategies.fused.towers import FusedEnsemble, scratch_bytes
from backtest.strategies.fused.weights import prepare
from backtest.strategies.kernels.product import Precision
from backtest.strategies.tensor_files import write_safetensors
from tests.conformance_inputs import CHECKS, Case, random_events

pytestmark = pytest.mark.one_python

SESSION = Session(tuple("ABC"), tuple("fghij"), device=str(DEVICE))
SYMBOLS = range(3)
EVENTS = random_events(8, symbols=3, features=5, seed=5)
CUTS = (0, 3, 8)


@pytest.fixture(scope="module")
def model() -> Ensemble:
    config = EnsembleConfig(hidden=64, mlp=48, depth=1, heads=4, features=5)
    return init_weights(config, seed=2, memory=3.0)


@pytest.fixture(scope="module")
def weights(model: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    write_safetensors(path, model.state_dict())
    return path


def bound(make: Callable[[], Strategy], session: Session = SESSION) -> Strategy:
    strategy = make()
    strategy.bind(session)
    return strategy


def answers(strategy: Strategy) -> np.ndarray:
    return np.concatenate([strategy.predict(EVENTS.select(slice(*p))) for p in pairwise(CUTS)])


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-5), ("fp16", 2e-2)])
def test_answers_and_states_are_the_batched_ones(
    weights: Path, precision: str, tolerance: float
) -> None:
    spec = parse_spec(f"fused:{weights},{precision}", place="test")
    fused = bound(lambda: build(Fused, spec, place="test"))
    batched = bound(partial(Batched, weights))
    wanted = answers(batched)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(answers(fused), wanted, rtol=0, atol=tolerance * scale)
    kept = batched.snapshot(SYMBOLS)
    found = fused.snapshot(SYMBOLS)
    assert found.keys() == kept.keys()
    for name, leaf in found.items():
        assert leaf.dtype == kept[name].dtype
        scale = max(1.0, float(np.abs(kept[name]).max()))
        np.testing.assert_allclose(leaf, kept[name], rtol=0, atol=tolerance * scale, err_msg=name)


def test_eviction_restore_and_rubbish(weights: Path) -> None:
    roomy = bound(partial(Fused, weights, "fp32"))
    wanted = roomy.predict(EVENTS)
    tight = bound(partial(Fused, weights, "fp32"), replace(SESSION, capacity=2))
    found = tight.predict(EVENTS)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())

    tight.restore([1], {k: v[1:2] for k, v in roomy.snapshot(SYMBOLS).items()})
    tight.reset([0])
    events = random_events(3, symbols=3, features=5, seed=8)
    assert events.features is not None
    events.features[2] = np.nan
    found, clean = tight.predict(events), roomy.predict(events)
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(found[1], clean[1], rtol=0, atol=2e-5 * np.abs(clean[1]).max())
    fresh = bound(partial(Fused, weights, "fp32")).predict(events.select(slice(0, 1)))
    np.testing.assert_allclose(found[0], fresh[0], rtol=0, atol=2e-5 * np.abs(fresh).max())


def test_no_events() -> None:
    assert Fused().predict(EVENTS.select(slice(0, 0))).shape == (0, 4)


def test_a_weight_beyond_float16_is_named(model: Ensemble) -> None:
    name = "towers.1.blocks.0.layer.z_proj.weight"
    tensors = model.state_dict()
    tensors[name] = tensors[name].clone()
    tensors[name][3, 2] = 7e4
    with pytest.raises(DataError, match=r"z_proj.weight' reaches 70000"):
        prepare(Ensemble(model.config, tensors), "fp16")
    prepare(Ensemble(model.config, tensors), "fp32")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, where kernels are interpreted
def test_activations_beyond_float16_show_in_answers_that_no_run_accepts(weights: Path) -> None:
    assert EVENTS.features is not None
    large = replace(EVENTS, features=3e6 * EVENTS.features)
    assert not np.isfinite(bound(partial(Fused, weights, "fp16"), SESSION).predict(large)).all()
    wanted = bound(partial(Batched, weights)).predict(large)
    found = bound(partial(Fused, weights, "fp32")).predict(large)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_the_class_follows_from_the_precision() -> None:
    classes = [Fused(precision=p).conformance for p in ("fp32", "tf32", "fp16")]
    assert classes == ["exact", "close", "close"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("rows", [3, 200])
def test_memory_is_left_for_intermediate_results(
    model: Ensemble, precision: Precision, rows: int
) -> None:
    ensemble = FusedEnsemble(prepare(model, precision), precision, {}, rows)
    buffers = [scratch for tower in ensemble._scratch for scratch in tower._whole.values()]
    buffers += [tower._parts for tower in ensemble._scratch]
    held = sum(buffer.nbytes for buffer in buffers)
    assert scratch_bytes(model.config, precision, rows) == held


def test_without_a_gpu_it_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    triton = pytest.importorskip("triton")
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(UsageError, match="do not run on 'cpu'"):
        Fused(weights).bind(Session(SESSION.symbols, SESSION.features, device="cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: interpreted it takes hours")
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_properties(weights: Path, precision: str, check: str) -> None:
    events = random_events(3 * ROWS[-1], symbols=3, features=5, seed=9)
    tolerance = 5e-5 if precision == "fp32" else 5e-2
    make = partial(Fused, weights, precision)  # type: ignore[arg-type]
    CHECKS[check](Case(make, SESSION, events, tolerance), 1)
