"""The generated market is what its card states, as measured on generated events."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from backtest.core.arrays import Float32Array
from backtest.data.synthetic.arrivals import ArrivalBlock, arrivals
from backtest.data.synthetic.generate import batches
from backtest.data.synthetic.market import SECOND, Market
from backtest.data.synthetic.processes import Processes, _recursion
from backtest.data.synthetic.truth import full_history_r2
from backtest.market.events import EventBatch, concatenate


def some(market: Market, blocks: int) -> tuple[EventBatch, Float32Array]:
    made = list(islice(batches(market), blocks))
    return concatenate([b for b, _ in made]), np.concatenate([t for _, t in made])


@pytest.fixture(scope="module")
def default() -> tuple[EventBatch, Float32Array]:
    return some(Market(), 4)


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(1 - np.mean((truth - predicted) ** 2) / np.var(truth))


@pytest.mark.parametrize("single", [0.1, 0.21])
def test_one_event_has_the_r2_that_the_card_states(single: float) -> None:
    # Many symbols, because one symbol's offset hardly changes within the events of a test.
    events, targets = some(Market(seed=1, symbols=3000, single_r2=single), 2)
    assert events.features is not None
    features, alpha = events.features.astype(np.float64), targets[:, 0]
    half = len(alpha) // 2
    weights = np.linalg.lstsq(features[:half], alpha[:half], rcond=None)[0]
    assert r2(alpha[half:], features[half:] @ weights) == pytest.approx(single, abs=0.012)


@pytest.mark.one_python
def test_the_history_has_the_r2_that_the_card_states(
    default: tuple[EventBatch, Float32Array],
) -> None:
    market = Market()
    events, targets = default
    assert events.features is not None
    loadings = market.loadings()
    a = loadings.linear
    noise = 1 - a * a * (1 + market.offset_variance)
    columns = loadings.order[: len(a)]
    weights = market.observation_noise * a / noise
    seen = events.features[:, columns] @ weights  # alpha + offset + noise
    predicted = np.empty(len(events))
    for symbol in range(market.symbols):
        rows = np.flatnonzero(events.symbol == symbol)
        predicted[rows] = kalman(market, events.ts_event[rows], seen[rows])
    later = slice(len(events) // 10, None)
    stated = full_history_r2(market, next(arrivals(market)))
    assert stated >= 0.4
    assert r2(targets[later, 0], predicted[later]) == pytest.approx(stated, abs=0.015)


def kalman(market: Market, ts: np.ndarray, seen: np.ndarray) -> list[float]:
    mean, variance = np.zeros(2), np.diag([1.0, market.offset_variance])
    stationary, h = variance.copy(), np.ones(2)
    found = []
    for span, z in zip(np.diff(ts, prepend=ts[0]) / SECOND, seen, strict=True):
        decay = np.exp([-span / market.life, -span / market.offset_life])
        mean = decay * mean
        variance = np.outer(decay, decay) * (variance - stationary) + stationary
        gain = variance @ h / (h @ variance @ h + market.observation_noise)
        mean = mean + gain * (z - mean.sum())
        variance = variance - np.outer(gain, h @ variance)
        found.append(mean[0])
    return found


def test_alpha_moves_the_mid_by_the_edge(default: tuple[EventBatch, Float32Array]) -> None:
    market = Market()
    events, targets = default
    assert events.bid is not None
    assert events.ask is not None
    mid, alpha = events.bid + events.ask, targets[:, 0].astype(np.float64)
    regressor, move = [], []
    for symbol in range(market.symbols):
        rows = np.flatnonzero(events.symbol == symbol)
        ts = events.ts_event[rows]
        later = np.minimum(np.searchsorted(ts, ts + market.half_life), len(ts) - 1)
        span = (ts[later] - ts) / SECOND
        regressor.append(alpha[rows] * (1 - np.exp(-span / market.life)))
        move.append(mid[rows][later] - mid[rows])
    x, y = np.concatenate(regressor), np.concatenate(move)
    assert float(x @ y / (x @ x)) == pytest.approx(market.edge, rel=0.03)
    assert market.edge / (market.mean_spread + 0.5) == pytest.approx(8)


def test_spreads_are_as_stated(default: tuple[EventBatch, Float32Array]) -> None:
    events, _ = default
    assert events.bid is not None
    assert events.ask is not None
    spread = events.ask - events.bid
    assert spread.min() >= 1
    assert spread.mean() == pytest.approx(Market().mean_spread, rel=0.03)
    assert events.bid_size is not None
    assert events.ask_size is not None
    assert min(events.bid_size.min(), events.ask_size.min()) >= 1
    assert events.bid.min() > 0


def test_spreads_and_sizes_vary_slowly(default: tuple[EventBatch, Float32Array]) -> None:
    events, _ = default
    assert events.bid is not None
    assert events.ask is not None
    assert events.bid_size is not None
    rows = np.flatnonzero(events.symbol == 0)
    for series in ((events.ask - events.bid)[rows], np.log(events.bid_size[rows])):
        assert np.corrcoef(series[1:], series[:-1])[0, 1] > 0.1


def test_features_have_unit_variance(default: tuple[EventBatch, Float32Array]) -> None:
    events, targets = default
    assert events.features is not None
    assert events.features.shape[1] == 79
    np.testing.assert_allclose(events.features.std(axis=0), 1, atol=0.06)
    assert np.array_equal(events.features * 64, np.rint(events.features * 64))
    assert targets.shape[1] == 4
    assert (targets == targets[:, :1]).all()


def test_events_come_in_clusters() -> None:
    def dispersion(market: Market) -> float:
        ts = np.concatenate([block.ts for block in islice(arrivals(market), 2)])
        counts = np.bincount((ts - market.start) // (SECOND // 2))[1:-1]
        assert counts.mean() * 2 == pytest.approx(market.rate * market.symbols, rel=0.03)
        return float(counts.var() / counts.mean())

    assert dispersion(Market(branching=0)) == pytest.approx(1, abs=0.15)
    assert dispersion(Market(branching=0.5)) == pytest.approx(4, abs=0.6)  # 1 / (1 - branching)²


def test_processes_do_not_notice_blocks() -> None:
    market = Market(symbols=3, rate=20)
    processes = Processes(market)
    paths = [processes.step(block) for block in islice(arrivals(market), 3)]
    blocks = list(islice(arrivals(market), 3))
    alpha = np.concatenate([p["alpha"] for p in paths])
    offset = np.concatenate([p["offset"] for p in paths])
    ts = np.concatenate([b.ts for b in blocks])
    symbol = np.concatenate([b.symbol for b in blocks])
    assert (np.diff(ts) >= 0).all()
    edges = np.cumsum([len(b) for b in blocks])[:-1]
    for s in range(market.symbols):
        rows = np.flatnonzero(symbol == s)
        for path, life in ((alpha[rows], market.life), (offset[rows], market.offset_life)):
            span = np.diff(ts[rows]) / SECOND
            jump = path[1:] - np.exp(-span / life) * path[:-1]
            scale = np.sqrt(-np.expm1(-2 * span / life)) * (1.0 if life < 1 else math.sqrt(3))
            drawn = jump / scale
            assert drawn.std() == pytest.approx(1, abs=0.03)
            crossing = np.searchsorted(rows, edges) - 1
            assert np.abs(drawn[crossing]).max() < 5


def test_the_recursion_is_the_loop() -> None:
    random = np.random.default_rng(0)
    decay, shock = random.uniform(0, 1, 500), random.standard_normal(500)
    decay[::7] = 1 - 1e-7
    first = random.random(500) < 0.02
    first[0] = True
    carried = random.standard_normal(500)
    wanted, last = [], 0.0
    for d, e, c, new in zip(decay, shock, carried, first, strict=True):
        last = d * (c if new else last) + e
        wanted.append(last)
    np.testing.assert_allclose(_recursion(decay, shock, carried, first), wanted, atol=1e-11)


def test_the_truth_without_an_offset_and_noise_is_near_one() -> None:
    market = Market(offset_variance=0, single_r2=0.98)
    ts = np.arange(100, dtype=np.int64) * 1_000_000
    events = ArrivalBlock(0, ts, np.zeros(100, dtype=np.int32))
    assert 0.98 < full_history_r2(market, events) < 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"symbols": 0}, "symbols must be at least 1"),
        ({"branching": 1.0}, "pile up"),
        ({"single_r2": 0.25}, "single_r2 must lie between 0 and 0.25"),
        ({"half_life": 0}, "half_life must be above 0"),
        ({"noise": -1.0}, "noise cannot be negative"),
        ({"same_symbol": 1.5}, "at most 1"),
    ],
)
def test_markets_that_cannot_be(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Market(**wrong)  # type: ignore[arg-type]


def test_every_parameter_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/data.md").read_text()
    assert not [name for name, _ in Market().parameters() if f"`{name}`" not in text]
