"""``backtest verify``: check that strategies are what they claim to be."""

from __future__ import annotations

import math
from dataclasses import asdict
from enum import StrEnum
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli import completion
from backtest.cli.options import (
    AsJson,
    DatasetForTrials,
    Device,
    DisabledPlugins,
    PluginPaths,
    Seed,
    StrategySettings,
    SymbolNames,
)

if TYPE_CHECKING:
    from backtest.conformance.comparison import Error
    from backtest.conformance.verification import Verdict


class Level(StrEnum):
    """How much is tested. typer before 0.17 knows enumerations, but not literals."""

    QUICK = "quick"
    FULL = "full"


def verify(
    strategy: Annotated[
        list[str],
        typer.Argument(
            metavar="STRATEGY...",
            help="For example batched, or a quoting rule such as leaning; see `backtest plugins`.",
            autocompletion=completion.parts("strategy"),
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            help="Compare all with this strategy instead of the reference each one names."
        ),
    ] = None,
    level: Annotated[
        Level,
        typer.Option(help="quick: 32 events per symbol; full: 2,000, to detect drift."),
    ] = Level.QUICK,
    device: Device = "cpu",
    setting: StrategySettings = None,
    dataset: DatasetForTrials = "sample",
    symbols: SymbolNames = None,
    seed: Seed = None,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
    as_json: AsJson = False,
) -> None:
    """Check that strategies answer correctly in batches of any kind.

    Answers and state are compared with plain steps in float64, and every strategy is tested for
    batching, duplicates, look-ahead, reset, eviction and more. The exit code is 0 if every strategy
    is what it claims to be, else 1. Strategies that cannot run here are reported at the end.
    Quoting rules are held to what a run relies on.

    Example: backtest verify batched stateless --level full
    """
    from backtest.cli.console import err, out, print_error, print_json
    from backtest.conformance.quoting import verify_quoting
    from backtest.conformance.trials import fresh_seed, make_trials
    from backtest.conformance.verification import Verification
    from backtest.core.grammar import parse_spec
    from backtest.core.parameters import convert_list
    from backtest.core.settings import override_part
    from backtest.errors import BacktestError
    from backtest.plugins.manager import load_plugins
    from backtest.trading.quoting import KEEP, wanted_quotes

    plugins = load_plugins(plugin or (), disabled=no_plugin or ())
    seed = fresh_seed() if seed is None else seed

    def on_step(text: str) -> None:
        err.print(text, soft_wrap=True)

    @cache
    def session() -> Verification:
        trials = make_trials(
            level,
            device=device,
            dataset=dataset,
            seed=seed,
            symbols=convert_list(symbols, tuple[str, ...], place="--symbols") or (),
        )
        return Verification(plugins, trials, reference=reference, on_step=on_step)

    quoting = {*plugins.names("quoting rule")} - {*plugins.names("strategy")}
    declared = partial(plugins.parameters, "strategy")
    verdicts, errors = [], []
    for name in strategy:
        try:
            if parse_spec(name, place="STRATEGY").name in quoting:
                verdicts.append(
                    verify_quoting(
                        plugins, name, asker=wanted_quotes, keep=KEEP, seed=seed, on_step=on_step
                    )
                )
            else:
                spec = override_part(name, setting or (), declared, above=["strategy"])
                verdicts.append(session().verify(spec))
        except BacktestError as error:  # it cannot be bound here; the others perhaps can
            errors.append(error)
            continue
        if not as_json:
            print_verdict(verdicts[-1])
            out.print()
    if as_json:
        print_json([as_data(verdict) for verdict in verdicts])
    for earlier in errors[:-1]:
        print_error(str(earlier))
    if errors:
        raise errors[-1]
    if not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)


def print_verdict(verdict: Verdict) -> None:
    """A verdict as tables on stdout."""
    from backtest.cli.console import out
    from backtest.cli.tables import print_table

    rows = [
        (check.name, check.result, f"{check.seconds:.1f}", check.detail) for check in verdict.checks
    ]
    title = f"{verdict.strategy} on {verdict.device}, level {verdict.level}, seed {verdict.seed}"
    print_table(
        ["check", "result", "seconds", "what was found"], rows, title=title, right=["seconds"]
    )
    shown = [
        (given, f"{error.kind} {error.name}", *_cells(error))
        for given, errors in verdict.errors.items()
        for error in _telling(errors)
    ]
    if shown:
        out.print()
        headers = ["events", "of", "RMS", "max", "plain RMS", "plain max", "class"]
        title = "Errors over the standard deviation (outputs) or the norm (state)"
        print_table(headers, shown, title=title, right=headers[2:6])
    out.print()
    for note in verdict.notes:
        out.print(f"Note: {note}.", soft_wrap=True)
    if verdict.source is not None:
        out.print(f"Compared with {verdict.source}.", soft_wrap=True)
    out.print(_sentence(verdict), soft_wrap=True)


def as_data(verdict: Verdict) -> dict[str, Any]:
    """A verdict for JSON; an infinite error is ``null``."""
    errors = {
        given: [
            {k: None if _infinite(v) else v for k, v in asdict(e).items()} | {"class": e.measured}
            for e in found
        ]
        for given, found in verdict.errors.items()
    }
    return asdict(verdict) | {"holds": verdict.holds, "errors": errors}


def _sentence(verdict: Verdict) -> str:
    if verdict.kind != "strategy":
        names = "; ".join(check.name for check in verdict.failures)
        kept = f"FAILS: {names}" if names else "is what a run relies on"
        return f"The {verdict.kind} {verdict.strategy} {kept}."
    claim = f"claims {verdict.claimed}" if verdict.claimed else "claims no class"
    unmeasured = "was not measured" if verdict.claimed else "has no reference"
    found = f"is {verdict.measured}" if verdict.measured else unmeasured
    failed = [check.name for check in verdict.failures]
    ending = f"FAILS: {'; '.join(failed)}" if failed else "holds what it claims"
    return f"{verdict.strategy} {claim}, {found}, and {ending}."


def _telling(errors: list[Error]) -> list[Error]:
    """All outputs, and the three worst leaves of the state."""
    states = sorted((e for e in errors if e.kind == "state"), key=lambda e: -e.rms)
    return [e for e in errors if e.kind == "output"] + states[:3]


def _cells(error: Error) -> tuple[str, ...]:
    numbers = (error.rms, error.max, error.plain_rms, error.plain_max)
    return (*("-" if n is None else f"{n:.1e}" for n in numbers), error.measured)


def _infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
