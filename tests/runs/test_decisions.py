"""Whole runs of strategies that send their own orders."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

import backtest
from backtest.comparison.comparison import compare
from backtest.core.arrays import Float32Array
from backtest.core.parts import Origin
from backtest.errors import RunError, UsageError
from backtest.market.events import EventBatch
from backtest.plugins.hookspecs import Register, hookimpl
from backtest.plugins.manager import Plugins, load_plugins
from backtest.report.page import render_report
from backtest.runs.folder import Run
from backtest.strategies import Desk, Messages, Reports, Session, Strategy
from backtest.trading.orders import Confirmation


@dataclass
class Joiner(Strategy):
    """Keeps a bid at the touch, and withdraws it when its timer is due."""

    lots: int = 2
    nap_ms: float = 0.0
    sends: str = "orders"

    needs_features: ClassVar[bool] = False
    stateful: ClassVar[bool] = False

    def bind(self, session: Session) -> None:
        self.told: list[tuple[int, int]] = []
        self.last: Desk | None = None

    def predict(self, batch: EventBatch) -> Float32Array:
        return np.zeros((len(batch), 1), dtype=np.float32)

    def on_reports(self, reports: Reports) -> None:
        self.told += zip(reports.known.tolist(), reports.kind.tolist(), strict=True)

    def decide(self, now: int, batch: EventBatch, desk: Desk) -> Messages | None:
        time.sleep(self.nap_ms / 1000)
        assert all(known <= now for known, _ in self.told)
        assert not desk.position.flags.writeable
        assert not desk.quotes.bid.flags.writeable
        assert not desk.working.price.flags.writeable
        assert not desk.unresolved.flags.writeable
        if self.sends == "nothing":
            return None
        if self.sends == "list":
            return []  # type: ignore[return-value]
        if self.sends == "far":
            return Messages.cancel_all([0, 99])
        self.last = desk
        if not len(batch):
            return Messages.cancel(desk.working.symbol, desk.working.id)
        symbols = np.unique(batch.symbol)
        free = symbols[desk.unresolved[symbols, 0] == 0]
        free = free[desk.quotes.bid[free] != backtest.NO_PRICE]
        return Messages.new(free, 1, desk.quotes.bid[free], self.lots)


@dataclass
class Timed(Joiner):
    """The same with a timer."""

    timer = "20ms"


@dataclass
class Confused(Joiner):
    """Has two ways to learn of its fills."""

    def on_fills(self, fills: list[Confirmation]) -> None:
        pass


class _Plugin:
    @hookimpl
    def backtest_register_strategies(self, register: Register[Strategy]) -> None:
        register("joiner", Joiner)
        register("timed", Timed)
        register("confused", Confused)


@pytest.fixture
def plugins() -> Plugins:
    plugins = load_plugins(entry_points=False)
    plugins.add(_Plugin(), Origin("test"))
    return plugins


def run(dataset: Path, runs: Path, plugins: Plugins, **settings: Any) -> Run:
    given: dict[str, Any] = {
        "dataset": str(dataset),
        "strategy": "timed",
        "latency": {"service": "constant:1ms", "entry": "constant:2ms", "response": "constant:1ms"},
        "fills": {"queue": "optimistic"},
    }
    return backtest.run(runs=runs, plugins=plugins, **{**given, **settings})


def test_a_strategy_sends_its_own_orders(
    small_dataset: Path, tmp_path: Path, plugins: Plugins
) -> None:
    done = run(small_dataset, tmp_path, plugins)
    why = "the strategy sends its own orders"
    assert done.manifest["loop"] == {"kind": "closed", "why": why}
    counts, told = done.metrics["decisions"], done.metrics["orders"]
    batches = done.table("timing").filter(pl.col("status") == 0)["batch"].n_unique()
    assert counts["batches"] in (batches, batches + 1)  # the last may end after the window
    assert counts["timers"] > 20
    assert counts["merged_timers"] == 0
    assert "bracket" not in told
    assert told["accepted"]["reports"] + told["rejected"]["reports"] + told["late"]["reports"] > 100
    assert told["cancelled"]["reports"] > 20
    assert told["filled"]["reports"] > 10
    sizes = done.table("service")["size"]
    assert (sizes == 0).sum() == counts["timers"]
    orders = done.table("orders")
    sent = orders.filter(pl.col("report") == "accepted").select(pl.col("ts_ended").cast(pl.Int64))
    ended = done.table("timing").filter(pl.col("status") == 0)["ts_ended"].cast(pl.Int64)
    assert set(sent["ts_ended"]) <= set(ended)
    account = done.metrics["account"]
    costs = ("feed", "queueing", "service", "entry", "rest", "spread", "impact", "fees")
    assert account["net"] == account["decision"] - sum(account[name] for name in costs)
    assert account["ideal"] is None
    report = render_report(compare([done]), plugins)
    assert not report.failures
    assert "optimistic" in report.html


def test_it_is_the_same_each_time(small_dataset: Path, tmp_path: Path, plugins: Plugins) -> None:
    one = run(small_dataset, tmp_path / "one", plugins)
    other = run(small_dataset, tmp_path / "other", plugins)
    assert one.manifest["digest"] == other.manifest["digest"]


def test_at_scale_0_every_event_and_timer_is_served_at_once(
    small_dataset: Path, tmp_path: Path, plugins: Plugins
) -> None:
    latency = {"service": "constant:1ms", "entry": "constant:2ms", "scale": 0.0}
    done = run(small_dataset, tmp_path, plugins, latency=latency)
    events = len(done.table("timing"))
    counts = done.metrics["decisions"]
    assert counts["batches"] == events
    span = done.table("timing")["ts_event"].cast(pl.Int64)
    assert counts["timers"] == (span[-1] + 1 - span[0]) // 20_000_000
    reports = done.table("orders").filter(pl.col("report") == "accepted")
    assert (reports["ts_venue"] == reports["ts_ended"]).all()


def test_a_measured_service_includes_what_is_decided(
    small_dataset: Path, tmp_path: Path, plugins: Plugins
) -> None:
    done = run(
        small_dataset, tmp_path, plugins, strategy="timed:nap_ms=3", limit=400,
        latency={"service": "measured"},
    )  # fmt: skip
    spans = done.table("service")["service_ns"]
    assert len(spans) > 0
    assert spans.min() >= 3_000_000  # type: ignore[operator]


def test_a_warm_up_decides_nothing(small_dataset: Path, tmp_path: Path, plugins: Plugins) -> None:
    done = run(small_dataset, tmp_path, plugins, warmup=300)
    first = done.table("orders")["ts_ended"].cast(pl.Int64).min()
    timing = done.table("timing").with_row_index()
    warm = timing.filter(pl.col("index") == 300)["ts_event"].cast(pl.Int64)[0]
    assert first is not None
    assert first >= warm
    whole = run(small_dataset, tmp_path, plugins)
    assert done.metrics["decisions"]["batches"] < whole.metrics["decisions"]["batches"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"quoting": "two-sided"}, "orders of its own, so there is nothing to quote"),
        ({"sizing": "proportional:2"}, "orders of its own, so there is nothing to size"),
        ({"strategy": "confused"}, "it has decide and on_fills"),
    ],
)
def test_runs_that_mix_are_refused(
    small_dataset: Path, tmp_path: Path, plugins: Plugins, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        run(small_dataset, tmp_path, plugins, **settings)


@pytest.mark.parametrize(
    ("sends", "problem"),
    [
        ("list", "decide gave a list, not Messages"),
        ("far", "decide gave row 1: symbol is 99"),
    ],
)
def test_what_is_no_message_stops_the_run(
    small_dataset: Path, tmp_path: Path, plugins: Plugins, sends: str, problem: str
) -> None:
    with pytest.raises(RunError, match=problem) as told:
        run(small_dataset, tmp_path, plugins, strategy=f"joiner:sends={sends}")
    assert "strategy 'joiner'" in str(told.value)
    done = run(small_dataset, tmp_path, plugins, strategy="joiner:sends=nothing")
    assert done.metrics["decisions"]["messages"] == 0


def test_both_legs_of_a_pair_leave_together(
    small_dataset: Path, tmp_path: Path, plugins: Plugins
) -> None:
    settings: dict[str, Any] = {
        "strategy": "imbalance",
        "fills": {},
        "latency": {"service": "constant:1ms", "entry": "constant:2ms"},
    }
    done = run(small_dataset, tmp_path, plugins, sizing="long-short", **settings)
    assert done.manifest["loop"] == {"kind": "three passes"}
    assert done.metrics["account"]["ideal"] is None
    assert not done.has_table("orders")
    fills = done.table("fills").filter(pl.col("event") >= 0)
    assert len(fills) > 50
    by_instant = fills.group_by("ts_ended").agg(pl.col("lots").sum(), pl.col("symbol").n_unique())
    together = by_instant.filter(pl.col("symbol") > 1)
    assert len(together) > 0.5 * len(by_instant)
    timing = done.table("timing")
    answered = timing["symbol"].cast(pl.String).gather(fills["event"])
    assert (answered != fills["symbol"].cast(pl.String)).sum() > 10  # legs without an answer
