"""Depth on disk: what is written, what is refused, and that it is part of the dataset's hash."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import backtest
from backtest.data import table_files
from backtest.data.canonical import CanonicalWriter, write_canonical
from backtest.data.card import Card, Columns, read_card, write_card
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.digests import add_digests
from backtest.data.reading.bus import read_events
from backtest.data.reading.depth import stream_depth
from backtest.errors import DataError
from backtest.market.depth import (
    BID,
    CLEAR,
    LAST,
    MODIFY,
    MOST_DISPLAYED,
    SNAPSHOT,
    DepthBatch,
    DepthRows,
)
from backtest.market.events import EventBatch
from tests.data.depth_rows import (
    START,
    card_without_features,
    dataset_with,
    expected,
    mixed,
    plain,
    rows_of,
)
from tests.parquet_files import assert_same

DATA = mixed(300, 500, seed=2)
ORDERS = mixed(300, 500, orders=True, seed=2)


def row_of(**values: Any) -> DepthRows:
    """One row of levels, or of orders if it has an ``action``."""
    columns: dict[str, Any] = {
        "symbol": 0,
        "ts_event": START,
        "side": BID,
        "price": 100,
        "size": 5,
        "flags": 0,
        **values,
    }
    if "action" in values:
        columns.setdefault("order_id", 1)
    return DepthRows(**{name: np.array([value]) for name, value in columns.items()})


def one_event(ts: int = START) -> EventBatch:
    """One quote."""
    sides = {"bid": 100, "ask": 101, "bid_size": 3, "ask_size": 4}
    quote: dict[str, Any] = {name: np.array([value]) for name, value in sides.items()}
    return EventBatch(np.zeros(1, dtype=np.int32), np.array([ts]), **quote)


def test_the_columns_are_as_documented(tmp_path: Path) -> None:
    for name, data in (("l2", DATA), ("l3", ORDERS)):
        dataset_with(tmp_path / name, data)
        file = pq.ParquetFile(tmp_path / name / "depth-00000.parquet")
        types = {field.name: field.type for field in file.schema_arrow}
        assert types == {
            "ts_event": pa.timestamp("ns", "UTC"),
            "seq": pa.int64(),
            "symbol": pa.dictionary(pa.int16(), pa.string()),
            "side": pa.int8(),
            "price": pa.int64(),
            "size": pa.int64(),
            "flags": pa.uint8(),
        } | ({"order_id": pa.int64(), "action": pa.int8()} if name == "l3" else {})
        assert {file.metadata.row_group(0).column(i).compression for i in range(7)} == {"ZSTD"}
        card = read_card(tmp_path / name / "dataset.toml")
        assert card.depth_files == ("depth-*.parquet",)
        assert set(card.sha256) == {"depth-00000.parquet", "events-00000.parquet"}
        assert set(card.footer_sha256) == set(card.sha256)


def test_one_seq_counts_through_both_tables(tmp_path: Path) -> None:
    dataset = dataset_with(tmp_path / "d", DATA)
    read = {
        of: pq.read_table(tmp_path / "d" / f"{of}-00000.parquet")["seq"].to_numpy()
        for of in ("events", "depth")
    }
    places = np.arange(800)
    np.testing.assert_array_equal(read["events"], places[~DATA.of_depth])
    np.testing.assert_array_equal(read["depth"], places[DATA.of_depth])
    assert_same(read_events(dataset), plain(DATA.events))


def in_calls(folder: Path, data: Any) -> None:
    """The data, written by calls of ``write`` and ``write_depth`` in the order of the rows."""
    edges = [0, *(np.flatnonzero(np.diff(data.of_depth)) + 1).tolist(), len(data.of_depth)]
    folder.mkdir()
    at = [0, 0]
    with CanonicalWriter(folder, card_without_features()) as writer:
        for low, high in pairwise(edges):
            of_depth = int(data.of_depth[low])
            rows = slice(at[of_depth], at[of_depth] + high - low)
            at[of_depth] = rows.stop
            if of_depth:
                writer.write_depth(data.depth.select(rows))
            else:
                writer.write(plain(data.events).select(rows))
    assert (writer.rows, writer.depth_rows) == (300, 500)


def test_the_order_of_calls_is_the_order_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_files, "ROW_GROUP_ROWS", 100)
    for name, data in (("l2", DATA), ("l3", ORDERS)):
        whole = dataset_with(tmp_path / name, data)
        in_calls(tmp_path / f"{name}-calls", data)
        called = open_dataset(tmp_path / f"{name}-calls")
        assert called.data_hash() == whole.data_hash()
        assert rows_of([*stream_depth(called)]) == expected(data)


def test_files_are_begun_by_their_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "ROW_GROUP_ROWS", 50)
    write_canonical(
        tmp_path / "d",
        card_without_features(),
        [(plain(DATA.events), DATA.among())],
        rows_per_file=100,
    )
    dataset = open_dataset(tmp_path / "d")
    assert len(dataset.files) == 3
    assert len(dataset.depth_files) == 5
    assert dataset.all_files == tuple(sorted(dataset.card.sha256))
    assert rows_of([*stream_depth(dataset)]) == expected(DATA)


def test_depth_between_batches_is_written_by_itself(tmp_path: Path) -> None:
    parts: list[EventBatch | DepthRows] = [
        one_event(),
        row_of(),
        row_of(size=9),
        one_event(START + 1),
        row_of(ts_event=START + 1),
    ]
    write_canonical(tmp_path / "d", card_without_features(), parts)
    batch = next(iter(stream_depth(open_dataset(tmp_path / "d"))))
    assert batch.follows.tolist() == [1, 1, 2]
    assert batch.size.tolist() == [5, 9, 5]


WRONG_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "negative size": ({"size": -1}, "row 1 of depth has -1 in 'size': a size is at least 0"),
    "too many lots": ({"size": MOST_DISPLAYED + 1}, "at most 2\\^42 lots"),
    "no price": ({"price": 0}, "row 1 of depth has 0 in 'price': no price of a level"),
    "huge price": ({"price": 2**62}, "below 2\\^62"),
    "unknown flag": ({"flags": 8}, "has 8 in 'flags': flags are the sum of 1 snapshot"),
    "flags of another type": ({"flags": 257}, "has 257 in 'flags'"),
    "last alone": ({"flags": LAST}, "has 4 in 'flags': last \\(4\\) ends a snapshot"),
    "clear and last": ({"flags": CLEAR | LAST}, "has 6 in 'flags': last \\(4\\) ends a snapshot"),
    "unknown side": ({"side": 2}, "has 2 in 'side': a side is 1 bid or -1 ask"),
    "both sides": ({"side": 0}, "has 0 in 'side': 0 means both sides"),
    "unknown action": ({"action": 4}, "has 4 in 'action': an action is one of 0 add, 1 execute"),
    "unknown symbol": ({"symbol": 3}, "row 1 of depth has symbol id 3, but the card has 3 symbols"),
    "earlier": ({"ts_event": START - 1}, "not sorted: row 1 of depth has ts_event"),
    "milliseconds": ({"ts_event": START // 1000}, "not sorted|500 times"),
    "no time": ({"ts_event": np.iinfo(np.int64).min}, "row 1 of depth has no ts_event"),
}


@pytest.mark.parametrize(("values", "problem"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_what_no_row_may_hold_is_refused_by_its_place(
    tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    sound = {"action": MODIFY} if "action" in values else {}
    parts: list[EventBatch | DepthRows] = [one_event(), row_of(**sound), row_of(**values)]
    with pytest.raises(DataError, match=problem):
        write_canonical(tmp_path / "d", card_without_features(), parts)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("flags", [CLEAR, CLEAR | SNAPSHOT, CLEAR | SNAPSHOT | LAST])
def test_a_clear_needs_no_side_and_no_price(tmp_path: Path, flags: int) -> None:
    parts: list[EventBatch | DepthRows] = [
        one_event(),
        row_of(side=0, price=0, size=0, flags=flags),
    ]
    write_canonical(tmp_path / "d", card_without_features(), parts)
    assert rows_of([*stream_depth(open_dataset(tmp_path / "d"))]) == [
        (1, 0, START, 0, 0, 0, flags, -1, -1)
    ]


def test_signed_prices_may_be_zero_and_below(tmp_path: Path) -> None:
    signed = {"A": {"signed_prices": True}}
    card = Card.model_validate(card_without_features().model_dump() | {"instruments": signed})
    write_canonical(tmp_path / "d", card, [one_event(), row_of(price=-3), row_of(price=0)])
    assert next(iter(stream_depth(open_dataset(tmp_path / "d")))).price.tolist() == [-3, 0]
    with pytest.raises(DataError, match="has -3 in 'price'"):
        write_canonical(tmp_path / "e", card, [one_event(), row_of(price=-3, symbol=1)])
    assert not (tmp_path / "e").exists()


def test_depth_needs_quotes_with_sizes(tmp_path: Path) -> None:
    event = dataclasses.replace(one_event(), bid_size=None, ask_size=None)
    with pytest.raises(DataError, match="the events have no quotes with sizes"):
        write_canonical(tmp_path / "d", card_without_features(), [event, row_of()])
    assert not (tmp_path / "d").exists()


def test_levels_and_orders_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="columns changed"):
        write_canonical(
            tmp_path / "d", card_without_features(), [one_event(), row_of(), row_of(action=0)]
        )


@pytest.mark.parametrize("follows", [[1, 0], [-1, 0], [0, 2]])
def test_places_must_be_among_the_events(tmp_path: Path, follows: list[int]) -> None:
    two = {name: np.repeat(getattr(row_of(), name), 2) for name in ("symbol", "ts_event", "side")}
    two |= {name: np.repeat(getattr(row_of(), name), 2) for name in ("price", "size", "flags")}
    depth = DepthBatch(**two, follows=np.array(follows))
    with pytest.raises(ValueError, match="follows must rise from 0 to 1"):
        write_canonical(tmp_path / "d", card_without_features(), [(one_event(), depth)])


def changed(folder: Path, change: Callable[[pa.Table], pa.Table], table: str = "depth") -> Dataset:
    """A dataset of orders in which a file was rewritten by somebody else."""
    dataset_with(folder, ORDERS)
    path = folder / f"{table}-00000.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    card = read_card(folder / "dataset.toml")
    write_card(folder, card.model_copy(update={"sha256": {}, "footer_sha256": {}}))
    return open_dataset(folder)


def with_value(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    """A table with another value in one row."""

    def change(table: pa.Table) -> pa.Table:
        column = table[name].to_pylist()
        column[row] = value
        kind = pa.string() if name == "symbol" else table.schema.field(name).type
        at = table.schema.get_field_index(name)
        return table.set_column(at, name, pa.array(column, kind))

    return change


def with_type(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    """A table with a column of another type."""

    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        return table.set_column(at, name, table[name].cast(kind))

    return change


def swapped(table: pa.Table) -> pa.Table:
    """The last row comes first."""
    return pa.concat_tables([table.slice(len(table) - 1), table.slice(0, len(table) - 1)])


DAMAGED: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "unsorted": (swapped, "not sorted: row 1 has ts_event"),
    "unknown symbol": (with_value("symbol", 7, "Z"), "row 7 has the unknown symbol 'Z'"),
    "no symbol": (with_value("symbol", 7, None), "row 7 has no symbol"),
    "no time": (with_value("ts_event", 7, None), "row 7 has no ts_event"),
    "no seq": (with_value("seq", 7, None), "row 7 has no seq"),
    "no size": (with_value("size", 7, None), r"row 7 \([ABC]\) has no size"),
    "no action": (with_value("action", 7, None), r"row 7 \([ABC]\) has no action"),
    "negative size": (with_value("size", 7, -4), r"row 7 \([ABC]\) has -4 in 'size'"),
    "too many lots": (with_value("size", 7, 2**43), r"has 8796093022208 in 'size'"),
    "side": (with_value("side", 7, 5), r"row 7 \([ABC]\) has 5 in 'side'"),
    "flags": (with_value("flags", 7, 64), r"row 7 \([ABC]\) has 64 in 'flags'"),
    "action": (with_value("action", 7, -1), r"row 7 \([ABC]\) has -1 in 'action'"),
    "price": (with_value("price", 7, -(2**62)), r"row 7 \([ABC]\) has -4611686018427387904 in"),
    "missing column": (lambda t: t.drop_columns(["flags"]), "column 'flags' is missing"),
    "half of the orders": (lambda t: t.drop_columns(["action"]), "without its other half"),
    "no seq at all": (lambda t: t.drop_columns(["seq"]), "column 'seq' is missing"),
    "wide side": (with_type("side", pa.int64()), "column 'side' is int64, not int8"),
    "signed flags": (with_type("flags", pa.int8()), "column 'flags' is int8, not uint8"),
    "float price": (with_type("price", pa.float64()), "column 'price' is double, not int64"),
}


@pytest.mark.parametrize(("change", "problem"), DAMAGED.values(), ids=DAMAGED)
def test_files_of_others_are_not_trusted(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], problem: str
) -> None:
    dataset = changed(tmp_path / "d", change)
    with pytest.raises(DataError, match=problem) as caught:
        [*stream_depth(dataset)]
    assert "depth-00000.parquet" in str(caught.value)
    assert len(read_events(dataset)) == 300  # which the file of depth has no part in


def test_a_row_of_a_selection_is_named_by_its_place_in_the_file(tmp_path: Path) -> None:
    row = next(i for i in range(200, 500) if ORDERS.depth.symbol[i] == 1)
    dataset = changed(tmp_path / "d", with_value("side", row, 9))
    with pytest.raises(DataError, match=rf"row {row} \(B\) has 9 in 'side'"):
        [*stream_depth(dataset, symbols=["B"], start=START + 20)]
    assert [*stream_depth(dataset, symbols=["A"])]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (["seq"], "the events have no column seq"),
        (["bid_size", "ask_size"], "the events have no quotes with sizes"),
    ],
)
def test_events_that_depth_cannot_lie_among_are_refused(
    tmp_path: Path, columns: list[str], problem: str
) -> None:
    dataset = changed(tmp_path / "d", lambda t: t.drop_columns(columns), "events")
    with pytest.raises(DataError, match=problem):
        _ = dataset.depth
    with pytest.raises(DataError, match=problem):
        stream_depth(dataset)


def test_a_card_whose_depth_is_missing_is_refused(tmp_path: Path) -> None:
    dataset_with(tmp_path / "d", DATA)
    (tmp_path / "d" / "depth-00000.parquet").unlink()
    with pytest.raises(DataError, match=r"no file matches 'depth-\*\.parquet'") as caught:
        open_dataset(tmp_path / "d")
    assert "depth_files" in str(caught.value.remedy)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    dataset = dataset_with(tmp_path / "d", DATA)
    path = tmp_path / "d" / "depth-00000.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"depth-00000\.parquet"):
        [*stream_depth(open_dataset(tmp_path / "d"))]
    with pytest.raises(DataError, match="its SHA-256 is"):
        open_dataset(tmp_path / "d").verify()
    assert dataset.depth_files == ("depth-00000.parquet",)


def test_bit_flips_are_never_read_as_other_rows(tmp_path: Path) -> None:
    dataset_with(tmp_path / "d", ORDERS)
    path = tmp_path / "d" / "depth-00000.parquet"
    good, draw = path.read_bytes(), random.Random(5)
    refused = 0
    for _ in range(120):
        content = bytearray(good)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            found = rows_of([*stream_depth(open_dataset(tmp_path / "d"))])
        except DataError as error:
            refused += path.name in str(error)
        else:
            assert found == expected(ORDERS)  # it hit a byte that nothing depends on
    assert refused > 100


def test_a_run_is_another_if_the_depth_is(tmp_path: Path) -> None:
    ids = []
    for name, value in (("a", None), ("b", 49), ("c", None)):
        changed(tmp_path / name, (lambda t: t) if value is None else with_value("size", 3, value))
        folder = tmp_path / name
        run = backtest.run(
            dataset=str(folder),
            strategy="imbalance",
            latency={"service": "constant:1ms"},
            runs=tmp_path / "runs",
        )
        ids.append(run.id)
    assert ids[0] == ids[2] != ids[1]


def test_a_changed_file_of_depth_changes_the_hash(tmp_path: Path) -> None:
    first = changed(tmp_path / "a", lambda table: table)
    other = changed(tmp_path / "b", with_value("size", 3, 49))
    same = changed(tmp_path / "c", lambda table: table)
    assert first.data_hash() == same.data_hash() != other.data_hash()


def test_digests_are_added_for_both_tables(tmp_path: Path) -> None:
    dataset = changed(tmp_path / "d", lambda table: table)
    assert add_digests(dataset).added == ("depth-00000.parquet", "events-00000.parquet")
    known = open_dataset(tmp_path / "d")
    assert add_digests(known).known == known.all_files
    path = tmp_path / "d" / "depth-00000.parquet"
    shutil.copy(path, tmp_path / "kept")
    pq.write_table(with_value("size", 3, 49)(pq.read_table(path)), path)
    with pytest.raises(DataError, match=r"depth-00000\.parquet"):
        open_dataset(tmp_path / "d").data_hash()


def test_names_of_columns_are_those_of_events_alone(tmp_path: Path) -> None:
    """A card may rename the columns of events; depth keeps the canonical names."""
    dataset = dataset_with(tmp_path / "d", DATA)
    path = tmp_path / "d" / "events-00000.parquet"
    table = pq.read_table(path)
    renamed = {"ts_event": "time", "symbol": "instrument"}
    pq.write_table(table.rename_columns([renamed.get(n, n) for n in table.column_names]), path)
    update: dict[str, Any] = {"columns": Columns(**renamed), "sha256": {}, "footer_sha256": {}}
    write_card(tmp_path / "d", dataset.card.model_copy(update=update))
    assert rows_of([*stream_depth(open_dataset(tmp_path / "d"))]) == expected(DATA)
