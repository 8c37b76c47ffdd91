"""Depth in bus order: every row at its place among the events of the stream as it is read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backtest.data import table_files
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading import depth as reading
from backtest.data.reading import standing
from backtest.data.reading.depth import stream_depth
from backtest.data.reading.stream import Stream
from backtest.data.synthetic.orders import OrderMarket, generate_orders
from backtest.errors import UsageError
from backtest.market.depth import (
    ADD,
    ASK,
    BID,
    BOTH,
    CANCEL,
    CLEAR,
    EXECUTE,
    LAST,
    SNAPSHOT,
    VALUES,
)
from tests.data.depth_rows import (
    START,
    Mixed,
    dataset_with,
    expected,
    mixed,
    plain,
    rows_of,
    split_dataset,
)
from tests.parquet_files import card_of, dataset_of, random_events

ROWS, DEPTH_ROWS = 400, 700
LEVELS = mixed(ROWS, DEPTH_ROWS, seed=5)
ORDERS = mixed(ROWS, DEPTH_ROWS, orders=True, seed=8)
MIDDLE = START + ROWS // 8

WINDOWS: dict[str, dict[str, Any]] = {
    "all": {},
    "from": {"start": MIDDLE},
    "until": {"end": MIDDLE},
    "within": {"start": MIDDLE, "end": MIDDLE + 60},
    "wider": {"start": START - 10, "end": START + ROWS},
    "symbols": {"symbols": ("A", "C")},
    "first": {"limit": 77},
    "first of it": {"start": MIDDLE, "symbols": ("B",), "limit": 40},
    "one": {"limit": 1},
    "more than there are": {"limit": 10**6},
}


def with_standing_orders(
    data: Mixed, rows: list[tuple[int, ...]], window: dict[str, Any]
) -> list[tuple[int, ...]]:
    """The rows of a window of orders: it begins with snapshots, here of lists kept in order."""
    start = window.get("start", START)
    if start <= START:
        return rows
    books: list[list[list[int]]] = [[], [], []]  # side, price, size, order
    known = [{BID: True, ASK: True} for _ in books]
    columns = [getattr(data.depth, n).tolist() for n in ("symbol", "ts_event", *VALUES)]
    for symbol, ts, side, price, size, flags, order, action in zip(*columns, strict=True):
        if ts >= start:
            break
        book = books[symbol]
        found = next((item for item in book if item[3] == order), None)
        if flags & CLEAR:
            gone = (BID, ASK) if side == BOTH else (side,)
            books[symbol] = [item for item in book if item[0] not in gone]
            known[symbol] |= dict.fromkeys(gone, False)
        elif action in (CANCEL, EXECUTE):
            if found is not None:
                found[2] -= min(size, found[2])
        elif found and found[:2] == [side, price] and size <= found[2]:
            found[2] = size
        else:
            books[symbol] = [item for item in book if item is not found]
            books[symbol].append([side, price, size, order])
        books[symbol] = [item for item in books[symbol] if item[2]]
        if flags & LAST:
            known[symbol] = {BID: True, ASK: True}
    opening: list[tuple[int, ...]] = []
    for name in window.get("symbols", ("A", "B", "C")):
        at = "ABC".index(name)
        ends = LAST if all(known[at].values()) else 0
        shown = [(BOTH, 0, 0, CLEAR | SNAPSHOT, 0)]
        shown += [(s, p, n, SNAPSHOT, o) for s, p, n, o in sorted(books[at], key=lambda i: i[:2])]
        *first, last = shown
        whole = [*first, (*last[:3], last[3] | ends, last[4])]
        opening += [(0, at, start, *row, ADD) for row in whole]
    return opening + rows


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("kind", ["levels", "orders"])
def test_rows_lie_where_a_walk_through_both_tables_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, parts: int, window: dict[str, Any]
) -> None:
    monkeypatch.setattr(reading, "DEPTH_ROWS", 64)
    monkeypatch.setattr(standing, "ROOM", 8)
    data = LEVELS if kind == "levels" else ORDERS
    dataset = split_dataset(tmp_path / "d", data, parts, seed=parts, row_group=50)
    found = rows_of([*Stream(dataset, **window).depth()])
    wanted = expected(data, **window)
    assert found == (wanted if kind == "levels" else with_standing_orders(data, wanted, window))
    assert len(found) > 20 or window.get("limit") == 1


def test_what_the_writer_wrote_is_read_back(tmp_path: Path) -> None:
    for name, data in (("l2", LEVELS), ("l3", ORDERS)):
        dataset = dataset_with(tmp_path / name, data)
        assert rows_of([*stream_depth(dataset)]) == expected(data)
        assert dataset.has_depth
        assert dataset.depth_orders == (name == "l3")


def test_places_count_the_events_that_the_stream_reads(tmp_path: Path) -> None:
    dataset = dataset_with(tmp_path / "d", LEVELS)
    stream = Stream(dataset, start=MIDDLE, symbols=("A", "B"))
    events = stream.whole(features=False)
    for batch in stream.depth():
        earlier = np.searchsorted(events.ts_event, batch.ts_event)
        later = np.searchsorted(events.ts_event, batch.ts_event, "right")
        assert ((earlier <= batch.follows) & (batch.follows <= later)).all()
        assert set(batch.symbol.tolist()) <= {0, 1}


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_places_do_not_depend_on_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    dataset = dataset_with(tmp_path / "d", LEVELS)
    monkeypatch.setattr(reading, "DEPTH_ROWS", size)
    assert rows_of([*stream_depth(dataset)]) == expected(LEVELS)


def test_a_window_without_depth_gives_no_batch(tmp_path: Path) -> None:
    dataset = dataset_with(tmp_path / "d", LEVELS)
    assert [*stream_depth(dataset, start=START + 10**9)] == []


def test_more_rows_take_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Python, numpy and Arrow, while a consumer looks at one batch after another."""
    monkeypatch.setattr(reading, "DEPTH_ROWS", 4096)
    monkeypatch.setattr(table_files, "ROW_GROUP_ROWS", 4096)
    peaks = []
    for actions in (20_000, 160_000):
        folder = tmp_path / str(actions)
        generate_orders(OrderMarket(seed=1), folder, actions=actions)
        dataset = open_dataset(folder)
        assert dataset.depth is not None  # its footers are no part of the reading
        least = 2**62
        for _ in range(3):  # what two threads hold at once is a matter of luck
            tracemalloc.start()
            before, most = pa.total_allocated_bytes(), 0
            for batch in stream_depth(dataset):
                most = max(most, pa.total_allocated_bytes() - before)
                del batch
            most += tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            least = min(least, most)
        peaks.append(least)
    assert peaks[1] < 1.5 * peaks[0]


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path: Path) -> None:
    batches = stream_depth(dataset_with(tmp_path / "d", LEVELS))
    assert len(next(batches)) > 0
    batches.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(batches)


def test_a_dataset_without_depth_says_so(tmp_path: Path) -> None:
    events = plain(random_events(50))
    names = ("ts_event", "bid", "ask", "bid_size", "ask_size")
    columns = {name: getattr(events, name) for name in names} | {"symbol": ["A"] * 50}
    dataset: Dataset = dataset_of(tmp_path / "d", {"a.parquet": columns})
    assert not dataset.has_depth
    assert not dataset.depth_orders
    with pytest.raises(UsageError, match="the dataset has no depth"):
        stream_depth(dataset)
    assert card_of().depth_files == ()
