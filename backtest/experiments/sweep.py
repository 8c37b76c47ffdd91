"""Sweeps: the runs of a matrix, planned, executed and resumed.

Every run is planned first: its id tells whether it is finished, and pass 1 tells which predictions
it needs. Of the runs that lack the same predictions one goes first and computes them; the others
wait for it and take them from the store, so that nothing is computed twice. All that a sweep has
achieved lies in its runs' folders: after any interruption, planning anew finds what is left.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from backtest.comparison.comparison import compare
from backtest.core.atomic import new_file, sweep_all
from backtest.core.interrupts import raise_if_interrupted
from backtest.core.text import by_cause, first_of
from backtest.errors import DataError, UsageError
from backtest.experiments.executors import Executor, Job, Outcome, Setup
from backtest.experiments.matrix import Matrix
from backtest.experiments.run_costs import Costs, NeededPredictions
from backtest.inference.prediction_store import PredictionStore
from backtest.runs.folder import Run, open_run, run_folders
from backtest.runs.run_config import RunConfig

if TYPE_CHECKING:
    import polars as pl

FOLDER = "sweeps"
"""The folder of the sweeps' manifests within the folder of runs."""

FIGURES = (
    "response_rate", "p50_ms", "p99_ms", "agreement", "ic", "unit", "net", "net_points",
)  # fmt: skip
"""What tables show of a run, by the names that ``backtest.comparison.comparison`` has for it."""

PointState: TypeAlias = Literal["pending", "done", "failed"]

_SAVE_S = 1.0


@dataclass
class Point:
    """One run of a sweep.

    Attributes:
        number: its place in the matrix.
        config: what is asked for.
        settings: those settings, as text, in which the runs of the sweep differ.
        state: whether it is done, has failed or neither yet.
        id: the run's id, once planned.
        error: why it failed.
        events: number of events in its window; 0 if it was finished before.
        needs: the predictions that it takes, by content key.
        figures: its row of ``backtest.comparison.comparison``, once done.
    """

    number: int
    config: RunConfig
    settings: dict[str, str]
    state: PointState = "pending"
    id: str | None = None
    error: str | None = None
    events: int = 0
    needs: dict[str, NeededPredictions] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def earned(self) -> float | None:
        """What leaderboards sort by: net PnL, or points where there is none."""
        net = self.figures.get("net")
        return self.figures.get("net_points") if net is None else net


Watcher = Callable[["Sweep", Point | None], None]
"""Called after every step, with the run that ended in it, if any."""


def unwatched(sweep: Sweep, point: Point | None) -> None:
    """A watcher that looks away."""


