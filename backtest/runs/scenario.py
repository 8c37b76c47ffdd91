"""A configuration with every part of it made, and the id of the run that it determines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.core.callbacks import ProgressCallback
from backtest.core.environment import device_model, versions
from backtest.core.grammar import parse_spec
from backtest.core.hashing import sha256_of
from backtest.core.parameters import as_table, as_text, file_digests
from backtest.core.parts import Kind
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.stream import Stream
from backtest.errors import UsageError
from backtest.inference.bound_strategy import BoundStrategy, bind
from backtest.inference.fitted import fitted, planned_fit
from backtest.runs.run_config import RunConfig
from backtest.strategies.base import Session, check_device
from backtest.timing.latency import LatencyModel
from backtest.timing.policies import BatchingPolicy
from backtest.timing.server_rules import ServerRules
from backtest.trading.accountant import Accountant
from backtest.trading.sizing import SizingRule

if TYPE_CHECKING:
    from backtest.core.parts import Parts

_FORMAT = 4
"""Of run folders: since 4 their tables hold prices in currency, and instruments."""

_PARTS = ("policy", "service", "feed", "entry", "response", "accountant", "sizing")
"""The parts of a scenario besides its strategy."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A configuration with every part of it made."""

    config: RunConfig
    dataset: Dataset
    bound: BoundStrategy
    policy: BatchingPolicy
    service: LatencyModel
    feed: LatencyModel
    entry: LatencyModel
    response: LatencyModel
    accountant: Accountant
    sizing: SizingRule
    resolved: dict[str, Any]
    labels: dict[str, str]

    @property
    def stream(self) -> Stream:
        """The events of the window; each time a new one, which knows nothing of them yet."""
        config = self.config
        return Stream(
            self.dataset,
            config.window.start,
            config.window.end,
            config.symbols,
            config.limit,
            config.nonfinite,
        )

    @property
    def stretch(self) -> Stream:
        """The events that the strategy is trained on."""
        return _stretch(self.config, self.dataset)

    def trained(self, folder: Path, *, reuse: bool, progress: ProgressCallback) -> Scenario:
        """The same with the strategy trained, if it is to be; see ``backtest.inference.fitted``.

        Raises:
            BacktestError: it cannot be trained, or the weights cannot be stored.
        """
        if self.bound.fit is None:
            return self
        bound = fitted(self.bound, self.stretch, folder, reuse=reuse, progress=progress)
        return replace(self, bound=bound)

    def files(self) -> dict[str, dict[str, str]]:
        """Digests of the files that parameters of its parts name, by part and parameter."""
        parts = {
            "strategy": self.bound.strategy,
            **{place: getattr(self, place) for place in _PARTS},
        }
        digests = {place: file_digests(part) for place, part in parts.items()}
        return {place: of for place, of in digests.items() if of}

    @property
    def server(self) -> ServerRules:
        """The rules of the simulated server."""
        config = self.config
        return ServerRules(
            self.policy,
            self.service,
            self.bound.strategy.duplicates,
            config.server.line_limit,
            config.server.max_batch,
            config.server.max_age,
            config.latency.scale,
            config.seed,
        )


def resolve(config: RunConfig, plugins: Parts) -> Scenario:
    """Make every part of a run: open its dataset, load its strategy.

    Raises:
        BacktestError: something asked for does not exist or does not fit.
    """
    check_device(config.device)
    dataset = open_dataset(config.dataset)
    feed = config.latency.feed or ("recorded" if dataset.layout.has("ts_recv") else "constant:0ns")
    session = Session(
        dataset.symbols, dataset.features, config.device, config.capacity, config.seed
    )
    parts: dict[str, tuple[Kind, Any]] = {
        "policy": ("batching policy", config.policy),
        "service": ("latency model", config.latency.service),
        "feed": ("latency model", feed),
        "entry": ("latency model", config.latency.entry),
        "response": ("latency model", config.latency.response),
        "accountant": ("accountant", config.accountant),
        "sizing": ("sizing rule", config.sizing),
    }
    names = {place: parse_spec(part, place=place).name for place, (_, part) in parts.items()}
    made = {place: plugins.create(kind, part, place=place) for place, (kind, part) in parts.items()}
    _check_data(made["accountant"], names["accountant"], dataset)
    bound = bind(plugins, config.strategy, session, dataset)
    training = config.training
    if training.end is not None:
        fit = planned_fit(bound, _stretch(config, dataset), training.end, training.purge)
        bound = replace(bound, fit=fit)
    elif training.start is not None or training.purge:
        raise UsageError("training.end is missing", place="training", remedy="Say when it ends.")
    tables = {place: as_table(made[place], name) for place, name in names.items()}
    resolved = config.model_dump() | {
        "strategy": bound.table,
        "policy": tables["policy"],
        "accountant": tables["accountant"],
        "sizing": tables["sizing"],
        "latency": {k: tables[k] for k in ("service", "feed", "entry", "response")}
        | {"scale": config.latency.scale},
    }
    if training.end is None:
        del resolved["training"]
    labels = {place: as_text(made[place], name) for place, name in names.items()}
    labels["strategy"] = as_text(bound.strategy, bound.name)
    return Scenario(config, dataset, bound, **made, resolved=resolved, labels=labels)


def identify(scenario: Scenario, plugins: Parts) -> tuple[str, dict[str, Any]]:
    """A run's id and the values it is the hash of."""
    parts: dict[str, tuple[Kind, dict[str, Any]]] = {
        "strategy": ("strategy", scenario.resolved["strategy"]),
        "policy": ("batching policy", scenario.resolved["policy"]),
        "accountant": ("accountant", scenario.resolved["accountant"]),
        "sizing": ("sizing rule", scenario.resolved["sizing"]),
        **{
            place: ("latency model", scenario.resolved["latency"][place])
            for place in ("service", "feed", "entry", "response")
        },
    }
    inputs = {
        "format": _FORMAT,
        "config": {k: v for k, v in scenario.resolved.items() if k != "dataset"},
        "data": scenario.dataset.data_hash(),
        "fingerprint": scenario.bound.fingerprint(),
        "files": scenario.files(),
        "origins": {
            place: plugins.origin(kind, table["name"]).identity()
            for place, (kind, table) in parts.items()
        },
        "device": device_model(scenario.config.device),
        "versions": versions(),
    }
    return f"{scenario.bound.name}-{sha256_of(inputs)[:12]}", inputs


def _stretch(config: RunConfig, dataset: Dataset) -> Stream:
    start, end = config.training.start, config.training.end
    return Stream(dataset, start, end, config.symbols, nonfinite=config.nonfinite)


def _check_data(accountant: Accountant, name: str, dataset: Dataset) -> None:
    for needed, present, what in (
        (accountant.needs_quotes, dataset.has_quotes, "quotes to trade at"),
        (accountant.needs_targets, dataset.has_targets, "targets to judge answers by"),
    ):
        if needed and not present:
            raise UsageError(
                f"the dataset {dataset.name!r} has no {what}",
                place=f"accountant {name!r}",
                remedy="Choose another accountant (`backtest plugins` lists them) or dataset.",
            )
