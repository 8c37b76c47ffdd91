"""Studies: trials of settings that optuna chooses, judged by a figure, pruned fold by fold.

All that a study has achieved lies in its journal and in the folders of its runs: after any
interruption the same study goes on with the trials that are left.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backtest.comparison.comparison import compare
from backtest.comparison.conditions import MissingValue
from backtest.core.atomic import lock_folder, new_file, sweep_all, writing
from backtest.core.parts import Parts
from backtest.errors import BacktestError, DataError, UsageError
from backtest.experiments.executors import Executor, Job, Outcome, Setup
from backtest.experiments.matrix import Matrix
from backtest.experiments.stitching import FoldRun, stitch
from backtest.experiments.study_plan import StudyPlan
from backtest.experiments.sweep import FOLDER
from backtest.experiments.walk_forward import FoldMatrix
from backtest.runs.folder import MANIFEST, Run, open_run
from backtest.runs.writer import pretty_json

if TYPE_CHECKING:
    import optuna

STUDIES = "studies"
"""The folder of the studies' journals within the folder of runs."""

_INTERRUPTED = "interrupted"


@dataclass
class _Trial:
    """A trial that is being made."""

    trial: optuna.Trial
    matrix: Matrix
    done: list[Run] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """A trial that has ended.

    Attributes:
        number: from 0 on.
        state: ``complete``, ``pruned`` or ``failed``.
        value: the objective; of a pruned trial, the mean over the folds that were made.
        values: its settings by key.
        run: id of its run, the joint one of its folds; ``None`` if it is not complete.
        error: why it failed.
    """

    number: int
    state: Literal["complete", "pruned", "failed"]
    value: float | None
    values: dict[str, Any]
    run: str | None
    error: str | None


StudyWatcher = Callable[["Study", Result], None]
"""Called after every trial."""


