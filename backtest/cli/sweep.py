"""``backtest sweep``: a matrix of runs from one file, finished ones skipped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.options import (
    AsJson,
    DisabledPlugins,
    Executor,
    Limit,
    PluginPaths,
    RunsFolder,
    Settings,
)
from backtest.cli.project import yield_to_file
from backtest.cli.sweep_table import figure, title

if TYPE_CHECKING:
    from backtest.experiments.sweep import Point, Sweep

SOME_FAILED = 4
"""The exit code of a sweep some of whose runs failed."""


def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.toml",
            help="A file of settings and lists of them.",
            is_eager=True,
            callback=yield_to_file,
        ),
    ],
    runs: RunsFolder = Path("runs"),
    executor: Executor = "local",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show what would run, and how long it would take."),
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Set aside any run that takes longer: 10min."),
    ] = None,
    limit: Limit = None,
    setting: Settings = None,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
    as_json: AsJson = False,
) -> None:
    """Run every combination of the settings in a file.

    A sweep file is a `backtest run` file in which any setting may be a list of alternatives;
    [[exclude]] tables remove combinations and [[include]] tables add some; [folds] trains and tests
    each combination on successive stretches of time. Finished runs are not repeated, so after
    Ctrl-C or a crash the same command continues where it stopped. A run that fails, or takes longer
    than --timeout, is listed with its error, and the sweep then exits with code 4.

    Example: backtest sweep grid.toml --set latency.scale=[0,1,2] --dry-run
    """
    from backtest.cli.sweep_progress import watching
    from backtest.core.parameters import Nanoseconds, convert_at
    from backtest.core.settings import read_table
    from backtest.experiments.matrix import parse_matrix
    from backtest.experiments.walk_forward import open_sweep, with_folds
    from backtest.plugins.manager import load_plugins

    timeout_ns = convert_at(timeout, Nanoseconds | None, place="--timeout")
    plugins = load_plugins(plugin or (), disabled=no_plugin or ())
    settings = [*(setting or ()), *([] if limit is None else [f"limit={limit}"])]
    matrix = parse_matrix(
        read_table(file), plugins, name=file.stem, place=str(file), settings=settings
    )
    matrix = with_folds(matrix, plugins)
    place = plugins.create("executor", executor, place="--executor")
    with watching(matrix) as watch:
        swept = open_sweep(matrix, runs, plugins, watch=watch)
        try:
            with swept.using(
                place, plugins=plugin or (), disabled=no_plugin or (), timeout_ns=timeout_ns
            ):
                unmeasured = swept.probe() if dry_run else []
                if not dry_run:
                    swept.run()
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
    if interrupted:
        _tell_rest(swept)
        raise typer.Exit(130)
    if dry_run:
        _print_plan(swept, unmeasured, as_json)
    else:
        _print_result(swept, as_json)
    if swept.failed():
        raise typer.Exit(SOME_FAILED)


def _tell_rest(swept: Sweep) -> None:
    from backtest.cli.console import err
    from backtest.runs.folder import MANIFEST

    # Workers may have finished runs whose outcome had not reached the sweep yet.
    done = sum((swept.runs / point.id / MANIFEST).exists() for point in swept.points if point.id)
    err.print(
        f"Interrupted with {done} of {len(swept.points)} runs done; the same command continues "
        "from there.",
        soft_wrap=True,
    )


def _print_plan(swept: Sweep, unmeasured: list[str], as_json: bool) -> None:
    from backtest.cli.console import err, out, print_json
    from backtest.cli.sweep_progress import span

    inferences = swept.inferences()
    missing = [need for key, need in inferences.items() if key not in swept.stored]
    work = swept.seconds_left()
    plan = {
        "sweep": swept.matrix.id,
        "name": swept.matrix.name,
        "runs": len(swept.points),
        "finished": sum(point.state == "done" for point in swept.points),
        "to_run": len(swept.pending()),
        "failed": len(swept.failed()),
        "inferences": len(inferences),
        "inferences_stored": len(inferences) - len(missing),
        "answers_to_compute": sum(need.answered for need in missing),
        "at_once": swept.slots,
        "work_seconds": round(work, 1),
        "estimated_seconds": round(work / swept.slots, 1),
        "unmeasured": unmeasured,
    }
    if as_json:
        print_json(plan)
    else:
        out.print(f"Sweep {plan['name']}, id {plan['sweep']}", soft_wrap=True)
        out.print(
            f"  runs        {plan['runs']}: {plan['finished']} finished, {plan['to_run']} to do"
        )
        out.print(
            f"  inferences  {plan['inferences']} distinct: {plan['inferences_stored']} stored, "
            f"{len(missing)} to compute ({plan['answers_to_compute']:,} answers)"
        )
        out.print(
            f"  estimate    {span(work)} of work, {span(work / swept.slots)} with {swept.slots} "
            f"at once; based on {swept.costs.runs} earlier runs"
        )
    for line in unmeasured:
        err.print(f"Not included in the estimate, as it could not be timed: {line}", soft_wrap=True)
    _print_failures(swept)


def _print_result(swept: Sweep, as_json: bool) -> None:
    from backtest.cli.console import err, print_json
    from backtest.cli.folds import print_folds
    from backtest.cli.tables import print_table
    from backtest.experiments.sweep import FIGURES
    from backtest.runs.folder import open_run

    ranked = swept.leaderboard()
    if as_json:
        rows = [_row(point) for point in ranked]
        print_json({"sweep": swept.matrix.id, "name": swept.matrix.name, "runs": rows})
    else:
        print_table(*_table(ranked), right=FIGURES)
        done = [point for point in ranked if point.state == "done"]
        runs = [open_run(swept.runs / str(point.id)) for point in done]
        print_folds(runs, [run.id for run in runs])
    _print_failures(swept)
    err.print(f"The sweep's runs are listed in {swept.file}", soft_wrap=True)


def _print_failures(swept: Sweep) -> None:
    from backtest.cli.console import err
    from backtest.core.text import by_cause

    causes = by_cause((title(point), point.error or "") for point in swept.failed())
    for error, names in causes.items():
        many = f"Failed in {len(names):,} of {len(swept.points):,} runs, the first being {names[0]}"
        err.print(many if len(names) > 1 else f"Failed: {names[0]}", soft_wrap=True)
        for line in error.split("\n"):
            err.print(f"  {line}", soft_wrap=True)


def _row(point: Point) -> dict[str, Any]:
    from backtest.experiments.sweep import FIGURES

    return {
        "run": point.id,
        "state": point.state,
        "error": point.error,
        "settings": point.settings,
        **{name: point.figures.get(name) for name in FIGURES},
    }


def _table(points: list[Point]) -> tuple[list[str], list[list[str]]]:
    """Headers and cells: what differs, then the figures that any run has."""
    from backtest.experiments.sweep import FIGURES

    shown = [f for f in FIGURES if any(point.figures.get(f) is not None for point in points)]
    headers = ["run", "state", *points[0].settings, *shown]
    rows = [
        [
            point.id or "-",
            point.state,
            *point.settings.values(),
            *(figure(point, name) for name in shown),
        ]
        for point in points
    ]
    return headers, rows
