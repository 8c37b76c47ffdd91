"""hftbacktest's events, read and written, against a plain replay of what its exchange does."""

from __future__ import annotations

import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.api import run
from backtest.cli import main
from backtest.data.canonical import write_canonical
from backtest.data.card import Card, InstrumentTable
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError, UsageError
from backtest.market import depth
from backtest.market.depth import DepthBatch
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch
from backtest.plugins import hft_export
from backtest.plugins.hft_export import export
from backtest.plugins.sources.hftbacktest import HftBacktest
from backtest.plugins.sources.hftbacktest import files as hft_files

T0 = 1_714_521_600_000_000_000
# As published: hftbacktest's types.py.
DEPTH, TRADE, CLEAR, SNAPSHOT, BBO, ADD, CANCEL, MODIFY, FILL = 1, 2, 3, 4, 5, 10, 11, 12, 13
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
NAMES = ("ev", "exch_ts", "local_ts", "px", "qty", "order_id", "ival", "fval")
EVENT = np.dtype([*zip(NAMES, ("u8", "i8", "i8", "f8", "f8", "u8", "i8", "f8"), strict=True)])


def row(ev: int, ts: int, px: float = 0, qty: float = 0, order: int = 0, recv: int = 0) -> Any:
    flags = 0 if ev & (EXCH | LOCAL) else EXCH | LOCAL
    return (ev | flags, T0 + ts, T0 + (recv or ts + 5), px, qty, order, 0, 0.0)


def written(folder: Path, rows: Any, name: str = "abc_20240501.npz", **arrays: Any) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / name, **(arrays or {"data": np.array(rows, dtype=EVENT)}))
    return folder / name


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("hftbacktest", HftBacktest(**parameters), path, out, overwrite=True)
    events = report.written - report.depth.get("quotes", 0)
    assert report.read == events + report.depth.get("read", 0) + sum(report.refused.values())
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> str:
    with pytest.raises(DataError) as caught:
        ingest("hftbacktest", HftBacktest(**parameters), path, out)
    assert not out.exists()
    return str(caught.value)


def events_of(dataset: Dataset) -> list[tuple[Any, ...]]:
    """ns and receipt after T0, quote, trade and aggressor; None where absent."""
    batch: Any = read_events(dataset)
    rows = []
    for k in range(len(batch)):
        cells: list[Any] = [int(batch.ts_event[k]) - T0]
        recv = NO_TIME if batch.ts_recv is None else int(batch.ts_recv[k])
        cells.append(None if recv == NO_TIME else recv - T0)
        for name in ("bid", "ask", "trade_price"):
            price = int(getattr(batch, name)[k])
            size = "trade_size" if name == "trade_price" else f"{name}_size"
            absent = price == NO_PRICE
            cells += [None, None] if absent else [price, int(getattr(batch, size)[k])]
        rows.append((*cells, int(batch.aggressor[k])))
    return rows


def depth_of(folder: Path) -> list[tuple[int, ...]]:
    table = pa.concat_tables(map(pq.read_table, sorted(folder.glob("depth-*.parquet"))))
    names = [name for name in depth.VALUES if name in table.column_names]
    times = (table["ts_event"].cast(pa.int64()).to_numpy() - T0).tolist()
    return [*zip(times, *(table[name].to_pylist() for name in names), strict=True)]


