"""Draws, scaling, and the sizes of the model calls that serve a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from backtest.core.arrays import Float64Array, Int64Array
from backtest.errors import RunError
from backtest.inference.bound_strategy import BoundStrategy
from backtest.market.events import EventBatch
from backtest.market.window import Window
from backtest.plugins.latency_models import Constant
from backtest.plugins.policies import All
from backtest.runs.closed_loop import LiveStrategy, loop_columns
from backtest.strategies.base import Session
from backtest.strategies.imbalance import Imbalance
from backtest.timing.draws import Draws
from backtest.timing.latency import LatencyModel, pass_sizes, scaled
from backtest.timing.server import Server
from backtest.timing.server_rules import ServerRules
from backtest.timing.simulation import simulate
from tests.wrong_latency import WRONG_SPANS, Writing


def test_a_draw_depends_on_seed_stream_and_number_alone() -> None:
    draws = Draws(7, "service")
    order = [9000, 0, 4095, 4096, 5, 0]
    first = Draws(7, "service").first(9001)
    assert [draws[k] for k in order] == [float(first[k]) for k in order]
    assert ((first >= 0) & (first < 1)).all()
    assert Draws(8, "service")[0] != draws[0] != Draws(7, "feed")[0]


def test_fewer_first_draws_are_a_prefix_of_more() -> None:
    assert np.array_equal(Draws(1, "entry").first(10), Draws(1, "entry").first(5000)[:10])
    assert len(Draws(1, "entry").first(0)) == 0


def test_draws_are_uniform() -> None:
    draws = Draws(3, "response").first(100_000)
    # Deviations of a mean and a variance of 1e5 uniforms: 0.0009 and 0.0002; five of each.
    assert draws.mean() == pytest.approx(0.5, abs=0.0046)
    assert draws.var() == pytest.approx(1 / 12, abs=0.0012)


def test_scaling_rounds_halves_to_even() -> None:
    spans = np.array([0, 1, 3, 5, 10**15], dtype=np.int64)
    assert scaled(spans, 0.5).tolist() == [0, 0, 2, 2, 5 * 10**14]


@pytest.mark.parametrize(
    ("symbols", "rounds"),
    [([4], (1,)), ([1, 2, 3], (3,)), ([1, 1, 1], (1, 1, 1)), ([1, 2, 1, 3, 1, 2], (3, 2, 1))],
)
def test_passes_of_a_batch(symbols: list[int], rounds: tuple[int, ...]) -> None:
    assert pass_sizes(symbols, "rounds") == rounds
    assert pass_sizes(symbols, "packed") == (len(symbols),)


@dataclass(frozen=True)
class Whole(LatencyModel):
    """Says itself how long a batch takes."""

    span: Any

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return np.zeros(len(sizes), dtype=np.int64)

    def service(self, batch: Any, u: float) -> int:
        found: int = self.span
        return found


EVENTS = EventBatch(
    symbol=np.zeros(20, dtype=np.int32),
    ts_event=1000 * np.arange(20),
    bid=np.arange(20),
    ask=np.arange(1, 21),
    bid_size=np.ones(20, dtype=np.int64),
    ask_size=np.ones(20, dtype=np.int64),
)


@pytest.mark.parametrize(
    "wrong",
    [*WRONG_SPANS, Whole(-1), Whole(float("nan"))],
    ids=str,
)
def test_what_is_no_span_stops_a_run(wrong: LatencyModel) -> None:
    """Were it negative, answers would be there before what they answer."""
    place = f"latency model {type(wrong).__name__}: it gave "
    with pytest.raises(RunError, match=place):
        simulate(ServerRules(All(), wrong), EVENTS, Constant(0), symbols=1, end=10**6)
    with pytest.raises(RunError, match=place):
        serve_live(ServerRules(All(), wrong))
    if not isinstance(wrong, Whole):
        feed = ServerRules(All(), Constant(5))
        with pytest.raises(RunError, match=place):
            simulate(feed, EVENTS, wrong, symbols=1, end=10**6)


def serve_live(rules: ServerRules) -> int:
    """Serve the events with a strategy that is called for each batch: how many there were."""
    bound = BoundStrategy(Imbalance(), {"name": "imbalance"}, {}, Session(("A",)))
    bound.strategy.bind(bound.session)
    present = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    window = Window({**Server.COLUMNS, **loop_columns(bound, present)})
    server = Server(rules, Constant(0), window, symbols=1, end=10**6, live=True)
    strategy = LiveStrategy(bound, rules, window)
    rows = window.extend(len(EVENTS))
    for name in present:
        window[name][rows] = getattr(EVENTS, name)
    server.receive(EVENTS, rows)
    while (batch := server.advance(last=True)) is not None:
        server.serve(strategy(batch))
    return server.batches


def test_a_feed_cannot_move_events() -> None:
    rules = ServerRules(All(), Constant(5))
    with pytest.raises(ValueError, match="read-only"):
        simulate(rules, EVENTS, Writing(5), symbols=1, end=10**6)


def test_with_proper_spans_every_batch_is_served() -> None:
    assert serve_live(ServerRules(All(), Constant(5))) == len(EVENTS)
