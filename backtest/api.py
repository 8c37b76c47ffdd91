"""The Python interface: what the command line does, as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backtest.comparison.comparison import Comparison
from backtest.comparison.comparison import compare as compare_runs
from backtest.core.parameters import Nanoseconds, convert_at
from backtest.core.settings import read_table
from backtest.experiments.matrix import parse_matrix
from backtest.experiments.sweep import Sweep, Watcher, unwatched
from backtest.experiments.walk_forward import open_sweep, with_folds
from backtest.plugins.manager import Plugins, PluginSource, load_plugins
from backtest.report import notebook  # noqa: F401 - it registers how results are shown
from backtest.runs.engine import Engine, RunProgress, silent
from backtest.runs.folder import Run, open_run
from backtest.runs.run_config import parse_config


def run(
    *,
    runs: str | Path = "runs",
    reuse: bool = True,
    plugins: Plugins | PluginSource | Sequence[PluginSource] = (),
    progress: RunProgress = silent,
    **settings: Any,
) -> Run:
    """Run one backtest, or return its finished run.

    Args:
        runs: folder of run folders.
        reuse: take finished runs and stored predictions where they exist.
        plugins: files and classes that provide parts besides the shipped and the installed
            plugins (a class ``LastMove`` is called ``last-move``); or ``Plugins``, used alone.
        progress: called with (stage, done, total) as it goes.
        **settings: the keys of a configuration file, such as ``dataset="sample"``,
            ``strategy="batched"``, ``latency={"service": "constant:5ms"}``. The strategy may be a
            class, or an instance of a dataclass with its parameters.

    Raises:
        BacktestError: it cannot be run; at most a checkpoint of its answers is left behind.
    """
    loaded = load_plugins(plugins)
    if not isinstance(settings.get("strategy", ""), str | Mapping):
        settings["strategy"] = loaded.spec_of(settings["strategy"])
    config = parse_config(settings, place="backtest.run")
    return Engine(loaded, Path(runs), reuse, progress).run(config)


def sweep(
    matrix: str | Path | Mapping[str, Any],
    *,
    runs: str | Path = "runs",
    executor: str = "local",
    plugin_files: Sequence[str | Path] = (),
    timeout: str | None = None,
    watch: Watcher = unwatched,
) -> Sweep:
    """Run every combination of settings that may be lists; finished runs are not run again.

    Args:
        matrix: a sweep file, or its tables.
        runs: folder of run folders.
        executor: where runs are carried out, as ``NAME:VALUE,KEY=VALUE``.
        plugin_files: files to load as plugins, here and in workers.
        timeout: how long a run may take, such as ``10min``; by default as long as it likes.
        watch: called after every step, with the run that ended in it, if any.

    Returns:
        The sweep; runs that failed are among its ``points``, with their errors.

    Raises:
        BacktestError: the matrix or the executor cannot be used.
    """
    files = [Path(file) for file in plugin_files]
    plugins = load_plugins(files)
    place, name = "backtest.sweep", "sweep"
    if not isinstance(matrix, Mapping):
        place, name, matrix = str(matrix), Path(matrix).stem, read_table(Path(matrix))
    points = with_folds(parse_matrix(matrix, plugins, name=name, place=place), plugins)
    swept = open_sweep(points, Path(runs), plugins, watch=watch)
    limit = convert_at(timeout, Nanoseconds | None, place="timeout")
    made = plugins.create("executor", executor, place="executor")
    with swept.using(made, plugins=files, timeout_ns=limit):
        swept.run()
    return swept


def compare(runs: Sequence[Run | str | Path]) -> Comparison:
    """Set finished runs side by side.

    Args:
        runs: runs, or their folders.

    Raises:
        BacktestError: there is none, or a folder is not a finished run.
    """
    return compare_runs([r if isinstance(r, Run) else open_run(Path(r)) for r in runs])
