"""``backtest doctor``: what this installation consists of, what is wrong, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backtest.cli.options import AsJson, DisabledPlugins, PluginPaths


def doctor(
    ctx: typer.Context,
    runs: Annotated[
        Path | None,
        typer.Option(
            "--runs", metavar="DIR", help="The folder that holds the run folders (default: runs)."
        ),
    ] = None,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
    as_json: AsJson = False,
) -> None:
    """Check the installation, and say how to mend what is wrong.

    It shows the versions of Python and of the packages, which plugins were loaded and from where,
    the devices that torch sees, the datasets at hand, the cache of compiled code, the space for
    runs, the terminal's encoding and the project file. The exit code is 1 if something is wrong.
    """
    from backtest.cli.console import err, print_json
    from backtest.cli.health import examine
    from backtest.cli.tables import print_table

    found = examine(ctx.find_root().command, runs, plugin or [], no_plugin or [])
    problems = [finding for finding in found if finding.state == "problem"]
    if as_json:
        print_json({"healthy": not problems, "findings": [asdict(finding) for finding in found]})
    else:
        rows = [(finding.topic, finding.state, finding.found) for finding in found]
        print_table(("check", "result", "what was found"), rows)
        for finding in found:
            if finding.remedy is not None:
                what = f"{finding.state}: {finding.topic}: {finding.found}"
                err.print(what, soft_wrap=True)
                err.print(f"  {finding.remedy}", soft_wrap=True)
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        err.print(f"Found {count}." if problems else "Nothing is wrong.")
    if problems:
        raise typer.Exit(1)
