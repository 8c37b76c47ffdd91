"""NautilusTrader's catalogues: files made here and real ones, against a reading cell by cell."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import backtest
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events
from backtest.data.reading.stream import Stream
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.depth import ADD, CANCEL, CLEAR, LAST, MODIFY, SNAPSHOT
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.nautilus import NautilusCatalog
from tests.mutations import refusal

SHARED = Path(os.environ.get("BACKTEST_SHARED", Path(__file__).parents[4] / "shared"))
REAL = SHARED / "data" / "nautilus"
real = pytest.mark.skipif(not REAL.is_dir(), reason="real files lie beside the repository")
T0 = 1_719_878_400_000_000_000
SCALE = {8: 9, 16: 16}
NAMES = {
    "quote_tick": ("bid_price", "ask_price", "bid_size", "ask_size"),
    "trade_tick": ("price", "size", "aggressor_side"),
    "order_book_delta": ("action", "side", "price", "size", "order_id", "flags"),
}
NONE = {
    ("price", 8): 2**63 - 1, ("price", 16): 2**127 - 1, ("size", 8): 2**64 - 1,
    ("size", 16): 2**128 - 1,
}  # fmt: skip
COLUMNS = (
    *("symbol", "ts_event", "ts_recv", "bid", "ask", "bid_size", "ask_size"),
    *("trade_price", "trade_size", "aggressor"),
)


def cell(value: str | None, name: str, width: int) -> bytes:
    kind = "price" if "price" in name else "size"
    raw = NONE[kind, width] if value is None else int(Decimal(value).scaleb(SCALE[width]))
    return raw.to_bytes(width, "little", signed=kind == "price")


def catalog_file(
    root: Path,
    kind: str,
    rows: Sequence[Sequence[Any]],
    instrument: str = "EUR/USD.SIM",
    *,
    width: int = 8,
    precision: tuple[int, int] = (2, 1),
    name: str = "part-0.parquet",
    **stated: str,
) -> Path:
    """A file of a catalogue; a row is its values, then ts_event and ts_init."""
    folder = root / "data" / kind / instrument.replace("/", "")
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {}
    for k, column in enumerate((*NAMES[kind], "ts_event", "ts_init")):
        values = [row[k] for row in rows]
        if "price" in column or column.endswith("size"):
            cells = [cell(value, column, width) for value in values]
            columns[column] = pa.array(cells, pa.binary(width))
        else:
            long = column.startswith("ts") or column == "order_id"
            columns[column] = pa.array(values, pa.uint64() if long else pa.uint8())
    about = {"instrument_id": instrument, "price_precision": str(precision[0])}
    about |= {"size_precision": str(precision[1])} | stated
    pq.write_table(pa.table(columns).replace_schema_metadata(about), folder / name)
    return folder / name


def instrument_file(root: Path, name: str = "EUR/USD.SIM", **fields: Any) -> None:
    folder = root / "data" / "currency_pair" / name.replace("/", "")
    folder.mkdir(parents=True)
    row = {"id": name, "quote_currency": "USD", "price_increment": "0.05", "ts_init": 0}
    row |= {
        "size_increment": "0.5",
        "multiplier": "2",
        "maker_fee": "0.0001",
        "taker_fee": "0.0002",
    }
    pq.write_table(pa.Table.from_pylist([row | fields]), folder / "part-0.parquet")


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("nautilus", NautilusCatalog(**parameters), path, out)
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        ingest("nautilus", NautilusCatalog(**parameters), path, out)
    assert not out.exists()
    return caught.value


def rows_of(dataset: Dataset) -> list[tuple[int, ...]]:
    e: Any = read_events(dataset)
    return [tuple(row) for row in np.stack([getattr(e, c) for c in COLUMNS], axis=1).tolist()]


def random_quotes(seed: int, count: int) -> list[tuple[Any, ...]]:
    draw = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    ts = T0
    for _ in range(count):
        ts += int(draw.integers(0, 3)) * 500
        bid = f"{100 + int(draw.integers(0, 50)) / 100:.2f}"
        sizes = [f"{int(draw.integers(0, 40)) / 10:.1f}" for _ in "ab"]
        prices = [bid if draw.random() < 0.95 else None, f"{Decimal(bid) + 1}"]
        rows.append((*prices, *sizes, ts, ts + int(draw.integers(0, 90))))
    return sorted(rows, key=lambda row: int(row[-1]))


def random_trades(seed: int, count: int) -> list[tuple[Any, ...]]:
    draw = np.random.default_rng(seed)
    return [
        (
            f"{100 + i % 7}.25",
            f"{1 + i % 3}.5",
            int(draw.integers(0, 3)),
            T0 + i * 300,
            T0 + i * 300 + 9,
        )
        for i in range(count)
    ]


def plainly(quotes: Any, trades: Any) -> list[tuple[int, ...]]:
    """The events of one instrument, by Decimal and one row at a time; trades come first."""
    rows: list[Any] = []
    last, tick, lot = T0, Decimal("0.01"), Decimal("0.1")
    for bid, ask, bid_size, ask_size, ts, recv in quotes:
        last = max(last, ts)
        sides = []
        for price, size in ((bid, bid_size), (ask, ask_size)):
            none = price is None or Decimal(size) == 0
            sides.append((NO_PRICE, 0) if none else (Decimal(price) / tick, Decimal(size) / lot))
        (b, bs), (a, as_) = sides
        rows.append((last, 1, max(recv, last), tuple(map(int, (b, a, bs, as_))), (NO_PRICE, 0, 0)))
    for price, size, side, ts, recv in trades:
        steps = Decimal(price) / tick, Decimal(size) / lot
        rows.append((ts, 0, recv, None, (*map(int, steps), {0: 0, 1: 1, 2: -1}[side])))
    found: list[tuple[int, ...]] = []
    standing: tuple[int, ...] = (NO_PRICE, NO_PRICE, 0, 0)
    for ts, _, recv, quote, trade in sorted(rows, key=lambda row: row[:2]):
        standing = quote or standing
        found.append((0, ts, recv, *standing, *trade))
    return found


@pytest.mark.parametrize("width", [8, 16])
def test_quotes_and_trades_are_those_of_a_plain_reading(tmp_path: Path, width: int) -> None:
    quotes, trades = random_quotes(width, 300), random_trades(width, 200)
    catalog_file(tmp_path / "in", "quote_tick", quotes[:120], width=width, name="b.parquet")
    catalog_file(tmp_path / "in", "quote_tick", quotes[120:], width=width, name="a.parquet")
    catalog_file(tmp_path / "in", "trade_tick", trades, width=width)
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert dataset.symbols == ("EUR/USD.SIM",)
    assert rows_of(dataset) == plainly(quotes, trades)
    assert (report.read, report.written) == (500, 500)
    assert not report.refused
    assert (dataset.instruments[0].tick_size, dataset.instruments[0].lot_size) == (
        Decimal("0.01"), Decimal("0.1"),
    )  # fmt: skip


def test_instruments_state_grids_fees_and_multipliers(tmp_path: Path) -> None:
    trades = random_trades(1, 30)
    catalog_file(tmp_path / "in", "trade_tick", trades)
    instrument_file(tmp_path / "in")
    instrument_file(tmp_path / "in", "BTCUSD.SIM", is_inverse=True)
    catalog_file(tmp_path / "in", "trade_tick", trades, "BTCUSD.SIM")
    dataset, _ = ingested(tmp_path / "in", tmp_path / "out")
    inverse, pair = dataset.instruments
    assert (pair.tick_size, pair.lot_size, pair.multiplier) == (
        *(Decimal("0.05"), Decimal("0.5"), Decimal(2)),
    )
    assert (pair.fee_rate, pair.maker_fee_rate) == (Decimal("0.0002"), Decimal("0.0001"))
    assert [inverse.tradable, pair.tradable] == [False, True]
    assert [row[7] for row in rows_of(dataset)][:2] == [2005, 2005]
    given, _ = ingested(
        tmp_path / "in", tmp_path / "given", tick_sizes=("EUR/USD.SIM=0.25",),
        lot_sizes=("EUR/USD.SIM=0.1",),
    )  # fmt: skip
    assert given.instruments[1].tick_size == Decimal("0.25")
    error = refused(tmp_path / "in", tmp_path / "no", tick_sizes=("EUR/USD.SIM=0.5",))
    assert "is not a multiple of 0.5" in error.problem
    assert "EUR/USD.SIM" in str(
        refused(tmp_path / "in", tmp_path / "no", tick_sizes=("EUR=1",)).remedy
    )


def test_numbers_of_128_bits_are_exact_or_rounded_as_the_vendor_does(tmp_path: Path) -> None:
    rows = [("61804.70", "0.5", 1, T0, T0), ("61804.71", "92233720368.5", 2, T0 + 1, T0 + 1)]
    path = catalog_file(tmp_path / "a", "trade_tick", rows, width=16)
    table = pq.read_table(path)
    noisy = [int.from_bytes(c, "little") for c in table["price"].to_pylist()]
    noisy[0] += 200_000  # what a binary fraction of 6e20 may be off by
    cells = pa.array([n.to_bytes(16, "little") for n in noisy], pa.binary(16))
    about = table.schema.metadata
    table = table.set_column(0, "price", cells).replace_schema_metadata(about)
    pq.write_table(table, path)
    dataset, report = ingested(tmp_path / "a", tmp_path / "out")
    assert [row[7] for row in rows_of(dataset)] == [6_180_470, 6_180_471]
    assert [row[8] for row in rows_of(dataset)] == [5, 922_337_203_685]
    assert report.repaired == {"number off its precision by a binary fraction: rounded": 1}
    # Numbers finer than the precision that is stated make the grid finer.
    fine = [("1.001", "0.5", 1, T0, T0), ("1.003", "0.25", 1, T0, T0)]
    for width in (8, 16):
        catalog_file(tmp_path / f"f{width}", "trade_tick", fine, width=width)
        dataset, _ = ingested(tmp_path / f"f{width}", tmp_path / f"fine{width}")
        assert dataset.instruments[0].tick_size == Decimal("0.001")
        assert dataset.instruments[0].lot_size == Decimal("0.05")
    wide = [("1e20", "1", 1, T0, T0)]
    path = catalog_file(tmp_path / "w", "trade_tick", wide, width=16)
    assert "more digits than 64 bits hold" in refused(path, tmp_path / "w-out").problem


UPDATES = [  # action, side, price, size, order, flags
    (4, 0, "0", "0", 0, 32, 0),
    (1, 1, "100.00", "1.5", 1, 32, 0),
    (1, 2, "101.00", "2.0", 2, 160, 0),
    (1, 1, "100.00", "1.0", 3, 128, 1),
    (2, 1, "100.00", "0.5", 1, 0, 2),
    (3, 2, "101.00", "0", 2, 0, 2),
    (1, 2, "102.00", "4.0", 4, 128, 2),
    (3, 1, "100.00", "0", 1, 128, 3),
    (3, 1, "99.00", "0", 9, 128, 4),
]


def deltas(of_levels: bool) -> list[tuple[Any, ...]]:
    rows = []
    for action, side, price, size, order, flags, t in UPDATES:
        number = 7 * side + int(Decimal(price)) if of_levels else order
        rows.append((action, side, price, size, number, flags, T0 + t, T0 + t + 5))
    return rows


def test_deltas_of_orders_become_the_touch_and_depth(tmp_path: Path) -> None:
    catalog_file(tmp_path / "in", "order_book_delta", deltas(False))
    catalog_file(tmp_path / "in", "quote_tick", random_quotes(1, 9))
    catalog_file(tmp_path / "in", "trade_tick", [("101.00", "0.5", 1, T0 + 1, T0 + 7)])
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert dataset.depth_orders
    assert [(row[1] - T0, *row[3:9]) for row in rows_of(dataset)] == [
        (0, 10000, 10100, 15, 20, NO_PRICE, 0),
        (1, 10000, 10100, 15, 20, 10100, 5),
        (1, 10000, 10100, 25, 20, NO_PRICE, 0),
        (2, 10000, 10200, 15, 40, NO_PRICE, 0),
        (3, 10000, 10200, 10, 40, NO_PRICE, 0),
    ]
    batch: Any
    (batch,) = Stream(dataset).depth()
    assert batch.action[1:].tolist() == [ADD, ADD, ADD, MODIFY, CANCEL, ADD, CANCEL]
    assert batch.flags.tolist() == [CLEAR | SNAPSHOT, 1, SNAPSHOT | LAST, 0, 0, 0, 0, 0]
    assert batch.size[1:].tolist() == [15, 20, 10, 5, 20, 40, 5]
    assert batch.follows.tolist() == [0, 0, 0, 2, 3, 3, 3, 4]
    assert report.ignored == {"quotes of an instrument with order book deltas": 1}
    assert report.refused == {"delta that removes an order that is not there": 1}
    assert report.depth == {"read": 8, "written": 8, "quotes": 4}
    assert (report.read, report.written) == (10, 5)
    files, report = ingested(tmp_path / "in", tmp_path / "files", quotes="files")
    assert not files.has_depth
    assert report.ignored == {"order book deltas (quotes=files)": 1}


def test_deltas_of_levels_become_the_touch_and_depth(tmp_path: Path) -> None:
    rows = deltas(True)
    path = catalog_file(tmp_path / "in", "order_book_delta", rows)
    dataset, report = ingested(path, tmp_path / "out")
    assert not dataset.depth_orders
    assert [row[3:7] for row in rows_of(dataset)] == [
        (10000, 10100, 15, 20), (10000, 10100, 10, 20), (10000, 10200, 5, 40),
        (NO_PRICE, 10200, 0, 40),
    ]  # fmt: skip
    batch: Any
    (batch,) = Stream(dataset).depth()
    assert batch.size.tolist() == [0, 15, 20, 10, 5, 0, 40, 0, 0]
    assert report.depth == {"read": 9, "written": 9, "quotes": 4}
    # Without F_LAST, an event ends where the time changes.
    plain = [(*row[:5], 0, *row[6:]) for row in rows]
    path = catalog_file(tmp_path / "plain", "order_book_delta", plain)
    again, _ = ingested(path, tmp_path / "again")
    assert [row[1:] for row in rows_of(again)] == [row[1:] for row in rows_of(dataset)]
    assert ingested(path, tmp_path / "orders", depth="orders")[0].depth_orders


def test_a_book_is_not_known_before_it_was_cleared(tmp_path: Path) -> None:
    rows = [
        (1, 1, "100.00", "1", 1, 128, T0, T0),
        (4, 0, "0", "0", 0, 0, T0 + 1, T0 + 1),
        (1, 2, "101.00", "1", 2, 128, T0 + 1, T0 + 1),
        (1, 0, "101.00", "1", 2, 128, T0 + 2, T0 + 2),
    ]
    path = catalog_file(tmp_path / "in", "order_book_delta", rows)
    dataset, report = ingested(path, tmp_path / "out")
    assert [row[3:5] for row in rows_of(dataset)] == [(NO_PRICE, 10100)]
    assert report.refused == {"delta without a side, or with a price or size that is none": 1}
    assert report.depth == {"read": 3, "written": 3, "quotes": 1}
    path = catalog_file(tmp_path / "alone", "order_book_delta", rows[:1])
    assert "no row is an event" in refused(path, tmp_path / "no").problem


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    rows = random_trades(1, 5)

    def problem(change: str, **more: Any) -> str:
        path = catalog_file(tmp_path / change, "trade_tick", more.pop("rows", rows), **more)
        error = refused(tmp_path / change, tmp_path / "out")
        assert str(error.place) in (str(tmp_path / change), *map(str, path.parent.iterdir()))
        return error.problem

    assert "does not name an instrument_id" in problem("a", instrument_id="")
    assert "has the price_precision 'x'" in problem("b", price_precision="x")
    late = [*rows, ("1.00", "1", 1, T0, T0 - 2 * 10**9)]
    assert "not sorted: row 5" in problem("c", rows=late)
    assert "row 0 has the ts_event 9223372036854775807, after 2100" in problem(
        "d", rows=[("1.00", "1", 1, 2**63 - 1, T0)]
    )
    assert "no rows of quotes, trades or deltas, only file without rows" in problem("e", rows=[])
    catalog_file(tmp_path / "f", "trade_tick", rows)
    assert "trades of the same time" in problem("f", name="again.parquet")
    assert problem("g", rows=[(None, "1", 1, T0, T0)]).startswith(
        "no row is an event: trade without"
    )
    empty = tmp_path / "h" / "empty.parquet"
    empty.parent.mkdir()
    empty.write_bytes(b"")
    assert refused(empty, tmp_path / "out").problem == "the file is empty"
    pq.write_table(pa.table({"open": [1.0]}), empty)
    assert "data of another kind" in refused(empty.parent, tmp_path / "out").problem
    table = pa.table({n: [1] for n in ("price", "size", "aggressor_side", "ts_event", "ts_init")})
    about = {"instrument_id": "A", "price_precision": "0", "size_precision": "0"}
    pq.write_table(table.replace_schema_metadata(about), empty)
    assert "column 'aggressor_side' is int64" in refused(empty, tmp_path / "out").problem


def test_damaged_bytes_are_read_or_refused(tmp_path: Path) -> None:
    path = catalog_file(tmp_path / "in", "order_book_delta", deltas(False))
    whole, draw, refusals = path.read_bytes(), np.random.default_rng(7), 0
    for k in range(120):
        data = bytearray(whole[: len(whole) - int(draw.integers(0, 2)) * 30])
        for place in draw.integers(0, len(data) // 2, 2).tolist():  # not of the footer
            data[place] = int(draw.integers(256))
        path.write_bytes(bytes(data))
        attempt = partial(ingest, "nautilus", NautilusCatalog(), path, tmp_path / f"{k}")
        refusals += refusal(attempt) is not None
    assert refusals > 20


def plain_file(path: Path) -> tuple[list[Any], dict[str, str]]:
    """A file's rows with numbers as Decimals, and what its schema states."""
    table = pq.read_table(path)
    columns = []
    for name in table.schema.names:
        values = table[name].to_pylist()
        if values and isinstance(values[0], bytes):
            signed, scale = "price" in name, SCALE[len(values[0])]
            values = [
                Decimal(int.from_bytes(c, "little", signed=signed)).scaleb(-scale) for c in values
            ]
        columns.append(values)
    about = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    return [
        dict(zip(table.schema.names, row, strict=True)) for row in zip(*columns, strict=True)
    ], about


