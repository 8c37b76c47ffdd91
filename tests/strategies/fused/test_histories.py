"""Histories through the fused ensemble: as if event by event, amid batches."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.base import Session, Strategy
from backtest.strategies.batched import Batched
from backtest.strategies.ensemble import EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.fused.strategy import Fused
from backtest.strategies.tensor_files import write_safetensors
from tests.conformance_inputs import random_events

pytestmark = pytest.mark.one_python

SESSION = Session(tuple("ABCD"), tuple("fghij"), device=str(DEVICE))
EVENTS = random_events(31, symbols=4, features=5, seed=6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = EnsembleConfig(hidden=64, mlp=48, depth=1, heads=4, features=5)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    write_safetensors(path, init_weights(config, seed=2, memory=3.0).state_dict())
    return path


def bound(strategy: Strategy) -> Strategy:
    strategy.bind(SESSION)
    return strategy


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-5), ("fp16", 2e-2)])
def test_a_history_is_answered_as_batches_are(
    weights: Path, monkeypatch: pytest.MonkeyPatch, precision: str, tolerance: float
) -> None:
    monkeypatch.setattr("backtest.strategies.fused.strategy.HISTORY", 6)
    monkeypatch.setattr("backtest.strategies.fused.histories.ROWS", 13)  # cuts runs of a symbol
    fused = bound(partial(Fused, weights)(precision))  # type: ignore[arg-type]
    batched = bound(Batched(weights))
    wanted = batched.predict(EVENTS)
    # A batch, so that rings hold something; a history; a batch again.
    pieces = [slice(0, 4), slice(4, 28), slice(28, 31)]
    found = np.concatenate([fused.predict(EVENTS.select(piece)) for piece in pieces])
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)
    kept = batched.snapshot(range(4))
    for name, leaf in fused.snapshot(range(4)).items():
        scale = max(1.0, float(np.abs(kept[name]).max()))
        np.testing.assert_allclose(leaf, kept[name], rtol=0, atol=tolerance * scale, err_msg=name)
