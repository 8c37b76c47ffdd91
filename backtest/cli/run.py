"""``backtest run``: one backtest, from flags, a TOML file, or both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.options import AsJson, DisabledPlugins, PluginPaths, RunsFolder

if TYPE_CHECKING:
    from backtest.runs import Run


def run(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Settings; flags override them.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Folder of a dataset, or the name of a packaged one: sample.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Who answers, such as batched; see `backtest plugins`.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="What rides together: one, all, at-most:8, deadline:8,5ms, ..."),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(help="Service time of a batch: affine:35.8ms,0.5ms, profile:FILE, ..."),
    ] = None,
    feed: Annotated[
        str | None, typer.Option(help="Venue to us: recorded, constant:250us, exponential:1ms, ...")
    ] = None,
    entry: Annotated[
        str | None, typer.Option(help="Order sent to order at the venue: constant:250us, ...")
    ] = None,
    response: Annotated[
        str | None, typer.Option(help="Venue to us knowing of the fill: constant:250us, ...")
    ] = None,
    latency_scale: Annotated[
        float | None,
        typer.Option(help="Multiplies every latency and deadline; 0 answers at once."),
    ] = None,
    accountant: Annotated[
        str | None, typer.Option(help="Who settles: market, challenge, market:position_limit=10")
    ] = None,
    sizing: Annotated[
        str | None, typer.Option(help="Forecast to target position: sign, sign:lots=2, ...")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First instant of the window: 2024-08-09T00:00:00Z, or ns.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Where the window ends, exclusive.")] = None,
    symbols: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Only these symbols' events.")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Events at the beginning that advance state but never trade.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many events; the run is marked partial.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn.")] = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs: cpu, cuda.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting: strategy.weights=FILE, server.max_age=1s",
        ),
    ] = None,
    undropped: Annotated[
        bool | None,
        typer.Option(
            "--undropped/--no-undropped",
            help="Also answer every event, for accuracy and the ideal PnL (default: yes).",
        ),
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option("--reuse/--no-reuse", help="Take finished runs and stored predictions."),
    ] = True,
    runs: RunsFolder = Path("runs"),
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
    as_json: AsJson = False,
) -> None:
    """Replay a dataset through a strategy and charge every answer for its latency.

    The result is a folder under runs/: manifest.json (what was run), metrics.json, and the tables
    timing, predictions, fills and equity as Parquet.

    Example: backtest run --dataset sample --strategy batched --service affine:35.8ms,0.5ms
    """
    from backtest.cli.progress import reporting
    from backtest.config import override, parse_config, read_table
    from backtest.engine import Engine
    from backtest.plugins.manager import load_plugins

    table: dict[str, Any] = read_table(config) if config is not None else {}
    flags = {
        ("dataset",): dataset,
        ("strategy",): strategy,
        ("policy",): policy,
        ("accountant",): accountant,
        ("sizing",): sizing,
        ("symbols",): symbols.split(",") if symbols is not None else None,
        ("warmup",): warmup,
        ("limit",): limit,
        ("seed",): seed,
        ("device",): device,
        ("undropped",): undropped,
        ("latency", "service"): service,
        ("latency", "feed"): feed,
        ("latency", "entry"): entry,
        ("latency", "response"): response,
        ("latency", "scale"): latency_scale,
        ("window", "start"): start,
        ("window", "end"): end,
    }
    for path, value in flags.items():
        if value is not None:
            at = table
            for key in path[:-1]:
                at = at.setdefault(key, {})
            at[path[-1]] = value
    checked = parse_config(
        override(table, setting or ()), place=str(config) if config else "command line"
    )
    plugins = load_plugins(plugin or (), disabled=no_plugin or ())
    with reporting() as progress:
        done = Engine(plugins, runs, reuse, progress).run(checked)
    _print(done, as_json)


def _print(run: Run, as_json: bool) -> None:
    from backtest.cli.compare import print_comparison
    from backtest.cli.console import err, print_json
    from backtest.comparison import compare

    if as_json:
        print_json({"folder": str(run.folder), "manifest": run.manifest, "metrics": run.metrics})
        return
    if run.reused:
        err.print("This run was finished before and is shown again (--no-reuse runs it anew).")
    else:
        reused = [role for role, note in run.manifest["predictions"].items() if note["reused"]]
        if reused:
            err.print(f"Stored predictions were used for: {', '.join(reused)}.")
    if run.manifest["loop"]["kind"] == "closed":
        err.print(f"Run as a closed loop: {run.manifest['loop']['why']}.")
    print_comparison(compare([run]))
    err.print(f"Written to {run.folder}", soft_wrap=True)
