"""The server against the oracle, against itself in other chunks, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.core.arrays import Float64Array, Int64Array
from backtest.errors import RunError, UsageError
from backtest.market.events import NO_TIME, EventBatch
from backtest.plugins.latency_models import Affine, Constant, Exponential, Profile
from backtest.plugins.policies import (
    All,
    AtMost,
    Deadline,
    NewestPerSymbol,
    One,
    OnePerSymbol,
)
from backtest.timing import service
from backtest.timing.latency import LatencyModel, SpanTable
from backtest.timing.outcomes import Status
from backtest.timing.policies import BatchChoice, BatchingPolicy, Waiting
from backtest.timing.server import Batch
from backtest.timing.server_rules import ServerRules
from tests.market_server import (
    HOWS,
    How,
    InPython,
    events_of,
    feed_of,
    rules_of,
    servable,
    within_window,
)
from tests.markets import Market, markets
from tests.plain_python import passed_as_plain_python
from tests.server_streams import Served, serve
from tests.wrong_latency import WRONG_SPANS, Writing

COLUMNS = ("received", "begun", "ended", "status", "batch")


def served(market: Market, how: How, chunk: int) -> Served:
    """A market served: by tables, by models and policies in Python, or live."""
    symbols = [event.symbol for event in market.events]
    numbers = iter(range(len(symbols)))

    def span_of(batch: Batch) -> int:
        span = market.service([symbols[e] for e in batch.events], next(numbers))
        return round(span * market.scale)

    return serve(
        rules_of(market, how),
        events_of(market),
        feed_of(market),
        symbols=len(market.value),
        end=market.end,
        chunk=chunk,
        span_of=span_of if how == "live" else None,
    )


@pytest.mark.one_python
def test_plain_python_runs_the_same_source() -> None:
    """A part of the markets above, with nothing compiled."""
    some = "test_some_markets_are_the_oracles"
    assert "5 passed" in passed_as_plain_python(__file__, "-k", some)


@pytest.mark.one_python
@pytest.mark.parametrize("how", HOWS)
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(market=markets(), chunk=st.sampled_from([1, 2, 3, 7, 100]))
def test_timing_is_the_oracles(how: How, market: Market, chunk: int) -> None:
    compare_with_oracle(how, market, chunk)


@pytest.mark.parametrize("how", HOWS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(market=markets(), chunk=st.sampled_from([1, 3, 100]))
def test_some_markets_are_the_oracles(how: How, market: Market, chunk: int) -> None:
    compare_with_oracle(how, market, chunk)


def compare_with_oracle(how: How, market: Market, chunk: int) -> None:
    """Serve a market and let the oracle serve it."""
    market = servable(within_window(market), how)
    expected = market.timing()
    found = served(market, how, chunk)
    timing = found.timing
    assert [Status(s).name.lower() for s in timing.status] == expected.status
    assert timing.received.tolist() == expected.t1
    answered = timing.answered
    for mine, theirs in ((timing.begun, expected.t2), (timing.ended, expected.t3)):
        assert mine[answered].tolist() == [
            t for t, yes in zip(theirs, answered.tolist(), strict=True) if yes
        ]
    assert (timing.begun[~answered] == NO_TIME).all()
    assert (timing.ended[~answered] == NO_TIME).all()
    assert (timing.batch[~answered] == -1).all()
    if market.scale:
        numbers = [b for b, yes in zip(expected.batch, answered.tolist(), strict=True) if yes]
        assert timing.batch[answered].tolist() == numbers
    else:
        assert timing.batch.tolist() == list(range(len(market.events)))
    in_order = [event for batch in timing.batches() for event in batch.tolist()]
    assert found.answered.tolist() == in_order


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
        {"line_limit": 3},
        {"max_age": 3000, "max_batch": 3, "duplicates": "rounds", "seed": 3},
        {"duplicates": "single", "line_limit": 8},
    )
    for policy, latency, limit in product(policies, latencies, limits):
        yield ServerRules(policy, latency, **limit)


class PassByPass(LatencyModel):
    """A latency model asked in Python for what it also states as a table."""

    def __init__(self, model: LatencyModel) -> None:
        self._model = model

    @property
    def max_batch(self) -> int | None:
        return self._model.max_batch

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return self._model.spans(sizes, u)


@pytest.mark.one_python
@pytest.mark.parametrize("feed", [Constant(300), Exponential(2500)], ids=["constant", "drawn"])
def test_tables_and_rules_are_what_python_computes(feed: LatencyModel, profile: Path) -> None:
    events = stream(700)
    end = int(events.ts_event[-1]) - 4000
    events = events.select(events.ts_event <= end)
    for rules in servers(profile):
        plain = replace(rules, policy=InPython(rules.policy), latency=PassByPass(rules.latency))
        both = [serve(r, events, feed, symbols=7, end=end, chunk=500) for r in (rules, plain)]
        for column in COLUMNS:
            mine, theirs = (getattr(found.timing, column) for found in both)
            assert np.array_equal(mine, theirs), (rules, column)
        assert np.array_equal(both[0].answered, both[1].answered), rules
        assert both[0].batches == both[1].batches


@pytest.mark.parametrize("feed", [Constant(300), Exponential(2500)], ids=["constant", "drawn"])
def test_nothing_depends_on_how_the_stream_is_cut(
    feed: LatencyModel, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = stream(1500, 2)
    end = int(events.ts_event[-1]) - 2000
    events = events.select(events.ts_event <= end)
    for rules in servers(profile):
        whole = serve(rules, events, feed, symbols=7, end=end)
        with monkeypatch.context() as patched:
            patched.setattr(service, "_DRAWS", 100)
            for chunk in (13, 211):
                pieces = serve(rules, events, feed, symbols=7, end=end, chunk=chunk)
                for column in COLUMNS:
                    assert np.array_equal(
                        getattr(whole.timing, column), getattr(pieces.timing, column)
                    ), (rules, column)
                assert np.array_equal(whole.answered, pieces.answered), rules


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


def test_what_changes_a_rule_is_asked_itself() -> None:
    events = stream(300)
    end = int(events.ts_event[-1]) + 1
    rules = ServerRules(All(), Doubled(500))
    timing = serve(rules, events, Constant(0), symbols=7, end=end).timing
    assert set((timing.ended - timing.begun)[timing.answered]) == {1000}
    rules = ServerRules(Backwards(), Constant(5000))
    timing = serve(rules, events, Constant(0), symbols=7, end=end).timing
    sizes = np.bincount(timing.batch[timing.answered])
    assert set(sizes) <= {0, 1}
    assert (np.diff(np.flatnonzero(timing.answered)) > 0).all()
    assert (np.diff(timing.batch[timing.answered]) < 0).any()


def test_a_line_is_full_however_short_it_is() -> None:
    # Three of a symbol arrive while the first is served; its line holds two.
    times = np.array([0, 1, 2, 3, 100, 200, 300, 400, 500, 600, 700, 800], dtype=np.int64)
    events = EventBatch(np.zeros(len(times), dtype=np.int32), times)
    for policy in (All(), NewestPerSymbol()):
        rules = ServerRules(policy, Constant(10), line_limit=2)
        timing = serve(rules, events, Constant(0), symbols=1, end=1000).timing
        assert timing.status[3] == Status.DROPPED
        assert (timing.status == Status.DROPPED).sum() == 1


def test_single_events_pay_a_pass_each() -> None:
    events = EventBatch(np.array([0, 1, 0, 1], np.int32), np.array([0, 1, 1, 1]))
    spans = {}
    for duplicates in ("single", "rounds", "packed"):
        rules = ServerRules(All(), Affine(100, 10), duplicates)
        timing = serve(rules, events, Constant(0), symbols=2, end=10_000).timing
        spans[duplicates] = int(timing.ended[1] - timing.begun[1])
    assert spans == {"single": 330, "rounds": 230, "packed": 130}


CHOICES: dict[str, Any] = {
    "it gave a list, not a BatchChoice": lambda line: line[:1],
    "it chose 0 events": lambda line: BatchChoice([]),
    "it chose event 10, which does not wait": lambda line: BatchChoice([10]),
    "it chose event 0, which does not wait, or chose it twice": lambda line: BatchChoice([0, 0]),
    "it chose event 1, which": lambda line: BatchChoice([0, 1], conflate=[1]),
    "it chose 10 events where 1 to 9 may": BatchChoice,
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
    rules = ServerRules(Choosing(problem), Constant(5), max_batch=9)
    with pytest.raises(RunError, match=f"batching policy Choosing: {problem}"):
        serve(rules, events, Constant(0), symbols=1, end=10**6)


class Undecided(All):
    """Says no instant."""

    def ready_at(self, waiting: Waiting) -> int:
        return waiting.oldest + 0.5  # type: ignore[return-value]


def test_an_instant_that_is_none_is_refused() -> None:
    rules = ServerRules(Undecided(), Constant(5))
    with pytest.raises(RunError, match=r"policy Undecided: ready_at gave 1e.18, not whole ns"):
        serve(rules, stream(20), Constant(0), symbols=7, end=2**62)


class Never(All):
    """Waits for longer than there is time."""

    def ready_at(self, waiting: Waiting) -> int:
        return 2**70


def test_a_policy_may_wait_for_ever() -> None:
    rules = ServerRules(Never(), Constant(5))
    timing = serve(rules, stream(20), Constant(0), symbols=7, end=2**62).timing
    assert set(timing.status) == {Status.UNFINISHED}


def test_a_size_outside_the_profile_is_refused(profile: Path) -> None:
    events = EventBatch(np.zeros(200, np.int32), np.full(200, 10**18))
    rules = ServerRules(All(), Profile(str(profile)), line_limit=1000, max_batch=100)
    with pytest.raises(UsageError, match="a batch has 100 events, but 1 to 64"):
        serve(rules, events, Constant(0), symbols=1, end=10**18 + 9)


@dataclass(frozen=True)
class Narrow(LatencyModel):
    """States a table of fewer sizes than it serves."""

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return np.zeros(len(sizes), dtype=np.int64)

    def table(self, u: Float64Array) -> SpanTable:
        return SpanTable(np.zeros(1, np.int64), 0, np.array([1]), np.ones((1, 1)))


def test_a_table_without_a_size_is_refused() -> None:
    events = EventBatch(np.zeros(3, np.int32), np.full(3, 10))
    with pytest.raises(RunError, match="latency model Narrow: its table has no size 3"):
        serve(ServerRules(All(), Narrow()), events, Constant(0), symbols=1, end=99)


@pytest.mark.parametrize(
    "model", [Constant(2**62), Affine(2**62, 2**61), PassByPass(Constant(2**62))]
)
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_a_service_without_end_answers_nothing(model: LatencyModel, scale: float) -> None:
    events = stream(50)
    end = int(events.ts_event[-1]) + 1
    for duplicates in ("single", "packed"):
        rules = ServerRules(One(), model, duplicates, scale=scale)
        for chunk in (5, 50):
            found = serve(rules, events, Constant(0), symbols=7, end=end, chunk=chunk)
            assert not found.timing.answered.any()
            assert not len(found.answered)


def test_a_feed_without_end_brings_nothing() -> None:
    events = stream(50)
    end = int(events.ts_event[-1]) + 1
    for feed in (Constant(2**62), PassByPass(Constant(2**62))):
        rules = ServerRules(One(), Constant(5), scale=8.0)
        found = serve(rules, events, feed, symbols=7, end=end, chunk=20)
        assert set(found.timing.status) == {Status.UNFINISHED}


def test_what_follows_a_service_beyond_the_end_needs_no_room() -> None:
    """All that comes after it is settled at once: memory does not grow with the window."""
    from backtest.market.window import Window
    from backtest.timing.server import Server

    events = stream(20_000)
    window = Window(Server.COLUMNS, rows=512)
    rules = ServerRules(All(), Constant(2**62))
    server = Server(rules, Constant(0), window, symbols=7, end=int(events.ts_event[-1]) + 1)
    for first in range(0, len(events), 100):
        part = events.select(slice(first, first + 100))
        rows = window.extend(len(part))
        window["symbol"][rows] = part.symbol
        server.receive(part, rows)
        server.advance()
        window.release(server.needs)
    assert len(window["received"]) == 512


def test_no_events_are_served_as_well() -> None:
    nothing = EventBatch(np.empty(0, np.int32), np.empty(0, np.int64))
    for scale in (0.0, 1.0):
        rules = ServerRules(All(), Constant(5), scale=scale)
        assert serve(rules, nothing, Constant(0), symbols=1, end=9).batches == 0


def test_live_at_scale_0_each_event_is_a_batch() -> None:
    events = stream(20)
    sent: list[tuple[list[int], int]] = []

    def span_of(batch: Batch) -> int:
        sent.append((batch.events.tolist(), batch.now))
        return 1000

    rules = ServerRules(All(), Constant(5), scale=0.0)
    found = serve(rules, events, Constant(0), symbols=7, end=2**62, chunk=6, span_of=span_of)
    assert sent == [([e], int(t)) for e, t in enumerate(events.ts_event)]
    assert np.array_equal(found.timing.ended, events.ts_event)
    assert found.answered.tolist() == list(range(20))


@pytest.mark.parametrize("wrong", WRONG_SPANS, ids=str)
def test_what_is_no_span_stops_a_run(wrong: LatencyModel) -> None:
    """Were it negative, answers would be there before what they answer."""
    place = f"latency model {type(wrong).__name__}: it gave "
    with pytest.raises(RunError, match=place):
        serve(ServerRules(All(), wrong), stream(20), Constant(0), symbols=7, end=2**62)
    rules = ServerRules(All(), Constant(5))
    with pytest.raises(RunError, match=place):
        serve(rules, stream(20), wrong, symbols=7, end=2**62)


def test_a_feed_cannot_move_events() -> None:
    rules = ServerRules(All(), Constant(5))
    with pytest.raises(ValueError, match="read-only"):
        serve(rules, stream(20), Writing(5), symbols=7, end=2**62)
