"""Canonical Parquet: what is written is read back, sorted, checked, whole or not at all."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.data import table_files
from backtest.data.canonical import write_canonical
from backtest.data.card import Features
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch
from tests.parquet_files import assert_same, card_of, random_events


def test_the_columns_are_as_documented(tmp_path: Path) -> None:
    events = dataclasses.replace(
        random_events(1000),
        ts_recv=random_events(1000).ts_event,
        trade_price=np.full(1000, NO_PRICE),
        trade_size=np.zeros(1000, dtype=np.int64),
        aggressor=np.zeros(1000, dtype=np.int8),
    )
    assert events.ts_recv is not None
    events.ts_recv[3] = NO_TIME
    for name, value in (("trade_price", 105), ("trade_size", 2), ("aggressor", -1)):
        getattr(events, name)[[4, 7]] = value
    events.aggressor[7] = 0  # type: ignore[index]
    write_canonical(tmp_path / "d", card_of(), [events])
    file = pq.ParquetFile(tmp_path / "d" / "events-00000.parquet")
    text = pa.dictionary(pa.int16(), pa.string())
    types = {field.name: field.type for field in file.read().schema}
    assert types | {"symbol": text} == {
        "ts_event": pa.timestamp("ns", "UTC"),
        "ts_recv": pa.timestamp("ns", "UTC"),
        "seq": pa.int64(),
        "symbol": text,
        **dict.fromkeys(("bid", "ask", "bid_size", "ask_size"), pa.int64()),
        **dict.fromkeys(("trade_price", "trade_size"), pa.int64()),
        "aggressor": pa.int8(),
        **dict.fromkeys(("f0", "f1", "f2"), pa.float32()),
    }
    table = file.read()
    assert table["seq"].to_pylist() == list(range(1000))
    absent = int((events.bid == NO_PRICE).sum())  # type: ignore[union-attr]
    assert table["bid"].null_count == table["bid_size"].null_count == absent > 0
    assert table["ts_recv"].null_count == 1
    assert table["trade_size"].null_count == 998
    assert table["aggressor"].to_pylist() == [-1 if row == 4 else 0 for row in range(1000)]
    assert {file.metadata.row_group(0).column(i).compression for i in range(4)} == {"ZSTD"}
    assert_same(read_events(open_dataset(tmp_path / "d"), features=True), events)


@given(st.lists(st.integers(0, 300), max_size=12), st.sampled_from(["wide", "packed"]))
@settings(max_examples=20)
def test_how_batches_are_cut_changes_no_byte(cuts: list[int], layout: str) -> None:

    events = random_events(300)
    edges = [0, *sorted(cuts), 300]
    parts = [events.select(slice(a, b)) for a, b in pairwise(edges)]
    with tempfile.TemporaryDirectory() as folder:
        write_canonical(Path(folder) / "one", card_of(layout), [events])
        write_canonical(Path(folder) / "many", card_of(layout), parts)
        one, many = (open_dataset(Path(folder) / name) for name in ("one", "many"))
        assert one.data_hash() == many.data_hash()


def test_row_groups_and_files_have_their_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_files, "ROW_GROUP_ROWS", 100)
    events = random_events(1050)
    parts = [events.select(slice(low, low + 70)) for low in range(0, 1050, 70)]
    write_canonical(tmp_path / "d", card_of(), parts, rows_per_file=400)
    dataset = open_dataset(tmp_path / "d")
    groups = [[group.rows for group in footer.row_groups] for footer in dataset.footers]
    assert groups == [[100] * 4, [100] * 4, [100, 100, 50]]
    assert set(dataset.card.sha256) == set(dataset.card.footer_sha256) == set(dataset.files)
    dataset.verify()
    assert_same(read_events(dataset, features=True), events)


def test_many_symbols_take_a_wider_index(tmp_path: Path) -> None:
    symbols = tuple(f"S{i}" for i in range(40_000))
    events = EventBatch(
        symbol=np.array([0, 39_999], dtype=np.int32), ts_event=np.array([1, 2], dtype=np.int64)
    )
    card = card_of(features=1).model_copy(update={"symbols": symbols, "features": None})
    write_canonical(tmp_path / "d", card, [events])
    assert read_events(open_dataset(tmp_path / "d")).symbol.tolist() == [0, 39_999]


def changed(**columns: Any) -> EventBatch:
    return dataclasses.replace(random_events(100), **columns)


def traded(aggressor: int, price: int = 105) -> EventBatch:
    """A trade in row 40 whose aggressor, if the price is none, belongs to nothing."""
    columns = {"trade_price": np.full(100, NO_PRICE), "trade_size": np.zeros(100, np.int64)}
    columns |= {"aggressor": np.zeros(100, np.int64)}
    columns["trade_price"][40], columns["aggressor"][40] = price, aggressor
    return changed(**columns)


def with_value(value: float) -> EventBatch:
    events = random_events(100)
    assert events.features is not None
    events.features[40, 1] = value
    return events


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        (changed(ts_event=random_events(100).ts_event[::-1].copy()), r"not sorted: row 1\d\d has"),
        (changed(symbol=np.full(100, 3, np.int32)), "row 100 has symbol id 3"),
        (changed(symbol=np.full(100, -1, np.int32)), "row 100 has symbol id -1"),
        (with_value(np.nan), "row 140 has nan in 'f1'"),
        (with_value(-np.inf), "row 140 has -inf in 'f1'"),
        (traded(2), "row 140 has 2 in 'aggressor': an aggressor is 1, -1 or 0"),
        (traded(-128), "row 140 has -128 in 'aggressor'"),
        (traded(257), "row 140 has 257 in 'aggressor'"),  # 1 in eight bits
        (traded(-1, NO_PRICE), "row 140 has -1 in 'aggressor': there is no trade"),
    ],
)
def test_what_cannot_be_events_is_refused_by_row(
    tmp_path: Path, events: EventBatch, problem: str
) -> None:
    first = random_events(100) if events.aggressor is None else traded(1)
    shift = first.ts_event[-1] - first.ts_event[0]
    later = dataclasses.replace(events, ts_event=events.ts_event + shift)
    with pytest.raises(DataError, match=problem):
        write_canonical(tmp_path / "d", card_of(), [first, later])
    assert [*tmp_path.iterdir()] == []


def test_an_aggressor_goes_with_the_trade_that_is_taken_out(tmp_path: Path) -> None:
    events = traded(1, price=0)
    write_canonical(tmp_path / "d", card_of(), [events])
    found = read_events(open_dataset(tmp_path / "d")).aggressor
    assert found is not None
    assert found.dtype == np.int8
    assert not found.any()


def test_aggressors_need_trades_and_a_name_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without the trades they belong to"):
        write_canonical(tmp_path / "d", card_of(), [changed(aggressor=np.zeros(100, np.int8))])
    card = card_of().model_copy(update={"features": Features(columns=("f0", "aggressor", "f2"))})
    with pytest.raises(DataError, match="two columns would be called 'aggressor'"):
        write_canonical(tmp_path / "d", card, [traded(1)])
    assert [*tmp_path.iterdir()] == []


def test_batches_must_follow_each_other(tmp_path: Path) -> None:
    events = random_events(100)
    with pytest.raises(DataError, match="not sorted: row 100 has"):
        write_canonical(tmp_path / "d", card_of(), [events, events])


def test_features_that_are_not_finite_are_zeroed_on_request(tmp_path: Path) -> None:
    write_canonical(tmp_path / "d", card_of(), [with_value(np.nan)], nonfinite="zero")
    features = read_events(open_dataset(tmp_path / "d"), features=True).features
    assert features is not None
    assert features[40, 1] == 0


def test_targets_must_be_finite_and_of_the_cards_shape(tmp_path: Path) -> None:
    events, bad = random_events(10), np.full((10, 1), np.nan, np.float32)
    with pytest.raises(DataError, match="row 0 has nan in 't0'"):
        write_canonical(tmp_path / "d", card_of(targets=1), [(events, bad)])
    with pytest.raises(ValueError, match="targets are"):
        write_canonical(tmp_path / "d", card_of(targets=1), [events])
    with pytest.raises(ValueError, match="features are"):
        write_canonical(tmp_path / "d", card_of(features=2), [events])


def test_all_batches_have_the_same_columns(tmp_path: Path) -> None:
    events = random_events(5)
    bare = dataclasses.replace(events, ts_event=events.ts_event - 100)
    bare = dataclasses.replace(bare, bid_size=None, ask_size=None)
    with pytest.raises(ValueError, match="columns changed"):
        write_canonical(tmp_path / "d", card_of(), [bare, events])


def test_no_events_make_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no events"):
        write_canonical(tmp_path / "d", card_of(), [])
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("error", [RuntimeError("source failed"), KeyboardInterrupt()])
def test_an_interruption_leaves_the_old_dataset_or_nothing(
    tmp_path: Path, error: BaseException
) -> None:
    def failing() -> Iterator[EventBatch]:
        yield random_events(200_000, features=1)
        assert any(tmp_path.rglob("events-00000.parquet"))
        raise error

    card = card_of(features=1)
    with pytest.raises(type(error)):
        write_canonical(tmp_path / "d", card, failing())
    assert [*tmp_path.iterdir()] == []
    write_canonical(tmp_path / "d", card, [random_events(9, features=1)])
    before = open_dataset(tmp_path / "d").data_hash()
    with pytest.raises(type(error)):
        write_canonical(tmp_path / "d", card, failing(), overwrite=True)
    assert open_dataset(tmp_path / "d").data_hash() == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_full_disk_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk:
        def __init__(self, *_args: object, **_named: object) -> None:
            pass

        def write_table(self, *_args: object, **_named: object) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter", FullDisk)
    with pytest.raises(DataError, match=r"No space left on device\n.*disk is full"):
        write_canonical(tmp_path / "d", card_of(), [random_events(10)])
    assert [*tmp_path.iterdir()] == []
