"""The event bus against plain Python: order, window, selection, and everything it must refuse."""

from __future__ import annotations

import random
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.data.canonical import write_canonical
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import EventBus, read_events, read_targets
from backtest.data.reading.merge_loops import by_time
from backtest.errors import DataError, UsageError
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch, concatenate
from tests.parquet_files import (
    assert_same,
    card_of,
    dataset_of,
    random_events,
    write_parquet,
)

Row = tuple[int, int, str, int]  # ts_event, seq, symbol, bid


@st.composite
def markets(draw: st.DrawFn) -> list[list[Row]]:
    """Files of rows with many equal times; ``seq`` is unique unless it repeats across files."""
    count = draw(st.integers(1, 5))
    rows = draw(st.lists(st.integers(0, 12), min_size=1, max_size=60))
    order = draw(st.permutations(range(len(rows))))
    unique = draw(st.booleans())
    files: list[list[Row]] = [[] for _ in range(count)]
    for number, (ts, seq) in enumerate(zip(rows, order, strict=True)):
        row = ts, seq if unique else seq % 3, "ABC"[number % 3], number
        files[draw(st.integers(0, count - 1))].append(row)
    return [sorted(file, key=lambda row: row[:2]) for file in files]


def expected_order(files: list[list[Row]], with_seq: bool) -> list[int]:
    """The bids in the total order, by a plain sort: rows of a file are in order already."""
    keyed = [
        (ts, seq if with_seq else 0, source, position, bid)
        for source, file in enumerate(files)
        for position, (ts, seq, _, bid) in enumerate(file)
    ]
    return [bid for *_, bid in sorted(keyed)]


def _side(row: Row) -> int | None:
    """Some aggressor that goes with the row."""
    return (None, 1, 0, -1)[row[3] % 4]


def dataset_from(folder: Path, files: list[list[Row]], with_seq: bool, row_group: int) -> Dataset:
    columns = {}
    for number, rows in enumerate(files):
        columns[f"{number}.parquet"] = {
            "ts_event": [row[0] for row in rows],
            "symbol": [row[2] for row in rows],
            "bid": [row[3] for row in rows],
            "ask": [row[3] + 1 for row in rows],
            "trade_price": [row[3] for row in rows],
            "trade_size": [1] * len(rows),
            "aggressor": pa.array([_side(row) for row in rows], pa.int8()),
        } | ({"seq": [row[1] for row in rows]} if with_seq else {})
    # Bids number the rows from 0, which is no price elsewhere.
    instruments = {"default": {"signed_prices": True}}
    return dataset_of(folder, columns, row_group, instruments=instruments)


@given(
    markets(),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 80),
    st.booleans(),
    st.sampled_from([0, 10**9]),
    st.sampled_from([1, 3, 50]),
)
@settings(max_examples=150, deadline=None)
def test_streams_in_the_total_order_however_files_and_batches_are_cut(
    files: list[list[Row]],
    with_seq: bool,
    row_group: int,
    batch_rows: int,
    ahead: bool,
    compiled_from: int,
    piece: int,
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("backtest.data.reading.plan.COMPILED_FROM", compiled_from),
        patch("backtest.data.reading.plan._SMALLEST_PIECE", piece),
        patch("backtest.data.reading.plan._TOGETHER", 0),
    ):
        dataset = dataset_from(Path(folder), files, with_seq, row_group)
        batches = [*EventBus(dataset, batch_rows=batch_rows, read_ahead=ahead)]
    assert all(1 <= len(batch) <= batch_rows for batch in batches)
    events = concatenate(batches)
    assert events.bid is not None
    assert events.aggressor is not None
    assert events.bid.tolist() == expected_order(files, with_seq)
    sides = [_side((0, 0, "", bid)) or 0 for bid in events.bid.tolist()]
    assert events.aggressor.dtype == np.int8
    assert events.aggressor.tolist() == sides


@given(markets(), st.integers(-1, 13), st.integers(0, 14), st.sets(st.sampled_from("ABC")))
@settings(max_examples=60)
def test_the_window_is_half_open_and_symbols_are_filtered(
    files: list[list[Row]], start: int, length: int, symbols: set[str]
) -> None:
    end = start + length
    chosen = [
        [row for row in file if start <= row[0] < end and row[2] in symbols] for file in files
    ]
    with tempfile.TemporaryDirectory() as folder:
        dataset = dataset_from(Path(folder), files, True, 4)
        events = read_events(dataset, start=start, end=end, symbols=sorted(symbols))
    assert events.bid is not None
    assert events.bid.tolist() == expected_order(chosen, True)
    assert events.symbol.tolist() == [int(bid) % 3 for bid in events.bid]


