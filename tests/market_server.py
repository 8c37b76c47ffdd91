"""A market of the oracle as the engine's server meets it: its events, rules, policy and spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array
from backtest.core.grammar import Spec
from backtest.core.parameters import build
from backtest.market.events import NO_PRICE, EventBatch
from backtest.plugins.latency_models import Constant
from backtest.plugins.policies import (
    All,
    AtMost,
    Deadline,
    NewestPerSymbol,
    One,
    OnePerSymbol,
)
from backtest.timing.latency import Composition, LatencyModel, SpanTable
from backtest.timing.policies import BatchChoice, BatchingPolicy, Waiting
from backtest.timing.server_rules import ServerRules
from tests.markets import Market, Service
from tests.oracle import Policy

How = Literal["tables", "models", "policies", "policies and models", "live"]
"""What the compiled loop computes itself, and what it asks of Python."""

HOWS: tuple[How, ...] = ("tables", "models", "policies", "policies and models", "live")

POLICIES: dict[str, type[BatchingPolicy]] = {
    "one": One,
    "all": All,
    "at-most": AtMost,
    "one-per-symbol": OnePerSymbol,
    "newest-per-symbol": NewestPerSymbol,
    "deadline": Deadline,
}


class OracleService(LatencyModel):
    """The oracle's service times, which go by batch number as well as by size."""

    uses_draws = False

    def __init__(self, service: Service) -> None:
        self._service = service
        self._number = -1

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return self._service.base + self._service.per_event * sizes

    def service(self, batch: Composition, u: float) -> int:
        self._number += 1
        extra = self._service.extra
        return super().service(batch, u) + extra[self._number % len(extra)]


class TabledService(LatencyModel):
    """The same as a table of passes; where a batch may have several, ``extra`` is 0."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise AssertionError("the server reads the table")

    def table(self, u: Float64Array) -> SpanTable:
        extra = np.array(self._service.extra, dtype=np.int64)
        base = self._service.base + np.resize(extra, len(u))
        return SpanTable(base[:1] if len(extra) == 1 else base, self._service.per_event)


class OracleFeed(LatencyModel):
    """The market's feed latencies, event by event."""

    uses_draws = False

    def __init__(self, spans: tuple[int, ...]) -> None:
        self._spans = np.maximum(np.array(spans, dtype=np.int64), 0)
        self._given = 0

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise AssertionError("a feed is asked with its events")

    def feed(self, events: EventBatch, u: Float64Array) -> Int64Array:
        self._given += len(events)
        return self._spans[self._given - len(events) : self._given].copy()


@dataclass(frozen=True)
class InPython(BatchingPolicy):
    """A shipped policy without its rule, so that it is asked for each choice."""

    policy: BatchingPolicy

    def ready_at(self, waiting: Waiting) -> int:
        return self.policy.ready_at(waiting)

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        return self.policy.select(waiting, limit)


def within_window(market: Market) -> Market:
    """The market without the events that happen after its window."""
    count = sum(event.ts_event <= market.end for event in market.events)
    columns = ("events", "feed", "targets", "entry", "response")
    return replace(market, **{name: getattr(market, name)[:count] for name in columns})


def servable(market: Market, how: How) -> Market:
    """The market with service times that a table can state, where they are asked for that way."""
    if how in ("tables", "policies") and market.service.composition != "packed":
        # The oracle adds its extra once a batch, a table once a pass.
        return replace(market, service=replace(market.service, extra=(0,)))
    return market


def events_of(market: Market) -> EventBatch:
    """The market's events as the bus would give them."""
    events = market.events

    def column(values: Sequence[int | None]) -> Int64Array:
        return np.array([NO_PRICE if v is None else v for v in values], dtype=np.int64)

    return EventBatch(
        symbol=np.array([e.symbol for e in events], dtype=np.int32),
        ts_event=column([e.ts_event for e in events]),
        bid=column([e.bid for e in events]),
        ask=column([e.ask for e in events]),
        bid_size=column([e.bid_size for e in events]),
        ask_size=column([e.ask_size for e in events]),
    )


def policy_of(policy: Policy) -> BatchingPolicy:
    """The shipped policy of the same name."""
    given = {"at-most": {"n": policy.n}, "deadline": {"n": policy.n, "d": policy.d}}
    spec = Spec(policy.name, (), given.get(policy.name, {}))
    made = build(POLICIES[policy.name], spec, place="test")
    assert isinstance(made, BatchingPolicy)
    return made


def rules_of(market: Market, how: How) -> ServerRules:
    """The market's rules of the server."""
    policy = policy_of(market.policy)
    latency: LatencyModel = TabledService(market.service)
    if how in ("models", "policies and models"):
        latency = OracleService(market.service)
    if how in ("policies", "policies and models"):
        policy = InPython(policy)
    return ServerRules(
        policy,
        latency,
        market.service.composition,
        line_limit=market.line,
        max_batch=market.max_batch,
        max_age=market.max_age,
        scale=market.scale,
    )


def feed_of(market: Market) -> LatencyModel:
    """Its feed: one that keeps bus order where all its latencies are the same."""
    same = set(market.feed)
    return Constant(max(*same, 0)) if len(same) == 1 else OracleFeed(market.feed)
