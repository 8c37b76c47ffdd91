"""The closed loop against the three passes of the same scenario, and against the clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.api import run
from backtest.core.arrays import Float32Array, Float64Array, Int64Array
from backtest.core.parts import Origin
from backtest.errors import RunError, UsageError
from backtest.inference.bound_strategy import BoundStrategy
from backtest.market.events import EventBatch
from backtest.plugins.hookspecs import Register, hookimpl
from backtest.plugins.latency_models import Constant
from backtest.plugins.manager import Plugins, load_plugins
from backtest.plugins.policies import AtMost, NewestPerSymbol, OnePerSymbol
from backtest.runs.closed_loop import LiveStrategy, loop_columns
from backtest.runs.replay import Replay
from backtest.strategies.base import Session, Strategy
from backtest.timing.latency import Composition, LatencyModel
from backtest.timing.outcomes import Status
from backtest.timing.policies import BatchingPolicy
from backtest.timing.server_rules import ServerRules
from backtest.trading.orders import Confirmation
from tests import oracle
from tests.chain import TIMES, Pieces, closed_loop, three_passes
from tests.market_server import HOWS, How, rules_of
from tests.markets import Market, long_market, markets
from tests.venue_driver import countable

ways = st.sampled_from([how for how in HOWS if "models" in how])


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(markets(), ways, st.sampled_from([100, 1, 2, 3, 7]))
def test_both_ways_agree(market: Market, how: How, piece: int) -> None:
    """Given the same service times and answers, timing, fills and money are the same."""
    market = countable(market)
    timing = market.timing()
    try:
        expected = market.account(timing)
    except oracle.NoClosingQuote:
        with pytest.raises(RunError, match="no two-sided quote inside a session"):
            closed_loop(market, rules_of(market, how), piece=piece)
        return
    three = three_passes(market, how="models")
    loop = closed_loop(market, rules_of(market, how), piece=piece)
    for column in TIMES:
        assert np.array_equal(getattr(loop.timing, column), getattr(three.timing, column)), column
    answered = three.timing.answered
    given, others = loop.predictions[answered], three.predictions[answered]
    assert np.array_equal(given, others, equal_nan=True)
    assert loop.fills.equals(three.fills)
    assert loop.account.tables["equity"].equals(three.account.tables["equity"])
    compared = {"ideal", "missed", "silence", "liquidity", "by_symbol"}
    for mine, theirs in _figures(loop.account.metrics, three.account.metrics):
        assert {k: mine[k] for k in mine if k not in compared} == {
            k: theirs[k] for k in theirs if k not in compared
        }
        assert mine["ideal"] is mine["missed"] is None  # nobody knows other answers

    # Before each batch it learns of the fills that became known since the batch before.
    orders = [f for f in expected.fills if f.event is not None]
    learnt: set[tuple[int, ...]] = set()
    for now, confirmed in loop.confirmed:
        found = [(f.event, f.symbol, f.lots, f.half_ticks, f.arrived, f.known) for f in confirmed]
        due = {
            (f.event or 0, f.symbol, f.lots, f.price, f.t4, f.t5)
            for f in orders
            if f.t5 <= now and f.t3 < now
        }
        assert len(set(found)) == len(found)
        assert set(found) == due - learnt
        learnt |= due
    assert [f for _, some in loop.confirmed for f in some] == loop.strategy.fills
    known = [f.known for _, some in loop.confirmed for f in some]
    assert known == sorted(known)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("late", [0, 400])
def test_fills_are_confirmed_in_time_however_the_stream_is_cut(seed: int, late: int) -> None:
    """Arrivals that are known while the quotes before them are not, and batches after the last."""
    market = long_market(seed)
    count = len(market.events)
    market = replace(
        market, feed=(late,) * count, response=(5,) * count, sessions=None, end=market.end + 1000
    )
    whole = closed_loop(market, rules_of(market, "models"), piece=1000)
    assert len(whole.strategy.fills) > 10
    last = market.events[-1].ts_event
    after = [now for now, confirmed in whole.confirmed if now > last and confirmed]
    assert after or not late
    for piece in (1, 3, 64):
        assert closed_loop(market, rules_of(market, "models"), piece=piece).confirmed == (
            whole.confirmed
        )


def _figures(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """Figures in total and by symbol."""
    yield one, other
    assert one["by_symbol"].keys() == other["by_symbol"].keys()
    for symbol in one["by_symbol"]:
        yield one["by_symbol"][symbol], other["by_symbol"][symbol]


@dataclass(frozen=True)
class Replayed(LatencyModel):
    """Service times that a closed loop recorded, batch by batch in each pass anew."""

    folder: str

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise AssertionError("asked by batch")

    def service(self, batch: Composition, u: float) -> int:
        recorded = self.__dict__.setdefault(
            "_spans", cycle(pl.read_parquet(Path(self.folder, "service.parquet")).rows())
        )
        size, span = next(recorded)
        assert size == len(batch.symbols)
        return int(span)


@dataclass
class Slow(Strategy):
    """Sums its symbol's first feature, and takes a while over it."""

    def bind(self, session: Session) -> None:
        self.sums = np.zeros(len(session.symbols))

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.features is not None
        out = np.empty((len(batch), 1), dtype=np.float32)
        for row, symbol in enumerate(batch.symbol):
            self.sums[symbol] += batch.features[row, 0]
            out[row] = self.sums[symbol]
        sum(range(2000))
        return out

    def reset(self, symbols: Sequence[int]) -> None:
        self.sums[list(symbols)] = 0


