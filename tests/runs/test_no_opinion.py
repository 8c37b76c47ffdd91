"""Answers that are no opinion, from the strategy to the venue and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import backtest
from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import RunError
from backtest.market.events import EventBatch
from backtest.market.quotes import Quotes
from backtest.plugins.quoting import TwoSided
from backtest.report.agreement import agreement_of
from backtest.runs.folder import Run
from backtest.strategies.base import Strategy
from backtest.testing import verify
from backtest.trading.orders import Confirmation
from backtest.trading.quoting import KEEP

MARK = 1e6
"""A prediction that stands for no opinion where NaN does not."""


@dataclass
class Marked(Strategy):
    """Follows the first feature; where the second is above a level it gives ``mark``."""

    level: float = 0.5
    stateful: ClassVar[bool] = False
    bitwise_invariant: ClassVar[bool] = True
    mark: ClassVar[float] = MARK

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.features is not None
        x = batch.features
        silent = x[:, 1] > self.level
        return np.where(silent, np.float32(self.mark), 3 * x[:, 0])[:, None].astype(np.float32)


@dataclass
class Undeclared(Marked):
    """Says NaN without having declared that it may."""

    mark: ClassVar[float] = np.nan


@dataclass
class Silent(Undeclared):
    """May say NaN."""

    no_opinion: ClassVar[bool] = True


@dataclass
class Boundless(Silent):
    """May say NaN, but says infinity."""

    mark: ClassVar[float] = -np.inf


@dataclass
class Reacting(Silent):
    """The same batch by batch."""

    def on_fills(self, fills: Sequence[Confirmation]) -> None:
        """What it holds is of no interest."""


@dataclass
class Pair(Silent):
    """Two outputs, of which the first may be none; the forecast is the other one."""

    outputs: int = 2

    def predict(self, batch: EventBatch) -> Float32Array:
        one = super().predict(batch)
        return np.concatenate([one, np.ones_like(one)], axis=1)

    def forecast(self, predictions: Float32Array) -> Float32Array:
        return predictions[:, 1]


@dataclass
class Variant(Silent):
    """Speaks more often than the strategy that it is measured against."""

    level: float = 1.5
    reference: ClassVar[str | None] = "silent"


@dataclass(frozen=True)
class Keeping(TwoSided):
    """Two-sided quotes that stay as they are where the prediction says so."""

    def quote(self, predictions: Float32Array, quotes: Quotes) -> Int64Array:
        wanted = super().quote(predictions, quotes)
        wanted[predictions[:, 0] == MARK] = KEEP
        return wanted


@dataclass(frozen=True)
class Strict(TwoSided):
    """Two-sided quotes of a rule that cannot do with NaN."""

    def quote(self, predictions: Float32Array, quotes: Quotes) -> Int64Array:
        assert np.isfinite(predictions).all()
        return super().quote(predictions, quotes)


STRATEGIES = [Marked, Undeclared, Silent, Boundless, Reacting, Pair, Variant]
PARTS: list[type[Any]] = [*STRATEGIES, Keeping, Strict]


def made(dataset: Path, runs: Path, strategy: str, **settings: Any) -> Run:
    given: dict[str, Any] = {
        "sizing": "proportional:gain=2",
        "latency": {"service": "constant:100us", "entry": "constant:50us"},
        **settings,
    }
    return backtest.run(dataset=str(dataset), runs=runs, strategy=strategy, plugins=PARTS, **given)


def answers(run: Run) -> tuple[np.ndarray, np.ndarray]:
    table = run.table("predictions")
    return table["event"].to_numpy(), table["output_0"].to_numpy()


def test_no_opinions_are_stored_counted_and_left_out_of_accuracies(
    small_dataset: Path, tmp_path: Path
) -> None:
    run = made(small_dataset, tmp_path, "silent", warmup=50)
    event, given = answers(run)
    told = event >= 50
    none = np.isnan(given)
    assert 0.1 < none[told].mean() < 0.9
    accuracy = run.metrics["accuracy"]
    assert accuracy["no_opinion"] == none[told].mean()
    # The forecast is three times the target.
    assert accuracy["targets"]["ic"] == pytest.approx(1.0)
    errors = 2 / 3 * np.abs(given[told & ~none])
    assert accuracy["targets"]["mean_absolute_error"] == pytest.approx([errors.mean()])
    assert accuracy["reference"]["correlation"] == 1.0
    assert "no_opinion" not in made(small_dataset, tmp_path, "marked").metrics["accuracy"]
    # Stored predictions are taken again, and the run's tables can be read.
    again = made(small_dataset, tmp_path, "silent", warmup=50, sizing="sign")
    assert again.manifest["predictions"]["answers"]["reused"]
    assert np.array_equal(answers(again)[1], given, equal_nan=True)


def test_a_variant_is_compared_where_both_have_an_opinion(
    small_dataset: Path, tmp_path: Path
) -> None:
    run = made(small_dataset, tmp_path, "variant")
    assert run.metrics["accuracy"]["reference"]["rmse"] == 0.0
    assert run.metrics["accuracy"]["reference"]["correlation"] == pytest.approx(1.0)
    (row,) = backtest.compare([run]).rows
    assert row["agreement"] == pytest.approx(1.0)
    found = agreement_of(run)
    assert found is not None
    assert found.outputs.tolist() == [0.0]


def test_standing_targets_stay(small_dataset: Path, tmp_path: Path) -> None:
    """Fill by fill what a sizing rule would ask for that saw the target before."""
    run = made(small_dataset, tmp_path, "silent:level=-10")
    assert not len(run.table("fills"))
    assert run.metrics["accuracy"]["no_opinion"] == 1.0
    assert run.metrics["accuracy"]["reference"]["rmse"] is None
    some = made(small_dataset, tmp_path, "silent")
    event, given = answers(some)
    opinions = set(event[~np.isnan(given)].tolist())
    decided = {e for e in some.table("fills")["event"].to_list() if e >= 0}
    assert decided
    assert decided <= opinions


def test_a_closed_loop_is_the_same(small_dataset: Path, tmp_path: Path) -> None:
    three = made(small_dataset, tmp_path, "silent")
    loop = made(small_dataset, tmp_path, "reacting")
    assert loop.manifest["loop"]["kind"] == "closed"
    assert loop.table("fills").equals(three.table("fills"))
    assert loop.metrics["accuracy"]["no_opinion"] == three.metrics["accuracy"]["no_opinion"]
    assert np.array_equal(answers(loop)[1], answers(three)[1], equal_nan=True)


def test_quotes_stay(small_dataset: Path, tmp_path: Path) -> None:
    """The rule is not asked, as if it had been and had left both sides."""
    quiet = made(small_dataset, tmp_path, "silent", quoting="strict:lots=2", sizing="sign")
    kept = made(small_dataset, tmp_path, "marked", quoting="keeping:lots=2", sizing="sign")
    assert len(quiet.table("fills"))
    assert quiet.table("fills").equals(kept.table("fills"))
    assert quiet.table("orders").equals(kept.table("orders"))
    every = made(small_dataset, tmp_path, "marked", quoting="strict:lots=2", sizing="sign")
    assert not quiet.table("orders").equals(every.table("orders"))


def test_one_output_without_an_opinion_is_enough(small_dataset: Path, tmp_path: Path) -> None:
    run = made(small_dataset, tmp_path, "pair")
    table = run.table("predictions")
    assert table["forecast"].is_nan().to_list() == table["output_0"].is_nan().to_list()
    assert (table["output_1"] == 1).all()


def test_what_is_not_declared_and_infinity_are_refused(small_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"predict gave \[nan\] for symbol") as told:
        made(small_dataset, tmp_path, "undeclared")
    assert "set no_opinion = True" in str(told.value.remedy)
    with pytest.raises(RunError, match=r"predict gave \[-inf\] for symbol") as told:
        made(small_dataset, tmp_path, "boundless")
    assert "no_opinion" not in str(told.value.remedy)
    assert not list(tmp_path.glob("*/manifest.json"))


def test_the_challenge_pays_a_no_opinion_like_no_answer(
    small_dataset: Path, tmp_path: Path
) -> None:
    run = made(small_dataset, tmp_path, "silent", accountant="challenge:silence=2.0")
    account, none = run.metrics["account"], int(np.isnan(answers(run)[1]).sum())
    unanswered = account["total_requests"] - len(answers(run)[1])
    assert account["points_silence"] == -2.0 * (none + unanswered)
    assert np.isfinite(account["net_points"])


def test_verification_knows_of_no_opinions() -> None:
    verify(Silent()).raise_for_failures()
    with pytest.raises(AssertionError, match="finite answers"):
        verify(Undeclared()).raise_for_failures()
    with pytest.raises(AssertionError, match="finite answers"):
        verify(Boundless()).raise_for_failures()