class Exchange:
    """What hftbacktest's exchange does with its rows, in ticks of 0.1 and lots of 0.01."""

    def __init__(self) -> None:
        self.levels: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.orders: dict[int, list[int]] = {}

    def apply(self, event: Any) -> None:
        kind, side = int(event["ev"]) & 0xFF, 0
        side = 1 if event["ev"] & BUY else -1 if event["ev"] & SELL else 0
        price, size = round(event["px"] / 0.1), round(event["qty"] / 0.01)
        order = int(event["order_id"])
        if kind in (DEPTH, SNAPSHOT):
            self.levels[side][price] = size
        elif kind == CLEAR and self.orders:
            self.orders = {k: o for k, o in self.orders.items() if side not in (0, o[0])}
        elif kind == CLEAR:
            for s in (1, -1) if side == 0 else (side,):
                kept = {p: q for p, q in self.levels[s].items() if side and s * p < s * price}
                self.levels[s] = kept
        elif kind == ADD:
            assert order not in self.orders
            self.orders[order] = [side, price, size]
        elif kind == CANCEL:
            del self.orders[order]
        elif kind == MODIFY:
            assert self.orders[order][0] == side
            self.orders[order][1:] = price, size
        elif kind == FILL:
            assert self.orders[order][:2] == [side, price]
            assert self.orders[order][2] >= size > 0

    def touch(self) -> tuple[Any, ...]:
        sums: dict[int, dict[int, int]] = {s: dict(of) for s, of in self.levels.items()}
        for side, price, size in self.orders.values():
            sums[side][price] = sums[side].get(price, 0) + size
        found: list[Any] = []
        for side, best in ((1, max), (-1, min)):
            prices = [price for price, size in sums[side].items() if size]
            found += [best(prices), sums[side][best(prices)]] if prices else [None, None]
        return tuple(found)


def touches(rows: Any) -> list[tuple[Any, ...]]:
    """ns after T0 and the touch after each instant at which it changed."""
    exchange, found, last = Exchange(), [], (None,) * 4
    for k, event in enumerate(rows):
        exchange.apply(event)
        if k + 1 == len(rows) or rows[k + 1]["exch_ts"] != event["exch_ts"]:
            now = exchange.touch()
            if now != last:
                found.append((int(event["exch_ts"]) - T0, *now))
            last = now
    return found


LEVELS = [
    row(SNAPSHOT | BUY, 1, 10.0, 1.5),
    row(SNAPSHOT | BUY, 1, 9.9, 2),
    row(SNAPSHOT | SELL, 1, 10.2, 1),
    row(TRADE | BUY, 2, 10.2, 0.5),
    row(DEPTH | SELL, 2, 10.2, 0.5),
    row(TRADE | SELL, 3, 10.0, 0.01, recv=2),
    row(TRADE, 3, 10.1, 1),
    row(TRADE | SELL, 3, 10.0, 0),
    row(DEPTH | BUY, 4, 10.0, 0),
    row(DEPTH | BUY | EXCH, 5, 10.1, 0.25),
    row(DEPTH | BUY | LOCAL, 5, 10.1, 0.25),
    row(BBO | BUY, 6, 10.1, 0.25),
    row(77, 6),
    row(CLEAR | BUY, 7, 10.1),
    row(SNAPSHOT | BUY, 7, 10.05 - 0.05, 4),
    row(CLEAR, 8, np.nan),
    row(SNAPSHOT | SELL, 9, 11.1, 1),
]


def test_levels_become_depth_and_their_touch_events(tmp_path: Path) -> None:
    dataset, report = ingested(written(tmp_path / "in", LEVELS), tmp_path / "out")
    assert dataset.card.symbols == ("ABC",)
    (table,) = dataset.card.resolved_instruments()
    assert (table.tick_size, table.lot_size) == (Decimal("0.1"), Decimal("0.01"))
    quiet = (None, None, 0)
    assert events_of(dataset) == [
        (1, 6, 100, 150, 102, 100, *quiet),
        (2, 7, 100, 150, 102, 100, 102, 50, 1),
        (2, 7, 100, 150, 102, 50, *quiet),
        (3, 3, 100, 150, 102, 50, 100, 1, -1),
        (3, 8, 100, 150, 102, 50, 101, 100, 0),
        (4, 9, 99, 200, 102, 50, *quiet),
        (5, 10, 101, 25, 102, 50, *quiet),
        (7, 12, 100, 400, 102, 50, *quiet),
        (8, 13, None, None, None, None, *quiet),
        (9, 14, None, None, 111, 100, *quiet),
    ]
    snapshot, clear = depth.SNAPSHOT, depth.CLEAR | depth.SNAPSHOT
    assert depth_of(tmp_path / "out") == [
        (1, 1, 100, 150, snapshot),
        (1, 1, 99, 200, snapshot),
        (1, -1, 102, 100, snapshot),
        (2, -1, 102, 50, 0),
        (4, 1, 100, 0, 0),
        (5, 1, 101, 25, 0),
        (7, 1, 0, 0, clear),
        (7, 1, 99, 200, snapshot),  # deeper than the price up to which the side was cleared
        (7, 1, 100, 400, snapshot),
        (8, 0, 0, 0, clear),
        (9, -1, 111, 100, snapshot),
    ]
    assert report.refused == {
        "best bid and offer, which are no depth": 1,
        "event of an unknown kind": 1,
        "row for the local side alone": 1,
        "trade with a price or quantity of 0": 1,
    }
    assert report.repaired == {"received before the event: ts_recv set to ts_event": 1}


