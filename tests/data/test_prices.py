"""Numbers that are no prices: absent and counted, at ingest and wherever files are read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import EventBus, read_events, stream_all
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, EventBatch
from tests.parquet_files import dataset_of

START = 1_700_000_000_000_000_000
MARKER = 2**63 - 1
BID = [100, 0, -5, 101, MARKER, None]
ASK = [102, 103, 0, MARKER, MARKER, 0]
TRADE = [0, 101, None, -1, MARKER, 100]
SIGNED: dict[str, Any] = {"instruments": {"B": {"signed_prices": True}}}


def columns(symbol: str = "A") -> dict[str, Any]:
    rows = len(BID)
    return {
        "ts_event": [START + i for i in range(rows)],
        "symbol": [symbol] * rows,
        "bid": BID,
        "ask": ASK,
        "bid_size": [1] * rows,
        "ask_size": [2] * rows,
        "trade_price": TRADE,
        "trade_size": [3] * rows,
        "aggressor": pa.array([1, -1, None, 1, 0, 1], pa.int8()),
    }


def prices(events: EventBatch, name: str) -> list[int | None]:
    return [None if value == NO_PRICE else value for value in getattr(events, name).tolist()]


def test_other_peoples_files_are_read_without_what_is_no_price(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "d", {"a.parquet": columns()})
    events = read_events(dataset)
    assert prices(events, "bid") == [100, None, None, 101, None, None]
    assert prices(events, "ask") == [102, 103, None, None, None, None]
    assert prices(events, "trade_price") == [None, 101, None, None, None, 100]
    assert events.bid_size is not None
    assert events.trade_size is not None
    assert events.bid_size.tolist() == [1, 0, 0, 1, 0, 1]  # none beside a price that is none
    assert events.trade_size.tolist() == [0, 3, 3, 0, 0, 3]
    assert events.aggressor is not None
    assert events.aggressor.tolist() == [0, -1, 0, 0, 0, 1]
    assert events.aggressor.dtype == np.int8
    assert events.valid_quote().tolist() == [True] + [False] * 5
    bus = EventBus(dataset)
    assert sum(map(len, bus)) == len(BID)
    counts = {"bid": 3, "ask": 4, "trade_price": 3}
    assert bus.absent == counts
    counted: Counter[str] = Counter()
    assert sum(len(batch) for batch, _ in stream_all(dataset, absent=counted)) == len(BID)
    assert counted == counts


def test_a_symbol_with_signed_prices_keeps_them(tmp_path: Path) -> None:
    files = {"a.parquet": columns("B"), "b.parquet": columns("A")}
    dataset = dataset_of(tmp_path / "d", files, **SIGNED)
    events = read_events(dataset, symbols=["B"])
    assert prices(events, "bid") == [100, 0, -5, 101, None, None]
    assert prices(events, "ask") == [102, 103, 0, None, None, 0]
    assert prices(read_events(dataset, symbols=["A"]), "bid") == [100, None, None, 101, None, None]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("bid_size", -1, r"row 3 \(A\) has -1 in 'bid_size': a size is never negative"),
        ("trade_size", -7, r"row 3 \(A\) has -7 in 'trade_size'"),
        ("bid", 2**62, r"row 3 \(A\) has 4611686018427387904 in 'bid', which is beyond 2\^62"),
        ("ask_size", 2**62 + 1, r"row 3 \(A\) has 4611686018427387905 in 'ask_size'"),
    ],
)
def test_what_could_not_be_counted_is_refused_by_its_row(
    tmp_path: Path, column: str, value: int, problem: str
) -> None:
    table = columns()
    table[column] = [*table[column][:3], value, *table[column][4:]]
    table["ask"] = table["trade_price"] = [100] * len(BID)
    with pytest.raises(DataError, match=problem):
        read_events(dataset_of(tmp_path / "d", {"a.parquet": table}))


def batch(**changed: list[int]) -> EventBatch:
    values = {"bid": [100] * 3, "ask": [102] * 3, "bid_size": [5] * 3, "ask_size": [6] * 3}
    arrays = {name: np.array(column) for name, column in (values | changed).items()}
    return EventBatch(np.array([0, 1, 0], np.int32), np.arange(START, START + 3), **arrays)


def written(folder: Path, events: EventBatch, **card: Any) -> Dataset:
    made = Card.model_validate({"name": "made", "symbols": ["A", "B"]} | card)
    write_canonical(folder, made, [events])
    return open_dataset(folder)


def test_no_source_can_write_what_is_no_price_or_size(tmp_path: Path) -> None:
    events = batch(bid=[0, -3, 100], ask=[MARKER, 102, 102], ask_size=[6, 6, -1])
    dataset = written(tmp_path / "d", events)
    read = read_events(dataset)
    assert prices(read, "bid") == [None, None, 100]
    assert prices(read, "ask") == [None, 102, None]
    assert read.bid_size is not None
    assert read.ask_size is not None
    assert (read.bid_size.tolist(), read.ask_size.tolist()) == ([0, 0, 5], [0, 6, 0])
    assert dataset.card.notes["absent"] == {
        "ask of 0 or below, or a vendor's marker: that side absent": 1,
        "ask with a negative size: that side absent": 1,
        "bid of 0 or below, or a vendor's marker: that side absent": 2,
    }
    assert validate(dataset).usable
    signed = written(tmp_path / "s", events, **SIGNED)
    assert prices(read_events(signed), "bid") == [None, -3, 100]


def test_a_price_beyond_the_bounds_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2 has 4611686018427387904 in 'ask'"):
        written(tmp_path / "d", batch(ask=[102, 102, 2**62]))
    with pytest.raises(DataError, match="row 1 has -4611686018427387904 in 'bid'"):
        written(tmp_path / "d", batch(bid=[100, -(2**62), 100]), **SIGNED)
    assert not (tmp_path / "d").exists()


def test_times_of_another_unit_are_not_written(tmp_path: Path) -> None:
    card = Card(name="made", symbols=("A", "B"))
    events = batch()
    early = EventBatch(events.symbol, events.ts_event // 1000)
    later = EventBatch(events.symbol, events.ts_event)
    with pytest.raises(DataError, match="row 3 has ts_event 1700000000000000000, 500 times"):
        write_canonical(tmp_path / "d", card, [early, later])


def put(column: str, rows: list[int], *values: int) -> dict[str, Any]:
    """Sixty quotes of two symbols with values put into a column."""
    table: dict[str, Any] = {
        "ts_event": [START + i for i in range(60)],
        "symbol": ["A", "B"] * 30,
        "bid": [100 + i % 3 for i in range(60)],
        "ask": [105 + i % 3 for i in range(60)],
        "ts_recv": [START + i + 10 for i in range(60)],
    }
    for row, value in zip(rows, values, strict=True):
        table[column][row] = value
    return table


DOUBTFUL = {
    "price": (put("bid", [4, 7], 0, -3), 2, 4, "bid 0 ticks"),
    "marker": (put("ask", [9], MARKER), 1, 9, f"ask {MARKER} ticks"),
    "stray": (put("ask", [12, 13], 105 * 21, 105 * 19), 1, 12, "bid 100, ask 2205 ticks"),
    "delayed": (put("ts_recv", [5, 6], START + 10**11, START + 6 * 10**10), 1, 5, "1.67 min"),
}


@pytest.mark.parametrize("rule", DOUBTFUL)
def test_validation_names_doubtful_prices(tmp_path: Path, rule: str) -> None:
    table, count, row, detail = DOUBTFUL[rule]
    validation = validate(dataset_of(tmp_path / "d", {"a.parquet": table}))
    assert [(f.rule, f.count, f.row) for f in validation.findings] == [(rule, count, row)]
    assert detail in validation.findings[0].detail
    assert validation.usable


@pytest.mark.parametrize("value", [9_999_999_999, -9_999_999_999, 999_999_999_900, 0])
def test_both_sides_at_a_marker_are_named_in_ticks_and_in_currency(
    tmp_path: Path, value: int
) -> None:
    table = put("bid", [20, 21], value, value)
    table["ask"][20] = table["ask"][21] = value
    tables: dict[str, Any] = {"instruments": {"A": {"tick_size": "0.01", "signed_prices": True}}}
    found = {
        f.rule: f
        for f in validate(dataset_of(tmp_path / "d", {"a": table}, **tables, files=["a"])).findings
    }
    assert "marker" in found
    assert found["marker"].row == 20
    if value == 0:
        assert found["price"].row == 21  # of B, whose prices are not signed


def test_a_market_that_moved_is_not_stray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest.data.quality.validate._BATCH_ROWS", 10)
    table = put("bid", [])
    for i in range(30, 60):
        table["bid"][i] *= 50
        table["ask"][i] *= 50
    (found,) = validate(dataset_of(tmp_path / "d", {"a.parquet": table})).findings
    assert (found.rule, found.count, found.row) == ("stray", 10, 30)  # then it is the market


@pytest.mark.parametrize("seed", range(4))
def test_a_receipt_later_than_the_next_thousand_is_named(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows = 4_000
    symbol = draw.integers(0, 2, rows)
    recv = START + np.arange(rows) * 1_000_000 + draw.integers(0, 900_000, rows)
    late = np.array([5, 700, 1_500, 3_900])
    recv[late] += 59_000_000_000
    recv[draw.integers(0, rows, 30)] = START  # early ones are none
    table = {
        "ts_event": [START + i for i in range(rows)],
        "symbol": ["AB"[s] for s in symbol],
        "ts_recv": recv.tolist(),
    }
    wanted = []
    for i in range(rows):
        following = recv[i + 1 :][symbol[i + 1 :] == symbol[i]][:1_000]
        if len(following) == 1_000 and recv[i] > following.max():
            wanted.append(i)
    assert len(wanted) in (1, 2, 3)
    dataset = dataset_of(tmp_path / "d", {"a.parquet": table}, row_group=rows)
    found = {f.rule: f for f in validate(dataset).findings}
    assert (found["late"].count, found["late"].row) == (len(wanted), wanted[0])
