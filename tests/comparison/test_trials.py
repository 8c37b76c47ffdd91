"""The trials behind a winner: which count, and what they say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backtest.cli import main
from backtest.comparison import trials as module
from backtest.comparison.comparison import Comparison, compare
from backtest.comparison.fields import fields
from backtest.comparison.overfitting import (
    deflated_benchmark,
    independent_trials,
    overfitting_probability,
)
from backtest.comparison.profits import Profits
from backtest.comparison.run_selection import runs_at
from backtest.comparison.trials import Trials, trials_behind
from backtest.comparison.verdict import verdict
from backtest.core.arrays import Float64Array
from backtest.plugins.manager import load_plugins
from backtest.report.page import render_report
from tests.sweep_files import write_sweep


@pytest.fixture(scope="module")
def swept(finished_runs: Path) -> Comparison:
    runs = runs_at([finished_runs])
    return compare(runs, trials=runs)


def test_trials_are_those_on_the_same_ticks_under_the_same_latencies(swept: Comparison) -> None:
    counts = {}
    for k, row in enumerate(swept.rows):
        found = trials_behind(swept, k)
        counts[row["policy"], row["scale"], row["partial"]] = found and found.count
    assert counts == {
        ("all", 1.0, False): 2,
        ("one", 1.0, False): 2,
        ("all", 0.0, False): None,  # the only one at its scale
        ("all", 4.0, False): None,
        ("all", 1.0, True): None,  # saw only the first events
    }


def test_trials_that_are_filtered_out_still_count(swept: Comparison) -> None:
    kept = swept.where('policy == "all" and scale == 1 and not partial')
    found = trials_behind(kept, 0)
    assert found is not None
    assert found.count == 2
    assert set(kept.trial_profits) == {run.id for run in swept.runs}


def test_runs_from_no_sweep_have_no_trials(swept: Comparison) -> None:
    assert trials_behind(replace(swept, trials=()), 0) is None
    others = tuple(run for run in swept.trials if run.id != swept.runs[0].id)
    assert trials_behind(replace(swept, trials=others), 0) is None


def made(monkeypatch: pytest.MonkeyPatch, gains: Float64Array, chosen: int) -> Trials | None:
    """What is said of one of several trials with given profits."""
    monkeypatch.setattr(module, "_conditions", lambda run: "the same")
    runs = tuple(SimpleNamespace(id=f"run{k}") for k in range(len(gains)))
    ends = np.arange(1, gains.shape[1] + 1) * 1_000_000_000
    earned = {
        run.id: Profits(ends, np.cumsum(x), "USD") for run, x in zip(runs, gains, strict=True)
    }
    compared: Any = SimpleNamespace(runs=runs, trials=runs, trial_profits=earned)
    return trials_behind(compared, chosen)


def test_the_best_of_worthless_trials_looks_good_alone_but_not_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gains = np.random.default_rng(7).normal(size=(40, 250))
    best = int(np.argmax(gains.mean(axis=1) / gains.std(axis=1)))
    found = made(monkeypatch, gains, best)
    assert found is not None
    assert found.probabilistic > 0.98
    assert found.deflated < 0.75
    assert found.needed > 1_000
    assert found.best is not None
    assert found.best.spa > 0.1
    ratios = gains.mean(axis=1) / gains.std(axis=1, ddof=1)
    independent = independent_trials(gains)
    assert found.independent == pytest.approx(independent)
    assert found.benchmark == pytest.approx(deflated_benchmark(ratios.var(ddof=1), independent))
    assert found.sharpe.value == pytest.approx(ratios[best])
    assert found.overfitting == overfitting_probability(gains)
    text = found.sentence("batched")
    assert text.startswith("batched was chosen from 40 trials of the sweep (")
    assert f"SPA p = {found.best.spa:.2g}" in text


def test_a_good_trial_stands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = np.random.default_rng(8).normal(size=(40, 250))
    gains[3] += 0.5
    found = made(monkeypatch, gains, 3)
    assert found is not None
    assert found.deflated > 0.99
    assert found.overfitting is not None
    assert found.overfitting < 0.05
    assert found.best is not None
    assert found.best.spa < 0.05
    assert found.needed < found.buckets


def test_correlated_profits_are_worth_less(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.random.default_rng(9).normal(size=(5, 400))
    smooth = plain.copy()
    for k in range(1, 400):
        smooth[:, k] += 0.7 * smooth[:, k - 1]
    found, slow = (made(monkeypatch, x, 0) for x in (plain, smooth))
    assert found is not None
    assert slow is not None
    assert slow.buckets < 0.3 * found.buckets


def test_a_trial_that_earned_nothing_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = np.random.default_rng(10).normal(size=(3, 100))
    gains[1] = 0
    assert made(monkeypatch, gains, 1) is None
    other = made(monkeypatch, gains, 0)
    assert other is not None
    assert other.count == 3


def test_the_verdict_and_the_report_say_what_the_winner_was_chosen_from(swept: Comparison) -> None:
    compared = swept.where("scale == 1 and not partial")
    (field,) = fields(compared)
    found = trials_behind(compared, field.members[0])
    assert found is not None
    name = field.labels(compared)[field.members[0]]
    assert found.sentence(name) in verdict(compared, field, found).lines()
    page = render_report(compared, load_plugins(entry_points=False), ["verdict"])
    assert page.failures == ()
    assert "was chosen from 2 trials of the sweep" in page.html
    for figure in ("Sharpe ratio", "Probabilistic Sharpe ratio", "Deflated Sharpe ratio",
                   "Probability of overfitting", "SPA p = "):  # fmt: skip
        assert f"<li>{figure}" in page.html
    plain = render_report(
        replace(compared, trials=()), load_plugins(entry_points=False), ["verdict"]
    )
    assert "trials" not in plain.html


def test_the_command_names_the_trials_of_a_sweep(
    small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path / "night.toml", small_dataset, '"imbalance"')
    runs = ["--runs", str(tmp_path / "runs")]
    for words in (
        ["sweep", str(sweep), "--executor", "inline", *runs],
        ["compare", "--sweep", "night", "--where", "scale == 1", *runs],
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
    assert "was chosen from 2 trials of the sweep" in capsys.readouterr().out
