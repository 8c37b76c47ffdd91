"""``backtest data features``: features from quotes and trades, for models that need them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtest.cli import completion
from backtest.cli.options import AsJson, PluginPaths


def features(
    dataset: Annotated[
        str,
        typer.Argument(
            help="A dataset's folder, URI or packaged name.", autocompletion=completion.datasets
        ),
    ],
    output: Annotated[Path, typer.Argument(help="The dataset folder to create.")],
    *,
    builder: Annotated[
        list[str],
        typer.Option(
            "--builder",
            metavar="NAME:...",
            help="A feature builder and its parameters (repeatable).",
        ),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing dataset.")
    ] = False,
    plugin: PluginPaths = None,
    as_json: AsJson = False,
) -> None:
    """Write DATASET to OUTPUT with features added.

    The features are computed from its quotes and trades. `backtest plugins` lists the builders and
    their parameters. Each is first tested on a sample and rejected if it looks ahead. Values not
    known yet are written as 0 and counted.

    Example: backtest data features data/btc data/btc-features --builder returns:1+10 --builder
    imbalance --builder volatility:half_lives=100+1000
    """
    from backtest.cli.console import out, print_json
    from backtest.cli.tables import print_table
    from backtest.data.dataset import open_dataset
    from backtest.data.features.derive import add_features
    from backtest.errors import UsageError
    from backtest.plugins.manager import load_plugins

    plugins = load_plugins(plugin or ())
    builders = {
        text: plugins.create("feature builder", text, place="--builder") for text in builder
    }
    if len(builders) < len(builder):
        raise UsageError("a feature builder is given twice", place="--builder")
    report = add_features(open_dataset(dataset), output, builders, overwrite=overwrite)
    if as_json:
        print_json(report.as_dict())
        return
    out.print(f"{output}: {report.rows} events", soft_wrap=True)
    rows = [[name, report.unknown.get(name, 0)] for name in report.features]
    print_table(["feature", "unknown, set to 0"], rows, right=["unknown, set to 0"])
