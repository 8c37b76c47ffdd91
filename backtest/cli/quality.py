"""``backtest data describe``, ``validate`` and ``digest``: what a dataset holds, and how sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from backtest.cli import completion
from backtest.cli.options import AsJson

if TYPE_CHECKING:
    from backtest.data.quality.quarantine import Quarantine
    from backtest.data.quality.validate import Validation

_DatasetName: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A dataset's folder, URI or packaged name.", autocompletion=completion.datasets
    ),
]


def describe(
    dataset: _DatasetName,
    *,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with charts.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe DATASET: span, rates, gaps, quotes, latencies, features.

    Every event is read once, in bounded memory. The HTML page is one file without scripts.
    """
    from backtest.cli.console import print_json
    from backtest.data.dataset import open_dataset
    from backtest.data.quality.describe import describe as figures_of

    figures = figures_of(open_dataset(dataset))
    if html is not None:
        from backtest.core.atomic import new_file
        from backtest.report.dataset_page import render

        with new_file(html) as path:
            path.write_text(render(figures), encoding="utf-8")
    if as_json:
        print_json(figures)
    else:
        _print_figures(figures)


def validate(
    dataset: _DatasetName,
    *,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write a dataset without the bad rows, and the bad rows separately."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing dataset at DIR.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every file and row of DATASET.

    Errors make a dataset unusable, and the exit code is then 3; warnings do not. With --quarantine,
    the exit code is about the dataset that was read, not the one that was written.
    """
    from backtest.cli.console import print_json
    from backtest.data.dataset import open_dataset
    from backtest.data.quality.quarantine import quarantine as set_apart
    from backtest.data.quality.validate import validate as check
    from backtest.errors import DataError

    opened = open_dataset(dataset)
    apart: Quarantine | None = None
    if quarantine is None:
        validation = check(opened)
    else:
        validation, apart = set_apart(opened, quarantine, overwrite=overwrite)
    if as_json:
        print_json(validation.as_dict() | ({"quarantine": apart.as_dict()} if apart else {}))
    else:
        _print_validation(validation, apart, quarantine)
    if not validation.usable:
        raise typer.Exit(DataError.exit_code)


def digest(
    dataset: _DatasetName,
    *,
    as_json: AsJson = False,
) -> None:
    """Add the SHA-256 of every file of DATASET to its card, so that damage is noticed from then on.

    Files are read whole before. A file that is not the one whose digest the card states is an
    error.
    """
    from dataclasses import asdict

    from backtest.cli.console import out, print_json
    from backtest.data.dataset import open_dataset
    from backtest.data.digests import add_digests

    digested = add_digests(open_dataset(dataset))
    if as_json:
        print_json(asdict(digested))
        return
    added, known = (_files(len(files)) for files in (digested.added, digested.known))
    out.print(
        f"{dataset}: digests of {added} added, of {known} there already",
        soft_wrap=True,
    )


def _print_validation(
    validation: Validation, apart: Quarantine | None, folder: Path | None
) -> None:
    from backtest.cli.console import out

    verdict = "usable" if validation.usable else "not usable as it is"
    unread = f", {validation.unread} more could not be read" if validation.unread else ""
    text = f"{validation.dataset}: {verdict}, {validation.rows} rows in {_files(validation.files)}"
    out.print(text + unread, soft_wrap=True)
    for found in validation.findings:
        row = "" if found.row is None else f", row {found.row}"
        lines = [
            f"{found.severity}: {found.rule}: {found.count} × {found.meaning}",
            f"  first: {found.file}{row}: {found.detail}",
            f"  {found.remedy}",
        ]
        for line in lines:
            out.print(line, soft_wrap=True)
    if apart is not None:
        refused = ", ".join(f"{count} for {rule!r}" for rule, count in apart.refused.items())
        text = f"{folder}: {apart.kept} rows kept, quarantined: {refused or 'none'}"
        out.print(text, soft_wrap=True)


def _print_figures(figures: dict[str, Any]) -> None:
    from backtest.cli.console import out
    from backtest.cli.tables import print_table
    from backtest.core.times import format_span

    rate = figures["events_per_s"]
    facts = [
        ("events", f"{figures['rows']:,} in {_files(figures['files'])}"),
        ("span", f"{figures['first']} to {figures['last']}, {format_span(figures['span_ns'])}"),
        ("events a second", "–" if rate is None else f"{rate:.4g}"),
        *(
            (f"most in {format_span(b['window_ns'])}", f"{b['events']:,} at {b['at']}")
            for b in figures["busiest"]
        ),
        ("between events", _spans(figures["gaps_ns"])),
        *(
            (f"gap {i}", f"{format_span(gap['gap_ns'])} after {gap['after']}")
            for i, gap in enumerate(figures["largest_gaps"], 1)
        ),
        ("same symbol and instant", f"{figures['same_instant_and_symbol']:,}"),
        ("identical events", f"{figures['identical']:,}"),
    ]
    if figures["quotes"]:
        quotes = figures["quotes"]
        names = ("valid", "crossed", "locked", "one_sided")
        counts = ", ".join(f"{quotes[name]:,} {name.replace('_', '-')}" for name in names)
        facts.append(("quotes", counts))
        if quotes["no_prices"]:
            text = ", ".join(f"{count:,} in {name}" for name, count in quotes["no_prices"].items())
            facts.append(("numbers that are no prices", text))
    if figures["trades"]:
        trades = figures["trades"]
        sides = ", ".join(f"{trades[side]:,} {side}" for side in ("buyer", "seller", "unknown"))
        facts.append(("trades by aggressor", sides))
    if figures["depth"]:
        depth = figures["depth"]
        text = f"{depth['rows']:,} rows of {depth['of']}, {depth['snapshots']:,} snapshots"
        facts.append(("depth", f"{text}, {depth['clears']:,} clears"))
    if figures["feed_latency_ns"]:
        feed = figures["feed_latency_ns"]
        text = f"{_spans(feed['not_negative'])}; {feed['negative']:,} negative"
        facts.append(("feed latency", text))
    if figures["sessions"]:
        found = figures["sessions"]
        text = f"{found['sessions']}, {found['empty']} empty; {found['events_outside']:,} outside"
        facts.append(("sessions", text))
    print_table(["figure", "value"], facts, title=figures["name"])
    out.print()
    keys = ("symbol", "rows", "valid_quotes", "trades", "spread_ticks_p50", "spread_ticks_p99")
    symbols = [
        [*(_shown(row[key]) for key in keys), format_span(row["longest_gap_ns"])]
        for row in figures["symbols"]
    ]
    headers = ["symbol", "events", "quotes", "trades", "spread 50 %", "99 %", "longest gap"]
    print_table(headers, symbols, right=headers[1:])
    moments = ("name", "mean", "sd", "min", "max", "zero", "nan", "inf")
    for noun in ("features", "targets"):
        if figures[noun]:
            out.print()
            rows = [[_shown(row[key]) for key in moments] for row in figures[noun]]
            print_table(moments, rows, title=noun.capitalize(), right=moments[1:])


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


def _spans(quantiles: dict[str, int] | None) -> str:
    from backtest.core.times import format_span

    if quantiles is None:
        return "–"
    return ", ".join(f"{key} {format_span(value)}" for key, value in quantiles.items())


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
