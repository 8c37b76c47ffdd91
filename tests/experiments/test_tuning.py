"""Studies find what is better, go on after interruptions, and tell how often they tried."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backtest.api import run
from backtest.cli import main
from backtest.comparison.comparison import FIELDS, compare
from backtest.comparison.fields import fields
from backtest.comparison.verdict import verdict
from backtest.errors import UsageError
from backtest.experiments import tuning
from backtest.experiments.executors import Job, Outcome
from backtest.experiments.study_plan import parse_study
from backtest.experiments.tuning import Study
from backtest.plugins.executors.inline import Inline
from backtest.plugins.manager import load_plugins
from backtest.runs.folder import open_run
from tests.fitted_strategies import write_plugin

Tune = Callable[..., Study]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return write_plugin(tmp_path)


@pytest.fixture
def table(small_dataset: Path) -> dict[str, Any]:
    return {
        "dataset": str(small_dataset),
        "strategy": "line",
        "sizing": "sign:threshold=0.5",
        "latency": {"service": "affine:1ms,0.2ms"},
        "folds": {"train": "150ms", "test": "150ms"},
        "search": {
            "strategy.ridge": {"low": 0.01, "high": 1e6, "log": True},
            "sizing.threshold": {"low": 0.0, "high": 3.0},
        },
        "tune": {"objective": "net", "trials": 6, "startup": 2},
    }


@pytest.fixture
def tune(table: dict[str, Any], tmp_path: Path, plugin: Path) -> Tune:
    pytest.importorskip("optuna", reason="studies need the extra ticktoll[tune]")

    def go(executor: Any = None, runs: str = "runs", settings: Any = (), **more: Any) -> Study:
        plugins = load_plugins([plugin], entry_points=False)
        plan = parse_study(
            {**table, **more}, plugins, name="study", place="test", settings=settings
        )
        study = Study(plan, tmp_path / runs, plugins)
        study.run(executor or Inline(), plugins=[plugin])
        return study

    return go


def ends(study: Study) -> list[tuple[str, float | None, dict[str, Any]]]:
    return [(r.state, r.value, r.values) for r in study.results()]


def test_the_best_trial_has_the_best_figure_of_its_own_run(tune: Tune) -> None:
    study = tune()
    best = study.best()
    assert sum(study.counts().values()) == 6
    assert len(best) >= 2
    for result in best:
        made = open_run(study.runs / str(result.run))
        (row,) = compare([made]).rows
        assert result.value == pytest.approx(row["net"])
        assert row["folds"] == 3
        config = made.manifest["config"]
        assert config["strategy"]["ridge"] == result.values["strategy.ridge"]
        assert config["sizing"]["threshold"] == result.values["sizing.threshold"]
    assert [r.value for r in best] == sorted((r.value or 0.0 for r in best), reverse=True)
    lowest = tune(settings=["tune.direction=minimize"]).best()
    assert [r.value for r in lowest] == sorted(r.value or 0.0 for r in lowest)


@pytest.mark.one_python
def test_a_seed_gives_the_same_trials(tune: Tune) -> None:
    first, second = tune(runs="a"), tune(runs="b")
    assert ends(first) == ends(second)
    other = tune(settings=["tune.seed=1"])
    assert ends(other) != ends(first)
    assert ends(tune(settings=["tune.sampler=random"])) != []


@pytest.mark.one_python
def test_a_study_goes_on_where_it_stopped(tune: Tune) -> None:
    first = tune(settings=["tune.trials=3"])
    begun = ends(first)
    more = tune(settings=["tune.trials=5"])
    assert first.id == more.id
    assert ends(more)[:3] == begun
    assert len(ends(more)) == 5
    again = tune(settings=["tune.trials=5"])
    assert ends(again) == ends(more)
    assert len(begun) == 3


class Interrupted(Inline):
    """Is interrupted after some jobs."""

    left = 4

    def wait(self) -> list[Outcome]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().wait()


def test_an_interrupted_trial_is_made_again(tune: Tune) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(Interrupted(), settings=["tune.prune=false"])
    study = tune(settings=["tune.prune=false"])
    assert study.counts() == {"complete": 6}
    values = [r.values for r in study.results()]
    whole = [r.values for r in tune(runs="other", settings=["tune.prune=false"]).results()]
    # The second trial was interrupted in its second fold, and came next with the same settings.
    assert values[:2] == whole[:2]


class Counting(Inline):
    """Counts the jobs of each trial."""

    def __init__(self) -> None:
        self.jobs: list[int] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job.number)
        super().submit(job)


@pytest.mark.one_python
def test_trials_that_do_worse_than_most_are_given_up_after_a_fold(tune: Tune) -> None:
    table = {"sizing.threshold": {"choices": [0.5, 1e9]}, "strategy.ridge": {"choices": [1.0]}}
    executor = Counting()
    study = tune(executor, search=table, settings=["tune.trials=12", "tune.sampler=random"])
    states = {(r.state, r.values["sizing.threshold"]) for r in study.results()}
    # Whoever never trades earns nothing, which is worse than the median.
    assert ("pruned", 1e9) in states
    assert ("pruned", 0.5) not in states
    pruned = [r for r in study.results() if r.state == "pruned"]
    assert all(r.run is None and r.value is not None for r in pruned)
    assert len(executor.jobs) < 3 * 12
    kept = tune(
        search=table,
        runs="kept",
        settings=["tune.trials=12", "tune.sampler=random", "tune.prune=false"],
    )
    assert kept.counts() == {"complete": 12}


def test_a_trial_that_fails_is_listed_with_its_error(tune: Tune) -> None:
    search: dict[str, Any] = {"strategy.how": {"choices": ["raise"]}}
    study = tune(strategy="bad", search=search, settings=["tune.trials=2"])
    assert study.counts() == {"failed": 2}
    assert "no luck" in str(study.results()[0].error)
    assert study.best() == []
    assert study.importance() == {}
    search = {"sizing.threshold": {"choices": [1e9]}}
    silent = tune(search=search, settings=["tune.trials=1", "tune.objective=sharpe"])
    assert "'sharpe' has no value" in str(silent.results()[0].error)


def test_an_objective_may_be_an_expression_and_folds_are_optional(
    tune: Tune, small_dataset: Path
) -> None:
    study = tune(
        strategy="imbalance",
        folds=None,
        search={"strategy.smoothing": {"low": 0.1, "high": 1.0, "step": 0.1}},
        settings=["tune.objective='net - 0.5 * drawdown'", "tune.trials=3"],
    )
    for result in study.best():
        (row,) = compare([open_run(study.runs / str(result.run))]).rows
        assert result.value == pytest.approx(row["net"] - 0.5 * row["drawdown"])
        assert row["folds"] is None
    assert len(study.best()) == 3


def test_the_number_of_trials_is_in_the_studys_file_and_in_its_runs(
    tune: Tune, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tune()
    told = json.loads(study.file.read_text())
    counts = study.counts()
    assert told["study"]["trials"] == 6
    assert {told["study"][state] for state in counts} == set(counts.values())
    assert len(told["pruned"]) == counts["pruned"]
    ids = {result.run for result in study.best()}
    assert {entry["id"] for entry in told["runs"]} == ids
    runs = [open_run(study.runs / str(each)) for each in sorted(map(str, ids))]
    compared = compare(runs)
    assert {row["trials"] for row in compared.rows} == {6}
    assert any("out of 6 trials" in line for line in verdict(compared, fields(compared)[0]).lines())
    more = tune(settings=["tune.trials=7"])
    assert {open_run(r.folder).manifest["studies"][study.id]["trials"] for r in runs} == {7}
    assert more.id == study.id
    with pytest.raises(SystemExit) as left:
        main(["compare", "--sweep", study.id, "--runs", str(study.runs), "--sort", "-net"])
    assert left.value.code == 0
    assert "line" in capsys.readouterr().out


def test_a_plain_run_is_of_no_study(small_dataset: Path, tmp_path: Path) -> None:
    done = run(
        runs=tmp_path,
        dataset=str(small_dataset),
        strategy="imbalance",
        latency={"service": "constant:1ms"},
    )
    compared = compare([done])
    assert compared.rows[0]["trials"] is None
    assert tuple(compared.rows[0]) == FIELDS
    assert not any("trials" in line for line in verdict(compared, fields(compared)[0]).lines())


def test_one_process_at_a_time_is_at_a_study(tune: Tune, tmp_path: Path) -> None:
    inner: list[str] = []

    class Second(Inline):
        def wait(self) -> list[Outcome]:
            if not inner:
                inner.append("")
                with pytest.raises(UsageError, match="another process is making its trials"):
                    tune(settings=["tune.trials=1"])
            return super().wait()

    assert tune(Second(), settings=["tune.trials=1"]).counts() == {"complete": 1}


def test_trials_are_made_side_by_side(tune: Tune, plugin: Path) -> None:
    executor = load_plugins([plugin], entry_points=False).create(
        "executor", "local:workers=2", place="test"
    )
    study = tune(executor, settings=["tune.trials=4", "tune.prune=false"])
    assert study.counts() == {"complete": 4}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"tune": {}}, "tune.objective: missing"),
        ({"tune": {"objective": "nett"}}, "no field is called 'nett'"),
        ({"tune": {"objective": "net - baseline.net"}}, "no baseline"),
        ({"tune": {"objective": "net", "trails": 3}}, "tune.trails"),
        ({"tune": {"objective": "net", "trials": 0}}, "tune.trials"),
        ({"search": {}}, "nothing is to be searched"),
        ({"policy": ["one", "all"]}, "its settings make 2 runs"),
        ({"latency": {"service": "affine:1ms,0.2ms", "scale": -1.0}}, "latency.scale"),
    ],
)
def test_a_file_that_is_no_study_is_refused(
    table: dict[str, Any], plugin: Path, more: dict[str, Any], problem: str
) -> None:
    plugins = load_plugins([plugin], entry_points=False)
    with pytest.raises(UsageError, match=problem):
        parse_study({**table, **more}, plugins, name="x", place="test")


def test_without_optuna_the_extra_is_named(
    table: dict[str, Any], plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = load_plugins([plugin], entry_points=False)
    plan = parse_study(table, plugins, name="x", place="test")
    monkeypatch.setattr(tuning, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'ticktoll\[tune\]'"):
        Study(plan, tmp_path, plugins)


def test_the_command_line_shows_the_best_and_what_matters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna", reason="studies need the extra ticktoll[tune]")
    examples = Path(__file__).parents[2] / "examples"
    words = ["tune", examples / "tune.toml", "--plugin", examples / "ridge.py", "--trials", 4]
    words += ["--runs", tmp_path, "--executor", "inline", "--set", "tune.prune=false"]
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert left.value.code == 0
    shown = capsys.readouterr()
    header, *rows = shown.out.partition("The best trials by net\n")[2].splitlines()
    assert header.split() == ["trial", "value", "penalty", "threshold", "policy", "run"]
    values = [float(row.split()[1].replace(",", "")) for row in rows[:4]]
    assert values == sorted(values, reverse=True)
    assert "importance" in shown.out
    assert "4 trials: 4 complete" in shown.err
    with pytest.raises(SystemExit):
        main([*map(str, words), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [row["value"] for row in told["best"]] == pytest.approx(values, abs=0.01)
    assert sum(told["importance"].values()) == pytest.approx(1.0)
