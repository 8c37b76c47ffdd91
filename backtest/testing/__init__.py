"""For the tests of plugins: verification as a function, events to try a part on, and fixtures.

The fixtures are in ``backtest.testing.fixtures``, which needs pytest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from backtest.conformance.inputs import random_events
from backtest.conformance.quoting import verify_quoting
from backtest.conformance.trials import fresh_seed, make_trials
from backtest.conformance.verification import Verdict, Verification
from backtest.core.grammar import parse_spec
from backtest.plugins.manager import Plugins, PluginSource, load_plugins
from backtest.trading.quoting import KEEP, wanted_quotes

__all__ = ["random_events", "verify"]


def verify(
    strategy: Any,
    *,
    plugins: Plugins | PluginSource | Sequence[PluginSource] = (),
    reference: str | None = None,
    level: Literal["quick", "full"] = "quick",
    device: str = "cpu",
    dataset: str = "sample",
    seed: int | None = None,
    symbols: Sequence[str] = (),
) -> Verdict:
    """Verify a strategy as ``backtest verify`` does; ``.raise_for_failures()`` fails a test.

    Args:
        strategy: ``NAME:VALUE,KEY=VALUE``, a class, or an instance of a dataclass: a strategy, or a
            quoting rule, to which ``plugins`` and ``seed`` alone matter.
        plugins: files and classes that provide parts besides the shipped and the installed
            plugins; or ``Plugins``, used alone.
        reference: the strategy to compare it with; by default the one that it names.
        level: ``quick`` (32 events per symbol) or ``full`` (2,000, to detect drift).
        device: a torch device, such as ``cpu`` or ``cuda``.
        dataset: whose features to use: a folder or a packaged name.
        seed: for the random events; by default a new one each time.
        symbols: names of the first symbols, for strategies that know some by name.

    Raises:
        BacktestError: the strategy cannot be made or bound, or the dataset cannot be read.
    """
    loaded = load_plugins(plugins)
    spec = strategy if isinstance(strategy, str | dict) else loaded.spec_of(strategy)
    seed = fresh_seed() if seed is None else seed
    name = parse_spec(spec, place="strategy").name
    if name in loaded.names("quoting rule") and name not in loaded.names("strategy"):
        return verify_quoting(
            loaded, spec, asker=wanted_quotes, keep=KEEP, seed=seed, on_step=_unheard
        )
    trials = make_trials(
        level,
        device=device,
        dataset=dataset,
        seed=seed,
        symbols=symbols,
    )
    verification = Verification(loaded, trials, reference=reference, on_step=_unheard)
    return verification.verify(spec)


def _unheard(step: str) -> None:
    """Steps are of interest to a person who waits, not to a test."""
