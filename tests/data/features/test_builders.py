"""Feature builders: what they compute, that none looks ahead, and datasets made with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log, log1p, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from backtest.core.times import format_utc
from backtest.data.canonical import write_canonical
from backtest.data.card import Calendar, Card, read_card
from backtest.data.dataset import open_dataset
from backtest.data.features.builders import (
    INPUTS,
    FeatureBuilder,
    FeatureSet,
    check_causal,
    evaluate,
    look_ahead,
    random_events,
    to_frame,
)
from backtest.data.features.derive import add_features
from backtest.data.reading.bus import read_events, read_targets
from backtest.errors import DataError, PluginError, UsageError
from backtest.market.events import NO_PRICE, EventBatch
from backtest.plugins.feature_builders import (
    Imbalance,
    Microprice,
    OrderFlow,
    Returns,
    ReturnsOver,
    Spread,
    TimeSince,
    TradeFlow,
    TradeSign,
    Volatility,
)
from backtest.plugins.manager import load_plugins
from tests.data.made import START, SYMBOLS, feature_dataset, quote_dataset, quote_events
from tests.parquet_files import dataset_of

pytestmark = pytest.mark.one_python

REGISTERED = [p.name for p in load_plugins(entry_points=False).parts("feature builder")]

FULL = {
    "returns": "returns:lags=1+7,unit=ticks",
    "returns-over": "returns-over:spans=5ms+80ms",
    "time-since": "time-since:of=event+mid+trade",
}
"""Parameters that reach more of a builder than its defaults do."""


@dataclass
class Expression(FeatureBuilder):
    """Whatever expression a test needs."""

    made: Callable[[], list[pl.Expr]]

    def expressions(self) -> list[pl.Expr]:
        return self.made()


def frame(**columns: list[int | None]) -> pl.DataFrame:
    """Rows of one symbol; columns that are not given are null."""
    n = len(next(iter(columns.values())))
    filled: dict[str, Any] = {name: columns.get(name, [None] * n) for name in INPUTS}
    return pl.DataFrame(filled, schema=dict.fromkeys(INPUTS, pl.Int64))


QUOTES = frame(
    ts_event=[0, 10, 10, 25],
    bid=[100, 101, None, 102],
    ask=[102, 103, 104, 106],
    bid_size=[3, 1, None, 2],
    ask_size=[1, 1, 5, 6],
    trade_price=[None, 102, None, 101],
    trade_size=[None, 4, None, 2],
)
NAN = float("nan")


@pytest.mark.parametrize(
    ("builder", "wanted"),
    [
        (Returns((1,), "ticks"), [NAN, 1, 0, 2]),
        (Returns((2,), "bp"), [NAN, NAN, 1e4 / 101, 2e4 / 102]),
        (ReturnsOver((10,), "ticks"), [NAN, 1, 1, 2]),
        (ReturnsOver((11,), "ticks"), [NAN, NAN, NAN, 2]),
        (Spread("ticks"), [2, 2, 2, 4]),
        (Spread("bp"), [2e4 / 101, 2e4 / 102, 2e4 / 102, 4e4 / 104]),
        (Imbalance(), [0.5, 0, 0, -0.5]),
        (Microprice("ticks"), [0.5, 0, 0, -1]),
        (Volatility((1,), "ticks"), [NAN, 1, sqrt(1 / 3), sqrt((0.25 + 4) / 1.75)]),
        (TimeSince(("event",), 10), [NAN, log(2), 0, log1p(1.5)]),
        (TimeSince(("mid",), 10), [NAN, NAN, 0, log1p(1.5)]),
        (TimeSince(("trade",), 10), [NAN, NAN, 0, log1p(1.5)]),
        (TradeSign(), [0, 1, 0, -1]),
        (TradeFlow((1,)), [0, 1, 1, (1 - 2) / (1 + 2)]),
        # Row 1: a better bid adds 1, a worse ask takes away the 1 that stood there; row 3: 2 and 1.
        (OrderFlow((1,)), [NAN, 2 / 2, 1 / 3, (0.5 + 3) / (0.5 + 1 + 8)]),
    ],
    ids=str,
)
def test_values_worked_by_hand(builder: FeatureBuilder, wanted: list[float]) -> None:
    values = evaluate("b", builder, QUOTES)[:, 0]
    np.testing.assert_allclose(values, np.array(wanted, np.float32), rtol=1e-6)


SIGNED = frame(
    ts_event=[0, 1, 2, 3, 4],
    bid=[-100, -104, -1, 99, 101],
    ask=[-98, -102, 1, 101, 103],
    bid_size=[1, 1, 1, 1, 1],
    ask_size=[1, 1, 1, 3, 1],
)
"""Mids of -99, -103, 0, 100 and 102."""


@pytest.mark.parametrize(
    ("builder", "wanted"),
    [
        (Returns((1,)), [NAN, -4e4 / 99, 103e4 / 103, NAN, 200]),  # a fall is negative
        (Returns((2,)), [NAN, NAN, 99e4 / 99, 203e4 / 103, NAN]),
        (ReturnsOver((1,)), [NAN, -4e4 / 99, 103e4 / 103, NAN, 200]),
        (Spread(), [2e4 / 99, 2e4 / 103, NAN, 200, 2e4 / 102]),
        (Microprice(), [0, 0, NAN, -50, 0]),
        (
            Volatility((1,)),
            [
                NAN,
                4e4 / 99,
                sqrt(((4e4 / 99) ** 2 / 2 + 1e8) / 1.5),
                NAN,
                sqrt(((4e4 / 99) ** 2 / 4 + 1e8 / 2 + 200**2) / 1.75),
            ],
        ),
    ],
    ids=str,
)
def test_basis_points_are_of_the_size_of_the_mid_and_unknown_at_0(
    builder: FeatureBuilder, wanted: list[float]
) -> None:
    values = evaluate("b", builder, SIGNED)[:, 0]
    np.testing.assert_allclose(values, np.array(wanted, np.float32), rtol=1e-6)


@pytest.mark.parametrize("bad", [(0, 0), (0, 5), (None, None), (-1, 1), (-50, -40)])
@pytest.mark.parametrize("name", REGISTERED)
def test_one_doubtful_quote_spoils_no_more_than_its_neighbourhood(
    name: str, bad: tuple[int | None, int | None]
) -> None:
    builder = load_plugins(entry_points=False).create("feature builder", name, place="test")
    events = random_events(1_200, seed=4, start=START)
    rows = pl.int_range(pl.len()) == 300
    spoilt = events.with_columns(
        [
            pl.when(rows).then(v).otherwise(pl.col(n)).alias(n)
            for n, v in zip(("bid", "ask"), bad, strict=True)
        ]
    )
    values, clean = evaluate(name, builder, spoilt), evaluate(name, builder, events)
    assert np.array_equal(values[:300], clean[:300], equal_nan=True)
    assert not np.isinf(values).any()
    unknown = np.isnan(values) & ~np.isnan(clean)
    assert not unknown[700:].any()
    assert unknown.sum() <= 3 * values.shape[1] + 4


@pytest.mark.parametrize("name", REGISTERED)
def test_no_registered_builder_looks_ahead(name: str) -> None:
    plugins = load_plugins(entry_points=False)
    builder = plugins.create("feature builder", FULL.get(name, name), place="test")
    for seed in (1, 2):
        events = random_events(400, seed=seed, start=START)
        assert look_ahead(name, builder, events, cuts=9, seed=seed) is None
        assert np.isfinite(evaluate(name, builder, events)[200:]).all()


CHEATS: dict[str, Callable[[], list[pl.Expr]]] = {
    "next": lambda: [pl.col("bid").shift(-1)],
    "far": lambda: [pl.col("bid").shift(-150)],
    "total": lambda: [pl.col("bid") - pl.col("bid").mean()],
    "last": lambda: [pl.col("trade_size").last() + pl.col("bid")],
    "count": lambda: [(pl.len() + 0 * pl.col("bid")).alias("bid")],
    "backward fill": lambda: [pl.col("trade_price").backward_fill().alias("bid_")],
    "by time": lambda: [pl.col("bid").rolling_sum_by("ts_event", window_size="5i")],
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_is_caught_and_named(cheat: str) -> None:
    builder = Expression(lambda: [e.alias("cheat") for e in CHEATS[cheat]()])
    with pytest.raises(PluginError, match="looks ahead: 'cheat' of row") as caught:
        check_causal({f"my {cheat}": builder}, [])
    assert caught.value.place == f"feature builder 'my {cheat}'"


def test_a_cheat_on_the_dataset_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    dataset = quote_dataset(tmp_path / "in", 300)
    cheat = Expression(lambda: [pl.col("bid").shift(-1).alias("cheat")])
    with pytest.raises(PluginError, match="looks ahead"):
        add_features(dataset, tmp_path / "out", {"cheat": cheat})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: [], "defines no feature"),
        (lambda: [pl.col("bid")], "cannot be called 'bid'"),
        (lambda: [pl.col("mid").alias("x")], "'x' reads 'mid'"),
        (lambda: [pl.col("ask").alias("x"), pl.col("bid").alias("x")], "'x' is defined twice"),
        (lambda: 1 / 0, "fails: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_used_is_refused(made: Any, problem: str) -> None:
    with pytest.raises(PluginError, match=problem):
        FeatureSet({"mine": Expression(made)})


def panics(series: pl.Series) -> pl.Series:
    raise pl.exceptions.PanicException("at the disco")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: [pl.col("bid").drop_nulls().head(2).alias("x")], "2 values for 4 events"),
        (lambda: [pl.col("bid").str.to_uppercase().alias("x")], "fails: "),
        (lambda: [pl.col("bid").map_batches(panics, pl.Int64).alias("x")], "at the disco"),
    ],
)
def test_a_failing_builder_is_named(made: Any, problem: str) -> None:
    with pytest.raises(PluginError, match=problem) as caught:
        FeatureSet({"mine": Expression(made)}).evaluate(QUOTES)
    assert caught.value.place == "feature builder 'mine'"


def test_a_frame_has_nulls_where_something_is_absent() -> None:
    batch = EventBatch(
        symbol=np.zeros(2, np.int32),
        ts_event=np.array([5, 6]),
        bid=np.array([NO_PRICE, 7]),
        ask=np.array([9, 8]),
        bid_size=np.array([0, 2]),
        ask_size=np.array([1, 0]),
    )
    wanted = frame(ts_event=[5, 6], bid=[None, 7], ask=[9, 8], bid_size=[None, 2], ask_size=[1, 0])
    assert to_frame(batch).equals(wanted)
    one, two = np.array([NO_PRICE, 7]), np.array([0, 2])
    sides = np.array([0, -1], np.int8)
    trade = EventBatch(
        batch.symbol, batch.ts_event, trade_price=one, trade_size=two, aggressor=sides
    )
    columns = {"trade_price": [None, 7], "trade_size": [None, 2], "aggressor": [None, -1]}
    assert to_frame(trade).equals(frame(ts_event=[5, 6], **columns))


BUILDERS = {
    "returns:1": Returns((1,)),
    "imbalance": Imbalance(),
    "volatility": Volatility((10,), "ticks"),
}


@pytest.mark.parametrize("held_rows", [1, 1500, 10_000])
def test_a_dataset_gets_each_symbols_features(tmp_path: Path, held_rows: int) -> None:
    dataset = quote_dataset(tmp_path / "in")
    report = add_features(dataset, tmp_path / "out", BUILDERS, held_rows=held_rows)
    made = open_dataset(tmp_path / "out")
    made.verify()
    events, old = read_events(made, features=True), quote_events(3000)
    assert made.features == report.features == ("return_1_bp", "imbalance", "volatility_10_ticks")
    assert made.name == "made-features"
    assert report.rows == 3000
    for name in ("symbol", "ts_event", "ts_recv", *INPUTS[1:]):
        assert np.array_equal(getattr(events, name), getattr(old, name)), name
    assert events.features is not None
    zeroed = np.zeros(3, dtype=int)
    for symbol in range(3):
        rows = np.flatnonzero(old.symbol == symbol)
        wanted = FeatureSet(BUILDERS).evaluate(to_frame(old.select(rows)))
        zeroed += np.isnan(wanted).sum(axis=0)
        assert np.array_equal(events.features[rows], np.nan_to_num(wanted))
    assert report.unknown == {n: k for n, k in zip(made.features, zeroed, strict=True) if k}
    assert min(zeroed[[0, 2]]) >= 3
    notes = made.card.notes["features"]
    assert notes["builders"] == list(BUILDERS)
    assert notes["unknown"] == report.unknown
    assert notes["data_hash"] == dataset.data_hash()


@pytest.mark.parametrize("packed", [False, True])
def test_own_features_and_targets_stay(tmp_path: Path, packed: bool) -> None:
    dataset = feature_dataset(tmp_path / "in", packed=packed)
    add_features(dataset, tmp_path / "out", {"spread": Spread()})
    made = open_dataset(tmp_path / "out")
    assert made.features == ("f0", "f1", "spread_bp")
    before, after = (read_events(d, features=["f0", "f1"]) for d in (dataset, made))
    assert before.features is not None
    assert after.features is not None
    assert np.array_equal(before.features, after.features)
    assert np.array_equal(read_targets(dataset), read_targets(made))


def test_infinities_are_set_to_0_and_counted(tmp_path: Path) -> None:
    dataset = quote_dataset(tmp_path / "in", 200)
    inverse = Expression(lambda: [(1e39 * pl.col("bid")).alias("huge")])
    report = add_features(dataset, tmp_path / "out", {"inverse": inverse})
    assert report.unknown == {"huge": 200}
    features = read_events(open_dataset(tmp_path / "out"), features=True).features
    assert features is not None
    assert not features.any()


def test_the_past_begins_anew_at_a_session_that_resets(tmp_path: Path) -> None:
    ts = np.array([0, 10, 20, 30, 40])
    price = np.array([1, 2, 4, 8, 16])
    size = np.ones(5, dtype=np.int64)
    events = EventBatch(np.zeros(5, np.int32), ts, None, price, price, size, size)
    for breaks, zeros in (("carry", [0]), ("reset", [0, 3])):
        sessions = [[format_utc(0), format_utc(25)], [format_utc(30), format_utc(50)]]
        calendar = Calendar.model_validate({"sessions": sessions, "session_breaks": breaks})
        card = Card(name="s", symbols=("A",), calendar=calendar)
        path = tmp_path / breaks
        write_canonical(path, card, [events])
        add_features(open_dataset(path), tmp_path / f"{breaks}-out", {"returns": Returns((1,))})
        made = read_events(open_dataset(tmp_path / f"{breaks}-out"), features=True)
        assert made.features is not None
        assert np.flatnonzero(made.features[:, 0] == 0).tolist() == zeros


def test_a_dataset_without_the_columns_is_refused(tmp_path: Path) -> None:
    events = quote_events(50)
    bare = EventBatch(events.symbol, events.ts_event, bid=events.bid, ask=events.ask)
    write_canonical(tmp_path / "in", Card(name="bare", symbols=SYMBOLS), [bare])
    with pytest.raises(DataError, match="no ask_size, bid_size, which a feature builder needs"):
        add_features(open_dataset(tmp_path / "in"), tmp_path / "out", {"imbalance": Imbalance()})


def test_a_feature_that_is_there_already_is_refused(tmp_path: Path) -> None:
    dataset = quote_dataset(tmp_path / "in", 100)
    add_features(dataset, tmp_path / "once", {"imbalance": Imbalance()})
    with pytest.raises(UsageError, match="already has a column 'imbalance'"):
        add_features(open_dataset(tmp_path / "once"), tmp_path / "out", {"again": Imbalance()})
    assert not (tmp_path / "out").exists()
    assert read_card(tmp_path / "once" / "dataset.toml").features is not None


def test_a_feature_with_the_name_of_a_column_is_refused(tmp_path: Path) -> None:
    dataset = quote_dataset(tmp_path / "in", 100)
    for name in ("seq", "symbol", "ts_recv"):
        made = Expression(partial(lambda name: [pl.col("bid").alias(name)], name))
        with pytest.raises(UsageError, match=f"already has a column '{name}'"):
            add_features(dataset, tmp_path / "out", {"mine": made})


def test_a_feature_that_would_replace_a_column_is_not_written(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"ts_event": [START], "symbol": ["A"], "b": [100], "a": [101]}
    renamed: dict[str, Any] = {
        "columns": {"bid": "b", "ask": "a"},
        "features": {"columns": ["bid"]},
    }
    feature = pa.array([0.5], pa.float32())
    dataset = dataset_of(tmp_path / "in", {"a.parquet": columns | {"bid": feature}}, **renamed)
    with pytest.raises(DataError, match="two columns would be called 'bid'"):
        add_features(dataset, tmp_path / "out", {"spread": Spread()})
    assert not (tmp_path / "out").exists()
