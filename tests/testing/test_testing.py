"""What plugin authors test with: a verdict that fails a test, and fixtures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import backtest
from backtest.core.arrays import Float32Array
from backtest.testing import random_events, verify

if TYPE_CHECKING:
    from backtest.testing.fixtures import RunBacktest

pytest_plugins = ["backtest.testing.fixtures"]


@dataclass
class Spread(backtest.Strategy):
    """Trades against the larger side."""

    gain: float = 1.0
    needs_features = False
    stateful = False

    def predict(self, batch: backtest.EventBatch) -> Float32Array:
        assert batch.bid_size is not None
        assert batch.ask_size is not None
        return (self.gain * (batch.bid_size - batch.ask_size)).astype(np.float32)[:, None]


class LooksAhead(Spread):
    """Answers depend on the batch that an event came in."""

    def predict(self, batch: backtest.EventBatch) -> Float32Array:
        return super().predict(batch)[::-1].copy()


def test_a_sound_strategy_raises_nothing() -> None:
    for strategy in (Spread, Spread(gain=2.0)):
        verdict = verify(strategy, seed=1)
        verdict.raise_for_failures()
        assert verdict.holds
        assert verdict.failures == []
        assert len(verdict.checks) > 5
    assert verify("spread:2", plugins=Spread, seed=1).strategy == "spread:2"


def test_a_faulty_one_fails_a_test_with_what_is_wrong_and_the_seed() -> None:
    verdict = verify(LooksAhead, seed=7)
    with pytest.raises(AssertionError, match=r"looks-ahead is not .*\(seed 7\)") as caught:
        verdict.raise_for_failures()
    assert "\n  no look-ahead: " in str(caught.value)
    assert "\n  batching: " in str(caught.value)
    assert not verdict.holds


def test_what_a_strategy_does_not_claim_raises_nothing() -> None:
    verdict = verify("last-write", seed=1)
    assert "batching" in {check.name for check in verdict.checks if not check.passed}
    verdict.raise_for_failures()


def test_runs_of_the_fixture_lie_in_the_tests_own_folder(
    run_backtest: RunBacktest, small_dataset: Path, tmp_path: Path
) -> None:
    run = run_backtest(Spread(gain=2.0))
    assert run.folder.is_relative_to(tmp_path)
    assert run.metrics["timing"]["events"] == 2000
    assert run.manifest["labels"]["service"] == "constant:1ms"
    other = run_backtest("spread", plugins=Spread, dataset=str(small_dataset))
    assert other.metrics["timing"]["events"] == 600


def test_random_events_have_what_strategies_read() -> None:
    events: Any = random_events(50, symbols=3, features=2, seed=1)
    assert events.features.shape == (50, 2)
    assert set(events.symbol) == {0, 1, 2}
