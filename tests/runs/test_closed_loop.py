"""The closed loop against the three passes of the same scenario, and against the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.api import run
from backtest.core.addresses import places_of
from backtest.core.arrays import Float32Array, Float64Array, Int64Array
from backtest.core.parts import Origin
from backtest.core.room import Room
from backtest.errors import RunError
from backtest.inference.answers import Answers
from backtest.inference.bound_strategy import Inference
from backtest.market.events import EventBatch
from backtest.plugins.accountants.market import MarketAccountant
from backtest.plugins.hookspecs import Register, hookimpl
from backtest.plugins.latency_models import Constant
from backtest.plugins.manager import Plugins, load_plugins
from backtest.plugins.policies import AtMost, NewestPerSymbol, OnePerSymbol
from backtest.runs.closed_loop import ClosedLoop
from backtest.strategies.base import Session, Strategy
from backtest.timing.latency import Composition, LatencyModel, scaled
from backtest.timing.outcomes import Timing
from backtest.timing.server import InferenceServer
from backtest.trading.accountant import Ledger
from backtest.trading.live_desk import LiveDesk
from backtest.trading.orders import Confirmation
from tests.markets import Market, markets
from tests.test_against_oracle import (
    OracleFeed,
    OracleService,
    Wanted,
    events_of,
    instruments_of,
    policy_of,
    served,
    settled,
    within_window,
)


@dataclass
class Told(Strategy):
    """Answers with targets that are given, and remembers the fills it is told of."""

    needs_features: ClassVar[bool] = False

    def bind(self, session: Session) -> None:
        self.fills: list[Confirmation] = []
        self.targets: dict[tuple[int, int], float] = {}
        self.seen: list[int] = []

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.trade_size is not None
        self.seen += batch.trade_size.tolist()
        return batch.trade_size.astype(np.float32).reshape(-1, 1)

    def on_fills(self, fills: Sequence[Confirmation]) -> None:
        self.fills += fills


def closed(market: Market, compiled: bool) -> tuple[Any, Told]:
    """The market run as a closed loop; its targets travel as trade sizes."""
    events = events_of(market)
    targets = np.array(market.targets, dtype=np.int64)
    carried = replace(events, trade_price=events.bid, trade_size=targets)
    symbols = tuple(f"S{k}" for k in range(len(market.value)))
    strategy = Told()
    session = Session(symbols)
    strategy.bind(session)
    count = len(events)
    room = Room(count)
    unknown = [room.column(k) for k in (np.int64, np.int64, np.int64, np.uint8, np.int64)]
    nothing = np.empty(0, dtype=np.float32)
    ledger = Ledger(
        symbols=symbols,
        instruments=instruments_of(market),
        events=events,
        timing=Timing(*unknown),
        answers=Answers(nothing, nothing, nothing.astype(np.bool_)),
        undropped=None,
        targets=None,
        sizing=Wanted(),
        entry=scaled(np.array(market.entry, dtype=np.int64), market.scale),
        response=scaled(np.array(market.response, dtype=np.int64), market.scale),
        sessions=market.sessions,
        warmup=market.warmup,
        end=market.end,
    )
    accountant = MarketAccountant(market.limit, market.band, float(market.impact))
    inference = Inference(strategy, {"name": "told"}, {}, session)
    desk = LiveDesk(ledger, accountant.rules(market.sessions, market.end), inference)
    server = InferenceServer(
        policy_of(market.policy),
        OracleService(market.service),
        market.service.composition,
        line_limit=market.line,
        max_batch=market.max_batch,
        max_age=market.max_age,
        scale=market.scale,
    )
    if compiled:
        server = replace(server, latency=LiveService(market.service))
    loop = ClosedLoop(
        server,
        inference,
        carried,
        OracleFeed(market.feed),
        end=market.end,
        room=room,
        desk=desk,
    )
    return loop.run(compiled), strategy


class LiveService(OracleService):
    """The oracle's service times, with a table that nobody reads."""

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return super().spans(sizes, u)

    def service(self, batch: Composition, u: float) -> int:
        return super().service(batch, u)

    def table(self, u: Float64Array) -> Any:
        raise AssertionError("a closed loop asks batch by batch")


@pytest.mark.parametrize("compiled", [False, True])
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(market=markets(), nothing=st.none())
def test_both_ways_agree(compiled: bool, market: Market, nothing: None) -> None:
    market = replace(within_window(market), fee_rate=round(market.fee_rate, 9))
    three = served(market, events_of(market))
    loop, strategy = closed(market, compiled)
    for column in ("received", "begun", "ended", "status", "batch"):
        assert np.array_equal(getattr(loop.timing, column), getattr(three, column)), column
    answered = three.answered
    assert loop.answers.predictions[answered, 0].tolist() == [
        t for t, yes in zip(market.targets, answered.tolist(), strict=True) if yes
    ]
    # What it was told are the fills of the three passes, in time, none of them twice.
    fills = settled(market).tables["fills"].to_pylist()
    made = {(f["event"], f["lots"], f["price_half_ticks"]) for f in fills if f["event"] >= 0}
    told = [(f.event, f.lots, f.half_ticks) for f in strategy.fills]
    assert len(set(told)) == len(told)
    assert set(told) <= made
    known = [f.known for f in strategy.fills]
    assert known == sorted(known)
    if not len(three.begun[answered]):
        return
    last = int(three.begun[answered].max())
    response = scaled(np.array(market.response, dtype=np.int64), market.scale)
    due = {
        (f["event"], f["lots"], f["price_half_ticks"])
        for f in fills
        if f["event"] >= 0
        and int(three.ended[f["event"]]) < last
        and f["ts_venue"].value + int(response[f["event"]]) <= last
    }
    assert due <= set(told)