@dataclass
class Leaning(Slow):
    """Trades against what it was told it holds."""

    def bind(self, session: Session) -> None:
        super().bind(session)
        self.held = np.zeros(len(session.symbols))

    def predict(self, batch: EventBatch) -> Float32Array:
        return np.sign(1 - 2 * self.held[batch.symbol]).astype(np.float32).reshape(-1, 1)

    def on_fills(self, fills: Sequence[Confirmation]) -> None:
        for fill in fills:
            self.held[fill.symbol] += fill.lots


class _Plugin:
    @hookimpl
    def backtest_register_strategies(self, register: Register[Strategy]) -> None:
        register("slow", Slow)
        register("leaning", Leaning)

    @hookimpl
    def backtest_register_latency_models(self, register: Register[LatencyModel]) -> None:
        register("replayed", Replayed)


@pytest.fixture
def plugins() -> Plugins:
    plugins = load_plugins(entry_points=False)
    plugins.add(_Plugin(), Origin("test"))
    return plugins


@pytest.mark.parametrize("policy", ["all", "deadline:4,1ms", "newest-per-symbol", "one"])
def test_measured_service_times_replay(
    small_dataset: Path, tmp_path: Path, plugins: Plugins, policy: str
) -> None:
    common: dict[str, Any] = {
        "dataset": str(small_dataset), "strategy": "slow", "policy": policy,
        "server": {"line_limit": 3}, "runs": tmp_path, "plugins": plugins,
    }  # fmt: skip
    # A thousand times slower than this machine, so that the queue fills.
    live = run(**common, latency={"service": "measured", "scale": 20.0})
    assert live.manifest["loop"]["kind"] == "closed"
    again = run(**common, latency={"service": f"replayed:{live.folder}", "scale": 20.0})
    assert again.manifest["loop"]["kind"] == "three passes"
    for name in ("timing", "predictions", "fills", "equity"):
        assert live.table(name).equals(again.table(name)), name
    assert live.metrics == again.metrics


@dataclass
class Failing(Strategy):
    """Gives something that cannot be traded with its batch number ``at``."""

    at: int = 5
    how: float = np.nan
    wide: int = 1

    needs_features: ClassVar[bool] = False

    def predict(self, batch: EventBatch) -> Float32Array:
        self.at -= 1
        width = self.wide if self.at < 0 else 1
        return np.full((len(batch), width), self.how if self.at < 0 else 0.0, dtype=np.float32)


@dataclass
class Looped:
    """What came of a loop over events in memory."""

    predictions: Float32Array
    columns: dict[str, Any]
    live: LiveStrategy


def looped(
    strategy: Strategy, policy: BatchingPolicy, events: EventBatch, *, piece: int = 100
) -> Looped:
    """A strategy in a loop over events of seven symbols, each batch of which takes 10 ns."""
    session = Session(tuple("ABCDEFG"))
    strategy.bind(session)
    bound = BoundStrategy(strategy, {"name": "looped"}, {}, session)
    rules = ServerRules(policy, Constant(10), line_limit=1000)
    stream: Any = Pieces(events, piece)
    replay = Replay(
        stream, rules, Constant(0), symbols=7, end=10**9, live=True,
        columns=loop_columns(bound, ["symbol", "ts_event"]),
    )  # fmt: skip
    live = replay.live = LiveStrategy(bound, rules, replay.window)
    kept: dict[str, list[Any]] = {name: [] for name in (*TIMES, "predictions")}
    for progress in replay.run():
        live.check()
        for name, parts in kept.items():
            parts.append(replay.window[name][replay.rows(progress)].copy())
    columns = {name: np.concatenate(parts) for name, parts in kept.items()}
    return Looped(columns.pop("predictions")[:, 0], columns, live)


