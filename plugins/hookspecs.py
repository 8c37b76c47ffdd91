"""Every hook that a plugin may implement.

Hooks run once, when plugins are loaded or a run starts or ends; the engine calls plain objects for
every event. ``register(name, part)`` takes a short name and a dataclass whose fields are the part's
parameters (see ``backtest.core.parameters``); lifecycle hooks register nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pluggy

if TYPE_CHECKING:
    from backtest.data.features.builders import FeatureBuilder
    from backtest.data.sources import Source
    from backtest.experiments.executors import Executor
    from backtest.report.sections import ReportSection
    from backtest.strategies.base import Strategy
    from backtest.timing.latency import LatencyModel
    from backtest.timing.policies import BatchingPolicy
    from backtest.trading.accountant import Accountant
    from backtest.trading.queue_models import QueueModel
    from backtest.trading.quoting import QuotingRule
    from backtest.trading.sizing import SizingRule

hookspec = pluggy.HookspecMarker("backtest")
hookimpl = pluggy.HookimplMarker("backtest")

PartT_contra = TypeVar("PartT_contra", contravariant=True)


class Register(Protocol[PartT_contra]):
    """The callback with which a plugin registers its parts."""

    def __call__(
        self, name: str, part: type[PartT_contra], *, unavailable: str | None = None
    ) -> None:
        """Add a part.

        Args:
            name: what people call it by: letters, digits, ``.``, ``_`` and ``-``.
            part: a class; the fields of a dataclass are its parameters.
            unavailable: why it cannot be used here (a missing package, say) and what to do about
                it; it is then listed with this reason, shown to those who ask for it.

        Raises:
            PluginError: the name is malformed or taken, or the part is not a concrete class.
        """


@hookspec
def backtest_register_strategies(register: Register[Strategy]) -> None:
    """Add strategies: models or rules that answer events."""


@hookspec
def backtest_register_latency_models(register: Register[LatencyModel]) -> None:
    """Add latency models: how long a batch takes to serve, or a message to arrive."""


@hookspec
def backtest_register_batching_policies(
    register: Register[BatchingPolicy],
) -> None:
    """Add batching policies: which waiting events are served together."""


@hookspec
def backtest_register_sizing_rules(register: Register[SizingRule]) -> None:
    """Add sizing rules: how forecasts become target positions."""


@hookspec
def backtest_register_quoting_rules(register: Register[QuotingRule]) -> None:
    """Add quoting rules: which bid and ask should work after each answer."""


@hookspec
def backtest_register_queue_models(register: Register[QueueModel]) -> None:
    """Add queue models: how far the queue ahead of a resting order has moved."""


@hookspec
def backtest_register_accountants(register: Register[Accountant]) -> None:
    """Add accountants: what the answers of a run earn."""


@hookspec
def backtest_register_sources(register: Register[Source]) -> None:
    """Add dataset sources: other formats, imported as canonical Parquet."""


@hookspec
def backtest_register_feature_builders(register: Register[FeatureBuilder]) -> None:
    """Add feature builders: causal features from the past of one symbol's quotes and trades."""


@hookspec
def backtest_register_executors(register: Register[Executor]) -> None:
    """Add executors: where the runs of a sweep are executed."""


@hookspec
def backtest_register_report_sections(register: Register[ReportSection]) -> None:
    """Add report sections: chapters of the HTML report."""


@hookspec
def backtest_run_started(run_id: str, config: dict[str, Any]) -> None:
    """Called when a run starts; ``config`` is its resolved configuration."""


@hookspec
def backtest_batch_done(run_id: str, answered: int, total: int) -> None:
    """Called after each batch of pass 2: ``answered`` of ``total`` events have predictions."""


@hookspec
def backtest_run_finished(run_id: str, folder: Path, metrics: dict[str, Any]) -> None:
    """Called when a run's folder is complete; ``metrics`` is its ``metrics.json``."""
