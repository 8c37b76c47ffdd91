"""Whatever rows a writer is given: ``validate`` accepts what it writes; repairs are counted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.data.canonical import MENDED, write_canonical
from backtest.data.card import Card, Features, InstrumentTable, Targets
from backtest.data.dataset import open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch
from tests.mutations import refusal, tries

T0 = 1_700_000_000_000_000_000
LEAST, MOST = -(2**63), 2**63 - 1
TIMES = st.sampled_from([T0, T0, T0 + 1, T0 + 5, T0 - 1, T0 * 1000 % 2**62, 0, -1, LEAST, MOST])
PRICES = st.sampled_from(
    [NO_PRICE, 100, 101, 0, -5, 2**62 - 1, 2**62, -(2**62), MOST, 9_999_999_999]
)
SIZES = st.sampled_from([0, 1, 7, -1, LEAST, 2**62, 2**62 + 1, MOST])
AGGRESSORS = st.sampled_from([0, 0, 0, 1, -1, 2, -128])
NUMBERS = st.sampled_from([0.0, 1.5, -3e38, 7e4, float("nan"), float("inf"), float("-inf")])
ROWS = st.tuples(
    st.integers(-1, 3), TIMES, st.sampled_from([T0, NO_TIME, 0, MOST]), PRICES, PRICES, PRICES,
    SIZES, SIZES, SIZES, AGGRESSORS, NUMBERS, NUMBERS,
)  # fmt: skip


def batch_of(rows: list[tuple[Any, ...]]) -> tuple[EventBatch, Any]:
    symbol, *whole, feature, target = (np.array(column) for column in zip(*rows, strict=True))
    names: tuple[str, ...] = ("ts_event", "ts_recv", "bid", "ask", "trade_price")
    names += ("bid_size", "ask_size")
    names = (*names, "trade_size", "aggressor")
    columns: dict[str, Any] = dict(zip(names, (c.astype(np.int64) for c in whole), strict=True))
    features = feature.astype(np.float32)[:, None]
    targets = target.astype(np.float32)[:, None]
    return EventBatch(symbol=symbol.astype(np.int32), features=features, **columns), targets


def check(folder: Path, rows: list[tuple[Any, ...]], signed: bool, zero: bool) -> None:
    card = Card(
        name="made",
        symbols=("A", "B", "C"),
        features=Features(columns=("f",)),
        targets=Targets(columns=("y",)),
        instruments={"B": InstrumentTable(signed_prices=signed)},
    )
    shutil.rmtree(folder, ignore_errors=True)
    nonfinite: Any = "zero" if zero else "refuse"
    batch, targets = batch_of(rows)
    refused = refusal(
        lambda: write_canonical(folder, card, [(batch, targets)], nonfinite=nonfinite)
    )
    if refused is not None:
        assert not folder.exists()
        return
    dataset = open_dataset(folder)
    found = validate(dataset)
    assert found.usable, [f for f in found.findings if f.severity == "error"]
    assert found.rows == len(rows)
    events = read_events(dataset, features=True)
    absent = 0
    for price in ("bid", "ask", "trade_price"):
        given_prices, kept = getattr(batch, price), getattr(events, price)
        absent += int(np.count_nonzero((given_prices != NO_PRICE) & (kept == NO_PRICE)))
        stays = kept != NO_PRICE
        np.testing.assert_array_equal(kept[stays], given_prices[stays])
    assert events.aggressor is not None
    assert events.aggressor.dtype == np.int8
    assert batch.aggressor is not None
    sides = np.where(events.trade_price == NO_PRICE, 0, batch.aggressor)
    assert events.aggressor.tolist() == sides.tolist()
    assert sum(dataset.card.notes.get(MENDED, {}).values()) == absent


@tries(150)
@given(st.lists(ROWS, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_rows(tmp_path: Path, rows: list[tuple[Any, ...]], signed: bool, zero: bool) -> None:
    check(tmp_path / "d", rows, signed, zero)


@pytest.mark.slow
@tries(3000)
@given(st.lists(ROWS, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_rows_at_length(
    tmp_path: Path, rows: list[tuple[Any, ...]], signed: bool, zero: bool
) -> None:
    check(tmp_path / "d", rows, signed, zero)
