"""``backtest data export``: datasets in the formats of other engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtest.cli.command import Command
from backtest.cli.options import AsJson

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command(cls=Command)
def hftbacktest(
    dataset: Annotated[str, typer.Argument(help="The dataset: a folder, a URI or a name.")],
    output: Annotated[Path, typer.Argument(help="The folder to create.")],
    *,
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbol", metavar="SYMBOL", help="Export this symbol (repeatable)."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="The first instant, such as 2024-08-08.")
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="The instant before which it ends.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing export.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a dataset as hftbacktest's event files, one SYMBOL.npz for each symbol.

    Trades, touches and, where the dataset has it, depth: so both engines run on the same ticks.
    `export.json` beside the files states each symbol's tick_size and lot_size.

    Example: backtest data export hftbacktest data/crypto exported --symbol BTCUSDT
    """
    from dataclasses import asdict

    from backtest.cli.console import out, print_json
    from backtest.core.times import parse_utc
    from backtest.data.dataset import open_dataset
    from backtest.errors import UsageError
    from backtest.plugins.hft_export import export

    window = {}
    for name, text in (("start", start), ("end", end)):
        try:
            window[name] = None if text is None else parse_utc(text)
        except ValueError as error:
            raise UsageError(str(error), place=f"--{name}") from None
    found = export(
        open_dataset(dataset),
        output,
        symbols=tuple(symbols) if symbols else None,
        overwrite=overwrite,
        **window,
    )
    if as_json:
        print_json({symbol: asdict(what) for symbol, what in found.items()})
        return
    for symbol, what in found.items():
        raised = f", {what.raised} receipts raised to one before them" if what.raised else ""
        grid = f"tick_size {what.tick_size}, lot_size {what.lot_size}"
        out.print(
            f"{output / what.file}: {what.rows} rows of {symbol}, {grid}{raised}", soft_wrap=True
        )