@given(st.randoms(use_true_random=False), st.integers(1, 6))
@settings(max_examples=25)
def test_splitting_and_renaming_files_changes_nothing(rng: random.Random, count: int) -> None:
    whole = [(rng.randrange(20), seq, rng.choice("ABC"), seq) for seq in range(200)]
    parts: list[list[Row]] = [[] for _ in range(count)]
    for row in whole:
        rng.choice(parts).append(row)
    with tempfile.TemporaryDirectory() as folder:
        by_time = sorted(whole, key=lambda row: row[:2])
        one = read_events(dataset_from(Path(folder) / "one", [by_time], True, 50))
        split = [sorted(part, key=lambda row: row[:2]) for part in parts]
        many = read_events(dataset_from(Path(folder) / "many", split, True, 7))
    assert_same(one, many)


def test_many_wide_files_merge_with_their_features(tmp_path: Path) -> None:
    rows = 20_000
    events = random_events(rows)
    assert events.features is not None
    owner = np.random.default_rng(5).integers(0, 7, rows)
    files: dict[str, Any] = {}
    for number in range(7):
        mine = np.flatnonzero(owner == number)
        files[f"{number}.parquet"] = {
            "ts_event": events.ts_event[mine],
            "seq": mine,
            "symbol": ["ABC"[i] for i in events.symbol[mine]],
            **{f"f{k}": events.features[mine, k] for k in range(3)},
        }
    dataset = dataset_of(tmp_path, files, 512, features={"columns": ["f0", "f1", "f2"]})
    found = concatenate([*EventBus(dataset, batch_rows=700)])
    np.testing.assert_array_equal(found.ts_event, events.ts_event)
    np.testing.assert_array_equal(found.features, events.features)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 1000])
@pytest.mark.parametrize("reach", [0, 3, 10**6, 2**62])
@pytest.mark.parametrize("sequenced", [False, True])
def test_the_compiled_order_is_the_plain_one(count: int, reach: int, sequenced: bool) -> None:
    random = np.random.default_rng(count)
    ts = random.integers(-reach, reach, count, endpoint=True)
    seq = random.integers(0, 4, count if sequenced else 0)
    order = np.empty(count, dtype=np.int32)
    found = by_time(ts, seq, order, np.zeros(count + 2, dtype=np.int32))
    assert found or reach < 10  # many rows at one instant are left to numpy
    if found:
        expected = np.lexsort((seq, ts)) if sequenced else np.argsort(ts, kind="stable")
        assert order.tolist() == expected.tolist()


def test_merged_batches_that_are_kept_stay_as_they_were(tmp_path: Path) -> None:
    """Arrays are used again only when nobody holds them."""
    count = 30_000
    random = np.random.default_rng(3)
    files: dict[str, Any] = {}
    for number in range(4):
        mine = np.arange(number, count, 4)
        ts = np.sort(random.integers(0, 10**6, len(mine)))
        quotes = {"symbol": ["A"] * len(mine), "bid": mine, "ask": mine + 1}
        files[f"{number}.parquet"] = {"ts_event": ts, **quotes}
    dataset = dataset_of(tmp_path, files, 1000)
    kept, dropped = [], []
    for number, batch in enumerate(EventBus(dataset, batch_rows=500)):
        assert batch.bid is not None
        dropped.append(batch.bid.copy())
        kept.append(batch if number % 3 else batch.select(slice(0, 1)))
    assert sum(map(len, dropped)) == count
    for number, batch in enumerate(kept):
        assert batch.bid is not None
        wanted = dropped[number] if number % 3 else dropped[number][:1]
        assert batch.bid.tolist() == wanted.tolist()


