"""The shipped sample tells a true story: memory is worth accuracy, and latency costs money."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import backtest
from backtest.cli.demo import ACCOUNTANT, SIZING
from backtest.comparison.intervals import total_difference
from backtest.comparison.profits import gains, profits
from backtest.core.arrays import Float32Array
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.synthetic.generate import generate
from backtest.data.synthetic.market import Market
from backtest.runs.folder import Run
from backtest.strategies.weight_files import file_sha256, packaged_weights

DATASETS = packaged_weights().parents[1]
LATENCY = {"service": "constant:0ns", "entry": "constant:1ms"}


@pytest.fixture(scope="module")
def sample() -> Dataset:
    torch.set_num_threads(1)
    return open_dataset("sample")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def run(runs: Path, strategy: str, scale: float) -> Run:
    """Every event answered, however late: latency is the way to the venue, not the queue."""
    return backtest.run(
        dataset="sample",
        strategy=strategy,
        latency=LATENCY | {"scale": scale},
        sizing=SIZING,
        accountant=ACCOUNTANT,
        runs=runs,
    )


@pytest.fixture(scope="module")
def by_strategy(sample: Dataset, runs: Path) -> dict[str, Run]:
    return {name: run(runs, name, 0) for name in ("batched", "stateless")}


def forecasts(run: Run) -> Float32Array:
    return run.table("predictions")["forecast"].to_numpy()


def r2(truth: Any, predicted: Any) -> float:
    return float(1 - np.mean((truth - predicted) ** 2) / np.mean(truth**2))


def test_it_is_small_and_holds_no_code() -> None:
    files = [path for path in DATASETS.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".py"]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert packaged_weights().stat().st_size < 2_000_000


def test_it_is_what_its_card_states_it_was_made_with(sample: Dataset, tmp_path: Path) -> None:
    made = dict(sample.card.notes["generator"])
    if made.pop("numpy").split(".")[0] != np.__version__.split(".")[0]:
        pytest.skip("another numpy may draw other numbers")
    extent = {k: made.pop(k) for k in ("events", "skip")}
    made.pop("version")
    # Quotes and times do not need the features, which take a while.
    market = Market(**made | {"features": 1, "targets": 1})
    generate(market, tmp_path / "again", **extent)
    again, shipped = read_events(open_dataset(tmp_path / "again")), read_events(sample)
    assert np.array_equal(again.ts_event, shipped.ts_event)
    assert np.array_equal(again.symbol, shipped.symbol)


def test_the_weights_are_out_of_sample(sample: Dataset, by_strategy: dict[str, Run]) -> None:
    manifest = json.loads(packaged_weights().with_suffix(".manifest.json").read_text())
    assert manifest["weights"]["sha256"] == file_sha256(packaged_weights())
    assert manifest["validation_window"]["end_ns"] <= read_events(sample).ts_event[0]
    assert by_strategy["batched"].manifest["in_sample"] is False


def test_memory_is_worth_accuracy(sample: Dataset, by_strategy: dict[str, Run]) -> None:
    alpha = read_targets(sample)[:, 0].astype(np.float64)
    full = r2(alpha, forecasts(by_strategy["batched"]))
    assert full > r2(alpha, forecasts(by_strategy["stateless"])) + 0.15
    # The linear baseline is even fitted to the very events that it is judged by.
    features = read_events(sample, features=True).features
    assert features is not None
    matrix = features.astype(np.float64)
    linear = r2(alpha, matrix @ np.linalg.lstsq(matrix, alpha, rcond=None)[0])
    assert full > linear + 0.15
    assert full > 0.35


def test_forgetting_gives_other_answers(by_strategy: dict[str, Run]) -> None:
    full, forgetful = (forecasts(by_strategy[name]) for name in ("batched", "stateless"))
    assert np.corrcoef(full, forgetful)[0, 1] < 0.8


def test_latency_costs_money_beyond_chance(runs: Path, by_strategy: dict[str, Run]) -> None:
    """Net PnL starts positive and falls; differences are paired by time."""
    late = [by_strategy["batched"], *(run(runs, "batched", ms) for ms in (100.0, 400.0, 1600.0))]
    nets = [one.metrics["account"]["net"] for one in late]
    assert nets[0] > 0 > nets[-1]
    for sooner, later in pairwise(gains([profits(one) for one in late])):
        lost = total_difference(sooner, later)
        assert lost.low is not None
        assert lost.low > 0
    assert (
        by_strategy["batched"].metrics["account"]["net"]
        > (by_strategy["stateless"].metrics["account"]["net"])
    )
