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
from backtest.runs.run_config import Fills, Limits, RunConfig
from backtest.strategies.base import Session, check_device
from backtest.strategies.reacting import check_methods, decides, timer_of
from backtest.timing.latency import LatencyModel
from backtest.timing.policies import BatchingPolicy
from backtest.timing.server_rules import ServerRules
from backtest.trading.accountant import Accountant
from backtest.trading.queue_models import QueueModel
from backtest.trading.quoting import QuotingRule
from backtest.trading.sizing import SizingRule

if TYPE_CHECKING:
    from backtest.core.parts import Parts

_FORMAT = 5
"""Of run folders: since 5 their fills say which order they are of, and what its rest cost."""

_LATENCIES = ("service", "feed", "entry", "cancel", "replace", "response")

_ABSENT = {"sizing", "quoting", "queue", "cancel", "replace"}
"""Parts that only some runs have."""

_PARTS = (*_LATENCIES, "policy", "accountant", "sizing", "quoting", "queue")
"""The parts of a scenario besides its strategy; ``None`` where it has none."""


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
    cancel: LatencyModel | None
    replace: LatencyModel | None
    accountant: Accountant
    sizing: SizingRule | None
    quoting: QuotingRule | None
    queue: QueueModel | None
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
        digests = {k: file_digests(part) for k, part in parts.items() if part is not None}
        return {place: of for place, of in digests.items() if of}

    @property
    def rests(self) -> bool:
        """Whether orders rest."""
        return self.queue is not None

    @property
    def holds_portfolio(self) -> bool:
        """Whether the targets of all symbols are made at once."""
        return self.sizing is not None and self.sizing.scope == "market"

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
        dataset.symbols, dataset.features, config.device, config.capacity, config.seed,
        dataset.instruments, dataset.hours,
    )  # fmt: skip
    bound = bind(plugins, config.strategy, session, dataset)
    parts: dict[str, tuple[Kind, Any]] = {
        "policy": ("batching policy", config.policy),
        "service": ("latency model", config.latency.service),
        "feed": ("latency model", feed),
        "entry": ("latency model", config.latency.entry),
        "response": ("latency model", config.latency.response),
        "accountant": ("accountant", config.accountant),
        **_order_parts(config, plugins, bound),
    }
    names = {place: parse_spec(part, place=place).name for place, (_, part) in parts.items()}
    made = {place: plugins.create(kind, part, place=place) for place, (kind, part) in parts.items()}
    _check_data(made["accountant"], names["accountant"], dataset)
    training = config.training
    if training.end is not None:
        fit = planned_fit(bound, _stretch(config, dataset), training.end, training.purge)
        bound = replace(bound, fit=fit)
    elif training.start is not None or training.purge:
        raise UsageError("training.end is missing", place="training", remedy="Say when it ends.")
    tables = {place: as_table(made[place], name) for place, name in names.items()}
    resolved = config.model_dump(exclude={"sizing", "quoting", "fills", "limits"})
    if config.limits != Limits():
        resolved["limits"] = config.limits.model_dump(exclude_defaults=True)
    resolved["strategy"] = bound.table
    for place in ("policy", "accountant", "sizing", "quoting"):
        if place in tables:
            resolved[place] = tables[place]
    resolved["latency"] = {k: tables[k] for k in _LATENCIES if k in tables}
    resolved["latency"]["scale"] = config.latency.scale
    if "queue" in tables:
        resolved["fills"] = config.fills.model_dump() | {"queue": tables["queue"]}
    if training.end is None:
        del resolved["training"]
    labels = {place: as_text(made[place], name) for place, name in names.items()}
    labels["strategy"] = as_text(bound.strategy, bound.name)
    absent: dict[str, Any] = dict.fromkeys(_ABSENT - made.keys())
    return Scenario(config, dataset, bound, **made, **absent, resolved=resolved, labels=labels)


def _order_parts(
    config: RunConfig, plugins: Parts, bound: BoundStrategy
) -> dict[str, tuple[Kind, Any]]:
    """The parts that orders are made and filled by: those of orders that rest, or of others.

    Raises:
        UsageError: something is said of resting orders where none rest; a strategy that sends
            orders of its own is to be sized or quoted, or has methods that do not go together.
    """
    strategy, place = bound.strategy, f"strategy {bound.name!r}"
    check_methods(strategy, place)
    timer_of(strategy, place)
    own = "a list of orders" if hasattr(strategy, "messages") else None
    own = "orders of its own" if decides(strategy) else own
    if config.quoting is None and own is None:
        for place, given in (
            ("fills", not _usual(config.fills, plugins)),
            ("latency.cancel", config.latency.cancel is not None),
            ("latency.replace", config.latency.replace is not None),
        ):
            if given:
                raise UsageError(
                    "it is said how resting orders fare, but none rest",
                    place=place,
                    remedy="Choose a quoting rule, such as --quoting two-sided.",
                )
        return {"sizing": ("sizing rule", config.sizing)}
    for setting, made, given in (
        ("quoting", "quote", config.quoting is not None),
        ("sizing", "size", config.sizing != RunConfig.model_fields["sizing"].default),
    ):
        if own is not None and given:
            raise UsageError(
                f"the strategy sends {own}, so there is nothing to {made}",
                place=setting,
                remedy="Leave it out.",
            )
    latency = config.latency
    found: dict[str, tuple[Kind, Any]] = {
        "queue": ("queue model", config.fills.queue),
        "cancel": ("latency model", latency.cancel or latency.entry),
        "replace": ("latency model", latency.replace or latency.entry),
    }
    if own is None:
        found["quoting"] = ("quoting rule", config.quoting)
    return found


def _usual(fills: Fills, plugins: Parts) -> bool:
    """Whether these are the default rules, however the queue model is written."""
    usual = Fills()
    if fills.model_copy(update={"queue": usual.queue}) != usual:
        return False
    queue, other = (
        plugins.create("queue model", of.queue, place="fills.queue") for of in (fills, usual)
    )
    return bool(queue == other)


def identify(scenario: Scenario, plugins: Parts) -> tuple[str, dict[str, Any]]:
    """A run's id and the values it is the hash of."""
    parts: dict[str, tuple[Kind, dict[str, Any]]] = {
        "strategy": ("strategy", scenario.resolved["strategy"]),
        "policy": ("batching policy", scenario.resolved["policy"]),
        "accountant": ("accountant", scenario.resolved["accountant"]),
    }
    makers: dict[str, Kind] = {"sizing": "sizing rule", "quoting": "quoting rule"}
    for place, kind in makers.items():
        if place in scenario.resolved:
            parts[place] = (kind, scenario.resolved[place])
    if "fills" in scenario.resolved:
        parts["queue"] = ("queue model", scenario.resolved["fills"]["queue"])
    for place in _LATENCIES:
        if place in scenario.resolved["latency"]:
            parts[place] = ("latency model", scenario.resolved["latency"][place])
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