def test_absent_values_get_their_markers(tmp_path: Path) -> None:
    dataset = dataset_of(
        tmp_path,
        {
            "a.parquet": {
                "ts_event": [1, 2],
                "ts_recv": [None, 5],
                "symbol": ["A", "C"],
                "bid": [None, 7],
                "ask": [9, 9],
                "bid_size": [None, 1],
                "ask_size": [2, 2],
                "trade_price": [8, None],
                "trade_size": [3, None],
                "aggressor": pa.array([-1, None], pa.int8()),
            }
        },
    )
    events = read_events(dataset)
    columns = {n: getattr(events, n) for n in EventBatch.__dataclass_fields__}
    assert {n: None if c is None else c.tolist() for n, c in columns.items()} == {
        "symbol": [0, 2],
        "ts_event": [1, 2],
        "ts_recv": [NO_TIME, 5],
        "bid": [NO_PRICE, 7],
        "ask": [9, 9],
        "bid_size": [0, 1],
        "ask_size": [2, 2],
        "trade_price": [8, NO_PRICE],
        "trade_size": [3, 0],
        "aggressor": [-1, 0],
        "features": None,
    }
    assert events.aggressor is not None
    assert events.aggressor.dtype == np.int8


@pytest.mark.parametrize("layout", ["wide", "packed"])
def test_features_are_all_or_none_or_the_named_ones_in_that_order(
    tmp_path: Path, layout: str
) -> None:
    events = random_events(500)
    assert events.features is not None
    write_canonical(tmp_path / "d", card_of(layout), [events])
    dataset = open_dataset(tmp_path / "d")
    assert_same(read_events(dataset, features=True), events)
    assert read_events(dataset).features is None
    chosen = read_events(dataset, features=["f2", "f0"]).features
    np.testing.assert_array_equal(chosen, events.features[:, [2, 0]])
    with pytest.raises(UsageError, match="no feature 'f9'"):
        EventBus(dataset, features=["f9"])


def test_packed_features_are_a_view_of_the_decoded_page(tmp_path: Path) -> None:
    write_canonical(tmp_path / "d", card_of("packed"), [random_events(500)])
    (batch,) = EventBus(open_dataset(tmp_path / "d"))
    assert batch.features is not None
    assert batch.features.flags.c_contiguous
    assert not batch.features.flags.owndata


def test_targets_come_apart_in_the_order_of_the_events(tmp_path: Path) -> None:
    events = random_events(3000)
    assert events.features is not None
    targets = np.ascontiguousarray(events.features[:, :2] * 2)
    write_canonical(tmp_path / "d", card_of(targets=2), [(events, targets)])
    dataset = open_dataset(tmp_path / "d")
    start = int(events.ts_event[700])
    window = {"start": start, "end": start + 300, "symbols": ["B", "C"]}
    chosen = read_events(dataset, features=True, **window)  # type: ignore[arg-type]
    assert chosen.features is not None
    assert len(chosen) > 100
    found = read_targets(dataset, **window)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, chosen.features[:, :2] * 2)
    assert read_targets(dataset, start=0, end=1).shape == (0, 2)


def test_targets_of_a_dataset_without_any_are_refused(tmp_path: Path) -> None:
    write_canonical(tmp_path / "d", card_of(), [random_events(10)])
    with pytest.raises(UsageError, match="no targets"):
        read_targets(open_dataset(tmp_path / "d"))


def test_an_empty_window_still_has_the_columns(tmp_path: Path) -> None:
    write_canonical(tmp_path / "d", card_of(), [random_events(10)])
    events = read_events(open_dataset(tmp_path / "d"), start=0, end=1, features=True)
    assert len(events) == 0
    assert events.bid is not None
    assert events.bid.dtype == np.int64
    assert events.features is not None
    assert events.features.shape == (0, 3)


def test_pruned_row_groups_and_files_are_not_read(tmp_path: Path) -> None:
    times = list(range(100))
    quotes = {"bid": times, "ask": times, "symbol": ["A"] * 50 + ["C"] * 50, "ts_event": times}
    dataset = dataset_of(tmp_path, {"a.parquet": quotes}, 10)
    damage(tmp_path / "a.parquet", 40)  # in a page of the first row group
    assert len(read_events(dataset, start=50, end=73)) == 23
    assert len(read_events(dataset, symbols=["C"])) == 50
    assert len(read_events(dataset, symbols=["B"])) == 0
    with pytest.raises(DataError, match=r"a\.parquet: the file cannot be read"):
        read_events(dataset, start=0, end=5)


