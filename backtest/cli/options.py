"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from backtest.cli import completion
from backtest.cli.project import with_project_plugins

PluginPaths: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="PATH",
        help="Load a Python file as a plugin (repeatable).",
        callback=with_project_plugins,
    ),
]

DisabledPlugins: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--no-plugin", metavar="NAME", help="Do not load this plugin (repeatable)."),
]

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]

RunsFolder: TypeAlias = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="The folder that holds the run folders.")
]

Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting: strategy.weights=FILE; in a sweep also a list: seed=[0,1] (repeatable).",
    ),
]

Executor: TypeAlias = Annotated[
    str,
    typer.Option(help="What carries out the runs: local, local:workers=2, inline, ray:gpus=1, ..."),
]

Limit: TypeAlias = Annotated[
    int | None, typer.Option(help="Stop a run after this many events; it is marked partial.")
]

StrategySettings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set a parameter: strategy.weights=FILE (repeatable)."
    ),
]

Device: TypeAlias = Annotated[
    str, typer.Option(help="The device to run the model on: cpu or cuda.")
]

SymbolNames: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--symbols",
        metavar="NAME,...",
        help="Names of the first symbols, for strategies that know some by name.",
    ),
]

DatasetForTrials: TypeAlias = Annotated[
    str,
    typer.Option(
        help="The dataset whose features to use: a folder or a packaged name.",
        autocompletion=completion.datasets,
    ),
]

Seed: TypeAlias = Annotated[
    int | None, typer.Option(help="Seed for the random events (default: a new one each time).")
]
