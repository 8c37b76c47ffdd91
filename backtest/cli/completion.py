"""What the shell is offered to complete a value with: names of parts, datasets and runs.

Completing must neither fail nor print: whatever goes wrong, nothing is offered.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from backtest.core.parts import Kind

Completer = Callable[[typer.Context, str], list[str]]


def parts(kind: Kind) -> Completer:
    """Completes the names of the parts of a kind; parameters, after ``:``, are left to the user."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        with suppress(Exception):
            from backtest.cli.project import find_project, read_project
            from backtest.plugins.manager import load_plugins

            files = [Path(path) for path in ctx.params.get("plugin") or ()]
            file = find_project(Path.cwd())
            if file is not None:
                files += read_project(file, ctx.find_root().command).plugins
            return _matching(load_plugins(files).names(kind), incomplete)
        return []

    return complete


def datasets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes packaged datasets, and folders on the way to one."""
    with suppress(Exception):
        from backtest.data.dataset import packaged_datasets

        found = [*packaged_datasets()]
        home, sep, begun = incomplete.rpartition(os.sep)
        for path in Path(home + sep).iterdir():
            if path.is_dir() and path.name.startswith(begun) and not path.name.startswith("."):
                leaf = (path / "dataset.toml").exists()
                found.append(str(path) + ("" if leaf else os.sep))
        return _matching(found, incomplete)
    return []


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the ids of the finished runs in the folder of ``--runs``."""
    with suppress(Exception):
        folder = Path(ctx.params.get("folder") or "runs")
        return _matching([p.parent.name for p in folder.glob("[!.]*/manifest.json")], incomplete)
    return []


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
