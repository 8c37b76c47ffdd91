"""``backtest train``: an ensemble fitted to a dataset's targets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli import completion
from backtest.cli.project import yield_to_file

if TYPE_CHECKING:
    from backtest.training.fitting import Epoch


def train(
    dataset: Annotated[
        str,
        typer.Argument(
            help="The folder of a dataset with features and targets.",
            autocompletion=completion.datasets,
        ),
    ],
    output: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A TOML file of settings; flags override it.",
            is_eager=True,
            callback=yield_to_file,
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Start of the window: 2025-09-01T00:00:00Z, or ns.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="End of the window, exclusive.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Maximum number of passes over the window.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed for the initial weights and everything else random.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="The device to train on: cpu or cuda.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting: hidden=64, depth=2, validation=0.1, lanes=192, chunk=64, ...",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over, even if there is a checkpoint.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing weights.")
    ] = False,
) -> None:
    """Train the ensemble on a window of a dataset.

    Each tower learns its own target. Training stops when predictions of the last part of the window
    no longer improve. After Ctrl-C or a crash, the same command continues from its checkpoint. A
    manifest and a page with the losses are written next to the weights. `backtest docs training`
    lists the settings.

    Example: backtest train data/market weights.safetensors --end 2025-09-01T15:00:00Z --set depth=2
    """
    from backtest.cli.console import err, out
    from backtest.cli.progress import reporting
    from backtest.core.atomic import new_file
    from backtest.core.grammar import Spec
    from backtest.core.parameters import build
    from backtest.core.settings import override, read_table
    from backtest.data.dataset import open_dataset
    from backtest.errors import UsageError
    from backtest.report.loss_page import loss_page
    from backtest.runs.run_config import parse_instant
    from backtest.training.settings import FitSettings
    from backtest.training.train import train as train_ensemble

    table: dict[str, Any] = read_table(config) if config is not None else {}
    flags = {"start": start, "end": end, "epochs": epochs, "seed": seed, "device": device}
    table |= {name: value for name, value in flags.items() if value is not None}
    table = override(table, settings or ())
    try:
        table |= {k: parse_instant(table[k]) for k in ("start", "end") if k in table}
    except ValueError as error:
        raise UsageError(str(error), place="training window") from None
    checked: FitSettings = build(
        FitSettings, Spec("settings", (), table), place=str(config) if config else "training"
    )

    def epoch_done(number: int, epoch: Epoch) -> None:
        err.print(
            f"epoch {number}: loss {epoch.training:.4f}, validation loss {epoch.validation:.4f}",
            soft_wrap=True,
        )

    with reporting() as progress:
        made = train_ensemble(
            open_dataset(dataset),
            output,
            checked,
            restart=restart,
            overwrite=overwrite,
            on_progress=lambda done, total: progress("train", done, total),
            epoch_done=epoch_done,
        )
    losses = output.with_suffix(".loss.html")
    with new_file(losses) as path:
        training, validation = zip(*((e.training, e.validation) for e in made.epochs), strict=True)
        text = loss_page(output.stem, training, validation, made.best)
        path.write_text(text, encoding="utf-8")
    out.print(f"{made.weights} (see {made.manifest} and {losses})", soft_wrap=True)