@dataclass(frozen=True)
class Replayed(LatencyModel):
    """Service times that a closed loop recorded."""

    folder: str

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise AssertionError("asked by batch")

    def service(self, batch: Composition, u: float) -> int:
        recorded = self.__dict__.setdefault(
            "_spans", iter(pl.read_parquet(Path(self.folder, "service.parquet")).rows())
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


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("at", [0, 5, 99])
@pytest.mark.parametrize(("how", "wide"), [(np.nan, 1), (np.inf, 1), (0.0, 2)])
def test_an_answer_that_cannot_be_traded_stops_the_loop(
    compiled: bool, limit: int, at: int, how: float, wide: int
) -> None:
    """Batches are proved finite some at a time: the one that is not is found all the same."""
    events = EventBatch(np.arange(300, dtype=np.int32) % 7, 1000 * np.arange(300))
    session = Session(tuple("ABCDEFG"))
    inference = Inference(Failing(at, how, wide), {"name": "failing"}, {}, session)
    server = InferenceServer(AtMost(limit), Constant(10), line_limit=1000)
    loop = ClosedLoop(server, inference, events, Constant(0), end=10**9, room=Room(300))
    problem = "not float32" if wide > 1 else f"ts_event {1000 * at}$|ts_event {1000 * at}\n"
    with pytest.raises(RunError, match=problem):
        loop.run(compiled)


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


def counted(policy: Any, count: int, bad: int = -1, **columns: Any) -> tuple[ClosedLoop, list[int]]:
    """A loop over many crowded events of seven symbols, and how far it says it is."""
    made = {
        "symbol": np.arange(count, dtype=np.int32) % 7,
        "ts_event": 3 * np.arange(count, dtype=np.int64),
    }
    events, session = EventBatch(**{**made, **columns}), Session(tuple("ABCDEFG"))
    inference = Inference(Counting(bad), {"name": "counting"}, {}, session)
    server = InferenceServer(policy, Constant(10), line_limit=1000)
    told: list[int] = []
    loop = ClosedLoop(
        server, inference, events, Constant(0), end=10**9, room=Room(count), progress=told.append
    )
    return loop, told


@pytest.mark.parametrize("policy", [AtMost(3), OnePerSymbol(), NewestPerSymbol()])
def test_what_is_put_off_is_done_in_the_end(policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs and records are made some at a time; the last ones, too, and in the right places."""
    monkeypatch.setattr("backtest.runs.closed_loop._TOLD", 64)
    loop, told = counted(policy, 1000)
    done = loop.run(True)
    plain = counted(policy, 1000)[0].run(False)
    answered = done.answers.answered
    assert np.array_equal(answered, plain.answers.answered)
    assert 100 < answered.sum() <= 1000
    sizes = np.bincount(done.timing.batch[answered])
    assert done.sizes.tolist() == sizes.tolist() == plain.sizes.tolist()
    assert done.service.tolist() == [10] * len(sizes)
    assert np.array_equal(done.answers.predictions[answered, 0], done.timing.batch[answered])
    assert told == sorted(told)
    assert [t // 64 for t in told] == sorted({t // 64 for t in told})
    assert sizes.sum() // 64 == len(told)
    assert not loop._unproved


@pytest.mark.parametrize("policy", [AtMost(3), OnePerSymbol(), AtMost(1)])
@pytest.mark.parametrize("bad", [0, 40, 997])
def test_the_one_answer_that_is_not_finite_is_found_where_proofs_are_put_off(
    policy: Any, bad: int
) -> None:
    loop, _ = counted(policy, 998, bad=3 * bad)
    symbol = "ABCDEFG"[bad % 7]
    with pytest.raises(RunError, match=rf"nan\] for symbol '{symbol}' at ts_event {3 * bad}\b"):
        loop.run(True)


@pytest.mark.parametrize("policy", [AtMost(3), OnePerSymbol()])
def test_columns_may_be_read_only_and_strided(policy: Any) -> None:
    symbol = np.repeat(np.arange(1000, dtype=np.int32) % 7, 2)[::2]
    ts_event = 3 * np.arange(1000, dtype=np.int64)
    ts_event.setflags(write=False)
    one = counted(policy, 1000)[0].run(True)
    other = counted(policy, 1000, symbol=symbol, ts_event=ts_event)[0].run(True)
    for name in ("received", "begun", "ended", "status", "batch"):
        np.testing.assert_array_equal(getattr(one.timing, name), getattr(other.timing, name))


@pytest.mark.parametrize(
    "array", [np.zeros(4, dtype=np.int32), np.zeros(8, dtype=np.int64)[::2], np.zeros(4)]
)
def test_only_whole_arrays_of_the_right_type_are_handed_over_by_address(array: Any) -> None:
    good = np.arange(5)
    assert places_of([good], int32=7).tolist() == [good.ctypes.data, 5]
    with pytest.raises(ValueError, match="array 1 is no piece of int64"):
        places_of([good, array])


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
    from backtest.errors import UsageError

    with pytest.raises(UsageError, match="only the service"):
        run(dataset=str(small_dataset), strategy="slow", runs=tmp_path, plugins=plugins,
            latency={"service": "constant:1ms", "entry": "measured"})  # fmt: skip
