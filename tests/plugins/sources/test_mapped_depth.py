"""Depth through a mapping, against rows written down by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.depth import stream_depth
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.depth import ADD, ASK, BID, CANCEL, CLEAR, EXECUTE, LAST, MODIFY, SNAPSHOT
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet
from backtest.plugins.sources.mapped import files as mapped_files
from backtest.plugins.sources.mapped.mapping import read_mapping
from tests.data.depth_rows import rows_of

T0 = 1_723_161_255_000_000
MAPPING = """
name = "mine"
[time]
event = "t"
unit = "us"
zone = "UTC"
[symbol]
column = "sym"
[price]
unit = "1"
tick_size = "0.5"
bid = "b"
ask = "a"
[size]
unit = "1"
lot_size = "0.1"
bid = "B"
ask = "A"
"""
LEVELS = """
[depth]
files = ["*book*"]
price = "price"
size = "amount"
side = "side"
bid = ["bid", "B"]
ask = ["ask"]
snapshot = "is_snapshot"
"""
ORDERS = """
[depth]
files = ["*book*"]
price = "price"
size = "amount"
side = "side"
bid = [1]
ask = [-1]
order = "id"
action = "what"
add = ["A"]
execute = ["F", "T"]
cancel = ["C"]
modify = ["M"]
"""
QUOTES = ["t,sym,b,B,a,A", f"{T0},X,10,1.5,11,2", f"{T0 + 5},Y,20,1,21,1", f"{T0 + 9},X,10,1,11,2"]
BOOK = [
    "t,sym,is_snapshot,side,price,amount",
    f"{T0 + 1},X,true,bid,10,1.5",
    f"{T0 + 1},X,true,bid,9.5,0.2",
    f"{T0 + 1},Y,TRUE,ask,21,1",
    f"{T0 + 2},X,true,ask,11,2",
    f"{T0 + 5},X,false,B,9.5,0",
    f"{T0 + 6},X,0,ask,12,3",
    f"{T0 + 7},X,1,bid,10,1",
    f"{T0 + 8},Y,false,ask,21.5,1",
    f"{T0 + 10},X,false,bid,9,4",
]


def dataset_of(
    folder: Path, depth: str, book: list[str], **parameters: Any
) -> tuple[Dataset, IngestReport]:
    (folder / "in").mkdir(parents=True)
    (folder / "mapping.toml").write_text(MAPPING + depth)
    for name, lines in (("quotes.csv", QUOTES), ("order_book.csv", book)):
        (folder / "in" / name).write_text("".join(f"{line}\n" for line in lines))
    source = MappedCsv(mapping=folder / "mapping.toml", **parameters)
    report = ingest("csv", source, folder / "in", folder / "out")
    return open_dataset(folder / "out"), report


def depth_of(dataset: Dataset) -> list[tuple[int, ...]]:
    """Events before, symbol, microseconds, side, price, size, flags, and order and action."""
    return [
        (row[0], row[1], row[2] // 1000 - T0, *row[3:]) for row in rows_of([*stream_depth(dataset)])
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_runs_of_snapshot_rows_are_snapshots(tmp_path: Path, whole: bool) -> None:
    depth = LEVELS + ("whole = true\n" if whole else "")
    dataset, report = dataset_of(tmp_path, depth, BOOK)
    none = (-1, -1)
    cleared = (0, 0, 0, CLEAR | SNAPSHOT, *none)
    ended: Any = [(1, 0, 5, ASK, 22, 20, SNAPSHOT | LAST, *none)] if whole else []
    ended_y: Any = [(2, 1, 8, ASK, 42, 10, SNAPSHOT | LAST, *none)] if whole else []
    ended_x: Any = [(3, 0, 10, BID, 20, 10, SNAPSHOT | LAST, *none)] if whole else []
    assert depth_of(dataset) == [
        (1, 0, 1, *cleared),
        (1, 0, 1, BID, 20, 15, SNAPSHOT, *none),
        (1, 0, 1, BID, 19, 2, SNAPSHOT, *none),
        (1, 1, 1, *cleared),
        (1, 1, 1, ASK, 42, 10, SNAPSHOT, *none),
        (1, 0, 2, ASK, 22, 20, SNAPSHOT, *none),
        *[(2, *row[1:]) for row in ended],
        (2, 0, 5, BID, 19, 0, 0, *none),
        (2, 0, 6, ASK, 24, 30, 0, *none),
        (2, 0, 7, *cleared),
        (2, 0, 7, BID, 20, 10, SNAPSHOT, *none),
        *ended_y,
        (2, 1, 8, ASK, 43, 10, 0, *none),
        *ended_x,
        (3, 0, 10, BID, 18, 40, 0, *none),
    ]
    assert (report.read, report.written) == (12, 3)
    assert report.depth["read"] == 9
    assert report.depth["written"] == (15 if whole else 12)
    assert validate(dataset).usable


def test_orders_are_read_by_the_values_of_their_actions(tmp_path: Path) -> None:
    book = [
        "t,sym,what,id,side,price,amount",
        f"{T0 + 1},X,A,7,1,10,1.5",
        f"{T0 + 2},X,m,7,1,9.5,1.5",
        f"{T0 + 3},X,F,7,1,9.5,0.5",
        f"{T0 + 4},X,T,9,-1,11,0.5",
        f"{T0 + 5},X, c ,7,1,9.5,1",
    ]
    dataset, report = dataset_of(tmp_path, ORDERS, book)
    assert dataset.depth_orders
    assert [row[3:] for row in depth_of(dataset)] == [
        (BID, 20, 15, 0, 7, ADD),
        (BID, 19, 15, 0, 7, MODIFY),
        (BID, 19, 5, 0, 7, EXECUTE),
        (ASK, 22, 5, 0, 9, EXECUTE),
        (BID, 19, 10, 0, 7, CANCEL),
    ]
    assert report.repaired == {}


def test_parquet_is_read_alike(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "mapping.toml").write_text(MAPPING + ORDERS)
    quotes: dict[str, Any] = {"t": [T0], "sym": ["X"], "b": [10.0], "B": [1.0], "a": [11.0]}
    pq.write_table(pa.table(quotes | {"A": [1.0]}), tmp_path / "in" / "q.parquet")
    book: dict[str, Any] = {"t": [T0, T0 + 1], "sym": ["X", "X"], "what": ["A", "C"]}
    book |= {"id": [2**62, 2**62], "side": [1, -1], "price": [9.5, 11.0], "amount": [1.0, 1.0]}
    pq.write_table(pa.table(book), tmp_path / "in" / "book.parquet")
    source = MappedParquet(mapping=tmp_path / "mapping.toml")
    ingest("parquet", source, tmp_path / "in", tmp_path / "out")
    assert [row[3:] for row in depth_of(open_dataset(tmp_path / "out"))] == [
        (BID, 19, 10, 0, 2**62, ADD),
        (ASK, 22, 10, 0, 2**62, CANCEL),
    ]


@pytest.mark.parametrize("size", [1, 40, 100, 200])
def test_how_files_are_cut_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    depth = LEVELS + "whole = true\n"
    expected = depth_of(dataset_of(tmp_path / "whole", depth, BOOK)[0])
    monkeypatch.setattr(mapped_files, "BLOCK_BYTES", size)
    assert depth_of(dataset_of(tmp_path / "cut", depth, BOOK)[0]) == expected
    later = [BOOK[0], *reversed(BOOK[7:])]
    found = depth_of(dataset_of(tmp_path / "sorted", depth, later, unsorted="sort")[0])
    assert [row[2] for row in found] == sorted(row[2] for row in found)


WRONG: dict[str, tuple[str, str, str]] = {
    "side": (",bid,10,1.5", ",buy,10,1.5", "row 0 has 'buy' in 'side', which [depth] does not"),
    "no side": (",bid,10,1.5", ",,10,1.5", "row 0 has None in 'side'"),
    "price": (",bid,9.5,0.2", ",bid,9.3,0.2", "row 1 cannot be converted: 'price': 9.3"),
    "no price": (",bid,9.5,0.2", ",bid,,0.2", "row 1 has no price in 'price'"),
    "size": (",bid,9.5,0.2", ",bid,9.5,-0.2", "has -2 in 'size': a size is at least 0"),
    "snapshot": ("X,0,ask", "X,perhaps,ask", "has 'perhaps' in 'is_snapshot'"),
    "symbol": (f"{T0 + 6},X", f"{T0 + 6},", "row 5 has no 'sym'"),
    "order": (f"{T0 + 6},X", f"{T0 + 4},X", "not sorted: row 5 is earlier"),
}


@pytest.mark.parametrize(("old", "new", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_by_its_row(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    book = "\n".join(BOOK)
    assert old in book
    with pytest.raises(DataError) as caught:
        dataset_of(tmp_path, LEVELS, book.replace(old, new, 1).split("\n"))
    assert problem in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_order_without_a_number_is_refused(tmp_path: Path) -> None:
    book = ["t,sym,what,id,side,price,amount", f"{T0},X,A,7,1,10,1", f"{T0},X,A,,1,10,1"]
    with pytest.raises(DataError, match=r"row 1 has None in 'id', which is no number of an order"):
        dataset_of(tmp_path / "a", ORDERS, book)
    book[2] = f"{T0},X,A,x1,1,10,1"
    with pytest.raises(DataError, match=r"row 1 has 'x1' in 'id'"):
        dataset_of(tmp_path / "b", ORDERS, book)


MAPPINGS = {
    'order = "id"\n': ("", "order and action must be given together"),
    'cancel = ["C"]': ('cancel = ["f"]', "'f' cannot mean two things"),
    "ask = [-1]": ("ask = [1]", "'1' cannot mean two things"),
    'files = ["*book*"]': ('files = ["nothing"]', "there is no file of depth"),
    'bid = "B"\nask = "A"\n': ("", "depth needs size.bid and size.ask"),
}


@pytest.mark.parametrize("old", MAPPINGS)
def test_a_mapping_is_checked(tmp_path: Path, old: str) -> None:
    new, problem = MAPPINGS[old]
    whole = MAPPING + ORDERS
    assert old in whole
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "quotes.csv").write_text("\n".join(QUOTES))
    (tmp_path / "in" / "book.csv").write_text("t,sym,what,id,side,price,amount\n")
    (tmp_path / "mapping.toml").write_text(whole.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        ingest("csv", MappedCsv(mapping=tmp_path / "mapping.toml"), tmp_path / "in", tmp_path / "o")
    assert problem in str(caught.value)


def test_the_table_in_the_docs_is_one(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[3] / "docs" / "mapping.md").read_text()
    blocks = [block.split("```")[0] for block in docs.split("```toml\n")[1:]]
    (example,) = [block for block in blocks if block.startswith("[depth]")]
    (tmp_path / "mapping.toml").write_text(MAPPING + example)
    depth = read_mapping(tmp_path / "mapping.toml").depth
    assert depth is not None
    assert dict(depth.actions()) == {"a": ADD, "f": EXECUTE, "c": CANCEL, "m": MODIFY}
    assert dict(depth.sides()) == {"bid": BID, "ask": ASK}
    assert not depth.whole