@real
@pytest.mark.parametrize("name", ["quotes-64-bit", "trades-64-bit", "trades-128-bit"])
def test_real_ticks_are_those_of_a_plain_reading(tmp_path: Path, name: str) -> None:
    rows, about = plain_file(REAL / f"{name}.parquet")
    dataset, report = ingested(REAL / f"{name}.parquet", tmp_path / "out")
    assert dataset.symbols == (about["instrument_id"],)
    assert report.read == report.written == len(rows)
    tick, lot = dataset.instruments[0].tick_size, dataset.instruments[0].lot_size
    prices = ("bid_price", "ask_price") if "quotes" in name else ("price",)
    sizes = ("bid_size", "ask_size") if "quotes" in name else ("size",)
    wanted = [
        (r["ts_event"], r["ts_init"], *(r[p] / tick for p in prices), *(r[s] / lot for s in sizes))
        for r in rows
    ]
    cut = slice(3, 7) if "quotes" in name else slice(7, 9)
    assert [(*row[1:3], *row[cut]) for row in rows_of(dataset)] == sorted(
        wanted, key=lambda r: r[0]
    )


@real
def test_real_deltas_build_the_book_of_a_plain_reading(tmp_path: Path) -> None:
    rows, _ = plain_file(REAL / "deltas-64-bit.parquet")
    dataset, report = ingested(REAL / "deltas-64-bit.parquet", tmp_path / "out")
    tick, lot = dataset.instruments[0].tick_size, dataset.instruments[0].lot_size
    book: dict[int, tuple[int, Decimal, Decimal]] = {}
    touches: dict[int, tuple[int, ...]] = {}
    last = 0
    for r in rows:
        if r["action"] == 4:
            book.clear()
        elif r["action"] == 3 or not r["size"]:
            book.pop(r["order_id"], None)
        else:
            book[r["order_id"]] = r["side"], r["price"], r["size"]
        last = max(last, r["ts_event"])
        level: dict[tuple[int, Decimal], Decimal] = defaultdict(Decimal)
        for side, price, size in book.values():
            level[side, price] += size
        bid = max((p for s, p in level if s == 1), default=None)
        ask = min((p for s, p in level if s == 2), default=None)
        touches[last] = (
            NO_PRICE if bid is None else int(bid / tick),
            NO_PRICE if ask is None else int(ask / tick),
            0 if bid is None else int(level[1, bid] / lot),
            0 if ask is None else int(level[2, ask] / lot),
        )
    found = {row[1]: row[3:7] for row in rows_of(dataset)}
    assert found.items() <= touches.items()
    standing: tuple[int, ...] = (NO_PRICE, NO_PRICE, 0, 0)
    for ts, touch in touches.items():
        standing = found.get(ts, standing)
        assert standing == touch
    assert report.read == len(rows)
    assert sum(len(batch) for batch in Stream(dataset).depth()) > 900


def test_a_run_on_what_was_ingested(tmp_path: Path) -> None:
    catalog_file(tmp_path / "in", "quote_tick", random_quotes(3, 500))
    ingested(tmp_path / "in", tmp_path / "data")
    run = backtest.run(
        runs=tmp_path / "runs",
        dataset=str(tmp_path / "data"),
        strategy="imbalance",
        latency={"service": "constant:1us"},
    )
    assert run.metrics["account"]["fills"] > 10
