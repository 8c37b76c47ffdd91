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