ORDERS = [
    row(CLEAR, 1),
    row(ADD | BUY, 1, 10.0, 1, 7),
    row(ADD | BUY, 1, 10.0, 2, 8),
    row(ADD | SELL, 2, 10.2, 3, 9),
    row(TRADE | SELL, 3, 10.0, 1.5),
    row(FILL | BUY, 3, 10.0, 1, 7),
    row(CANCEL | BUY, 3, 10.0, 1, 7),
    row(FILL | BUY, 3, 10.0, 0.5, 8),
    row(MODIFY | BUY, 3, 10.0, 1.5, 8),
    row(MODIFY | SELL, 4, 10.1, 3, 9),
    row(CANCEL | BUY, 5, 10.0, 1.5, 8),
    row(ADD | BUY, 6, 9.5, 1, 7),
    row(CLEAR | SELL, 7),
]


def test_orders_become_depth_and_their_touch_events(tmp_path: Path) -> None:
    dataset, report = ingested(written(tmp_path / "in", ORDERS), tmp_path / "out")
    quiet = (None, None, 0)
    assert events_of(dataset) == [
        (1, 6, 100, 30, None, None, *quiet),
        (2, 7, 100, 30, 102, 30, *quiet),
        (3, 8, 100, 30, 102, 30, 100, 15, -1),
        (3, 8, 100, 15, 102, 30, *quiet),
        (4, 9, 100, 15, 101, 30, *quiet),
        (5, 10, None, None, 101, 30, *quiet),
        (6, 11, 95, 10, 101, 30, *quiet),
        (7, 12, 95, 10, None, None, *quiet),
    ]
    known = depth.CLEAR | depth.SNAPSHOT | depth.LAST
    assert depth_of(tmp_path / "out") == [
        (1, 0, 0, 0, known, 0, depth.ADD),
        (1, 1, 100, 10, 0, 7, depth.ADD),
        (1, 1, 100, 20, 0, 8, depth.ADD),
        (2, -1, 102, 30, 0, 9, depth.ADD),
        (3, 1, 100, 10, 0, 7, depth.EXECUTE),
        (3, 1, 100, 5, 0, 8, depth.EXECUTE),
        (4, -1, 101, 30, 0, 9, depth.MODIFY),
        (5, 1, 100, 15, 0, 8, depth.CANCEL),
        (6, 1, 95, 10, 0, 7, depth.ADD),
        (7, -1, 0, 0, known, 0, depth.ADD),
    ]
    assert report.depth == {"read": 12, "written": 10, "quotes": 7}
    assert dataset.depth_orders
    dataset, _ = ingested(tmp_path / "in", tmp_path / "out", depth=False)
    assert not dataset.has_depth
    assert len(events_of(dataset)) == 8


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_blocks_do_not_matter(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, events in (("levels", LEVELS), ("orders", ORDERS)):
        path = written(tmp_path / name, events)
        whole = events_of(ingested(path, tmp_path / "out")[0]), depth_of(tmp_path / "out")
        monkeypatch.setattr(hft_files, "BLOCK_ROWS", rows)
        parts = events_of(ingested(path, tmp_path / "out")[0]), depth_of(tmp_path / "out")
        monkeypatch.undo()
        assert parts == whole


def test_a_book_goes_on_in_the_next_file_of_a_symbol(tmp_path: Path) -> None:
    written(tmp_path / "in", LEVELS[:8], "abc_20240502.npz")
    written(tmp_path / "in", LEVELS[8:], "abc_20240503.npz")
    written(tmp_path / "in", LEVELS, "xyz-2024-05-03.npz")
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert dataset.card.symbols == ("ABC", "XYZ")
    symbol: Any = read_events(dataset).symbol
    every = events_of(dataset)
    first = [event for event, of in zip(every, symbol, strict=True) if of == 0]
    assert first == [event for event, of in zip(every, symbol, strict=True) if of == 1]
    assert report.read == 2 * len(LEVELS)
    written(tmp_path / "in", LEVELS[5:], "abc_20240504.npz")
    assert "of the same symbol ends" in refused(tmp_path / "in", tmp_path / "no")


def test_plain_arrays_and_names_and_grids(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "abc.npy", np.array(LEVELS, dtype=EVENT))
    given = {"symbol": "BTC", "tick_size": "0.05", "lot_size": "0.001"}
    dataset, _ = ingested(tmp_path / "in", tmp_path / "out", **given)
    assert dataset.card.symbols == ("BTC",)
    assert events_of(dataset)[0][2:6] == (200, 1500, 204, 1000)
    assert "off the grid" in refused(tmp_path / "in", tmp_path / "no", tick_size="1")


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row(DEPTH | BUY, 5, 1, 1), row(DEPTH | BUY, 4, 1, 1)], "row 1 has an earlier exch_ts"),
        ([row(DEPTH | BUY, -T0, 1, 1)], "row 0 has 0 in 'exch_ts'"),
        ([row(DEPTH | BUY, 1, np.nan, 1)], "row 0 has nan in 'px'"),
        ([row(DEPTH | BUY, 1, 1, np.inf)], "row 0 has inf in 'qty'"),
        ([row(DEPTH | BUY, 1, 1, -1)], "row 0 has -1.0 in 'qty'"),
        ([row(DEPTH, 1, 1, 1)], "row 0 is a level without side or price"),
        ([row(DEPTH | BUY, 1, 0, 1)], "row 0 is a level without side or price"),
        ([row(ADD | BUY, 1, 1, 1, 3)] * 2, "row 1 adds the order 3 again"),
        ([row(ADD, 1, 1, 1, 3)], "row 0 adds an order without side, price or lots"),
        ([row(CANCEL | BUY, 1, 1, 1, 3)], "row 0 is of the order 3, which is not there"),
        ([row(DEPTH | BUY, 1, 1 / 3, 1)], "row 0 has a number that is off the grid: 'px'"),
        ([], "there are no rows for the exchange"),
        ([row(DEPTH | BUY | LOCAL, 1, 1, 1)], "there are no rows for the exchange"),
    ],
)
def test_rows_that_cannot_be_are_refused(rows: list[Any], problem: str, tmp_path: Path) -> None:
    given = {"tick_size": "0.1"} if "grid" in problem else {}
    assert problem in refused(written(tmp_path / "in", rows), tmp_path / "out", **given)


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "in", LEVELS, other=np.zeros(3), more=np.zeros(3))
    assert "it holds no array 'data'" in refused(path, tmp_path / "out")
    written(tmp_path / "in", LEVELS, data=np.zeros((3, 6)))
    assert "not hftbacktest's events" in refused(path, tmp_path / "out")
    written(tmp_path / "in", LEVELS * 1)
    whole = path.read_bytes()
    for size in (len(whole) // 2, 10, 0):
        path.write_bytes(whole[:size])
        message = refused(path, tmp_path / "out")
        assert "damaged" in message or "no array" in message
    with zipfile.ZipFile(path, "w") as archive:
        np.save(tmp_path / "a.npy", np.array(LEVELS, dtype=EVENT))
        archive.writestr("data.npy", (tmp_path / "a.npy").read_bytes()[:-70])
    assert "it is truncated" in refused(path, tmp_path / "out")
    written(tmp_path / "in", LEVELS)
    written(tmp_path / "in", ORDERS, "orders.npz")
    assert "other files have orders" in refused(tmp_path / "in", tmp_path / "out")


def market(kind: str, seed: int, count: int) -> tuple[Any, Any, Any, Any]:
    """A random market, each event after the depth that explains it.

    Returns:
        Quotes with their times, trades, rows of depth and how many events precede each.
    """
    draw = np.random.default_rng(seed)
    quotes: list[Any] = []
    trades: list[Any] = []
    rows: list[Any] = []
    follows: list[int] = []
    orders: dict[int, tuple[int, int, int]] = {}
    levels: dict[int, dict[int, int]] = {1: {}, -1: {}}
    last: tuple[int, ...] = ()
    for ts in range(1, count):
        side = int(draw.choice([1, -1]))
        price, size = 100 - side * int(draw.integers(1, 5)), int(draw.integers(0, 4)) * 10
        if kind == "orders":
            order = int(draw.integers(1, 12))
            if order in orders:
                side, price, there = orders[order]
                what = int(draw.choice([depth.EXECUTE, depth.CANCEL, depth.MODIFY]))
                lots = int(draw.integers(1, there + 1))
                left = lots if what == depth.MODIFY else there - lots
                rows.append((ts, side, price, lots, 0, order, what))
                orders[order] = side, price, left
                if not left:
                    del orders[order]
            else:
                orders[order] = side, price, size + 10
                rows.append((ts, side, price, size + 10, 0, order, depth.ADD))
            levels = {1: {}, -1: {}}
            for s, p, q in orders.values():
                levels[s][p] = levels[s].get(p, 0) + q
        else:
            clear = kind == "levels" and draw.random() < 0.05
            levels[side] = {} if clear else {**levels[side], price: size}
            levels[side] = {p: q for p, q in levels[side].items() if q}
            flags = depth.CLEAR if clear else int(draw.choice([0, depth.SNAPSHOT]))
            rows.append((ts, side, price, size, flags, 0, 0))
        follows.append(len(quotes))
        best = [max(levels[1], default=NO_PRICE), min(levels[-1], default=NO_PRICE)]
        now = (*best, *(levels[s].get(p, 0) for s, p in zip((1, -1), best, strict=True)))
        if draw.random() < 0.3 and last:
            quotes.append((ts, *last))
            trades.append((int(draw.integers(98, 103)), 5, int(draw.choice([1, -1, 0]))))
        if now != last:
            quotes.append((ts, *now))
            trades.append((NO_PRICE, 0, 0))
        last = now
    return quotes, trades, rows, follows


def made(kind: str, seed: int, count: int) -> tuple[EventBatch, DepthBatch | None]:
    """A random market as events and depth."""
    quotes, trades, rows, follows = market(kind, seed, count)
    ts, *quote = np.ascontiguousarray(np.array(quotes).T)
    price, lots, aggressor = np.ascontiguousarray(np.array(trades).T)
    batch = EventBatch(
        np.zeros(len(ts), dtype=np.int32),
        T0 + ts,
        T0 + ts + 3 + np.arange(len(ts)) // 2 if seed % 2 else None,
        *(quote[0], quote[1], quote[2], quote[3], price, lots),
        aggressor=aggressor.astype(np.int8),
    )
    if kind == "quotes":
        return batch, None
    when, *values = np.ascontiguousarray(np.array(rows).T)
    named = dict(zip(depth.VALUES if kind == "orders" else depth.VALUES[:4], values, strict=False))
    types = {"side": np.int8, "flags": np.uint8, "action": np.int8}
    columns = {name: column.astype(types.get(name, np.int64)) for name, column in named.items()}
    symbol, at = np.zeros(len(when), dtype=np.int32), np.array(follows)
    return batch, DepthBatch(symbol=symbol, ts_event=T0 + when, follows=at, **columns)


def dataset_of(kind: str, seed: int, folder: Path, count: int = 300) -> Dataset:
    batch, rows = made(kind, seed, count)
    table = InstrumentTable(tick_size=Decimal("0.1"), lot_size=Decimal("0.01"))
    card = Card(name="made", symbols=("A/B",), instruments={"default": table})
    whole: Any = batch if rows is None else (batch, rows)
    write_canonical(folder, card, [whole])
    return open_dataset(folder)


def books(rows: list[tuple[int, ...]]) -> list[tuple[int, dict[int, tuple[int, ...]]]]:
    """The orders after each instant at which they changed, by rows of depth, and prints."""
    orders: dict[int, tuple[int, ...]] = {}
    found = []
    for k, (ts, side, price, size, flags, order, action) in enumerate(rows):
        before = orders
        if flags & depth.CLEAR:
            orders = {}
        elif action in (depth.ADD, depth.MODIFY):
            orders = {**orders, order: (side, price, size)}
        else:
            left = orders[order][2] - size
            orders = {**orders, order: (*orders[order][:2], left)}
            if not left:
                del orders[order]
        if orders != before or k + 1 == len(rows):
            found.append((ts, orders))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["quotes", "levels", "orders"])