def damage(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def test_disjoint_files_are_opened_one_after_another(tmp_path: Path) -> None:
    files = {
        f"{i}.parquet": {"ts_event": [10 * i + k for k in range(5)], "symbol": ["A"] * 5}
        for i in range(3)
    }
    dataset = dataset_of(tmp_path, files)
    events = iter(EventBus(dataset, read_ahead=False))
    assert next(events).ts_event.tolist() == [0, 1, 2, 3, 4]
    _ = dataset.footers
    (tmp_path / "2.parquet").unlink()
    assert next(events).ts_event.tolist() == [10, 11, 12, 13, 14]
    with pytest.raises(DataError, match=r"2\.parquet: no such file"):
        next(events)


def test_each_iteration_starts_anew(tmp_path: Path) -> None:
    write_canonical(tmp_path / "d", card_of(), [random_events(100)])
    bus = EventBus(open_dataset(tmp_path / "d"), batch_rows=30)
    assert_same(concatenate([*bus]), concatenate([*bus]))


def test_the_reader_thread_ends_when_the_consumer_stops(tmp_path: Path) -> None:
    write_canonical(tmp_path / "d", card_of(), [random_events(5000)])
    bus = EventBus(open_dataset(tmp_path / "d"), batch_rows=10)
    for _batch in bus:
        assert "event-bus" in names_of_threads()
        break
    del _batch
    stream = iter(bus)
    next(stream)
    del stream
    assert "event-bus" not in names_of_threads()


def names_of_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("ahead", [True, False])
def test_an_error_in_the_middle_reaches_the_consumer(tmp_path: Path, ahead: bool) -> None:
    times = [*range(50), 3, *range(51, 60)]
    dataset = dataset_of(tmp_path, {"a.parquet": {"ts_event": times, "symbol": ["A"] * 60}})
    stream = iter(EventBus(dataset, batch_rows=20, read_ahead=ahead))
    assert len(next(stream)) == 20
    assert len(next(stream)) == 20
    with pytest.raises(DataError, match=r"a\.parquet: not sorted: row 50 has ts_event 3 .*49"):
        next(stream)
    assert "event-bus" not in names_of_threads()


@pytest.mark.parametrize("row_group", [3, 4, 1000])
def test_unsorted_rows_are_found_across_pages_too(tmp_path: Path, row_group: int) -> None:
    rows = {"ts_event": [1, 2, 3, 2], "symbol": ["A"] * 4}
    dataset = dataset_of(tmp_path, {"a.parquet": rows}, row_group)
    with pytest.raises(DataError, match="not sorted: row 3"):
        read_events(dataset)


def test_seq_must_rise_within_a_tie(tmp_path: Path) -> None:
    rows = {"ts_event": [1, 2, 2], "seq": [9, 5, 4], "symbol": ["A"] * 3}
    with pytest.raises(DataError, match="row 2 has seq 4 after 5"):
        read_events(dataset_of(tmp_path, {"a.parquet": rows}))


def test_an_unknown_symbol_is_named(tmp_path: Path) -> None:
    rows = {"ts_event": [1, 2], "symbol": ["A", "</script>"]}
    dataset = dataset_of(tmp_path, {"a.parquet": rows})
    with pytest.raises(DataError, match=r"a\.parquet: row 1 has the unknown symbol '</script>'"):
        read_events(dataset)
    assert len(read_events(dataset, end=2)) == 1
    with pytest.raises(UsageError, match="no symbol 'D'"):
        EventBus(dataset, symbols=["D"])


def test_rows_without_time_or_symbol_are_refused(tmp_path: Path) -> None:
    rows: dict[str, Any] = {"ts_event": [1, None], "symbol": ["A", "A"]}
    with pytest.raises(DataError, match="row 1 has no ts_event"):
        read_events(dataset_of(tmp_path / "t", {"a.parquet": rows}))
    rows = {"ts_event": [1, 2], "symbol": ["A", None]}
    with pytest.raises(DataError, match="row 1 has no symbol"):
        read_events(dataset_of(tmp_path / "s", {"a.parquet": rows}))


def test_files_whose_columns_differ_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    same = {"ts_event": [1], "symbol": ["A"], "bid": [1], "ask": [2]}
    dataset = dataset_of(
        tmp_path,
        {
            "a.parquet": same,
            "b.parquet": dict(reversed(same.items())),
            "c.parquet": {k: same[k] for k in ("ts_event", "symbol")},
        },
    )
    with pytest.raises(DataError, match=r"c\.parquet: its columns differ.*'bid' is missing; 'ask'"):
        EventBus(dataset)
    (tmp_path / "c.parquet").unlink()
    assert len(read_events(open_dataset(tmp_path))) == 2


def test_an_aggressor_has_its_type_and_its_trade(tmp_path: Path) -> None:
    rows = {"ts_event": [1], "symbol": ["A"], "trade_price": [5], "trade_size": [1]}
    wide = dataset_of(tmp_path / "a", {"a.parquet": rows | {"aggressor": [1]}})
    with pytest.raises(DataError, match="'aggressor' is int64, not int8"):
        EventBus(wide)
    lone = {"ts_event": [1], "symbol": ["A"], "aggressor": pa.array([0], pa.int8())}
    with pytest.raises(DataError, match="'aggressor' is there without the trades it belongs to"):
        EventBus(dataset_of(tmp_path / "b", {"a.parquet": lone}))
    renamed = rows | {"side": pa.array([-1], pa.int8())}
    dataset = dataset_of(tmp_path / "c", {"a.parquet": renamed}, columns={"aggressor": "side"})
    assert read_events(dataset).aggressor == [-1]


@pytest.mark.parametrize("layout", ["wide", "packed"])
def test_a_feature_may_be_called_aggressor_as_before(tmp_path: Path, layout: str) -> None:
    rows = {"ts_event": [1], "symbol": ["A"], "trade_price": [5], "trade_size": [1]}
    values = pa.array([0.5], pa.float32())
    if layout == "wide":
        features: dict[str, Any] = {"columns": ["aggressor"]}
        dataset = dataset_of(
            tmp_path, {"a.parquet": rows | {"aggressor": values}}, features=features
        )
    else:
        packed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4), 1, [None, values.buffers()[1]])
        features = {"packed": "f", "names": ["aggressor"]}
        dataset = dataset_of(tmp_path, {"a.parquet": rows | {"f": packed}}, features=features)
    events = read_events(dataset, features=True)
    assert events.features is not None
    assert events.features.tolist() == [[0.5]]
    assert events.aggressor is None