def crowded(count: int) -> EventBatch:
    """Events of seven symbols that come faster than they are served."""
    return EventBatch(np.arange(count, dtype=np.int32) % 7, 3 * np.arange(count))


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("at", [0, 5, 99])
@pytest.mark.parametrize(("how", "wide"), [(np.nan, 1), (np.inf, 1), (0.0, 2)])
def test_an_answer_that_cannot_be_traded_stops_the_loop(
    limit: int, at: int, how: float, wide: int
) -> None:
    """Predictions are checked some batches at a time: the one that is not finite is found."""
    events = EventBatch(np.arange(300, dtype=np.int32) % 7, 1000 * np.arange(300))
    problem = "not float32" if wide > 1 else f"ts_event {1000 * at}$|ts_event {1000 * at}\n"
    for piece in (300, 7):
        with pytest.raises(RunError, match=problem):
            looped(Failing(at, how, wide), AtMost(limit), events, piece=piece)


@dataclass
class Counting(Strategy):
    """Answers with the number of its call, but for one event."""

    bad: int = -1

    needs_features: ClassVar[bool] = False

    def predict(self, batch: EventBatch) -> Float32Array:
        self.calls = getattr(self, "calls", -1) + 1
        answers = np.full((len(batch), 1), self.calls, dtype=np.float32)
        answers[batch.ts_event == self.bad] = np.nan
        return answers


@pytest.mark.parametrize("policy", [AtMost(3), OnePerSymbol(), NewestPerSymbol()])
def test_each_answer_is_that_of_its_batch(policy: BatchingPolicy) -> None:
    """However the stream is cut, and with the size and service time of each batch on record."""
    done = looped(Counting(), policy, crowded(1000), piece=64)
    answered = done.columns["status"] == Status.ANSWERED
    assert 100 < answered.sum() <= 1000
    batch = done.columns["batch"]
    sizes = np.bincount(batch[answered])
    table = done.live.table()
    assert table["size"].to_pylist() == sizes.tolist()
    assert table["service_ns"].to_pylist() == done.live.spans.tolist() == [10] * len(sizes)
    assert np.array_equal(done.predictions[answered], batch[answered])
    whole = looped(Counting(), policy, crowded(1000), piece=1000)
    for name in TIMES:
        assert np.array_equal(done.columns[name], whole.columns[name]), name
    assert np.array_equal(done.predictions[answered], whole.predictions[answered])


@pytest.mark.parametrize("policy", [AtMost(3), OnePerSymbol(), AtMost(1)])
@pytest.mark.parametrize("bad", [0, 40, 997])
def test_the_one_answer_that_is_not_finite_is_found_where_checks_are_put_off(
    policy: BatchingPolicy, bad: int
) -> None:
    symbol = "ABCDEFG"[bad % 7]
    problem = rf"nan\] for symbol '{symbol}' at ts_event {3 * bad}\b"
    for piece in (998, 50):
        with pytest.raises(RunError, match=problem):
            looped(Counting(3 * bad), policy, crowded(998), piece=piece)


@pytest.mark.parametrize("policy", [AtMost(3), OnePerSymbol()])
def test_columns_may_be_read_only_and_strided(policy: BatchingPolicy) -> None:
    symbol = np.repeat(np.arange(1000, dtype=np.int32) % 7, 2)[::2]
    ts_event = 3 * np.arange(1000, dtype=np.int64)
    ts_event.setflags(write=False)
    one = looped(Counting(), policy, crowded(1000))
    other = looped(Counting(), policy, EventBatch(symbol, ts_event))
    for name in TIMES:
        assert np.array_equal(one.columns[name], other.columns[name]), name


def test_a_strategy_reacts_to_its_fills(
    small_dataset: Path, tmp_path: Path, plugins: Plugins
) -> None:
    done = run(
        dataset=str(small_dataset), strategy="leaning", runs=tmp_path, plugins=plugins,
        latency={"service": "constant:10us", "entry": "constant:20us", "response": "constant:3ms"},
    )  # fmt: skip
    assert done.manifest["loop"]["why"] == "the strategy reacts to its fills"
    assert done.metrics["account"]["ideal"] is None
    lots = done.table("fills").filter(pl.col("event") >= 0).group_by("symbol").agg("lots")
    # It buys one lot, learns of it 3 ms later, sells, learns of that, buys ...
    for row in lots["lots"]:
        assert abs(np.cumsum(row)).max() <= 1
        assert len(row) > 20


def test_measuring_is_for_the_service(
    small_dataset: Path, tmp_path: Path, plugins: Plugins
) -> None:
    with pytest.raises(UsageError, match="only the service"):
        run(dataset=str(small_dataset), strategy="slow", runs=tmp_path, plugins=plugins,
            latency={"service": "constant:1ms", "entry": "measured"})  # fmt: skip
