"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

PluginPaths: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="PATH", help="Load a Python file as a plugin (repeatable)."),
]

DisabledPlugins: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--no-plugin", metavar="NAME", help="Leave a plugin out (repeatable)."),
]

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout, for other programs.")
]

RunsFolder: TypeAlias = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="Where run folders are kept.")
]

StrategySettings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A parameter: strategy.weights=FILE (repeatable)."
    ),
]

Device: TypeAlias = Annotated[str, typer.Option(help="Where the model runs: cpu, cuda.")]

DatasetForTrials: TypeAlias = Annotated[
    str, typer.Option(help="Gives the features: a folder, or the name of a packaged dataset.")
]

Seed: TypeAlias = Annotated[
    int | None, typer.Option(help="Of the events drawn; by default another one every time.")
]
