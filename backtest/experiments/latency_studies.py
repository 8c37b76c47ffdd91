"""Many scenarios of one backtest off one inference, and the figures that only many can give.

Runs that differ in latency, policy, fees or sizing share stored predictions wherever the same
events are answered, so a scenario costs a simulation and a settlement, not another inference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from backtest.comparison.break_even import Crossing, crossing
from backtest.comparison.profits import gains, profits
from backtest.core.arrays import Int64Array
from backtest.errors import UsageError
from backtest.market.events import EventBatch
from backtest.runs.engine import Engine
from backtest.runs.folder import Run
from backtest.runs.run_config import RunConfig
from backtest.runs.scenario import Scenario, resolve
from backtest.timing.latency import LatencyModel, feed_spans
from backtest.timing.outcomes import Status
from backtest.timing.simulation import simulate

RESPONSE_RATE = 0.999
"""The lowest response rate at which a device counts as carrying its symbols."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Where latency eats the profit of one policy and service time.

    Attributes:
        policy, service: as the runs are labelled.
        crossing: the latency scale at which net PnL falls through zero, with its interval.
    """

    policy: str
    service: str
    crossing: Crossing


@dataclass(frozen=True, slots=True)
class Carried:
    """How many symbols a device serves in time.

    Attributes:
        policy, service: as the runs are labelled.
        clones: copies of the stream that it carries; 0: not even one.
        symbols: symbols in them.
        bounded: whether more were not tried, for want of memory.
    """

    policy: str
    service: str
    clones: int
    symbols: int
    bounded: bool


def variants(
    config: RunConfig,
    *,
    scales: Sequence[float] = (),
    policies: Sequence[Any] = (),
    services: Sequence[Any] = (),
) -> list[RunConfig]:
    """The configuration with every combination of the given values; by default its own."""
    axes = product(
        policies or [config.policy],
        services or [config.latency.service],
        scales or [config.latency.scale],
    )
    return [
        config.model_copy(
            update={
                "policy": policy,
                "latency": config.latency.model_copy(update={"service": service, "scale": scale}),
            }
        )
        for policy, service, scale in axes
    ]


def run_all(engine: Engine, configs: Sequence[RunConfig]) -> list[Run]:
    """Run scenarios one after another, sharing what can be shared; policies and latency models are
    all made once before the first starts.

    Raises:
        BacktestError: one of them cannot be run; those before it are finished.
    """
    check(engine, configs)
    return [engine.run(config) for config in configs]


def check(engine: Engine, configs: Sequence[RunConfig]) -> None:
    """Make every policy and service time model once.

    Raises:
        UsageError: one of them does not exist, or not with such parameters.
    """
    for config in configs:
        engine.plugins.create("batching policy", config.policy, place="policy")
        engine.plugins.create("latency model", config.latency.service, place="service")


def break_even(runs: Sequence[Run]) -> list[BreakEven]:
    """Break-even latency of each policy and service time run at several scales."""
    found = []
    for (policy, service), group in _grouped(runs).items():
        group.sort(key=_scale)
        if len(group) > 1 and all(run.metrics["account"].get("net") is not None for run in group):
            earned = gains([profits(run) for run in group])
            found.append(BreakEven(policy, service, crossing([*map(_scale, group)], earned)))
    return found


def _scale(run: Run) -> float:
    return float(run.manifest["config"]["latency"]["scale"])


def _grouped(runs: Sequence[Run]) -> Mapping[tuple[str, str], list[Run]]:
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        labels = run.manifest["labels"]
        groups.setdefault((labels["policy"], labels["service"]), []).append(run)
    return groups


def carried(
    engine: Engine, configs: Sequence[RunConfig], bound: int, most_events: int = 1 << 22
) -> list[Carried]:
    """The largest number of clones of the stream that each policy and service time can serve.

    Clones bring the same events at the same instants under symbols of their own. In time means a
    response rate of at least 99.9 % and a p99 sojourn time within ``bound``. More clones are
    assumed to be served no better than fewer. Events that a policy skips for newer ones of their
    symbols count as answered with those.

    Args:
        engine: makes the parts.
        configs: scenarios, such as those that ``unscaled`` gives.
        bound: ns.
        most_events: clones are tried while all of them together have no more events.

    Raises:
        UsageError: service times are measured, so they cannot be simulated.
    """
    found = []
    for config in configs:
        scenario = resolve(config, engine.plugins)
        if scenario.service.live:
            raise UsageError(
                "service times measured live do not determine how many symbols a device can serve",
                place="latency.service",
                remedy="Record a latency profile first, and simulate with it.",
            )
        stream = scenario.stream
        events = stream.whole(features=False)
        found.append(_most_clones(scenario, events, bound, most_events))
    return found


def _most_clones(scenario: Scenario, events: EventBatch, bound: int, most_events: int) -> Carried:
    limit = max(most_events // len(events), 1)

    def carries(clones: int) -> bool:
        return _in_time(scenario, events, clones, bound)

    # Double until the device fails or the limit is passed, then search between the last two.
    low, high = 0, 1
    while high <= limit and carries(high):
        low, high = high, 2 * high
    bounded = high > limit
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if carries(middle) else (low, middle)
    symbols = len(np.unique(events.symbol))
    labels = scenario.labels
    return Carried(
        labels["policy"], labels["service"], low, low * symbols, bounded and low == limit
    )


def _in_time(scenario: Scenario, events: EventBatch, clones: int, bound: int) -> bool:
    table = len(scenario.dataset.symbols)
    cloned = EventBatch(
        symbol=(events.symbol[:, None] + table * np.arange(clones, dtype=np.int32)).ravel(),
        ts_event=np.repeat(events.ts_event, clones),
    )
    end = int(events.ts_event[-1]) + 1
    feed = _Cloned(scenario.feed, events, clones, scenario.config.seed)
    # Nothing arrives after the end, so what is then under way still counts as served.
    slack = max(bound, 1)
    timing = simulate(scenario.server, cloned, feed, symbols=table * clones, end=end + slack)
    answered = timing.status == Status.ANSWERED
    served = answered | (timing.status == Status.CONFLATED)
    if served.mean() < RESPONSE_RATE or not answered.any():
        return False
    sojourn = (timing.ended - timing.received)[answered]
    return bool(np.quantile(sojourn, 0.99, method="inverted_cdf") <= bound)


class _Cloned(LatencyModel):
    """The feed latency of the event that a clone copies."""

    uses_draws = False

    def __init__(self, feed: LatencyModel, events: EventBatch, clones: int, seed: int) -> None:
        spans = feed_spans(feed, events, seed)
        self._spans = np.repeat(spans, clones)
        self._at = 0

    def spans(self, sizes: Int64Array, u: Any) -> Int64Array:
        raise NotImplementedError

    def feed(self, events: EventBatch, u: Any) -> Int64Array:
        first, self._at = self._at, self._at + len(events)
        return self._spans[first : self._at]


def unscaled(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The scenarios at latency scale 1, each policy and service time once."""
    seen: dict[tuple[str, str], RunConfig] = {}
    for config in configs:
        latency = config.latency.model_copy(update={"scale": 1.0})
        key = (str(config.policy), str(latency.service))
        seen.setdefault(key, config.model_copy(update={"latency": latency}))
    return list(seen.values())
