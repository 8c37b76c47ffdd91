"""``backtest predictions``: the stored predictions, and removing those no longer needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtest.cli.command import Command
from backtest.cli.options import AsJson, RunsFolder

predictions = typer.Typer(
    help="Manage the predictions that runs have stored for reuse.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(predictions, name="predictions")


@predictions.command("prune", cls=Command)
def prune(
    runs: RunsFolder = Path("runs"),
    unused_for: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Only remove those unused for this long: 720h."),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            min=0,
            help="Only remove as many as needed to keep at most this many gigabytes.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove stored predictions and checkpoints.

    The least recently used go first; without options, all are removed. Finished runs keep their own
    predictions.parquet, but new runs have to compute predictions again. Checkpoints of interrupted
    runs are removed like predictions; whatever a running process uses is kept.

    Example: backtest predictions prune --unused-for 720h
    """
    import time

    from backtest.cli.console import err, print_json
    from backtest.core.parameters import Nanoseconds, convert_at
    from backtest.inference.prediction_store import PredictionStore

    span = convert_at(unused_for, Nanoseconds | None, place="--unused-for")
    removed = PredictionStore(runs / "predictions").prune(
        used_before=None if span is None else time.time() - span / 1e9,
        most=None if keep is None else round(keep * 1e9),
    )
    size = sum(stored.bytes for stored in removed)
    kept = [stored.key for stored in removed if not stored.checkpoint]
    checkpoints = [stored.key for stored in removed if stored.checkpoint]
    if as_json:
        print_json({"removed": kept, "checkpoints": checkpoints, "bytes": size})
        return
    also = f" and {len(checkpoints)} checkpoints" if checkpoints else ""
    err.print(f"Removed {len(kept)} stored predictions{also}, {size / 1e6:,.1f} MB.")