def test_what_was_exported_is_the_market_and_reads_back(
    kind: str, seed: int, tmp_path: Path
) -> None:
    dataset = dataset_of(kind, seed, tmp_path / "made")
    told = export(dataset, tmp_path / "out")
    (what,) = told.values()
    assert (what.file, what.tick_size, what.lot_size) == ("A-B.npz", "0.1", "0.01")
    data = np.load(tmp_path / "out" / what.file)["data"]
    assert data.dtype == EVENT
    assert len(data) == what.rows
    assert (data["ev"] & (EXCH | LOCAL) == EXCH | LOCAL).all()
    for times in ("exch_ts", "local_ts"):
        assert (np.diff(data[times]) >= 0).all()
    events = events_of(dataset)
    crossed = [e for e in events if None not in (e[2], e[4]) and e[2] > e[4]]
    assert not crossed
    # Trades are as they were, and the touch after each instant is the dataset's.
    trades = data[data["ev"] & 0xFF == TRADE]
    sides = np.where(trades["ev"] & BUY != 0, 1, np.where(trades["ev"] & SELL != 0, -1, 0))
    times = (trades["exch_ts"] - T0).tolist()
    ticks, lots = np.rint(trades["px"] * 10), np.rint(trades["qty"] * 100)
    found = [*zip(times, ticks.tolist(), lots.tolist(), sides.tolist(), strict=True)]
    assert found == [(e[0], *e[6:]) for e in events if e[6] is not None]
    last, changes = (None,) * 4, []
    for event in events:
        if event[2:6] != last:
            changes.append((event[0], *event[2:6]))
        last = event[2:6]
    assert touches(data) == changes
    # And so is what this engine reads from it.
    again, report = ingested(tmp_path / "out", tmp_path / "again")
    assert again.card.symbols == ("A/B",)
    assert validate(again).usable
    assert [(e[0], *e[2:]) for e in events_of(again)] == [
        (e[0], *e[2:]) for e in events if e[6] is not None or (e[0], *e[2:6]) in changes
    ]
    if seed % 2:  # where one event is alone at its instant, it keeps its receipt
        alone = {e[0]: e[1] for e in events if [o[0] for o in events].count(e[0]) == 1}
        receipts = {e[0]: e[1] for e in events_of(again) if e[0] in alone}
        assert len(receipts) > 20
        assert receipts == {ts: alone[ts] for ts in receipts}
    assert report.read == what.rows
    if kind == "orders":
        # A part that is cancelled is a modification there, which leaves the same orders.
        assert books(depth_of(tmp_path / "again")) == books(depth_of(tmp_path / "made"))
    if kind == "levels":
        before, after = depth_of(tmp_path / "made"), depth_of(tmp_path / "again")
        plain = [r for r in before if not r[4] & depth.CLEAR]
        assert set(plain) <= set(after)


