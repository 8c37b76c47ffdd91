"""Walk-forward: every combination of a sweep is trained and tested fold by fold.

Each fold is a run of its own, whose configuration says what to train on and what to test on. What
the folds of a combination earned, one test stretch after another, is a run as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backtest.comparison.comparison import compare
from backtest.core.parts import Parts
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.stream import Stream
from backtest.errors import BacktestError, UsageError
from backtest.experiments.folds import Fold, Folds, cut_folds
from backtest.experiments.matrix import Matrix
from backtest.experiments.stitching import FoldRun, stitch
from backtest.experiments.sweep import Point, Sweep, Watcher, unwatched
from backtest.market.calendar import BUCKETS
from backtest.runs.folder import open_run
from backtest.runs.run_config import RunConfig, Training, Window
from backtest.strategies.base import can_fit


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldMatrix(Matrix):
    """The runs of all folds.

    Attributes:
        combinations: the matrix without folds.
        of: for each run, the number of its combination and its fold.
    """

    combinations: Matrix
    of: tuple[tuple[int, Fold], ...]


def with_folds(matrix: Matrix, plugins: Parts) -> Matrix:
    """The matrix with each combination in folds, if it asks for them.

    Raises:
        UsageError: there is no room for a fold, or a training is set besides.
        DataError: a dataset cannot be read.
    """
    folds = matrix.folds
    if folds is None:
        return matrix
    cutter = _Cutter(folds)
    configs: list[RunConfig] = []
    labels: list[dict[str, str]] = []
    of: list[tuple[int, Fold]] = []
    for number, (config, label) in enumerate(zip(matrix.configs, matrix.labels, strict=True)):
        if config.training.end is not None:
            raise UsageError(
                "the folds say what to train on",
                place="training",
                remedy="Leave out either [training] or [folds].",
            )
        assert isinstance(config.strategy, dict)  # parts of a matrix are tables
        trained = can_fit(plugins.get("strategy", config.strategy["name"], place="strategy"))
        for fold, warm in cutter.folds(config, trained):
            bucket = cutter.bucket(config)
            configs.append(_fold_config(config, fold, warm, trained, bucket))
            labels.append({**label, "fold": str(fold.number)})
            of.append((number, fold))
    return FoldMatrix(
        matrix.name,
        tuple(configs),
        tuple(labels),
        (*matrix.notes, *cutter.notes),
        folds,
        combinations=matrix,
        of=tuple(of),
    )


def open_sweep(matrix: Matrix, runs: Path, plugins: Parts, *, watch: Watcher = unwatched) -> Sweep:
    """The sweep of a matrix that ``with_folds`` gave."""
    if isinstance(matrix, FoldMatrix):
        return WalkForward(matrix, runs, plugins, watch=watch)
    return Sweep(matrix, runs, watch=watch)


class WalkForward(Sweep):
    """A sweep whose runs are folds.

    Attributes:
        whole: a point for each combination: what its folds earned together.
    """

    def __init__(
        self, matrix: FoldMatrix, runs: Path, plugins: Parts, *, watch: Watcher = unwatched
    ) -> None:
        super().__init__(matrix, runs, watch=watch)
        self._plugins = plugins
        self._folds = matrix.of
        combinations = matrix.combinations
        self.whole = [
            Point(number, config, settings)
            for number, (config, settings) in enumerate(
                zip(combinations.configs, combinations.differences(), strict=True)
            )
        ]

    def run(self) -> None:
        """Run every fold that is not finished yet, then put those of each combination together."""
        super().run()
        for point in self.whole:
            self._stitch(point)
        self._save()

    def leaderboard(self) -> list[Point]:
        """The combinations, ranked as the runs of a sweep are."""
        return self.ranked(self.whole)

    def folds_of(self, point: Point) -> list[tuple[Fold, Point]]:
        """The folds of a combination with their runs."""
        pairs = zip(self._folds, self.points, strict=True)
        return [(fold, run) for (number, fold), run in pairs if number == point.number]

    def entries(self) -> list[dict[str, Any]]:
        """What the sweep's file lists: the combinations, each with the runs of its folds."""
        return [
            {**self.entry(point), "folds": [self.entry(run) for _, run in self.folds_of(point)]}
            for point in self.whole
        ]

    def _stitch(self, point: Point) -> None:
        done = []
        for fold, run in self.folds_of(point):
            if run.state != "done" or run.id is None:
                point.state, point.error = "failed", f"fold {fold.number} is {run.state}"
                return
            done.append(FoldRun(fold, open_run(self.runs / run.id)))
        assert self.matrix.folds is not None
        try:
            made = stitch(done, point.config, self.matrix.folds, self.runs, self._plugins)
            point.id = made.id
            (point.figures,) = compare([made]).rows
        except BacktestError as error:
            point.state, point.error = "failed", f"its folds cannot be put together: {error}"
            return
        point.state = "done"


