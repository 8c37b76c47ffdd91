"""Pass 1 over events in memory; the server itself is tested in ``test_server``."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.market.events import EventBatch
from backtest.plugins.latency_models import Constant, Exponential
from backtest.plugins.policies import All, Deadline, NewestPerSymbol, OnePerSymbol
from backtest.timing.outcomes import Timing
from backtest.timing.policies import BatchingPolicy
from backtest.timing.server_rules import ServerRules
from backtest.timing.simulation import simulate
from tests.server_streams import serve

COLUMNS = ("received", "begun", "ended", "status", "batch")


def stream(count: int) -> EventBatch:
    """Events of seven symbols about a microsecond apart, many at the same instant."""
    random = np.random.default_rng(2)
    gaps = random.exponential(1000, count).astype(np.int64) * random.integers(0, 2, count) * 2
    return EventBatch(random.integers(0, 7, count).astype(np.int32), 10**18 + np.cumsum(gaps))


def same(one: Timing, other: Timing) -> bool:
    """Whether all columns are equal."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)


@pytest.mark.parametrize("scale", [1.0, 1.7, 0.0])
@pytest.mark.parametrize(
    "policy", [All(), OnePerSymbol(), NewestPerSymbol(), Deadline(5, 4000)], ids=str
)
def test_it_is_the_server_however_many_events_it_is_given_at_once(
    policy: BatchingPolicy, scale: float
) -> None:
    events = stream(2000)
    end = int(events.ts_event[-1]) + 1
    rules = ServerRules(policy, Exponential(1500), line_limit=3, scale=scale)
    feed = Exponential(900)
    expected = serve(rules, events, feed, symbols=7, end=end).timing
    for piece in (1 << 16, 170, 2000):
        assert same(simulate(rules, events, feed, symbols=7, end=end, piece=piece), expected)
    assert (scale == 0) == bool(expected.answered.all())


def test_without_latency_each_event_is_answered_when_it_happens() -> None:
    events = stream(50)
    rules = ServerRules(All(), Constant(5), scale=0.0)
    timing = simulate(rules, events, Constant(7), symbols=7, end=2**62, piece=20)
    assert timing.answered.all()
    for instants in (timing.received, timing.begun, timing.ended):
        assert np.array_equal(instants, events.ts_event)
    assert timing.batch.tolist() == list(range(50))


def test_no_events_have_no_timing() -> None:
    nothing = EventBatch(np.empty(0, np.int32), np.empty(0, np.int64))
    timing = simulate(ServerRules(All(), Constant(5)), nothing, Constant(0), symbols=1, end=9)
    assert all(len(getattr(timing, name)) == 0 for name in COLUMNS)
