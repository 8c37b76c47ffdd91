"""Options that select the runs a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from backtest.comparison.comparison import Comparison
    from backtest.comparison.run_selection import FailedRun
    from backtest.runs.folder import Run

RunFolders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[RUN...]", help="Run folders, folders of them, or patterns."),
]

Sweep = Annotated[
    str | None, typer.Option(metavar="ID", help="All runs of a sweep, given its id or name.")
]

Where = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION",
        help="Keep only matching runs: 'strategy == \"batched\" and scale <= 1'.",
    ),
]

Sort = Annotated[
    str | None,
    typer.Option(metavar="FIELD", help="Sort by a field; -FIELD sorts in descending order."),
]

Baseline = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="The run to compare the others with: its id or strategy."),
]


def chosen(
    folders: list[Path] | None, sweep: str | None, runs: Path, where: str | None, sort: str | None
) -> Comparison:
    """The comparison that the options name: of folders, a sweep, or else all of ``runs``.

    Without ``sort``, runs of a sweep come in its order, runs named by their own folders in the
    order given, and runs found in other folders or by patterns in the order of their settings.
    """
    compared = _compared(folders, sweep, runs)
    if where is not None:
        compared = compared.where(where)
    return compared if sort is None else compared.sorted_by(sort)


def _compared(folders: list[Path] | None, sweep: str | None, runs: Path) -> Comparison:
    from backtest.comparison.comparison import compare
    from backtest.errors import DataError
    from backtest.runs.folder import MANIFEST

    while True:
        found, failed, trials = _found(folders, sweep, runs)
        try:
            return compare(found, failed, trials)
        except DataError:
            if all((run.folder / MANIFEST).exists() for run in found):
                raise
            # A run was removed while it was read; what is listed anew lacks it.


def _found(
    folders: list[Path] | None, sweep: str | None, runs: Path
) -> tuple[list[Run], list[FailedRun], list[Run]]:
    """Runs to compare, runs of the sweep that failed, and all of its finished runs."""
    from backtest.comparison.run_selection import runs_at, runs_of_sweep
    from backtest.comparison.run_settings import order
    from backtest.errors import UsageError
    from backtest.runs.folder import MANIFEST

    trials, failed = runs_of_sweep(runs, sweep) if sweep is not None else ([], [])
    found = list(trials)
    if folders or sweep is None:
        if not folders and not runs.is_dir():
            raise UsageError(
                "no run to compare",
                place=str(runs),
                remedy="Name the folders of finished runs, or their folder with --runs.",
            )
        places = folders or [runs]
        others = runs_at(places)
        if not any((place / MANIFEST).exists() for place in places):
            others.sort(key=order)
        found += others
    return found, failed, trials
