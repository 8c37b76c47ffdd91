"""``backtest data``: import other formats; the group's other commands have their own modules."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli import export, features, generate, quality
from backtest.cli.command import Command
from backtest.cli.options import AsJson, PluginPaths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backtest.data.sources import IngestReport

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def register(parent: typer.Typer) -> None:
    """Add the group ``data`` to a command line."""
    parent.add_typer(app, name="data", help="Import, generate, check and extend datasets.")


@app.command(cls=Command)
def ingest(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="The input format: NAME or NAME:KEY=VALUE,..."),
    ] = None,
    input: Annotated[
        Path | None, typer.Argument(metavar="INPUT", help="A file or folder in that format.")
    ] = None,
    output: Annotated[
        Path | None, typer.Argument(metavar="OUTPUT", help="The dataset folder to create.")
    ] = None,
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set a parameter of the source (repeatable)."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Files of the input to leave out (repeatable)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing dataset.")
    ] = False,
    guess: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Only print a first mapping for a CSV or Parquet file, to be corrected.",
        ),
    ] = None,
    plugin: PluginPaths = None,
    as_json: AsJson = False,
) -> None:
    """Import INPUT as canonical Parquet with a dataset card.

    Every file of a folder is read, or counted as ignored with the reason: files that the source
    does not know are an error unless --ignore names them. PATTERN is that of a file's name, or of
    its path in INPUT.

    `backtest plugins` lists the sources and their parameters. For example: backtest data ingest
    challenge small.parquet data/challenge
    """
    from backtest.cli.console import out, print_json, write
    from backtest.core.grammar import parse_spec
    from backtest.core.settings import override_part
    from backtest.data.sources import ingest as ingest_dataset
    from backtest.errors import UsageError
    from backtest.plugins.manager import load_plugins

    if guess is not None:
        from backtest.plugins.sources.mapped.guess import guessed_mapping

        write(guessed_mapping(guess))
        return
    if source is None or input is None or output is None:
        missing = "SOURCE" if source is None else "INPUT" if input is None else "OUTPUT"
        raise UsageError(
            f"the argument {missing} is missing",
            remedy="It is `backtest data ingest SOURCE INPUT OUTPUT`, or --guess FILE alone.",
        )
    plugins = load_plugins(plugin or ())
    part = override_part(source, settings or (), partial(plugins.parameters, "source"))
    if ignore:
        part = with_ignored(part, ignore)
    made = plugins.create("source", part, place="SOURCE")
    name = parse_spec(part, place="SOURCE").name
    report = ingest_dataset(name, made, input, output, overwrite=overwrite)
    if as_json:
        print_json(report.as_dict())
    else:
        out.print(f"{output}: {summary(report)}", soft_wrap=True)


def with_ignored(part: str | Mapping[str, Any], ignore: list[str]) -> str:
    """The source asked for, with the patterns of ``--ignore``.

    Raises:
        UsageError: the source has patterns of its own already.
    """
    from dataclasses import replace

    from backtest.core.grammar import format_spec, parse_spec
    from backtest.errors import UsageError

    spec = parse_spec(part, place="SOURCE")
    if "ignore" in spec.named:
        raise UsageError(
            "a pattern is given twice: here and as a parameter of the source",
            place="--ignore",
            remedy="Give all of them in one place.",
        )
    return format_spec(replace(spec, named={**spec.named, "ignore": ignore}))


def summary(report: IngestReport) -> str:
    """The report in one line."""
    parts = [f"{report.read} rows read", f"{report.written} events written"]
    if report.depth:
        parts.append(f"{report.depth['written']} rows of depth from {report.depth['read']}")
    parts += [f"{count} refused ({reason})" for reason, count in report.refused.items()]
    parts += [f"{count} repaired ({what})" for what, count in report.repaired.items()]
    parts += [f"{count} ignored ({why})" for why, count in report.ignored.items()]
    return ", ".join(parts)


app.add_typer(export.app, name="export", help="Write datasets for other engines.")
app.command("features", cls=Command)(features.features)
app.command("describe", cls=Command)(quality.describe)
app.command("validate", cls=Command)(quality.validate)
app.command("digest", cls=Command)(quality.digest)
app.command("generate", cls=Command)(generate.generate)
