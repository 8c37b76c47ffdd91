"""``backtest tune``: searches for the settings that do best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.options import (
    AsJson,
    DisabledPlugins,
    Executor,
    PluginPaths,
    RunsFolder,
    Settings,
)

if TYPE_CHECKING:
    from backtest.experiments.tuning import Result, Study

_SHOWN = 10
"""Trials in the table of the best."""


def tune(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.toml", help="A run file with [search] and [tune].")
    ],
    runs: RunsFolder = Path("runs"),
    executor: Executor = "local",
    trials: Annotated[
        int | None, typer.Option(help="Number of trials in all, earlier ones included.")
    ] = None,
    setting: Settings = None,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
    as_json: AsJson = False,
) -> None:
    """Search for the settings that make the most of a figure.

    The file is a `backtest run` file with two more tables: [search] names settings and their
    ranges or choices, [tune] the objective and the number of trials. With [folds], each trial is
    trained and tested fold by fold, and is given up early where it does worse than most. Trials
    are kept, so after Ctrl-C or a crash, or with more --trials, the same command continues. It
    needs the extra ticktoll[tune].

    Example: backtest tune search.toml --plugin mine.py --trials 20
    """
    import sys
    from contextlib import redirect_stdout

    from backtest.cli.console import err
    from backtest.core.settings import read_table
    from backtest.experiments.study_plan import parse_study
    from backtest.experiments.tuning import Study
    from backtest.plugins.manager import load_plugins

    plugins = load_plugins(plugin or (), disabled=no_plugin or ())
    settings = [*(setting or ()), *([] if trials is None else [f"tune.trials={trials}"])]
    plan = parse_study(
        read_table(file), plugins, name=file.stem, place=str(file), settings=settings
    )
    place = plugins.create("executor", executor, place="--executor")
    study = Study(plan, runs, plugins, watch=_watch)
    with redirect_stdout(sys.stderr):
        try:
            study.run(place, plugins=plugin or (), disabled=no_plugin or ())
        except KeyboardInterrupt:
            err.print("Interrupted; the same command continues from there.")
            raise typer.Exit(130) from None
    _print(study, as_json)


def _watch(study: Study, result: Result) -> None:
    from backtest.cli.console import err

    ended, total = sum(study.counts().values()), study.plan.tune.trials
    texts = ", ".join(f"{d.key} {d.text(result.values[d.key])}" for d in study.plan.space)
    end = {
        "complete": f"{result.value:,.6g}" if result.value is not None else "",
        "pruned": "given up",
        "failed": f"failed: {(result.error or '').partition(chr(10))[0]}",
    }[result.state]
    err.print(f"{ended}/{total} {texts}: {end}", soft_wrap=True)


def _print(study: Study, as_json: bool) -> None:
    from collections import Counter

    from backtest.cli.console import err, out, print_json
    from backtest.cli.tables import print_table

    best, counts, importance = study.best(), study.counts(), study.importance()
    space = study.plan.space
    if as_json:
        print_json(
            {
                "study": study.id,
                "name": study.plan.name,
                "objective": study.plan.tune.objective,
                "direction": study.plan.tune.direction,
                "trials": dict(counts),
                "best": [_row(result) for result in best],
                "importance": importance,
            }
        )
    else:
        short = Counter(dimension.key.rpartition(".")[2] for dimension in space)
        names = [last if short[last := d.key.rpartition(".")[2]] == 1 else d.key for d in space]
        rows = [
            (
                str(result.number),
                f"{result.value:,.6g}",
                *(dimension.text(result.values[dimension.key]) for dimension in space),
                str(result.run),
            )
            for result in best[:_SHOWN]
        ]
        title = f"The best trials by {study.plan.tune.objective}"
        print_table(("trial", "value", *names, "run"), rows, title=title, right=("trial", "value"))
        if importance:
            out.print()
            shares = [(key, f"{100 * share:.1f} %") for key, share in importance.items()]
            print_table(("setting", "importance"), shares, right=("importance",))
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    err.print(f"{sum(counts.values())} trials: {states}. They are listed in {study.file}",
              soft_wrap=True)  # fmt: skip


def _row(result: Result) -> dict[str, Any]:
    return {
        "trial": result.number,
        "value": result.value,
        "settings": result.values,
        "run": result.run,
    }
