"""``backtest data``: bring in other people's data; the group's other commands are beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli import features, generate, quality
from backtest.cli.options import AsJson, PluginPaths

if TYPE_CHECKING:
    from backtest.core.parameters import Spec
    from backtest.data.sources import IngestReport

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def register(parent: typer.Typer) -> None:
    """Add the group ``data`` to a command line."""
    parent.add_typer(app, name="data", help="Bring in, generate, check and widen datasets.")


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="The format: NAME or NAME:KEY=VALUE,...")],
    input: Annotated[Path, typer.Argument(help="A file or folder in that format.")],
    output: Annotated[Path, typer.Argument(help="The dataset folder to make.")],
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the source (repeatable)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a dataset that is already there.")
    ] = False,
    plugin: PluginPaths = None,
    as_json: AsJson = False,
) -> None:
    """Write INPUT as canonical Parquet with a dataset card, whole or not at all.

    `backtest plugins` lists the sources and their parameters. For example: backtest data ingest
    challenge small.parquet data/challenge
    """
    from backtest.cli.console import escape_text, out, print_json
    from backtest.core.parameters import build
    from backtest.data.sources import ingest as ingest_dataset
    from backtest.plugins.manager import load_plugins

    spec = source_spec(source, settings or [])
    component = load_plugins(plugin or ()).get("source", spec.name, place="SOURCE")
    made = build(component, spec, place="SOURCE")
    report = ingest_dataset(spec.name, made, input, output, overwrite=overwrite)
    if as_json:
        print_json(report.as_dict())
    else:
        out.print(escape_text(f"{output}: {summary(report)}"), soft_wrap=True)


def source_spec(source: str, settings: list[str]) -> Spec:
    """The source asked for, with what ``--set`` adds.

    Raises:
        UsageError: malformed text, or a parameter given twice.
    """
    from dataclasses import replace

    from backtest.core.parameters import parse_spec
    from backtest.errors import UsageError

    spec = parse_spec(source, place="SOURCE")
    named = dict(spec.named)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key in named:
            problem = "is given twice" if equals else "is not KEY=VALUE"
            raise UsageError(f"{setting!r} {problem}", place="--set")
        named[key] = value
    return replace(spec, named=named)


def summary(report: IngestReport) -> str:
    """The report in one line."""
    parts = [f"{report.read} rows read", f"{report.written} events written"]
    parts += [f"{count} refused ({reason})" for reason, count in report.refused.items()]
    parts += [f"{count} repaired ({what})" for what, count in report.repaired.items()]
    return ", ".join(parts)


app.command("features")(features.features)
app.command("describe")(quality.describe)
app.command("validate")(quality.validate)
app.command("generate")(generate.generate)
