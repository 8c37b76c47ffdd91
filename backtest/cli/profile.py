"""``backtest profile``: how long a strategy takes to answer, on this device."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli import completion
from backtest.cli.options import (
    AsJson,
    DatasetForTrials,
    Device,
    DisabledPlugins,
    PluginPaths,
    StrategySettings,
    SymbolNames,
)

if TYPE_CHECKING:
    from backtest.conformance.profiling import BatchTiming, Measurement

_HEADERS = ["batch", "symbols", "median ms", "p90", "p99", "max", "samples", "floor ms", "of floor"]


def profile(
    strategy: Annotated[
        str,
        typer.Argument(
            metavar="STRATEGY",
            help="For example batched.",
            autocompletion=completion.parts("strategy"),
        ),
    ],
    device: Device = "cpu",
    sizes: Annotated[str, typer.Option(help="Batch sizes, in events.")] = "1,8,20,39,128",
    batches: Annotated[int, typer.Option(min=1, help="Number of samples per size.")] = 300,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Write the latency profile here.")
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Measure it without verifying it first.")
    ] = False,
    setting: StrategySettings = None,
    dataset: DatasetForTrials = "sample",
    symbols: SymbolNames = None,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
    as_json: AsJson = False,
) -> None:
    """Measure a strategy's service times for different batch sizes.

    A sample is a whole answer, from events in host memory to predictions in host memory. A strategy
    that fails `backtest verify --level quick` is not measured. The floor is the time to read the
    weights once and to read and write each symbol's state once, at the bandwidth of a device copy.
    With --output, the simulated server can use the result: --service profile:FILE.

    Example: backtest profile batched --device cuda --output batched.parquet
    """
    from backtest.cli.console import err, out, print_json
    from backtest.conformance.profiling import measure, write_profile
    from backtest.conformance.trials import fresh_seed, make_trials, named_symbols
    from backtest.core.grammar import format_spec, parse_spec
    from backtest.core.parameters import convert_list
    from backtest.core.settings import override_part
    from backtest.errors import RunError, UsageError
    from backtest.plugins.manager import load_plugins
    from backtest.strategies.base import Session

    def on_step(text: str) -> None:
        err.print(text, soft_wrap=True)

    remedy = "Write for example 1,8,20,39,128."
    wanted = convert_list(sizes, tuple[int, ...], place="--sizes", remedy=remedy)
    if min(wanted) < 1:
        raise UsageError(f"{min(wanted)} is not a batch size", place="--sizes", remedy=remedy)
    plugins = load_plugins(plugin or (), disabled=no_plugin or ())
    declared = partial(plugins.parameters, "strategy")
    spec = override_part(strategy, setting or (), declared, above=["strategy"])
    title = format_spec(parse_spec(spec, place="STRATEGY"))
    named = convert_list(symbols, tuple[str, ...], place="--symbols") or ()
    trials = make_trials("quick", device=device, dataset=dataset, seed=fresh_seed(), symbols=named)
    if not unverified:
        from backtest.cli.verify import print_verdict
        from backtest.conformance.verification import Verification

        verdict = Verification(plugins, trials, on_step=on_step).verify(spec)
        if not verdict.holds:
            print_verdict(verdict)
            raise RunError(
                f"{strategy!r} is not what it claims to be, so it is not measured",
                remedy="Fix it, or measure it anyway with --unverified.",
            )
    session = Session(named_symbols(max(wanted), named), trials.session.features, device)
    candidate = plugins.create("strategy", spec, place="STRATEGY")
    measured = measure(
        candidate, title, session, sizes=sorted(set(wanted)), batches=batches, on_step=on_step
    )
    measured.about["verified"] = "no" if unverified else "quick"
    if output is not None:
        # A profile is passed on to others, so it keeps the file's name but not its folder.
        words = [word.replace(str(output), output.name) for word in sys.argv[1:]]
        write_profile(output, measured, shlex.join(["backtest", *words]))
    if as_json:
        print_json(_as_data(measured))
        return
    _print(measured, title)
    out.print()
    if output is not None:
        err.print(f"Written to {output}", soft_wrap=True)


def _print(measured: Measurement, title: str) -> None:
    from backtest.cli.console import out
    from backtest.cli.tables import print_table

    about = measured.about
    rows = [_row(timing) for timing in measured.timings]
    if measured.duplicates is not None:
        rows.append(_row(measured.duplicates))
    print_table(
        _HEADERS, rows, title=f"{title} on {about['device']}, {about['precision']}", right=_HEADERS
    )
    warm = "" if about["verified"] == "no" else " (already loaded by the check before)"
    bound, first = measured.bind_ns / 1e9, measured.first_ns / 1e6
    lines = [f"Bound in {bound:.1f} s{warm}, first batch {first:.1f} ms."]
    if measured.memory is not None:
        lines.append(f"Peak device memory: {measured.memory / 2**30:.2f} GiB.")
    if measured.bandwidth is not None:
        lines.append(f"A copy moves {measured.bandwidth / 1e12:.2f} TB/s.")
    lines.append(", ".join(f"{k} {about[k]}" for k in ("torch", "triton", "python") if k in about))
    out.print()
    for line in lines:
        out.print(line, soft_wrap=True)


def _row(timing: BatchTiming) -> tuple[str, ...]:
    median = timing.quantile(0.5)
    floor = timing.floor_ns
    tails = (timing.quantile(0.9), timing.quantile(0.99), timing.quantile(1.0))
    return (
        str(timing.size),
        str(timing.symbols),
        *(f"{ns / 1e6:.3f}" for ns in (median, *tails)),
        str(len(timing.samples)),
        "-" if floor is None else f"{floor / 1e6:.3f}",
        "-" if floor is None else f"{floor / median:.0%}",
    )


def _as_data(measured: Measurement) -> dict[str, Any]:
    def plain(timing: BatchTiming) -> dict[str, Any]:
        return {
            "batch_size": timing.size,
            "symbols": timing.symbols,
            "samples": len(timing.samples),
            "median_ns": timing.quantile(0.5),
            "p90_ns": timing.quantile(0.9),
            "p99_ns": timing.quantile(0.99),
            "max_ns": timing.quantile(1.0),
            "floor_ns": timing.floor_ns,
        }

    return {
        **measured.about,
        "bind_s": measured.bind_ns / 1e9,
        "first_batch_ms": measured.first_ns / 1e6,
        "peak_memory_bytes": measured.memory,
        "copy_bytes_per_s": measured.bandwidth,
        "timings": [plain(timing) for timing in measured.timings],
        "duplicates": None if measured.duplicates is None else plain(measured.duplicates),
    }
