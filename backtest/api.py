"""The Python interface: what the command line does, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backtest.comparison import Comparison
from backtest.comparison import compare as compare_runs
from backtest.config import parse_config
from backtest.engine import Engine, Progress, silent
from backtest.plugins.manager import Plugins, load_plugins
from backtest.runs import Run, open_run


def run(
    *,
    runs: str | Path = "runs",
    reuse: bool = True,
    plugins: Plugins | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> Run:
    """Run one backtest, or return its finished run.

    Args:
        runs: folder of run folders.
        reuse: take finished runs and stored predictions where they exist.
        plugins: where parts come from; by default the shipped and the installed ones.
        progress: told (stage, done, total) as it goes.
        **settings: the keys of a configuration file, such as ``dataset="sample"``,
            ``strategy="batched"``, ``latency={"service": "constant:5ms"}``.

    Raises:
        BacktestError: it cannot be run; nothing of it is left behind.
    """
    config = parse_config(settings, place="backtest.run")
    return Engine(plugins or load_plugins(), Path(runs), reuse, progress).run(config)


def compare(runs: Sequence[Run | str | Path]) -> Comparison:
    """Set finished runs side by side.

    Args:
        runs: runs, or their folders.

    Raises:
        BacktestError: there is none, or a folder is no finished run.
    """
    return compare_runs([r if isinstance(r, Run) else open_run(Path(r)) for r in runs])
