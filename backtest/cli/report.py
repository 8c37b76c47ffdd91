"""``backtest report``: the comparison as one HTML file to read from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.choosing import RunFolders, Sort, Sweep, Where, chosen
from backtest.cli.options import DisabledPlugins, PluginPaths, RunsFolder

if TYPE_CHECKING:
    from backtest.comparison.comparison import Comparison


def report(
    run: RunFolders = None,
    html: Annotated[
        Path, typer.Option("--html", "--output", "-o", metavar="FILE", help="The file to write.")
    ] = Path("report.html"),
    sweep: Sweep = None,
    runs: RunsFolder = Path("runs"),
    where: Where = None,
    sort: Sort = None,
    section: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Include only this section (repeatable; default: all)."),
    ] = None,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
) -> None:
    """Write an HTML report on finished runs.

    It shows the verdict, the leaderboard and where the money went. The file is self-contained and
    loads nothing, so it can be mailed, printed and archived.

    Example: backtest report runs/demo -o report.html
    """
    compared = chosen(run, sweep, runs, where, sort)
    write(compared, html, plugin, no_plugin, section or ())


def write(
    compared: Comparison,
    path: Path,
    plugin: list[Path] | None,
    no_plugin: list[str] | None,
    sections: Sequence[str],
) -> None:
    """Write the report completely or not at all; print its path and any sections that failed."""
    from backtest.cli.console import err
    from backtest.core.atomic import new_file
    from backtest.plugins.manager import load_plugins
    from backtest.report.page import render_report

    rendered = render_report(
        compared, load_plugins(plugin or (), disabled=no_plugin or ()), sections
    )
    with new_file(path) as aside:
        aside.write_text(rendered.html, encoding="utf-8")
    for name, error in rendered.failures:
        err.print(f"The section {name!r} failed: {error}", soft_wrap=True)
    size = len(rendered.html.encode()) / 1e6
    err.print(f"Written to {path} ({size:.1f} MB)", soft_wrap=True)