@pytest.mark.parametrize("symbols", [None, ["B"]])
@pytest.mark.parametrize(
    ("value", "price", "problem"),
    [
        (2, 5, r"row 2 \(B\) has 2 in 'side': an aggressor is 1, -1 or 0"),
        (-128, 5, r"row 2 \(B\) has -128 in 'side'"),
        (1, None, r"row 2 \(B\) has 1 in 'side': there is no trade"),
    ],
)
def test_an_aggressor_that_cannot_be_is_refused_by_its_row(
    tmp_path: Path, value: int, price: int | None, problem: str, symbols: list[str] | None
) -> None:
    rows = {
        "ts_event": [1, 2, 3],
        "symbol": ["A", "A", "B"],
        "trade_price": [5, None, price],
        "trade_size": [1, None, 1],
        "side": pa.array([1, 0, value], pa.int8()),
    }
    dataset = dataset_of(tmp_path, {"a.parquet": rows}, columns={"aggressor": "side"})
    with pytest.raises(DataError, match=problem):
        read_events(dataset, symbols=symbols)


def test_columns_of_other_types_are_all_named(tmp_path: Path) -> None:
    rows = {
        "ts_event": pa.array([1], pa.timestamp("us", "UTC")),
        "symbol": ["A"],
        "bid": pa.array([1.5], pa.float64()),
        "ask": [2],
        "bid_size": [1],
    }
    dataset = dataset_of(
        tmp_path, {"a.parquet": rows}, features={"columns": ["f0"]}, columns={"seq": "number"}
    )
    with pytest.raises(DataError) as caught:
        EventBus(dataset)
    for part in (
        "'ts_event' is timestamp[us, tz=UTC]",
        "'bid' is double, not int64",
        "'bid_size' is there without",
        "'number' is missing",
        "'f0' is missing",
        "backtest data ingest",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None])
