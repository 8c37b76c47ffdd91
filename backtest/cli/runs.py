"""``backtest runs``: the finished runs of a folder, listed, shown and removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli import completion
from backtest.cli.choosing import Where
from backtest.cli.command import Command
from backtest.cli.options import AsJson, RunsFolder

if TYPE_CHECKING:
    from backtest.comparison.run_store import StoredRun

runs = typer.Typer(help="List, show and remove finished runs.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(runs, name="runs")


@runs.command("list", cls=Command)
def list_runs(
    folder: RunsFolder = Path("runs"),
    where: Where = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the newest N of them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List finished runs, the newest first, with their size on disk.

    Conditions are those of `backtest compare --where`.

    Example: backtest runs list --where 'strategy == "batched" and net_pnl > 0'
    """
    from backtest.cli.console import err, print_json
    from backtest.cli.tables import print_table
    from backtest.comparison.run_store import matching, stored_runs

    stored, unreadable = stored_runs(folder)
    found = matching(stored, where)
    if as_json:
        print_json([_row(s) for s in found[:limit]])
    elif found:
        headers = ("run", "created", "policy", "service", "earned", "MB")
        rows = [_cells(_row(s)) for s in found[:limit]]
        print_table(headers, rows, right=("earned", "MB"))
    for error in unreadable:
        remedy = f". {error.remedy}" if error.remedy else ""
        err.print(f"Not listed: {error.place}: {error.problem}{remedy}", soft_wrap=True)
    size = sum(s.bytes for s in found)
    hidden = len(found) - len(found[:limit])
    err.print(
        f"{_count(found)} in {folder}, {size / 1e6:,.1f} MB"
        + (f"; {hidden} older ones are not shown." if hidden else "."),
        soft_wrap=True,
    )


@runs.command("show", cls=Command)
def show(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run's id or how it begins.", autocompletion=completion.runs
        ),
    ],
    folder: RunsFolder = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show the settings and figures of one run.

    Example: backtest runs show batched-3f
    """
    from backtest.cli.console import out, print_json
    from backtest.cli.tables import print_table
    from backtest.comparison.comparison import compare
    from backtest.comparison.run_settings import settings
    from backtest.comparison.run_store import named, stored_runs

    stored = named(stored_runs(folder)[0], run)
    (figures,) = compare([stored.run]).rows
    details: dict[str, Any] = {
        "run": stored.id,
        "folder": str(stored.run.folder),
        "created": stored.created,
        "seconds": stored.run.manifest.get("seconds"),
        "bytes": stored.bytes,
        "digest": stored.run.digest,
        "settings": settings(stored.run),
        "figures": {k: v for k, v in figures.items() if k not in ("run", "strategy")},
    }
    if as_json:
        print_json(details)
        return
    out.print(f"{stored.run.folder}", soft_wrap=True)
    out.print(f"finished {stored.created}, {stored.bytes / 1e6:,.1f} MB", soft_wrap=True)
    for title in ("settings", "figures"):
        out.print()
        rows = [(k, _text(v)) for k, v in details[title].items() if v is not None]
        print_table((title, "value"), rows)


@runs.command("rm", cls=Command)
def rm(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...]",
            help="Ids, beginnings of ids, or patterns: 'eager-*'.",
            autocompletion=completion.runs,
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Remove only runs that match: 'strategy == \"eager\" and partial'.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    folder: RunsFolder = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Remove finished runs.

    Runs that are being written, and whatever is not a finished run, are never touched. The stored
    predictions that the runs used are kept; `backtest predictions prune` removes those, and
    `backtest runs prune` the weights that they were trained to.

    Example: backtest runs rm 'eager-*' --where 'partial'
    """
    from backtest.cli.console import err, print_json
    from backtest.comparison.run_store import chosen, matching, remove, stored_runs
    from backtest.errors import UsageError

    if not run and where is None:
        raise UsageError(
            "no run is named", remedy="Give ids, patterns or --where; '*' means all finished runs."
        )
    stored, _ = stored_runs(folder)
    found = matching(chosen(stored, run) if run else stored, where)
    if not yes:
        for s in found:
            err.print(f"{s.id}  {s.bytes / 1e6:,.1f} MB", soft_wrap=True)
        size = sum(s.bytes for s in found)
        typer.confirm(f"Remove {_count(found)}, {size / 1e6:,.1f} MB?", abort=True, err=True)
    removed = [s for s in found if remove(s)]
    size = sum(s.bytes for s in removed)
    left = [s.id for s in found if s not in removed]
    if as_json:
        print_json({"removed": [s.id for s in removed], "left": left, "bytes": size})
        return
    for name in left:
        err.print(f"Left: {name} is being written.", soft_wrap=True)
    err.print(
        f"Removed {_count(removed)}, {size / 1e6:,.1f} MB. Stored predictions are kept; "
        "`backtest predictions prune` removes them.",
        soft_wrap=True,
    )


@runs.command("prune", cls=Command)
def prune(folder: RunsFolder = Path("runs"), as_json: AsJson = False) -> None:
    """Remove trained weights that no finished run uses.

    They are kept in runs/weights, for runs with [training]; a new run with the same training trains
    again. Weights that a process is training are never touched.

    Example: backtest runs prune
    """
    from backtest.cli.console import err, print_json
    from backtest.comparison.run_store import remove_weights, stored_runs

    stored, unreadable = stored_runs(folder)
    removed, size = remove_weights(folder, stored)
    if as_json:
        print_json({"removed": removed, "bytes": size})
        return
    if unreadable:
        err.print(f"Runs that cannot be read count as none: {len(unreadable)} of them.")
    err.print(f"Removed the weights of {len(removed)} trainings, {size / 1e6:,.1f} MB.")


def _row(stored: StoredRun) -> dict[str, Any]:
    from backtest.comparison.profits import in_currency

    manifest, account = stored.run.manifest, stored.run.metrics["account"]
    labels = manifest["labels"]
    return {
        "run": stored.id,
        "created": stored.created,
        "dataset": manifest["dataset"],
        **{name: labels[name] for name in ("strategy", "policy", "service", "accountant")},
        "partial": manifest["partial"],
        "net": in_currency(stored.run, account.get("net")),
        "net_points": account.get("net_points"),
        "bytes": stored.bytes,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    earned = row["net_points"] if row["net"] is None else row["net"]
    return (
        row["run"],
        row["created"][:10],
        row["policy"],
        row["service"] + ("*" if row["partial"] else ""),
        "-" if earned is None else f"{earned:,.2f}",
        f"{row['bytes'] / 1e6:,.1f}",
    )


def _count(found: list[Any]) -> str:
    return f"{len(found)} finished run{'' if len(found) == 1 else 's'}"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