@pytest.mark.parametrize("kind", ["quotes", "levels", "orders"])
def test_blocks_of_an_export_are_small_and_do_not_matter(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dataset_of(kind, 3, tmp_path / "made")
    export(dataset, tmp_path / "whole")
    sizes, taken = [], hft_export._Rows._taken

    def noting(rows: Any) -> Any:
        sizes.append(len(rows._rows))
        return taken(rows)

    monkeypatch.setattr(hft_export._Rows, "_taken", noting)
    monkeypatch.setattr(hft_export, "_BLOCK_ROWS", 7)
    export(dataset, tmp_path / "parts")
    one, other = (np.load(tmp_path / name / "A-B.npz")["data"] for name in ("whole", "parts"))
    assert (one == other).all()
    assert sum(sizes) == len(one)
    assert max(sizes) < 7 + 12  # one event states few rows


def test_a_window_and_symbols_of_an_export(tmp_path: Path) -> None:
    dataset = dataset_of("quotes", 0, tmp_path / "made")
    told = export(dataset, tmp_path / "out", start=T0 + 50, end=T0 + 100)
    data = np.load(tmp_path / "out" / told["A/B"].file)["data"]
    assert T0 + 50 <= data["exch_ts"].min() <= data["exch_ts"].max() < T0 + 100
    assert json.loads((tmp_path / "out" / "export.json").read_text())["A/B"]["rows"] == len(data)
    with pytest.raises(DataError, match="already exists"):
        export(dataset, tmp_path / "out")
    with pytest.raises(UsageError, match="no symbol 'AB'"):
        export(dataset, tmp_path / "no", symbols=("AB",))
    with pytest.raises(UsageError, match="no event lies in the window"):
        export(dataset, tmp_path / "no", start=T0 + 10**15)
    assert not (tmp_path / "no").exists()
    bare = EventBatch(np.zeros(1, dtype=np.int32), np.array([T0]))
    write_canonical(tmp_path / "bare", Card(name="bare", symbols=("A",)), [bare])
    with pytest.raises(DataError, match="no quotes with sizes"):
        export(open_dataset(tmp_path / "bare"), tmp_path / "no")


def command(*words: str) -> None:
    with pytest.raises(SystemExit) as ending:
        main(words)
    assert not ending.value.code


def test_the_command_writes_what_the_source_reads_and_a_run_trades(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset_of("levels", 1, tmp_path / "made")
    out = str(tmp_path / "out")
    command("data", "export", "hftbacktest", str(tmp_path / "made"), out)
    assert "A-B.npz" in capsys.readouterr().out
    command("data", "export", "hftbacktest", str(tmp_path / "made"), out, "--overwrite", "--json")
    assert json.loads(capsys.readouterr().out)["A/B"]["tick_size"] == "0.1"
    command("data", "ingest", "hftbacktest", out, str(tmp_path / "again"))
    capsys.readouterr()
    done = run(
        dataset=str(tmp_path / "again"),
        strategy="imbalance",
        accountant="market",
        latency={"service": "constant:1ns"},
        runs=tmp_path / "runs",
    )
    assert done.metrics["timing"]["events"] == len(events_of(open_dataset(tmp_path / "again")))
    assert done.table("fills").height > 0
    (tmp_path / "out" / "export.json").write_text("[1]")
    assert "it is no export's" in refused(tmp_path / "out", tmp_path / "no")
