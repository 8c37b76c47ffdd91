"""The compiled server against the plain one on long streams, and what may run in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.core.room import Room
from backtest.errors import RunError, UsageError
from backtest.market.events import EventBatch
from backtest.plugins.latency_models import Affine, Constant, Exponential, Profile
from backtest.plugins.policies import (
    All,
    AtMost,
    Deadline,
    NewestPerSymbol,
    One,
    OnePerSymbol,
)
from backtest.timing import simulation
from backtest.timing.latency import LatencyModel
from backtest.timing.metrics import Tally, _sorted
from backtest.timing.outcomes import Timing
from backtest.timing.policies import BatchChoice, BatchingPolicy, Waiting
from backtest.timing.server_rules import ServerRules

COLUMNS = ("received", "begun", "ended", "status", "batch")


def stream(count: int, seed: int = 0, symbols: int = 7) -> EventBatch:
    """Events about a microsecond apart, many at the same instant."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1000, count).astype(np.int64) * random.integers(0, 2, count) * 2
    return EventBatch(random.integers(0, symbols, count).astype(np.int32), 10**18 + np.cumsum(gaps))


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A latency profile of a few sizes, the largest 64."""
    random = np.random.default_rng(1)
    sizes = np.repeat([1, 4, 5, 64], 50)
    path = tmp_path_factory.mktemp("profiles") / "p.parquet"
    samples = (500 + 150 * sizes * random.uniform(0.5, 2, len(sizes))).astype(np.int64)
    pq.write_table(pa.table({"batch_size": sizes, "sample_ns": samples}), path)
    return path


def servers(profile: Path) -> Iterator[ServerRules]:
    policies = (All(), One(), AtMost(3), OnePerSymbol(), NewestPerSymbol(), Deadline(4, 2500))
    latencies = (Affine(700, 250), Exponential(900, 100), Profile(str(profile)))
    limits: tuple[dict[str, Any], ...] = (
        {},
        {"line_limit": 2, "duplicates": "rounds", "scale": 1.7},
        {"max_age": 3000, "max_batch": 3, "duplicates": "rounds", "seed": 3},
    )
    for policy, latency, limit in product(policies, latencies, limits):
        yield ServerRules(policy, latency, **limit)


@pytest.mark.parametrize("feed", [Constant(300), Exponential(2500)], ids=["constant", "drawn"])
def test_compiled_and_plain_agree(feed: LatencyModel, profile: Path) -> None:
    events = stream(1200)
    end = int(events.ts_event[-1]) - 4000
    events = events.select(events.ts_event <= end)
    for server in servers(profile):
        both = [
            simulation.simulate(server, events, feed, symbols=7, end=end, compiled=compiled)
            for compiled in (False, True)
        ]
        for column in COLUMNS:
            plain, compiled = (getattr(timing, column) for timing in both)
            assert np.array_equal(plain, compiled), (server, column)


def test_nothing_depends_on_where_it_pauses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = stream(5000, 2)
    end = int(events.ts_event[-1]) + 1
    for policy in (Deadline(5, 4000), NewestPerSymbol(), OnePerSymbol(), All()):
        server = ServerRules(policy, Exponential(1500), line_limit=3)
        whole = simulation.simulate(
            server, events, Exponential(900), symbols=7, end=end, compiled=True
        )
        with monkeypatch.context() as patched:
            patched.setattr(simulation, "CHUNK", 17)
            patched.setattr(simulation, "_DRAWS", 100)
            room = Room(len(events), tmp_path, memory=0)
            pieces = simulation.simulate(
                server, events, Exponential(900), symbols=7, end=end, compiled=True, room=room
            )
        for column in COLUMNS:
            assert np.array_equal(getattr(whole, column), getattr(pieces, column)), column
        assert room.mapped
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Backwards(All):
    """A policy of someone's own: what waits, newest first in the choice of who."""

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        return BatchChoice(list(waiting)[-1:])


@dataclass(frozen=True)
class Doubled(Affine):
    """A latency model of someone's own."""

    def spans(self, sizes: Any, u: Any) -> Any:
        return 2 * super().spans(sizes, u)