class Study:
    """A study while its trials are made.

    Args:
        plan: what is asked for.
        runs: folder of run folders.
        plugins: where parts come from.
        watch: called after every trial.

    Raises:
        UsageError: optuna is not installed.
    """

    def __init__(
        self,
        plan: StudyPlan,
        runs: Path,
        plugins: Parts,
        *,
        watch: StudyWatcher = lambda study, result: None,
    ) -> None:
        if find_spec("optuna") is None:
            raise UsageError(
                "the package optuna is not installed",
                place="tune",
                remedy="`pip install 'ticktoll[tune]'` installs it.",
            )
        self.plan = plan
        self.runs = runs
        self.id = plan.id
        self._plugins = plugins
        self._watch = watch
        self._jobs = 0
        self._running: dict[int, _Trial] = {}

    @property
    def file(self) -> Path:
        """What a sweep's file is to a sweep, so that its runs can be compared in the same way."""
        return self.runs / FOLDER / f"{self.id}.json"

    def run(
        self, executor: Executor, *, plugins: Iterable[Path] = (), disabled: Iterable[str] = ()
    ) -> None:
        """Make the trials that are left; as many at once as the executor has slots.

        Args:
            executor: where runs are executed.
            plugins: files that workers load as plugins.
            disabled: plugins that they leave out.

        Raises:
            BacktestError: the executor cannot be used, another process is at this study, or it
                cannot be written.
        """
        folder = self.runs / STUDIES
        with writing(folder):
            lock = lock_folder(folder / f".{self.id}.lock", make=True)
        if lock is None:
            raise UsageError("another process is making its trials", place=f"study {self.id}")
        try:
            for place in (self.runs, self.runs / "predictions"):
                sweep_all(place)
            self._study = self._open()
            device = self._config_of_first().device
            executor.open(Setup.of(self.runs, plugins, disabled, [device]))
            try:
                self._make(executor)
            finally:
                executor.close()
                self._save()
        finally:
            (folder / f".{self.id}.lock").rmdir()
            os.close(lock)

    def results(self) -> list[Result]:
        """The trials that have ended, in their order."""
        from optuna.trial import TrialState

        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
        return [
            Result(
                number=trial.number,
                state=states.get(trial.state, "failed"),  # type: ignore[arg-type]
                value=trial.value,
                values=dict(trial.params),
                run=trial.user_attrs.get("run"),
                error=trial.user_attrs.get("error"),
            )
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.is_finished() and _INTERRUPTED not in trial.user_attrs
        ]

    def best(self) -> list[Result]:
        """Complete trials, the best first."""
        sign = -1.0 if self.plan.tune.direction == "maximize" else 1.0
        complete = [result for result in self.results() if result.value is not None]
        complete = [result for result in complete if result.state == "complete"]
        return sorted(complete, key=lambda result: (sign * (result.value or 0.0), result.number))

    def counts(self) -> Counter[str]:
        """How many trials ended in each state."""
        return Counter(result.state for result in self.results())

    def importance(self) -> dict[str, float]:
        """Shares of the settings in the variation of the objective, the largest first; by PED-ANOVA
        (Watanabe et al. 2023). Empty while too few trials are complete to tell."""
        from optuna.importance import get_param_importances

        values = {result.value for result in self.best()}
        if len(values) < 2:
            return {}
        return dict(get_param_importances(self._study))

    def _open(self) -> optuna.Study:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = self.runs / STUDIES / f"{self.id}.journal"
        tune = self.plan.tune
        with writing(path):
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(
            storage=storage, study_name=self.id, direction=tune.direction, load_if_exists=True
        )
        # A seed that is used again would give the trials after an interruption the same draws.
        seed = tune.seed + len(study.get_trials(deepcopy=False))
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        study.sampler = samplers[tune.sampler](seed=seed)
        study.pruner = (
            optuna.pruners.MedianPruner(n_startup_trials=tune.startup)
            if tune.prune
            else optuna.pruners.NopPruner()
        )
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            storage.set_trial_user_attr(trial._trial_id, _INTERRUPTED, True)
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
        return study

    def _config_of_first(self) -> Any:
        return self.plan.matrix({d.key: d.first for d in self.plan.space}).configs[0]

    def _make(self, executor: Executor) -> None:
        while True:
            left = self.plan.tune.trials - len(self.results()) - len(self._running)
            while left > 0 and len(self._running) < executor.slots:
                left -= 1
                self._begin(executor)
            if not self._running:
                if left <= 0:
                    return
                continue
            for outcome in executor.wait():
                self._take(executor, outcome)

    def _begin(self, executor: Executor) -> None:
        trial = self._study.ask({d.key: d.distribution() for d in self.plan.space})
        try:
            matrix = self.plan.matrix(trial.params)
        except BacktestError as error:
            self._fail(trial, str(error))
            return
        self._submit(executor, _Trial(trial, matrix))

    def _submit(self, executor: Executor, made: _Trial) -> None:
        config = made.matrix.configs[len(made.done)]
        self._running[self._jobs] = made
        executor.submit(Job(self._jobs, "run", config.model_dump(mode="json")))
        self._jobs += 1

    def _take(self, executor: Executor, outcome: Outcome) -> None:
        made = self._running.pop(outcome.job)
        if outcome.result is None:
            self._fail(made.trial, outcome.error or "the run failed")
            return
        try:
            made.done.append(open_run(self.runs / outcome.result["id"]))
            if len(made.done) == len(made.matrix.configs):
                self._complete(made)
            elif self._promising(made):
                self._submit(executor, made)
            else:
                self._tell(made.trial, state="pruned")
        except BacktestError as error:
            self._fail(made.trial, str(error))

    def _promising(self, made: _Trial) -> bool:
        """Whether a trial is worth its next fold."""
        value = self._value(made.done[-1])
        if value is None:
            return True
        made.values.append(value)
        made.trial.report(sum(made.values) / len(made.values), len(made.done))
        return not made.trial.should_prune()

    def _complete(self, made: _Trial) -> None:
        matrix, run = made.matrix, made.done[0]
        if isinstance(matrix, FoldMatrix):
            assert matrix.folds is not None
            folds = [FoldRun(f, r) for (_, f), r in zip(matrix.of, made.done, strict=True)]
            (config,) = matrix.combinations.configs
            run = stitch(folds, config, matrix.folds, self.runs, self._plugins)
        value = self._value(run)
        if value is None:
            self._fail(made.trial, f"{self.plan.tune.objective!r} has no value for run {run.id}")
            return
        made.trial.set_user_attr("run", run.id)
        self._tell(made.trial, value)

    def _value(self, run: Run) -> float | None:
        (row,) = compare([run]).rows
        try:
            return self.plan.objective.value(row)
        except MissingValue:
            return None

    def _fail(self, trial: optuna.Trial, error: str) -> None:
        trial.set_user_attr("error", error)
        self._tell(trial, state="failed")

    def _tell(
        self, trial: optuna.Trial, value: float | None = None, *, state: str = "complete"
    ) -> None:
        from optuna.trial import TrialState

        kinds = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        self._study.tell(trial, value, state=kinds.get(state))
        self._watch(self, next(r for r in self.results() if r.number == trial.number))

    def _save(self) -> None:
        """Write the study's file, and its number of trials into the manifests of its runs."""
        results, counts = self.results(), self.counts()
        told = {
            "objective": self.plan.tune.objective,
            "direction": self.plan.tune.direction,
            "seed": self.plan.tune.seed,
            "trials": len(results),
            **{state: counts[state] for state in ("complete", "pruned", "failed")},
        }
        listed = {result.run or f"trial {result.number}": result for result in reversed(results)}
        table = {
            "name": self.plan.name,
            "id": self.id,
            "study": told,
            "runs": [self._entry(r) for r in reversed(listed.values()) if r.state != "pruned"],
            "pruned": [self._entry(r) for r in results if r.state == "pruned"],
        }
        with new_file(self.file) as path:
            path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        for result in results:
            if result.run is not None:
                _note(self.runs / result.run, self.id, self.plan.name, len(results))

    def _entry(self, result: Result) -> dict[str, Any]:
        config: Any = {"strategy": f"trial {result.number}"}
        if result.run is not None and (self.runs / result.run / MANIFEST).exists():
            config = open_run(self.runs / result.run).manifest["config"]
        return {
            "id": result.run,
            "state": {"complete": "done"}.get(result.state, result.state),
            "config": config,
            "error": result.error,
            "trial": result.number,
            "value": result.value,
            "settings": result.values,
        }


def _note(folder: Path, study: str, name: str, trials: int) -> None:
    """Tell a run's manifest how many trials it was one of; the digest does not cover that."""
    try:
        manifest = open_run(folder).manifest
    except DataError:  # it was removed
        return
    studies = {**manifest.get("studies", {}), study: {"name": name, "trials": trials}}
    if manifest.get("studies") != studies:
        with new_file(folder / MANIFEST) as path:
            path.write_text(pretty_json({**manifest, "studies": studies}), encoding="utf-8")
