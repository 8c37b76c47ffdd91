"""Tardis' files: the published samples and files made here, against a plain reading."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.api import run
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.data.reading.stream import Stream
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.depth import CLEAR, LAST, SNAPSHOT
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.shared import spools
from backtest.plugins.sources.tardis import Tardis

SHARED = Path(os.environ.get("BACKTEST_SHARED", Path(__file__).parents[4] / "shared"))
SAMPLES = SHARED / "data" / "tardis"
T0 = 1_598_918_403_000_000  # µs

COMMON = ["exchange", "symbol", "timestamp", "local_timestamp"]
HEADERS = {
    "trades": [*COMMON, "id", "side", "price", "amount"],
    "quotes": [*COMMON, "ask_amount", "ask_price", "bid_price", "bid_amount"],
    "incremental_book_L2": [*COMMON, "is_snapshot", "side", "price", "amount"],
    "book_snapshot_2": [
        *COMMON,
        *(f"{s}s[{k}].{w}" for k in range(2) for s in ("ask", "bid") for w in ("price", "amount")),
    ],
    "derivative_ticker": [
        *(*COMMON, "funding_timestamp", "funding_rate", "predicted_funding_rate"),
        *("open_interest", "last_price", "index_price", "mark_price"),
    ],
}

Row = Sequence[Any]


def written(folder: Path, kind: str, rows: Iterable[Row], name: str = "", **more: Any) -> Path:
    """A file as Tardis names it; of plain text if its name ends in .csv."""
    folder.mkdir(exist_ok=True)
    path = folder / (name or f"deribit_{kind}_2020-04-01_BTC-PERPETUAL.csv.gz")
    header = more.get("header", HEADERS[kind.replace("book_ticker", "quotes")])
    text = "".join(",".join(map(str, row)) + "\n" for row in [header, *rows]).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") or not name else text)
    return path


def at(ts: int, recv: int, *cells: Any, symbol: str = "A", exchange: str = "x") -> Row:
    return (exchange, symbol, T0 + ts, T0 + recv, *cells)


def trade(ts: int, recv: int, side: str, price: str, amount: str, **more: str) -> Row:
    return at(ts, recv, "id", side, price, amount, **more)


def quote(ts: int, recv: int, text: str, **more: str) -> Row:
    """``bid amount ask amount``; ``-`` for an empty cell."""
    bid, bid_amount, ask, ask_amount = ("" if cell == "-" else cell for cell in text.split())
    return at(ts, recv, ask_amount, ask, bid, bid_amount, **more)


def level(
    ts: int, recv: int, snapshot: str, side: str, price: str, amount: str, **more: str
) -> Row:
    return at(ts, recv, snapshot, side, price, amount, **more)


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("tardis", Tardis(**parameters), path, out, overwrite=True)
    events = report.written - report.depth.get("quotes", 0)
    assert report.read == events + report.depth.get("read", 0) + sum(report.refused.values())
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> str:
    with pytest.raises(DataError) as caught:
        ingest("tardis", Tardis(**parameters), path, out)
    assert not out.exists()
    assert not [p for p in out.parent.iterdir() if p.name.startswith(".")]
    return str(caught.value)


def rows_of(dataset: Dataset) -> list[tuple[Any, ...]]:
    """Symbol, times in µs after T0, quote and trade as decimals, aggressor; None: absent."""
    batch: Any = read_events(dataset)
    tables = dataset.card.resolved_instruments()
    rows = []
    for k in range(len(batch)):
        table = tables[batch.symbol[k]]
        cells: list[Any] = [dataset.card.symbols[batch.symbol[k]]]
        for times in (batch.ts_event, batch.ts_recv):
            ns = int(times[k])
            cells.append(None if ns == NO_TIME else ns // 1000 - T0)
        for name in ("bid", "ask", "trade_price"):
            ticks = int(getattr(batch, name)[k])
            lots = int(getattr(batch, "trade_size" if name == "trade_price" else f"{name}_size")[k])
            cells += (
                [None, None]
                if ticks == NO_PRICE
                else [
                    ticks * table.tick_size,
                    lots * table.lot_size,
                ]
            )
        rows.append((*cells, int(batch.aggressor[k])))
    return rows


def plainly(path: Path) -> list[tuple[Any, ...]]:
    """Quotes and trades of files of quotes, trades and snapshots, read one row at a time."""
    events = []
    files = [path] if path.is_file() else sorted(path.rglob("*.csv*"))
    texts = []
    for file in files:
        data = file.read_bytes()
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        texts.append([*csv.DictReader(io.StringIO(text.decode()))])
    texts.sort(key=lambda table: int(table[0]["local_timestamp"]))
    for number, row in enumerate(row for table in texts for row in table):
        ts, recv = int(row["timestamp"]), int(row["local_timestamp"])
        received = None if ts == recv else max(ts, recv) - T0
        numbers: list[Any] = []
        if "side" in row:
            kind = 0
            numbers = [Decimal(row["price"]), Decimal(row["amount"])]
            if not all(numbers):
                continue
            side = {"buy": 1, "sell": -1}.get(row["side"], 0)
        else:
            kind, side = 1, 0
            names = ["bids[0].price", "bids[0].amount", "asks[0].price", "asks[0].amount"]
            if "bid_price" in row:
                names = ["bid_price", "bid_amount", "ask_price", "ask_amount"]
            cells = [Decimal(row[name] or 0) for name in names]
            for pair in (cells[:2], cells[2:]):
                numbers += pair if all(pair) else [None, None]
        events.append((ts, kind, number, row["symbol"], received, numbers, side))
    standing: dict[str, list[Any]] = defaultdict(lambda: [None] * 4)
    rows = []
    for ts, kind, _, symbol, received, numbers, side in sorted(events, key=lambda e: e[:3]):
        if kind:
            standing[symbol] = numbers
        traded = [None, None] if kind else numbers
        rows.append((symbol, ts - T0, received, *standing[symbol], *traded, side))
    return rows


def has_samples() -> None:
    if not SAMPLES.exists():
        pytest.skip("the published samples are not there")


@pytest.mark.parametrize(
    ("name", "tick", "lot"),
    [
        ("bitmex_trades_XBTUSD", "0.1", "1"),
        ("huobi-dm-swap_quotes_BTC-USD", "0.1", "1"),
        ("binance-futures_book_snapshot_5_BTCUSDT", "0.01", "0.001"),
    ],
)
def test_a_sample_is_what_a_plain_reading_gives(
    name: str, tick: str, lot: str, tmp_path: Path
) -> None:
    has_samples()
    path = SAMPLES / f"{name}.csv"
    dataset, report = ingested(path, tmp_path / "out", depth=False)
    assert (report.read, report.written, report.refused, report.repaired) == (10, 10, {}, {})
    (instrument,) = dataset.card.resolved_instruments()
    assert (instrument.tick_size, instrument.lot_size) == (Decimal(tick), Decimal(lot))
    assert rows_of(dataset) == plainly(path)
    assert validate(dataset).usable


def test_the_samples_together(tmp_path: Path) -> None:
    has_samples()
    dataset, report = ingested(SAMPLES, tmp_path / "out", depth=False)
    assert dataset.card.symbols == (
        *("BTC-PERPETUAL.deribit", "BTC-USD.huobi-dm-swap"),
        *("BTCUSDT.binance-futures", "XBTUSD.bitmex"),
    )
    assert (report.read, report.written) == (45, 31)
    assert report.refused == {"book row that leaves the touch as it was": 14}
    # The book is a snapshot of asks alone.
    (touch,) = (row for row in rows_of(dataset) if row[0].endswith("deribit"))
    expected = (None, None, Decimal("6421.5"), Decimal(18640))
    assert touch[3:7] == expected
    tradable = [table.tradable for table in dataset.card.resolved_instruments()]
    assert tradable == [False, False, True, False]  # the others are inverse


def test_a_run_trades_what_was_ingested(tmp_path: Path) -> None:
    rows = [
        quote(k, k + 3, f"10.{k % 3} {1 + k % 7} 10.{4 + k % 2} {1 + k % 5}") for k in range(300)
    ]
    trades = [trade(k * 5 + 1, k * 5 + 4, "sell", "10.1", "0.5") for k in range(50)]
    written(tmp_path / "in", "quotes", rows)
    written(tmp_path / "in", "trades", trades)
    ingested(tmp_path / "in", tmp_path / "out")
    done = run(
        dataset=str(tmp_path / "out"),
        strategy="imbalance",
        accountant="market",
        latency={"service": "constant:1us"},
        runs=tmp_path / "runs",
    )
    assert done.metrics["timing"]["events"] == 350
    assert done.table("fills").height > 0


QUOTES = [
    quote(5, 9, "100.5 1.25 101 2"),
    quote(7, 12, "100.5 1.5 101 2"),
    quote(13, 13, "- - 101 2"),  # no time of the venue
    quote(20, 19, "100 0 101.25 1e-7"),  # received before the event; a size of 0
    quote(18, 25, "100.75 3 101 4"),  # late
]
TRADES = [
    trade(7, 8, "buy", "101", "0.5"),
    trade(14, 15, "sell", "100.5", "2"),
    trade(14, 15, "unknown", "100.7", "1"),
    trade(14, 16, "", "100.7", "1"),
    trade(15, 16, "buy", "0", "1"),
]


def test_quotes_and_trades_by_the_venues_time(tmp_path: Path) -> None:
    written(tmp_path / "in", "quotes", QUOTES)
    written(tmp_path / "in", "trades", TRADES)
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert rows_of(dataset) == plainly(tmp_path / "in")
    assert report.read == 10
    assert report.refused == {"price or size of 0": 1}
    assert report.repaired == {
        "no time of the venue: ts_event is local_timestamp, ts_recv unknown": 1,
        "out of the venue's time order: sorted": 1,
        "received before the event: ts_recv set to ts_event": 1,
        "side with a price or size of 0: absent": 1,
    }
    (table,) = dataset.card.resolved_instruments()
    assert (table.tick_size, table.lot_size) == (Decimal("0.01"), Decimal("1e-7"))
    assert validate(dataset).usable


@pytest.mark.parametrize(
    "name",
    [
        "x_quotes_2020-04-01_A.csv.gz",
        "x_quotes_A.csv",
        "x/quotes/2020/04/01/A.csv.gz",
        "anything.CSV",
    ],
)
def test_names_as_tardis_gives_them_and_others(name: str, tmp_path: Path) -> None:
    written(tmp_path / "in", "quotes", QUOTES, name)
    dataset, _ = ingested(tmp_path / "in", tmp_path / "out")
    assert len(rows_of(dataset)) == len(QUOTES)
    assert dataset.card.notes["files"] == {"quotes": 1}


def test_files_of_many_symbols_exchanges_and_days(tmp_path: Path) -> None:
    day = 86_400_000_000
    every = []
    for exchange in ("x", "y"):
        for k in range(3):
            rows = [
                quote(
                    k * day + j,
                    k * day + j + 1,
                    f"{j + 1}.5 1 {j + 2} 1",
                    symbol=s,
                    exchange=exchange,
                )
                for j in range(4)
                for s in ("A", "B")
            ]
            every += rows
            written(tmp_path / "in", "quotes", rows, f"{exchange}/quotes/{k}/SPOT.csv.gz")
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert dataset.card.symbols == ("A.x", "A.y", "B.x", "B.y")
    assert report.written == len(every) == 48
    found = [(row[0], row[1]) for row in rows_of(dataset)]
    assert sorted(found) == sorted((f"{r[1]}.{r[0]}", r[2] - T0) for r in every)
    assert [ts for _, ts in found] == sorted(ts for _, ts in found)


BOOK = [
    level(1, 2, "false", "bid", "9", "9"),  # before the first snapshot
    level(3, 4, "true", "bid", "10", "5"),
    level(3, 4, "true", "bid", "9.5", "1"),
    level(3, 4, "true", "ask", "11", "7"),
    level(3, 4, "true", "ask", "12", "0"),
    level(5, 6, "false", "bid", "10", "0"),  # one message: the touch after all of it
    level(5, 6, "false", "ask", "10.5", "2"),
    level(6, 7, "false", "ask", "13", "2"),  # behind the touch
    level(5, 8, "false", "bid", "8", "0"),  # not there
    level(5, 9, "false", "bid", "10", "3"),  # the venue's time goes back
    level(8, 10, "true", "ask", "10.25", "4"),  # what was before is discarded
]
TOUCHES = [
    (3, 4, "10", "5", "11", "7"),
    (5, 6, "9.5", "1", "10.5", "2"),
    (6, 9, "10", "3", "10.5", "2"),
    (8, 10, None, None, "10.25", "4"),
]


def touch_rows(touches: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [
        ("A", ts, recv, *(None if n is None else Decimal(n) for n in numbers), None, None, 0)
        for ts, recv, *numbers in touches
    ]


def test_the_touch_of_a_book_after_each_message(tmp_path: Path) -> None:
    path = written(tmp_path / "in", "incremental_book_L2", BOOK)
    dataset, report = ingested(path, tmp_path / "out", depth=False)
    assert rows_of(dataset) == touch_rows(TOUCHES)
    assert report.refused == {
        "book row before the first snapshot": 1,
        "book row that leaves the touch as it was": 6,
    }
    assert report.repaired == {
        "book row with an earlier time than a row before it: set to its time": 2
    }


def depth_of(folder: Path) -> list[dict[str, Any]]:
    """Rows of depth, with their places among the events."""
    events, rows = (
        pa.concat_tables(map(pq.read_table, sorted(folder.glob(f"{name}-*.parquet"))))
        for name in ("events", "depth")
    )
    seqs = events["seq"].to_pylist()
    found = rows.to_pylist()
    return [row | {"follows": sum(seq < row["seq"] for seq in seqs)} for row in found]


Levels = dict[Decimal, Decimal]


def books_of(dataset: Dataset, folder: Path) -> list[tuple[int, Levels, Levels]]:
    """Each instant (µs) at which depth was stated, and the levels after all its rows."""
    (table,) = dataset.card.resolved_instruments()
    levels: dict[int, Levels] = {1: {}, -1: {}}
    found: list[tuple[int, Levels, Levels]] = []
    for row in depth_of(folder):
        side = row["side"]
        if row["flags"] & CLEAR:
            for cleared in (1, -1) if side == 0 else (side,):
                levels[cleared].clear()
        else:
            price, size = row["price"] * table.tick_size, row["size"] * table.lot_size
            levels[side] = {p: s for p, s in (levels[side] | {price: size}).items() if s}
        ts = row["ts_event"].value // 1000 - T0
        if found and found[-1][0] == ts:
            found.pop()
        found.append((ts, levels[1].copy(), levels[-1].copy()))
    return found


def test_the_depth_of_a_book(tmp_path: Path) -> None:
    path = written(tmp_path / "in", "incremental_book_L2", BOOK)
    dataset, report = ingested(path, tmp_path / "out")
    assert rows_of(dataset) == touch_rows(TOUCHES)
    assert report.refused == {"book row before the first snapshot": 1}
    rows = depth_of(tmp_path / "out")
    # All rows but the one that came too early, and a clear before each of two snapshots.
    assert len(rows) == len(BOOK) - 1 + 2
    assert report.depth == {"read": len(BOOK) - 1, "written": len(rows), "quotes": len(TOUCHES)}
    flags = [CLEAR | SNAPSHOT, SNAPSHOT, SNAPSHOT, SNAPSHOT, SNAPSHOT | LAST]
    flags += [0] * 5 + [CLEAR | SNAPSHOT, SNAPSHOT | LAST]
    assert [row["flags"] for row in rows] == flags
    # The touch comes after the rows of its message.
    assert [row["follows"] for row in rows] == [0] * 5 + [1] * 2 + [2] * 3 + [3] * 2
    ten, eleven = {Decimal(10): Decimal(5), Decimal("9.5"): Decimal(1)}, {Decimal(11): Decimal(7)}
    assert books_of(dataset, tmp_path / "out")[0] == (3, ten, eleven)
    assert books_of(dataset, tmp_path / "out")[-1] == (8, {}, {Decimal("10.25"): Decimal(4)})
    assert sum(map(len, Stream(dataset).depth())) == report.depth["written"]
    assert validate(dataset).usable


def test_the_depth_of_snapshots(tmp_path: Path) -> None:
    def snapshot(ts: int, text: str) -> Row:
        """The best two asks and bids, ``price amount`` in turn."""
        a0, m0, a1, m1, b0, n0, b1, n1 = ("" if c == "-" else c for c in text.split())
        return at(ts, ts + 1, a0, m0, b0, n0, a1, m1, b1, n1)

    rows = [
        snapshot(1, "11 1 12 2 10 1 9 2"),
        snapshot(2, "11 1 12 3 10 1 9 2"),  # a size
        snapshot(3, "11 1 12 3 10 1 - -"),  # a level is gone
        snapshot(4, "11 1 11.5 1 10 1 9 2"),  # 12 is out of sight
        snapshot(5, "12 1 13 1 10 1 9 2"),  # 11 and 11.5 are gone
    ]
    path = written(tmp_path / "in", "book_snapshot_2", rows)
    dataset, report = ingested(path, tmp_path / "out")
    assert (report.read, report.written) == (5, 5)
    levels = [
        ("10 1 9 2", "11 1 12 2"),
        ("10 1 9 2", "11 1 12 3"),
        ("10 1", "11 1 12 3"),
        ("10 1 9 2", "11 1 11.5 1"),
        ("10 1 9 2", "12 1 13 1"),
    ]
    expected = []
    for ts, sides in enumerate(levels, 1):
        cells = [[*map(Decimal, side.split())] for side in sides]
        expected.append((ts, *(dict(zip(c[::2], c[1::2], strict=True)) for c in cells)))
    assert books_of(dataset, tmp_path / "out") == expected
    said = [
        (row["ts_event"].value // 1000 - T0, row["flags"]) for row in depth_of(tmp_path / "out")
    ]
    clear = CLEAR | SNAPSHOT
    expected_flags = [(1, clear)] * 2 + [(1, SNAPSHOT)] * 4 + [(2, SNAPSHOT)] + [(3, SNAPSHOT)]
    expected_flags += [(4, SNAPSHOT), (4, clear), (4, SNAPSHOT), (4, SNAPSHOT)]
    assert said == expected_flags + [(5, SNAPSHOT)] * 4
    assert sum(map(len, Stream(dataset).depth())) == report.depth["written"]
    assert validate(dataset).usable


def test_a_book_goes_on_in_the_next_file(tmp_path: Path) -> None:
    for k in range(1, len(BOOK)):
        # A message is not torn: its rows have one receipt.
        if BOOK[k][3] != BOOK[k - 1][3]:
            shutil.rmtree(tmp_path / "in", ignore_errors=True)
            written(tmp_path / "in", "incremental_book_L2", BOOK[:k], "b.csv")
            written(tmp_path / "in", "incremental_book_L2", BOOK[k:], "a.csv")
            dataset, _ = ingested(tmp_path / "in", tmp_path / "out")
            assert rows_of(dataset) == touch_rows(TOUCHES)


def test_a_snapshot_that_begins_a_file_is_a_new_one(tmp_path: Path) -> None:
    written(
        tmp_path / "in", "incremental_book_L2", [level(1, 2, "true", "bid", "10", "5")], "a.csv"
    )
    written(
        tmp_path / "in", "incremental_book_L2", [level(5, 6, "true", "ask", "11", "5")], "b.csv"
    )
    dataset, _ = ingested(tmp_path / "in", tmp_path / "out")
    expected = [(1, 2, "10", "5", None, None), (5, 6, None, None, "11", "5")]
    assert rows_of(dataset) == touch_rows(expected)


def test_quotes_come_before_what_a_book_says(tmp_path: Path) -> None:
    written(tmp_path / "in", "quotes", [quote(5, 6, "9.5 1 10.5 2"), quote(7, 9, "9 1 10.5 2")])
    written(tmp_path / "in", "incremental_book_L2", BOOK, "book.csv")
    snapshot = [at(t, t + 1, 11, 7, 10, 5, "", "", "", "") for t in (3, 12)]
    written(tmp_path / "in", "book_snapshot_2", snapshot, "snap.csv")
    dataset, report = ingested(tmp_path / "in", tmp_path / "out", depth=False)
    expected = [
        TOUCHES[0],
        (5, 6, "9.5", "1", "10.5", "2"),
        (7, 9, "9", "1", "10.5", "2"),
        TOUCHES[3],
        (12, 13, "10", "5", "11", "7"),
    ]
    assert rows_of(dataset) == touch_rows(expected)
    worse = "quote from {} where there are those of another data type"
    assert report.refused[worse.format("incremental_book_L2")] == 2
    assert report.refused[worse.format("book_snapshot")] == 1
    # With depth, the book's rows are depth, even where its touch is not wanted.
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert rows_of(dataset) == touch_rows(expected)
    assert report.depth == {"read": len(BOOK) - 1, "written": len(BOOK) + 1, "quotes": 2}
    assert report.refused == {
        "book row before the first snapshot": 1,
        worse.format("book_snapshot"): 1,
    }


def test_other_data_types_are_counted(tmp_path: Path) -> None:
    written(tmp_path / "in", "quotes", QUOTES)
    funding = [at(k, k + 1, "", "0.0001", "", "5", "1", "1", "1") for k in range(7)]
    written(tmp_path / "in", "derivative_ticker", funding, "x_derivative_ticker_A.csv")
    liquidations = [trade(1, 2, "buy", "1", "2")] * 3
    written(tmp_path / "in", "trades", liquidations, "x_liquidations_A.csv")
    options = [*COMMON, "strike_price", *HEADERS["quotes"][4:]]
    row = at(1, 2, 100, 1, 2, 3, 4)
    written(tmp_path / "in", "quotes", [row], "o.csv", header=options)
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert len(rows_of(dataset)) == report.written == len(QUOTES)
    assert report.read == len(QUOTES) + 11
    assert report.refused == {
        "derivative_ticker: funding, open interest, index and mark prices": 7,
        "liquidations, which are among the trades": 3,
        "options_chain": 1,
    }
    assert "no quotes or trades" in refused(tmp_path / "in" / "o.csv", tmp_path / "none")


@pytest.mark.parametrize(
    ("kind", "rows", "problem"),
    [
        ("trades", [at(1, 2, "id", "buy", "1", "-2")], "row 0 cannot be read: 'amount': '-2'"),
        ("trades", [at(1, 2, "id", "buy", "", "2")], "row 0 has no 'price'"),
        ("trades", [*TRADES, trade(30, 31, "Bid", "1", "1")], "row 5 has 'bid' in 'side'"),
        ("trades", [*TRADES, trade(30, 31, "buy", "x", "1")], "row 5 cannot be read: 'price': 'x'"),
        ("trades", [*TRADES, trade(30, 31, "buy", "nan", "1")], "row 5 cannot be read: 'price'"),
        ("trades", [*TRADES, TRADES[0]], "row 5 has an earlier local_timestamp"),
        ("trades", [("x", "A", T0 * 1000, T0, 1, "buy", 1, 1)], "no time in µs since 1970"),
        ("trades", [("x", "A", "now", T0, 1, "buy", 1, 1)], "row 0 has 'now' in 'timestamp'"),
        ("trades", [("x", "", T0, T0, 1, "buy", 1, 1)], "row 0 has no 'symbol'"),
        ("trades", [*TRADES, ("x", "A", T0)], "row 5 cannot be read as CSV"),
        ("trades", [trade(1, 2, "buy", "1e30", "1")], "row 0 cannot be read: 'price'"),
        ("quotes", [quote(1, 2, "x 1 2 1")], "row 0 cannot be read: 'bid_price': 'x'"),
        ("incremental_book_L2", [level(1, 2, "1", "bid", "1", "1")], "has '1' in 'is_snapshot'"),
        ("incremental_book_L2", [level(1, 2, "true", "buy", "1", "1")], "has 'buy' in 'side'"),
        ("incremental_book_L2", [level(1, 2, "true", "bid", "1", "")], "row 0 has no 'amount'"),
    ],
)
def test_what_is_not_as_tardis_writes_it_is_refused(
    kind: str, rows: list[Row], problem: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "in", kind, rows)
    message = refused(path, tmp_path / "out")
    assert problem in message
    assert path.name in message


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    rows = [trade(k, k + 1, "buy", f"1.{k}", "1") for k in range(3000)]
    path = written(tmp_path / "in", "trades", rows)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated or damaged" in refused(path, tmp_path / "out")
    path.write_bytes(b"")
    assert "empty" in refused(path, tmp_path / "out")
    path.write_bytes(b"a,b\n1,2\n")
    assert "are not those of a data type of Tardis" in refused(path, tmp_path / "out")
    path.write_bytes(",".join(HEADERS["trades"]).encode())
    assert "no quotes or trades" in refused(path, tmp_path / "out")
    path.unlink()
    assert "holds no .csv" in refused(tmp_path / "in", tmp_path / "out")
    written(tmp_path / "in", "trades", rows, "x_quotes_A.csv")
    assert "says quotes, but its columns are those of trades" in refused(
        tmp_path / "in", tmp_path / "out"
    )


def test_the_same_data_twice_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "in", "trades", TRADES)
    written(tmp_path / "in", "trades", TRADES[1:], "again.csv")
    message = refused(tmp_path / "in", tmp_path / "out")
    assert "it holds trades of A of the same time as" in message
    _, report = ingested(tmp_path / "in", tmp_path / "out", ignore=("again*",))
    assert (report.written, report.ignored) == (4, {"named by --ignore": 1})


def test_grids_multipliers_and_what_is_not_tradable(tmp_path: Path) -> None:
    path = written(tmp_path / "in", "trades", [trade(1, 2, "buy", "101.50", "2")])
    given = {"tick_sizes": ("A=0.5",), "lot_sizes": ("A=0.1",), "multipliers": ("A=0.01",)}
    dataset, _ = ingested(path, tmp_path / "out", untradable=("x/A",), **given)
    (table,) = dataset.card.resolved_instruments()
    assert (table.tick_size, table.lot_size) == (Decimal("0.5"), Decimal("0.1"))
    assert (table.multiplier, table.tradable) == (Decimal("0.01"), False)
    assert rows_of(dataset)[0][7:9] == (Decimal("101.5"), Decimal(2))
    assert "is not a multiple of" in refused(path, tmp_path / "no", tick_sizes=("A=1",))
    assert "not a symbol" in refused(path, tmp_path / "no", tick_sizes=("B=1",))
    # Money is counted in units that a fine grid divides into.
    path = written(tmp_path / "in", "trades", [trade(1, 2, "buy", "1e-7", "1e-8")])
    dataset, _ = ingested(path, tmp_path / "out")
    (table,) = dataset.card.resolved_instruments()
    assert table.half_tick_lot == 5
    assert table.unit == Decimal("1e-16")


NUMBERS = st.sampled_from(["0", "1", "2.5", "0.125", "3e-7", "100", "7.50"])
MOMENTS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3), st.sampled_from("AB")), min_size=1, max_size=40
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_quotes_and_trades_are_as_a_plain_reading_gives(
    data: st.DataObject, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "in", ignore_errors=True)
    for kind in ("quotes", "trades"):
        recv, rows = 0, []
        for ts, wait, symbol in data.draw(MOMENTS):
            recv += wait
            numbers = data.draw(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS))
            if kind == "quotes":
                rows.append(quote(ts, recv, " ".join(numbers), symbol=symbol))
            else:
                side = data.draw(st.sampled_from(["buy", "sell", "unknown"]))
                rows.append(trade(ts, recv, side, *numbers[:2], symbol=symbol))
        written(tmp_path / "in", kind, rows)
    expected = plainly(tmp_path / "in")
    ties = [(row[1], row[7] is None) for row in expected]
    dataset, _ = ingested(tmp_path / "in", tmp_path / "out")
    found = rows_of(dataset)
    assert found == expected
    assert ties == sorted(ties)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.booleans(),
            st.sampled_from(["bid", "ask"]),
            st.sampled_from(["1", "1.5", "2", "2.25", "3", "4"]),
            st.sampled_from(["0", "1", "0.5", "2"]),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_any_book_has_the_touch_of_plain_dictionaries(
    tmp_path: Path, updates: list[tuple[int, bool, str, str, str]]
) -> None:
    recv, rows = 0, []
    for wait, snapshot, side, price, amount in updates:
        recv += wait
        rows.append(level(recv, recv + 1, str(snapshot).lower(), side, price, amount))
    path = written(tmp_path / "in", "incremental_book_L2", rows)
    levels: dict[str, dict[Decimal, Decimal]] = {"bid": {}, "ask": {}}
    known, before = False, False
    last: list[Decimal | None] = [None] * 4
    expected = []
    for k, (_, _, ts, received, flag, side, price, amount) in enumerate(rows):
        snapshot = flag == "true"
        if snapshot and not before:
            levels = {"bid": {}, "ask": {}}
            known = True
        before = snapshot
        if known:
            levels[side][Decimal(price)] = Decimal(amount)
            levels[side] = {p: a for p, a in levels[side].items() if a}
        if known and (k + 1 == len(rows) or rows[k + 1][3] != received):
            best = [f(levels[s], default=None) for s, f in (("bid", max), ("ask", min))]
            pairs = zip(best, ("bid", "ask"), strict=True)
            now = [n for p, s in pairs for n in (p, None if p is None else levels[s][p])]
            if now != last:
                expected.append((ts - T0, received - T0, *now))
            last = now
    if not expected:
        assert "no quotes or trades" in refused(path, tmp_path / "none")
        return
    dataset, _ = ingested(path, tmp_path / "out")
    assert rows_of(dataset) == touch_rows(expected)
    # The book that the rows of depth give is the same at the end of every instant.
    ends = {ts: (bids, asks) for ts, bids, asks in books_of(dataset, tmp_path / "out")}
    assert ends[max(ends)] == (levels["bid"], levels["ask"])


def test_times_that_go_back_are_sorted_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "PIECE_ROWS", 8)
    draw = np.random.default_rng(3)
    rows = [trade(k + int(draw.integers(0, 20)), k + 30, "buy", f"1.{k}", "1") for k in range(400)]
    for k in range(10):
        part = rows[k * 40 : (k + 1) * 40]
        written(tmp_path / "in", "trades", part, f"{9 - k}.csv")
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert rows_of(dataset) == plainly(tmp_path / "in")
    back = sum(a[2] > b[2] for a, b in itertools.pairwise(rows))
    assert report.repaired["out of the venue's time order: sorted"] == back > 100


def test_times_that_go_back_too_often_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "PIECE_ROWS", 1)
    monkeypatch.setattr(spools, "MOST_RUNS", 4)
    for k in range(5):
        written(tmp_path / "in", "trades", [trade(9 - k, 9 + k, "buy", "1", "1")], f"{k}.csv")
    assert "too far and too often" in refused(tmp_path / "in", tmp_path / "out")