class _Cutter:
    """Cuts windows into folds, each kind of window once."""

    def __init__(self, folds: Folds) -> None:
        self._folds = folds
        self._datasets: dict[str, Dataset] = {}
        self._known: dict[tuple[Any, ...], list[tuple[Fold, int]]] = {}
        self._buckets: dict[tuple[Any, ...], int] = {}
        self.notes: list[str] = []

    def folds(self, config: RunConfig, trained: bool) -> Sequence[tuple[Fold, int]]:
        """The folds of a configuration, each with the number of events that fill the state."""
        key = (*_window_key(config), trained)
        if key not in self._known:
            self._known[key] = self._cut(config, trained)
        return self._known[key]

    def bucket(self, config: RunConfig) -> int:
        """About a 500th of the open time of a test stretch, ns; to be asked after ``folds``."""
        return self._buckets[_window_key(config)]

    def _cut(self, config: RunConfig, trained: bool) -> list[tuple[Fold, int]]:
        name = config.dataset
        if name not in self._datasets:
            self._datasets[name] = open_dataset(name)
        whole = Stream(self._datasets[name], config.window.start, config.window.end, config.symbols)
        start, end = config.window.start, config.window.end
        start = whole.extent.first if start is None else start
        end = whole.extent.last + 1 if end is None else end
        found, cut = [], cut_folds(self._folds, start, end)
        hours = self._datasets[name].hours
        tests = [hours.spans(f.test[0], np.array(f.test[1:], dtype=np.int64)).item() for f in cut]
        span = -(-sum(tests) // len(tests)) or self._folds.test
        self._buckets[_window_key(config)] = max(-(-span // BUCKETS), 1)
        for fold in cut:
            wanted = {"test": fold.test} | ({"train": fold.train} if trained else {})
            empty = [what for what, span in wanted.items() if not _count(whole, span)]
            if empty:
                note = f"Fold {fold.number} is left out: there is nothing to {empty[0]} on."
                self.notes += [note] if note not in self.notes else []
            else:
                found.append((fold, _count(whole, (fold.warm, fold.test[0]))))
        if not found:
            raise UsageError(
                "no fold has events to train and to test on", place=f"dataset {name!r}"
            )
        return found


def _window_key(config: RunConfig) -> tuple[Any, ...]:
    return config.dataset, config.window.start, config.window.end, config.symbols


def _count(stream: Stream, span: tuple[int, int]) -> int:
    """Events of the stream within a half-open span."""
    if span[0] >= span[1]:
        return 0
    try:
        return replace(stream, start=span[0], end=span[1]).count
    except UsageError:  # there is none
        return 0


def _fold_config(config: RunConfig, fold: Fold, warm: int, trained: bool, bucket: int) -> RunConfig:
    """A combination's run of one fold.

    Args:
        config: of the combination.
        fold: the fold.
        warm: how many events fill the state.
        trained: whether the strategy is trained.
        bucket: length of the time buckets, unless the accountant's parameter says otherwise, ns.
    """
    start, end = fold.train
    training = Training(start=start, end=end, purge=fold.purge) if trained else Training()
    update: dict[str, Any] = {
        "window": Window(start=fold.warm, end=fold.test[1]),
        "training": training,
        "warmup": warm + config.warmup,
    }
    accountant = config.accountant
    # Time buckets of one length, so that figures by bucket can be taken over all folds.
    if isinstance(accountant, dict) and "bucket" in accountant and accountant["bucket"] is None:
        update["accountant"] = {**accountant, "bucket": bucket}
    return config.model_copy(update=update)
