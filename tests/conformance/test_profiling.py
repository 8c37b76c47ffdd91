"""Latency profiles: what is sampled, what is refused, and that the simulated server reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backtest.cli import main
from backtest.conformance.profiling import BatchTiming, Measurement, measure, write_profile
from backtest.core.arrays import Float32Array
from backtest.market.events import EventBatch
from backtest.plugins.latency_models import Profile, profile_metadata, read_profile
from backtest.strategies.base import Session
from backtest.strategies.imbalance import Imbalance

FAILING = """
from backtest import hookimpl
from backtest.strategies.imbalance import Imbalance


class Forgetless(Imbalance):
    def reset(self, symbols):
        pass


@hookimpl
def backtest_register_strategies(register):
    register("forgetless", Forgetless)
"""


class Watched(Imbalance):
    """Remembers the batches that it was given."""

    def bind(self, session: Session) -> None:
        super().bind(session)
        self.seen: list[list[int]] = []

    def predict(self, batch: EventBatch) -> Float32Array:
        self.seen.append(batch.symbol.tolist())
        return super().predict(batch)

    def memory_traffic(self) -> tuple[int, int]:
        return 1000, 16


def run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(["profile", *arguments])
    return caught.value.code


def test_samples_are_of_distinct_symbols_but_for_the_duplicates() -> None:
    strategy = Watched()
    session = Session(tuple("ABCDEFG"), ("f",))
    found = measure(
        strategy, "watched", session, sizes=[1, 6, 7], batches=12, on_step=lambda t: None
    )
    assert [(t.size, t.symbols, len(t.samples)) for t in found.timings] == [
        (1, 1, 12),
        (6, 6, 12),
        (7, 7, 12),
    ]
    sevens = [batch for batch in strategy.seen if len(batch) == 7]
    assert all(len(set(batch)) == 7 for batch in sevens)
    sixes = [len(set(batch)) for batch in strategy.seen if len(batch) == 6]
    assert set(sixes) == {6, 3}
    assert found.duplicates is not None
    assert found.duplicates.symbols == 3
    assert found.bind_ns > 0
    assert found.memory is None, "a CPU's is not the strategy's"
    assert found.timings[0].floor_ns is None, "no device's bandwidth is known"


def test_a_profile_is_read_back_by_the_latency_model(tmp_path: Path) -> None:
    path = tmp_path / "new" / "p.parquet"
    about = {"device": "an abacus", "strategy": "watched"}
    timings = [BatchTiming(n, n, np.array([10 * n, 30 * n, 20 * n])) for n in (1, 4)]
    write_profile(path, Measurement(5, timings, about=about), "backtest profile watched")
    assert {size: list(samples) for size, samples in read_profile(path).items()} == {
        1: [10, 20, 30],
        4: [40, 80, 120],
    }
    output = profile_metadata(path)
    assert output["device"] == "an abacus"
    assert output["command"] == "backtest profile watched"
    assert Profile(str(path)).max_batch == 4


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.parquet"
    options = ("--sizes", "2,1", "--batches", "3", "--output", str(path))
    monkeypatch.setattr("sys.argv", ["backtest", "profile", "imbalance", *options])
    assert run("imbalance", *options, "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert [timing["batch_size"] for timing in output["timings"]] == [1, 2]
    assert output["verified"] == "quick"
    assert list(read_profile(path)) == [1, 2]
    metadata = profile_metadata(path)
    assert metadata["verified"] == "quick"
    command = "backtest profile imbalance --sizes 2,1 --batches 3 --output p.parquet"
    assert metadata["command"] == command


def test_what_fails_verification_is_not_timed_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING)
    smooth = ("--set", "strategy.smoothing=0.3")  # else there is nothing to forget
    options = ("forgetless", "--plugin", str(plugin), *smooth, "--sizes", "2", "--batches", "3")
    assert run(*options) == 1
    captured = capsys.readouterr()
    assert "so it is not measured" in captured.err
    assert "median" not in captured.out
    assert run(*options, "--unverified") == 0
    assert "median ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ("", "the list is empty"),
        ("0", "0 is not a batch size"),
        ("1,x", "'x' is not a whole number"),
        ("2,-1", "-1 is not a batch size"),
        ("1,1.5", "'1.5' is not a whole number"),
    ],
)
def test_sizes_that_are_none(sizes: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("imbalance", "--sizes", sizes) == 2
    assert f"--sizes: {problem}" in capsys.readouterr().err
