"""``backtest compare``: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.choosing import Baseline, RunFolders, Sort, Sweep, Where, chosen
from backtest.cli.options import AsJson, DisabledPlugins, PluginPaths, RunsFolder

if TYPE_CHECKING:
    from backtest.comparison.comparison import Comparison


def compare(
    run: RunFolders = None,
    sweep: Sweep = None,
    runs: RunsFolder = Path("runs"),
    where: Where = None,
    sort: Sort = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="One row per value of a field, with means and standard deviations.",
        ),
    ] = None,
    baseline: Baseline = None,
    differences: Annotated[
        bool,
        typer.Option("--differences", help="Show only the settings that differ, a row per run."),
    ] = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Exit with code 5 if any run matches: 'net_pnl < 0.95 * baseline' (repeatable).",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a report as one HTML file.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV to stdout.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a Markdown table to stdout.")
    ] = False,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
) -> None:
    """Compare the speed, accuracy and profit of finished runs.

    Latencies are sojourn times, from the receipt of an event to its answer. Agreement is the
    correlation of the answers with those of a reference that answers every event: the strategy
    itself, or one that it stands in for. IC is their correlation with the dataset's targets, and
    R² the share of the targets' variance that they explain. Only answered events count, so the
    response rate is shown next to them. Differences are paired by time on the same ticks, with
    95% confidence intervals that allow for correlation in time and Holm's correction for multiple
    comparisons.

    Example: backtest compare runs --where 'scale == 1' --baseline eager --sort -net
    """
    from backtest.cli.comparison_tables import (
        difference_rows,
        print_comparison,
        print_contests,
        print_differences,
        print_groups,
    )
    from backtest.cli.console import print_json
    from backtest.comparison.gates import judge, measured, parse_gates

    _one_of(json=as_json, csv=as_csv, markdown=as_markdown)
    compared = chosen(run, sweep, runs, where, sort)
    champion = None if baseline is None else compared.index(baseline)
    gates = parse_gates(compared, fail_if or (), champion)
    rows: list[dict[str, Any]] = (
        compared.grouped_by(group) if group is not None else measured(compared, champion)
    )
    if differences:
        rows = [
            {"setting": name} | dict(zip(compared.labels, values, strict=True))
            for name, values in compared.differences()
        ]
    if as_json:
        print_json(rows)
    elif as_csv:
        _print_csv(rows)
    elif as_markdown:
        _print_markdown(difference_rows(compared) if differences else _cells(rows))
    elif differences:
        print_differences(compared)
    elif group is not None:
        print_groups(rows, compared.field(group, place="--group"))
    else:
        print_comparison(compared, ids=True)
        print_contests(compared, champion)
    _print_failed(compared)
    if html is not None:
        from backtest.cli.report import write

        write(compared, html, plugin, no_plugin, sections=())
    judge(compared, gates, champion)


def _print_csv(rows: list[dict[str, Any]]) -> None:
    from backtest.cli.console import write
    from backtest.cli.formats import to_csv

    if rows:
        write(to_csv(rows))


def _print_markdown(table: tuple[list[str], list[list[str]]]) -> None:
    from backtest.cli.console import write
    from backtest.cli.formats import to_markdown

    headers, rows = table
    if rows:
        write(to_markdown(headers, rows))


def _cells(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    from backtest.cli.comparison_tables import as_text

    return (list(rows[0]), [list(map(as_text, row.values())) for row in rows]) if rows else ([], [])


def _print_failed(compared: Comparison) -> None:
    from backtest.cli.console import err
    from backtest.core.text import by_cause, first_of, in_one_line

    causes = by_cause(
        (failed.id, f"({failed.state}): {failed.error}") for failed in compared.failed
    )
    for error, ids in causes.items():
        runs = ids[0] if len(ids) == 1 else f"{len(ids):,} runs, {first_of(ids)}"
        err.print(f"Not compared: {runs} {in_one_line(error)}", soft_wrap=True)


def _one_of(**formats: bool) -> None:
    from backtest.errors import UsageError

    given = [f"--{name}" for name, on in formats.items() if on]
    if len(given) > 1:
        raise UsageError(
            f"{' and '.join(given)} cannot be combined", remedy="Choose one form of output."
        )
