"""Every hook that a plugin may implement.

Hooks run once, when plugins are loaded or a run starts or ends; the engine calls plain objects for
every event. ``register(name, part)`` takes a short name and a dataclass whose fields are the part's
parameters (see ``backtest.components``), or for lifecycle hooks there is nothing to register.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from backtest.accounting import Accountant, SizingRule
    from backtest.data.sources import Source
    from backtest.latency import LatencyModel
    from backtest.server import BatchingPolicy
    from backtest.strategies.base import Strategy

hookspec = pluggy.HookspecMarker("backtest")
hookimpl = pluggy.HookimplMarker("backtest")


@hookspec
def backtest_register_strategies(register: Callable[[str, type[Strategy]], None]) -> None:
    """Add strategies: models or rules that answer events."""


@hookspec
def backtest_register_latency_models(register: Callable[[str, type[LatencyModel]], None]) -> None:
    """Add latency models: how long a batch is served, or a message travels."""


@hookspec
def backtest_register_batching_policies(
    register: Callable[[str, type[BatchingPolicy]], None],
) -> None:
    """Add batching policies: which waiting events ride together."""


@hookspec
def backtest_register_sizing_rules(register: Callable[[str, type[SizingRule]], None]) -> None:
    """Add sizing rules: from forecasts to target positions."""


@hookspec
def backtest_register_accountants(register: Callable[[str, type[Accountant]], None]) -> None:
    """Add accountants: what a run's answers earned."""


@hookspec
def backtest_register_sources(register: Callable[[str, type[Source]], None]) -> None:
    """Add dataset sources: other people's formats, written out as canonical Parquet."""


@hookspec
def backtest_run_started(run_id: str, config: dict[str, Any]) -> None:
    """A run starts; ``config`` is its resolved configuration."""


@hookspec
def backtest_batch_done(run_id: str, answered: int, total: int) -> None:
    """A batch of pass 2 came back: ``answered`` of ``total`` events have predictions."""


@hookspec
def backtest_run_finished(run_id: str, folder: Path, metrics: dict[str, Any]) -> None:
    """A run's folder stands complete; ``metrics`` is its ``metrics.json``."""