class Sweep:
    """The runs of a matrix, and what became of them.

    Attributes:
        matrix: what is asked for.
        runs: folder of run folders.
        points: its runs, in the order of the matrix.
        stored: keys of the predictions that need not be computed any more.
        costs: what runs cost, from the manifests of finished ones.
        slots: number of runs executed at once.
        planned: how many of its runs are planned.
    """

    def __init__(self, matrix: Matrix, runs: Path, *, watch: Watcher = unwatched) -> None:
        self.matrix = matrix
        self.runs = runs
        self.points = [
            Point(number, config, settings)
            for number, (config, settings) in enumerate(
                zip(matrix.configs, matrix.differences(), strict=True)
            )
        ]
        self.stored: set[str] = set()
        self.costs = Costs()
        self.slots = 1
        self.planned = 0
        self._watch = watch
        self._saved = 0.0

    @property
    def file(self) -> Path:
        """The sweep's manifest: its name, and the id, state and settings of each of its runs."""
        return self.runs / FOLDER / f"{self.matrix.id}.json"

    @contextmanager
    def using(
        self,
        executor: Executor,
        *,
        plugins: Iterable[Path] = (),
        disabled: Iterable[str] = (),
        timeout_ns: int | None = None,
    ) -> Iterator[None]:
        """Plan every run on an executor, which stays open within the block.

        Args:
            executor: where runs are executed.
            plugins: files that workers load as plugins.
            disabled: plugins that they leave out.
            timeout_ns: how long planning a run, or executing it, may take, ns; a run that takes
                longer fails. ``None``: as long as it likes.

        Raises:
            UsageError: the executor cannot limit time, or the limit is not positive.
            BacktestError: the executor cannot be used.
        """
        if timeout_ns is not None:
            _check_timeout(timeout_ns, executor)
        devices = {config.device for config in self.matrix.configs}
        setup = Setup.of(self.runs, plugins, disabled, devices, timeout_ns)
        # What killed writers left behind is removed before new ones start.
        for folder in (self.runs, self.runs / FOLDER, self.runs / "predictions"):
            sweep_all(folder)
        executor.open(setup)
        try:
            self._executor = executor
            self.slots = executor.slots
            for path in run_folders(self.runs):
                self._learn(Run(path))
            self._plan()
            yield
        finally:
            executor.close()

    def run(self) -> None:
        """Execute every run that is not finished yet.

        A run that fails is marked as failed, with its error, and the others continue.

        Raises:
            DataError: the sweep's manifest cannot be written.
        """
        waiting = self.pending()
        demand = Counter(key for point in waiting for key in self.missing(point))
        busy: set[str] = set()

        def choose() -> Job | None:
            # Runs whose predictions are being computed wait, so that nothing is computed twice.
            ready = [p for p in waiting if not busy & self.missing(p).keys()]
            if not ready:
                return None
            # First those that most others wait for, so that these need not wait for long.
            point = max(ready, key=lambda p: sum(demand[key] - 1 for key in self.missing(p)))
            waiting.remove(point)
            busy.update(self.missing(point))
            return self._job("run", point)

        self._save()
        try:
            for outcome in self._carry_out(choose):
                point = self.points[outcome.job]
                missing = self.missing(point)
                busy -= missing.keys()
                demand.subtract(list(missing))
                if outcome.result is None:
                    point.state, point.error = "failed", outcome.error
                else:
                    self.stored |= missing.keys()
                    self._finish(point, outcome.result["id"])
                    self._learn(Run(self.runs / outcome.result["id"]))
                # With many runs, writing the whole manifest after each of them would add up.
                if monotonic() - self._saved > _SAVE_S:
                    self._save()
                self._watch(self, point)
        finally:
            self._save()

    def probe(self) -> list[str]:
        """Measure, in short runs, strategies whose speed no finished run has shown.

        Returns:
            What could not be measured, and why.
        """
        failed: list[tuple[str, str]] = []
        for strategy, device in sorted(self.costs.unknown(self._wanted().values())):
            point = next(
                p
                for p in self.pending()
                if any((n.strategy, n.device) == (strategy, device) for n in p.needs.values())
            )
            self._executor.submit(self._job("probe", point))
            (outcome,) = self._executor.wait()
            if outcome.result is None:
                failed.append((f"{strategy} on {device}", str(outcome.error)))
            else:
                self.costs.observe(**outcome.result)
        return [f"{first_of(names)}: {error}" for error, names in by_cause(failed).items()]

    def seconds_left(self) -> float:
        """Estimated work of all runs that are neither done nor failed, in seconds of one slot."""
        return sum(self.costs.seconds(p.events, ()) for p in self.pending()) + self.costs.seconds(
            0, self._wanted().values()
        )

    def pending(self) -> list[Point]:
        """Runs that are neither done nor failed."""
        return [point for point in self.points if point.state == "pending"]

    def failed(self) -> list[Point]:
        """Runs that failed."""
        return [point for point in self.points if point.state == "failed"]

    def missing(self, point: Point) -> dict[str, NeededPredictions]:
        """The predictions that a run needs and that nobody has computed yet."""
        return {key: need for key, need in point.needs.items() if key not in self.stored}

    def inferences(self) -> dict[str, NeededPredictions]:
        """All the predictions that the sweep takes, by content key."""
        return {key: need for point in self.points for key, need in point.needs.items()}

    def leaderboard(self) -> list[Point]:
        """Done runs, the one that earned most first; then those not done, then failed ones.

        Amounts of different units cannot be ranked, so runs that are paid in one come together.
        """
        return self.ranked(self.points)

    @staticmethod
    def ranked(points: Sequence[Point]) -> list[Point]:
        """Points in the order of ``leaderboard``."""
        order = {"done": 0, "pending": 1, "failed": 2}

        def rank(point: Point) -> tuple[int, bool, str, float, int]:
            earned, unit = point.earned, str(point.figures.get("unit"))
            return order[point.state], earned is None, unit, -(earned or 0.0), point.number

        return sorted(points, key=rank)

    def frame(self) -> pl.DataFrame:
        """The leaderboard: a row a run with its id, state, settings that differ, and figures."""
        import polars as pl

        rows = [
            {"run": p.id, "state": p.state, **p.settings, **{f: p.figures.get(f) for f in FIGURES}}
            for p in self.leaderboard()
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def __repr__(self) -> str:
        states = Counter(point.state for point in self.points)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"Sweep({self.matrix.name!r}: {counts})"

    def _wanted(self) -> dict[str, NeededPredictions]:
        return {key: n for point in self.pending() for key, n in self.missing(point).items()}

    def _plan(self) -> None:
        queue = iter(self.points)

        def choose() -> Job | None:
            point = next(queue, None)
            return None if point is None else self._job("plan", point)

        for outcome in self._carry_out(choose):
            point = self.points[outcome.job]
            self.planned += 1
            plan = outcome.result
            if plan is None:
                point.state, point.error = "failed", outcome.error
            elif plan["finished"]:
                self._finish(point, plan["id"])
            else:
                point.id, point.events = plan["id"], plan["events"]
                self._take_needs(point, plan["predictions"])
            self._watch(self, None)

    def _take_needs(self, point: Point, predictions: Mapping[str, Any]) -> None:
        store = PredictionStore(self.runs / "predictions")
        for note in predictions.values():
            if note["key"] is None:  # answers of a closed loop, which belong to their run alone
                continue
            need = NeededPredictions(note["strategy"], point.config.device, note["answered"])
            point.needs[note["key"]] = need
            if store.path(note["key"]).exists():
                self.stored.add(note["key"])

    def _finish(self, point: Point, run_id: str) -> None:
        """Take a run from its folder, which may be one that someone has damaged."""
        point.id = run_id
        try:
            run = open_run(self.runs / run_id)
            self._take_needs(point, run.manifest["predictions"])
            (point.figures,) = compare([run]).rows
        except (DataError, KeyError, TypeError) as error:
            point.state, point.error = "failed", f"the run cannot be read back: {error}"
            return
        point.state = "done"

    def _learn(self, run: Run) -> None:
        """Take its times; folders that hold no readable run have none."""
        try:
            self.costs.observe(run.manifest, run.metrics)
        except (DataError, KeyError, TypeError, AttributeError):
            return

    def _job(self, task: Literal["plan", "run", "probe"], point: Point) -> Job:
        return Job(point.number, task, point.config.model_dump(mode="json"))

    def _carry_out(self, choose: Callable[[], Job | None]) -> Iterator[Outcome]:
        """Keep the executor busy with what ``choose`` gives, until it gives nothing."""
        running = 0
        while True:
            raise_if_interrupted()
            while running < self.slots and (job := choose()) is not None:
                self._executor.submit(job)
                running += 1
            if not running:
                return
            for outcome in self._executor.wait():
                running -= 1
                yield outcome

    def entries(self) -> list[dict[str, Any]]:
        """What the sweep's file lists as its runs."""
        return [self.entry(point) for point in self.points]

    @staticmethod
    def entry(point: Point) -> dict[str, Any]:
        """A run as the sweep's file lists it."""
        return {
            "id": point.id,
            "state": point.state,
            "config": point.config.model_dump(mode="json"),
            "error": point.error,
        }

    def _save(self) -> None:
        table = {"name": self.matrix.name, "id": self.matrix.id, "runs": self.entries()}
        text = json.dumps(table, indent=1)
        with new_file(self.file) as path:
            path.write_text(text + "\n", encoding="utf-8")
        self._saved = monotonic()


def _check_timeout(timeout_ns: int, executor: Executor) -> None:
    if timeout_ns <= 0:
        raise UsageError("the time limit must be longer than 0", place="--timeout")
    if not executor.limits_time:
        raise UsageError(
            f"the executor {type(executor).__name__.lower()!r} cannot limit the time of a run",
            place="--timeout",
            remedy="Use local, or local:workers=1 for one run after another.",
        )