def test_what_changes_a_rule_runs_in_plain_python() -> None:
    assert simulation.rule_of(ServerRules(All(), Affine(1))) is not None
    assert simulation.rule_of(ServerRules(Backwards(), Affine(1))) is None
    assert simulation.rule_of(ServerRules(All(), Doubled(1))) is None
    events = stream(300)
    end = int(events.ts_event[-1]) + 1
    timing = simulation.simulate(
        ServerRules(All(), Doubled(500)), events, Constant(0), symbols=7, end=end, compiled=True
    )
    assert set((timing.ended - timing.begun)[timing.answered]) == {1000}


CHOICES: dict[str, Any] = {
    "it gave a list, not a BatchChoice": lambda line: line[:1],
    "it chose 0 events": lambda line: BatchChoice([]),
    "it chose event 10, which does not wait": lambda line: BatchChoice([10]),
    "it chose event 0, which does not wait, or chose it twice": lambda line: BatchChoice([0, 0]),
    "it chose event 1, which": lambda line: BatchChoice([0, 1], conflate=[1]),
}


@dataclass(frozen=True)
class Choosing(BatchingPolicy):
    """Chooses what it may not."""

    problem: str

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        found: BatchChoice = CHOICES[self.problem](list(waiting))
        return found


@pytest.mark.parametrize("problem", CHOICES)
def test_a_choice_that_is_none_is_refused(problem: str) -> None:
    events = EventBatch(np.zeros(20, np.int32), 1000 * (np.arange(20) // 10))
    server = ServerRules(Choosing(problem), Constant(5))
    with pytest.raises(RunError, match=f"batching policy Choosing: {problem}"):
        simulation.simulate(server, events, Constant(0), symbols=1, end=10**6)


class Undecided(All):
    """Says no instant."""

    def ready_at(self, waiting: Waiting) -> int:
        return waiting.oldest + 0.5  # type: ignore[return-value]


def test_an_instant_that_is_none_is_refused() -> None:
    with pytest.raises(RunError, match=r"policy Undecided: ready_at gave 1e.18, not whole ns"):
        simulation.simulate(
            ServerRules(Undecided(), Constant(5)), stream(20), Constant(0), symbols=7, end=2**62
        )


def test_a_size_outside_the_profile_is_refused(profile: Path) -> None:
    events = EventBatch(np.zeros(200, np.int32), np.full(200, 10**18))
    server = ServerRules(All(), Profile(str(profile)), line_limit=1000, max_batch=100)
    with pytest.raises(UsageError, match="a batch of 100, but 1 to 64"):
        simulation.simulate(server, events, Constant(0), symbols=1, end=10**18 + 9, compiled=True)


def test_a_service_without_end_answers_nothing() -> None:
    events = stream(50)
    server = ServerRules(One(), Constant(2**62), scale=8.0)
    end = int(events.ts_event[-1]) + 1
    for compiled in (False, True):
        timing = simulation.simulate(
            server, events, Constant(0), symbols=7, end=end, compiled=compiled
        )
        assert not timing.answered.any()


@pytest.mark.parametrize("reach", [1, 40, 10**6, 10**15])
def test_quantiles_by_counting_are_exact(reach: int) -> None:
    random = np.random.default_rng(reach)
    n = 2000
    ts = np.cumsum(random.integers(0, 100, n))
    steps = random.integers(0, reach, (3, n)) ** random.integers(1, 2, (3, n))
    received, begun, ended = ts + np.cumsum(steps, axis=0)
    status = random.integers(0, 5, n).astype(np.uint8)
    answered = Timing(received, begun, ended, status, np.arange(n))
    silent = Timing(received, begun, ended, np.ones(n, np.uint8), np.full(n, -1))
    for timing in (answered, silent):
        tally = Tally(timing, ts)
        for rows in (slice(0, 1), slice(1, 700), slice(700, n)):
            tally.add(rows)
        assert tally.summary() == _sorted(timing, ts)
