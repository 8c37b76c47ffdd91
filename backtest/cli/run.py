"""``backtest run``: one backtest, from flags, a TOML file, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli import completion
from backtest.cli.options import AsJson, DisabledPlugins, Limit, PluginPaths, RunsFolder, Settings
from backtest.cli.project import yield_to_file

if TYPE_CHECKING:
    from backtest.experiments.latency_studies import Carried
    from backtest.runs.folder import Run


def run(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.toml]",
            help="A file of settings; flags override it.",
            is_eager=True,
            callback=yield_to_file,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A dataset's folder, or the name of a packaged one: sample.",
            autocompletion=completion.datasets,
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="The strategy, such as batched; see `backtest plugins`.",
            autocompletion=completion.parts("strategy"),
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Batching policy: one, all, at-most:8, deadline:8,5ms, ... (repeatable).",
            autocompletion=completion.parts("batching policy"),
        ),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            help="Service time per batch: affine:35.8ms,0.5ms, profile:FILE, ... (repeatable).",
            autocompletion=completion.parts("latency model"),
        ),
    ] = None,
    feed: Annotated[
        str | None,
        typer.Option(
            help="Market data latency: recorded, constant:250us, exponential:1ms, ...",
            autocompletion=completion.parts("latency model"),
        ),
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option(
            help="Order entry latency: constant:250us, ...",
            autocompletion=completion.parts("latency model"),
        ),
    ] = None,
    cancel: Annotated[
        str | None,
        typer.Option(
            help="Latency of cancels, where orders rest (default: as --entry).",
            autocompletion=completion.parts("latency model"),
        ),
    ] = None,
    replace: Annotated[
        str | None,
        typer.Option(
            help="Latency of replacements, where orders rest (default: as --entry).",
            autocompletion=completion.parts("latency model"),
        ),
    ] = None,
    response: Annotated[
        str | None,
        typer.Option(
            help="Latency of reports, such as of fills: constant:250us, ...",
            autocompletion=completion.parts("latency model"),
        ),
    ] = None,
    latency_scale: Annotated[
        str | None,
        typer.Option(
            metavar="SCALE,...",
            help="Factor for every latency and deadline, or several: 0,0.5,1,2,5. 0 means none.",
        ),
    ] = None,
    carries_within: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            help="Also find how many symbols can be served with a p99 sojourn time within this.",
        ),
    ] = None,
    accountant: Annotated[
        str | None,
        typer.Option(
            help="The accountant: market, challenge, market:position_limit=10, ...",
            autocompletion=completion.parts("accountant"),
        ),
    ] = None,
    sizing: Annotated[
        str | None,
        typer.Option(
            help="How forecasts become positions: sign, sign:lots=2, ...",
            autocompletion=completion.parts("sizing rule"),
        ),
    ] = None,
    quoting: Annotated[
        str | None,
        typer.Option(
            help="Quote instead, with orders that rest: two-sided, leaning:gain=0.5, ...",
            autocompletion=completion.parts("quoting rule"),
        ),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(
            help="The queue ahead of resting orders: through, trades, power:2, optimistic.",
            autocompletion=completion.parts("queue model"),
        ),
    ] = None,
    position_limit: Annotated[
        int | None,
        typer.Option(metavar="LOTS", help="Most lots of each symbol, long or short."),
    ] = None,
    gross_limit: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="Most money at stake, longs and shorts added."),
    ] = None,
    net_limit: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="The same with longs and shorts set off."),
    ] = None,
    orders_per_second: Annotated[
        int | None, typer.Option(metavar="N", help="Most messages within a second.")
    ] = None,
    daily_loss: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="A day's loss that ends trading until the next."),
    ] = None,
    drawdown_limit: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="A fall from the highest equity that ends trading."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Start of the window: 2024-08-09T00:00:00Z, or ns.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="End of the window, exclusive.")] = None,
    symbols: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Use only these symbols.")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Number of leading events that update state but never trade.")
    ] = None,
    limit: Limit = None,
    seed: Annotated[int | None, typer.Option(help="Seed for everything random.")] = None,
    device: Annotated[
        str | None, typer.Option(help="The device to run the model on: cpu or cuda.")
    ] = None,
    setting: Settings = None,
    undropped: Annotated[
        bool | None,
        typer.Option(
            "--undropped/--no-undropped",
            help="Also answer every event, for agreement and the ideal PnL (default: yes).",
        ),
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option("--reuse/--no-reuse", help="Reuse finished runs and stored predictions."),
    ] = True,
    runs: RunsFolder = Path("runs"),
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
    as_json: AsJson = False,
) -> None:
    """Replay a dataset through a strategy, charging for its latency.

    The result is a folder under runs/ with manifest.json (what was run), metrics.json, and the
    tables timing, predictions, fills and equity as Parquet; orders, too, where orders rest.

    With several --policy, --service or scales in --latency-scale, every combination runs on shared
    predictions, and the latency scale at which the profit vanishes is reported.

    Example: backtest run --dataset sample --strategy batched --service affine:35.8ms,0.5ms
    """
    from backtest.cli.progress import reporting
    from backtest.core.parameters import Nanoseconds, convert_at, convert_list
    from backtest.core.settings import override, read_table
    from backtest.experiments.latency_studies import carried, check, unscaled, variants
    from backtest.plugins.manager import load_plugins
    from backtest.runs.engine import Engine
    from backtest.runs.run_config import PARTS, parse_config

    scales = convert_list(
        latency_scale,
        tuple[float, ...],
        place="--latency-scale",
        remedy="Write for example 0,0.5,1,2,5.",
    )
    bound = convert_at(carries_within, Nanoseconds | None, place="--carries-within")
    table: dict[str, Any] = read_table(config) if config is not None else {}
    flags = {
        ("dataset",): dataset,
        ("strategy",): strategy,
        ("accountant",): accountant,
        ("sizing",): sizing,
        ("quoting",): quoting,
        ("fills", "queue"): queue,
        ("limits", "position"): position_limit,
        ("limits", "gross"): gross_limit,
        ("limits", "net"): net_limit,
        ("limits", "orders_per_second"): orders_per_second,
        ("limits", "daily_loss"): daily_loss,
        ("limits", "drawdown"): drawdown_limit,
        ("symbols",): convert_list(symbols, tuple[str, ...], place="--symbols"),
        ("warmup",): warmup,
        ("limit",): limit,
        ("seed",): seed,
        ("device",): device,
        ("undropped",): undropped,
        ("policy",): policy[0] if policy else None,
        ("latency", "service"): service[0] if service else None,
        ("latency", "feed"): feed,
        ("latency", "entry"): entry,
        ("latency", "cancel"): cancel,
        ("latency", "replace"): replace,
        ("latency", "response"): response,
        ("latency", "scale"): scales[0] if scales else None,
        ("window", "start"): start,
        ("window", "end"): end,
    }
    for path, value in flags.items():
        if value is not None:
            at = table
            for key in path[:-1]:
                at = at.setdefault(key, {})
            at[path[-1]] = value
    plugins = load_plugins(plugin or (), disabled=no_plugin or ())
    checked = parse_config(
        override(table, setting or (), plugins.declared(PARTS)),
        place=str(config) if config else "command line",
    )
    configs = variants(checked, scales=scales or (), policies=policy or (), services=service or ())
    if len(configs) == 1 and bound is None:
        with reporting() as progress:
            done = Engine(plugins, runs, reuse, progress).run(configs[0])
        _print(done, as_json)
        return
    check(Engine(plugins, runs), configs)
    finished = []
    for number, one in enumerate(configs, 1):
        with reporting(prefix=f"[{number}/{len(configs)}] ") as progress:
            finished.append(Engine(plugins, runs, reuse, progress).run(one))
    found: list[Carried] = []
    if bound is not None:
        found = carried(Engine(plugins, runs, reuse), unscaled(configs), bound)
    _print_scenarios(finished, found, as_json)


def _print_scenarios(runs: Sequence[Run], symbols: Sequence[Carried], as_json: bool) -> None:
    from dataclasses import asdict

    from backtest.cli.comparison_tables import print_comparison
    from backtest.cli.console import err, out, print_json
    from backtest.comparison.comparison import compare
    from backtest.experiments.latency_studies import break_even

    for run in runs:
        _print_resumed(run)
    compared, turns = compare(runs), break_even(runs)
    if as_json:
        print_json(
            {
                "runs": list(compared.rows),
                "break_even": [
                    {
                        "policy": turn.policy,
                        "service": turn.service,
                        "scale": turn.crossing.at,
                        "low": turn.crossing.low,
                        "high": turn.crossing.high,
                    }
                    for turn in turns
                ],
                "carried": [asdict(found) for found in symbols],
            }
        )
        return
    print_comparison(compared)
    out.print()
    for turn in turns:
        where = turn.crossing.text()
        out.print(f"Break-even, {turn.policy}, {turn.service}: {where}.", soft_wrap=True)
    for found in symbols:
        least = "at least " if found.bounded else ""
        out.print(
            f"Carried, {found.policy}, {found.service}: {least}{found.symbols} symbols "
            f"({found.clones} clones of the stream).",
            soft_wrap=True,
        )
    err.print(f"The runs are in {runs[0].folder.parent}", soft_wrap=True)


def _print(run: Run, as_json: bool) -> None:
    from backtest.cli.comparison_tables import print_comparison
    from backtest.cli.console import err, print_json
    from backtest.comparison.comparison import compare

    if as_json:
        print_json({"folder": str(run.folder), "manifest": run.manifest, "metrics": run.metrics})
        return
    if run.reused:
        err.print("This run already existed and was reused (--no-reuse runs it again).")
    else:
        reused = [role for role, note in run.manifest["predictions"].items() if note["reused"]]
        if reused:
            err.print(f"Used stored predictions for: {', '.join(reused)}.")
    _print_resumed(run)
    if run.manifest["loop"]["kind"] == "closed":
        err.print(f"Run as a closed loop: {run.manifest['loop']['why']}.")
    print_comparison(compare([run]))
    err.print(f"Written to {run.folder}", soft_wrap=True)


def _print_resumed(run: Run) -> None:
    """Print where a run resumed the work of an interrupted one."""
    from backtest.cli.console import err

    notes = {} if run.reused else run.manifest["predictions"]
    for role, note in notes.items():
        if "resumed" in note:
            event = note["resumed"]["event"]
            err.print(
                f"Resumed from an interrupted run's checkpoint: {role}, from event {event:,}."
            )