@pytest.mark.parametrize("layout", ["wide", "packed"])
def test_features_that_are_not_finite_are_refused_or_zeroed(
    tmp_path: Path, value: float | None, layout: str
) -> None:
    rows: dict[str, Any] = {"ts_event": [1, 2, 3, 4], "symbol": ["A", "B", "C", "B"]}
    if layout == "wide":
        rows |= {"f0": [1.0, 2.0, 3.0, 4.0], "f1": [1.0, 2.0, 3.0, value]}
        features: dict[str, Any] = {"columns": ["f0", "f1"]}
    else:
        last = None if value is None else np.array([4, value], "<f4").tobytes()
        cells = [np.array([i, i], "<f4").tobytes() for i in (1, 2, 3)]
        rows["x"] = pa.array([*cells, last], pa.binary(8))
        features = {"packed": "x", "names": ["f0", "f1"]}
    dataset = dataset_of(tmp_path, {"a.parquet": rows}, 3, features=features)
    with pytest.raises(DataError, match=r"a\.parquet: row 3 \(B\) has (nan|inf|-inf) in 'f[01]'"):
        read_events(dataset, features=True, start=2, symbols=["B"])
    assert len(read_events(dataset, features=True, symbols=["A", "C"])) == 2
    bus = EventBus(dataset, nonfinite="zero")
    matrix = concatenate([*bus]).features
    both = value is None and layout == "packed"
    assert matrix is not None
    assert matrix[3].tolist() == ([0, 0] if both else [4, 0])
    assert bus.replaced == (2 if both else 1)


def test_huge_finite_features_are_not_mistaken_for_infinity(tmp_path: Path) -> None:
    rows = {"ts_event": [1, 2], "symbol": ["A", "A"], "f0": [3e38, 3e38]}
    dataset = dataset_of(tmp_path, {"a.parquet": rows}, features={"columns": ["f0"]})
    features = read_events(dataset, features=True).features
    assert features is not None
    assert np.isfinite(features).all()


def test_targets_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    rows = {"ts_event": [1, 2], "symbol": ["A", "A"], "t0": [0.0, float("nan")]}
    dataset = dataset_of(tmp_path, {"a.parquet": rows}, targets={"columns": ["t0"]})
    with pytest.raises(DataError, match=r"row 1 \(A\) has nan in 't0'"):
        read_targets(dataset)


def test_the_window_must_not_end_before_it_starts(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, {"a.parquet": {"ts_event": [1], "symbol": ["A"]}})
    with pytest.raises(UsageError, match="ends"):
        EventBus(dataset, start=2, end=1)
    with pytest.raises(UsageError, match="batch_rows"):
        EventBus(dataset, batch_rows=0)


def test_symbols_may_be_dictionaries_or_text_and_columns_renamed(tmp_path: Path) -> None:
    plain = {"time": pa.array([5], pa.int64()), "s.y`m": pa.array(["B"]), "b": [1], "a": [2]}
    packed = plain | {
        "time": pa.array([4], pa.int64()),
        "s.y`m": pa.array(["C"]).dictionary_encode(),
    }
    names = {"ts_event": "time", "symbol": "s.y`m", "bid": "b", "ask": "a"}
    dataset = dataset_of(tmp_path, {"a.parquet": plain, "b.parquet": packed}, columns=names)
    assert dataset.has_quotes
    events = read_events(dataset)
    assert events.ts_event.tolist() == [4, 5]
    assert events.symbol.tolist() == [2, 1]


@pytest.mark.parametrize(
    "name",
    ["=cmd.parquet", "[bold]x.parquet", "a b\n\x1b[31m.parquet", "-rf.parquet", "ü😀.parquet"],
)
def test_hostile_file_names_are_only_names(tmp_path: Path, name: str) -> None:
    dataset = dataset_of(tmp_path, {name: {"ts_event": [1], "symbol": ["A"]}})
    assert dataset.files == (name,)
    assert len(read_events(dataset)) == 1
    assert len(dataset.data_hash()) == 64


def test_reads_from_any_filesystem_of_pyarrow(tmp_path: Path) -> None:
    local = tmp_path / "bucket" / "d"
    write_canonical(local, card_of(), [random_events(100)])
    store = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    dataset = open_dataset("bucket/d", filesystem=store)
    assert_same(read_events(dataset, features=True), random_events(100))
    assert dataset.data_hash() == open_dataset(local).data_hash()
    assert_same(read_events(open_dataset(local.as_uri()), features=True), random_events(100))


def test_files_in_folders_are_found_by_the_cards_globs(tmp_path: Path) -> None:
    one = {"ts_event": [1], "symbol": ["A"]}
    dataset = dataset_of(
        tmp_path,
        {"2024/x.parquet": one, "2025/y.parquet": one, "z.parquet": one, ".hid.parquet": one},
        files=["*/*.parquet"],
    )
    assert dataset.files == ("2024/x.parquet", "2025/y.parquet")
    write_parquet(tmp_path / "2024" / "w.parquet", one)
    assert len(read_events(open_dataset(tmp_path))) == 3
