"""Dumps of data.binance.vision in every form that was published, against a plain reading."""

from __future__ import annotations

import bz2
import csv
import hashlib
import io
import zipfile
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backtest
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.binance_vision import BinanceVision
from tests.mutations import refusal

MS = 1_722_470_400_000  # 2024-08-01T00:00:00Z
DAY = 86_400_000
HEADERS = {
    "trades": "id,price,qty,quote_qty,time,is_buyer_maker",
    "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,"
    "is_buyer_maker",
    "bookTicker": "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,"
    "transaction_time,event_time",
}
COLUMNS = (
    *("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size"),
    *("trade_price", "trade_size", "aggressor"),
)
Row = tuple[Any, ...]


def trades(seed: int, count: int, start: int = MS, per_ms: int = 1) -> list[Row]:
    """Number, price, size, time and whether the buyer was the maker."""
    draw = np.random.default_rng(seed)
    rows, time = [], start * per_ms
    for i in range(count):
        time += int(draw.integers(0, 400)) * per_ms
        price = f"{60_000 + int(draw.integers(0, 900)) / 10:.8f}"
        size = f"{int(draw.integers(1, 99)) / 1000}"
        rows.append((1000 * seed + i, price, size, time, i % 3 > 0))
    return rows


def quotes(seed: int, count: int, start: int = MS) -> list[Row]:
    """Number, bid, its size, ask, its size, and time."""
    draw = np.random.default_rng(seed)
    rows, time = [], start
    for i in range(count):
        time += int(draw.integers(0, 300))
        bid = 600_000 + int(draw.integers(0, 90))
        size = 0 if draw.random() < 0.05 else int(draw.integers(1, 40))
        gap = 0 if draw.random() < 0.05 else 1
        prices = f"{bid / 10:.1f}", f"{(bid + gap) / 10:.1f}"
        rows.append((1000 * seed + i, prices[0], f"{size / 1000:.3f}", prices[1], "1.250", time))
    return rows


def text_of(kind: str, rows: Sequence[Row], *, spot: bool, header: bool, true: str = "true") -> str:
    out = io.StringIO()
    if header:
        out.write(HEADERS[kind] + ",is_best_match" * spot + "\n")
    writer = csv.writer(out, lineterminator="\n")
    flags = {True: true, False: "False" if true == "True" else "false"}
    for row in rows:
        if kind == "bookTicker":
            writer.writerow((*row, row[-1] + 2))
            continue
        number, price, size, time, maker = row
        cells: Row = (number, price, size, "1.0", time, flags[maker])
        if kind == "aggTrades":
            cells = (number, price, size, number, number, time, flags[maker])
        writer.writerow((*cells, flags[True]) if spot else cells)
    return out.getvalue()


def dump(
    folder: Path, symbol: str, kind: str, rows: Sequence[Row], day: str = "2024-08-01", **form: Any
) -> Path:
    """A zip archive with one CSV, as they are published."""
    name = f"{symbol}-{kind}-{day}"
    folder.mkdir(parents=True, exist_ok=True)
    form = {"spot": False, "header": True} | form
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.csv", text_of(kind, rows, **form))
    return folder / f"{name}.zip"


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("binance-vision", BinanceVision(**parameters), path, out)
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        ingest("binance-vision", BinanceVision(**parameters), path, out)
    assert not out.exists()
    return caught.value


def rows_of(dataset: Dataset) -> list[tuple[int, ...]]:
    e: Any = read_events(dataset)
    return [tuple(row) for row in np.stack([getattr(e, c) for c in COLUMNS], axis=1).tolist()]


def plainly(
    symbols: Sequence[tuple[Sequence[Row], Sequence[Row]]], tick: str, lot: str, per_ms: int = 1
) -> list[tuple[int, ...]]:
    """The events of trades and quotes of each symbol, by Decimal and one row at a time."""
    steps = Decimal(tick), Decimal(lot)
    found: list[Any] = []
    for symbol, (traded, quoted) in enumerate(symbols):
        for number, price, size, time, maker in traded:
            sizes = int(Decimal(price) / steps[0]), int(Decimal(size) / steps[1])
            ts = time * 1_000_000 // per_ms
            found.append((ts, 0, symbol, number, None, (*sizes, -1 if maker else 1)))
        for number, bid, bid_size, ask, ask_size, time in quoted:
            if Decimal(bid) >= Decimal(ask) and Decimal(bid_size):
                continue
            sides = [
                (int(Decimal(p) / steps[0]), int(Decimal(n) / steps[1]))
                if Decimal(n)
                else (NO_PRICE, 0)
                for p, n in ((bid, bid_size), (ask, ask_size))
            ]
            quote = (sides[0][0], sides[1][0], sides[0][1], sides[1][1])
            found.append((time * 1_000_000, 1, symbol, number, quote, (NO_PRICE, 0, 0)))
    standing: dict[int, tuple[int, ...]] = {}
    rows = []
    for ts, _, symbol, _, shown, trade in sorted(found, key=lambda row: row[:4]):
        standing[symbol] = shown or standing.get(symbol, (NO_PRICE, NO_PRICE, 0, 0))
        rows.append((symbol, ts, *standing[symbol], *trade))
    return rows


def locked(rows: Sequence[Row]) -> int:
    return sum(row[1] == row[3] and Decimal(row[2]) > 0 for row in rows)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("kind", ["trades", "aggTrades"])
def test_quotes_and_trades_are_those_of_a_plain_reading(
    tmp_path: Path, kind: str, header: bool
) -> None:
    data = [(trades(1, 300), quotes(2, 400)), (trades(3, 200), quotes(4, 200))]
    for symbol, (traded, quoted) in zip(("BTCUSDT", "ETHUSDT"), data, strict=True):
        dump(tmp_path / "in" / symbol, symbol, kind, traded[:150], header=header)
        later = dump(
            tmp_path / "in" / symbol, symbol, kind, traded[150:], "2024-08-02", true="True"
        )
        later.rename(later.with_name(f"A-{kind}-2024-08-02.zip"))  # whose own name does not count
        dump(tmp_path / "in" / symbol, symbol, "bookTicker", quoted, header=header)
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert dataset.symbols == ("BTCUSDT.um", "ETHUSDT.um")
    assert rows_of(dataset) == plainly(data, "0.1", "0.001")
    assert report.read == 1100
    count = sum(locked(quoted) for _, quoted in data)
    assert report.refused == {"locked or crossed": count}
    assert report.written == 1100 - count
    assert [i.tick_size for i in dataset.instruments] == [Decimal("0.1")] * 2


def test_markets_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    late = trades(1, 50, per_ms=1000)  # microseconds, as of spot since 2025
    dump(folder / "spot", "BTCUSDT", "trades", late, spot=True, header=False)
    dump(folder / "um", "BTCUSDT", "trades", trades(1, 50))
    dump(folder / "cm", "BTCUSD_PERP", "trades", trades(1, 50))
    dump(folder / "cm", "BTCUSD_240927", "aggTrades", trades(1, 50), header=False)
    dump(folder / "um", "BTCUSDT_240927", "aggTrades", trades(1, 50), header=False)
    dump(folder / "spot", "ETHBTC", "aggTrades", trades(1, 50), spot=True, header=False)
    dataset, _ = ingested(folder, tmp_path / "out")
    assert dataset.symbols == (
        "BTCUSDT", "BTCUSDT.um", "BTCUSDT_240927.um", "BTCUSD_240927", "BTCUSD_PERP", "ETHBTC",
    )  # fmt: skip
    tradable = {"BTCUSDT", "BTCUSDT.um"}
    assert {n for n, i in zip(dataset.symbols, dataset.instruments, strict=True) if i.tradable} == (
        tradable
    )
    rows = rows_of(dataset)
    by_symbol = [[row[1:] for row in rows if row[0] == k] for k in range(6)]
    assert all(found == by_symbol[0] for found in by_symbol)
    assert by_symbol[0] == [row[1:] for row in plainly([(late, [])], "0.1", "0.001", 1000)]


def test_microseconds_are_kept(tmp_path: Path) -> None:
    rows = [(1, "5", "1", MS * 1000 + 7, True), (2, "5", "1", MS * 1000 + 9, False)]
    path = dump(tmp_path, "AUSDT", "trades", rows, "2025-01-01", spot=True, header=False)
    dataset, _ = ingested(path, tmp_path / "out")
    assert [row[1] for row in rows_of(dataset)] == [MS * 1_000_000 + 7000, MS * 1_000_000 + 9000]
    mixed = [*rows, (3, "5", "1", MS, True)]
    path = dump(tmp_path, "AUSDT", "trades", mixed, "2025-01-02", spot=True, header=False)
    assert f"row 2 has the time {MS}, which is not in us" in refused(path, tmp_path / "no").problem


def test_everything_else_is_accounted_for(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    path = dump(folder, "BTCUSDT", "trades", trades(1, 20))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}\n")
    (folder / "gone.zip.CHECKSUM").write_text(f"{digest}  gone.zip\n")
    dump(folder, "BTCUSDT", "aggTrades", trades(1, 20))
    dump(folder, "ETHUSDT", "aggTrades", trades(2, 20))
    dump(folder, "XRPUSDT", "trades", [])
    for name, text in (
        ("BTCUSDT-bookDepth-2024-08-01.csv", "timestamp,percentage,depth,notional\n"),
        ("BTCUSDT-fundingRate-2024-08.csv", "calc_time,funding_interval_hours,last_funding_rate\n"),
        ("BTCUSDT-1m-2024-08.csv", "1,2,3\n"),
        ("LTCUSDT-trades-2024-08-01.csv", ""),
    ):
        (folder / name).write_text(text)
    (folder / ".DS_Store").write_text("")
    dataset, report = ingested(folder, tmp_path / "out")
    assert dataset.symbols == ("BTCUSDT.um", "ETHUSDT.um")
    assert report.ignored == {
        "1m: neither quotes nor trades": 1,
        "aggTrades of a symbol with trades": 1,
        "bookDepth: neither quotes nor trades": 1,
        "checksum of a file that is not there": 1,
        "checksum that holds": 1,
        "file without rows": 2,
        "fundingRate: neither quotes nor trades": 1,
        "hidden": 1,
    }
    _, report = ingested(folder, tmp_path / "again", trades="aggTrades")
    assert report.ignored["trades of a symbol with aggTrades"] == 1
    (folder / f"{path.name}.CHECKSUM").write_text(f"{'0' * 64}  {path.name}\n")
    error = refused(folder, tmp_path / "no")
    assert error.problem == "it is not the file that its checksum is of"
    assert error.place == str(path)


def test_rows_that_are_late_or_repeated(tmp_path: Path) -> None:
    rows = [
        (5, "10.1", "1.000", "10.2", "1.000", MS + 500),
        (6, "10.1", "2.000", "10.2", "1.000", MS),  # late by half a second
        (6, "10.1", "2.000", "10.2", "1.000", MS + 600),
        (4, "10.0", "2.000", "10.2", "1.000", MS + 600),  # older than what was shown
        (7, "10.3", "2.000", "10.2", "1.000", MS + 600),
        (8, "0.0", "2.000", "10.2", "0.000", MS + 600),
        (9, "10.0", "2.000", "10.2", "1.000", MS + 600),
    ]
    path = dump(tmp_path, "AUSDT", "bookTicker", rows)
    dataset, report = ingested(path, tmp_path / "out")
    start, none = MS * 1_000_000, NO_PRICE
    assert [(row[1] - start, *row[2:6]) for row in rows_of(dataset)] == [
        (500_000_000, 101, 102, 1, 1),
        (500_000_000, 101, 102, 2, 1),
        (600_000_000, none, none, 0, 0),
        (600_000_000, 100, 102, 2, 1),
    ]
    assert report.refused == {"number not above all earlier ones": 2, "locked or crossed": 1}
    assert report.repaired == {
        "row earlier than the row before it: moved": 1,
        "side with a price or size of 0: absent": 2,
    }
    path = dump(tmp_path, "BUSDT", "bookTicker", [*rows, (10, *rows[0][1:5], MS - 1000)])
    assert "not sorted: row 7 is more than a second" in refused(path, tmp_path / "no").problem


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    good = text_of("trades", trades(1, 9), spot=False, header=True)
    lines = good.splitlines()

    def problem(text: str, name: str = "AUSDT-trades-2024-08-01.csv") -> str:
        (tmp_path / name).write_text(text)
        error = refused(tmp_path / name, tmp_path / "out")
        assert name in str(error.place)
        assert error.remedy
        return error.problem

    def changed(row: int, column: int, cell: str) -> str:
        cells = lines[row + 1].split(",")
        cells[column] = cell
        return "\n".join([*lines[: row + 1], ",".join(cells), *lines[row + 2 :]])

    assert "row 4 cannot be read: 'price': '-1.5' is not a decimal" in problem(
        changed(4, 1, "-1.5")
    )
    assert "row 8 cannot be read: 'qty': 'x' is not a decimal number" in problem(changed(8, 2, "x"))
    assert "row 3 has 'maybe' in 'isbuyermaker'" in problem(changed(3, 5, "maybe"))
    assert "row 2" in problem(changed(2, 4, "noon"))
    assert "row 5" in problem(changed(5, 0, ""))
    assert "row 0 has the time 12, which is neither in ms nor in us" in problem(changed(0, 4, "12"))
    assert "row 6" in problem(changed(6, 5, "true,true"))
    assert "there is no 'isbuyermaker'" in problem(good.replace(",is_buyer_maker", ",other"))
    assert "has 2 columns that are not those of trades" in problem("1,2\n")
    assert "its name is not SYMBOL-KIND-DATE" in problem(good, "mine.csv")
    path = dump(tmp_path / "z", "AUSDT", "trades", trades(1, 3000))
    path.write_bytes(path.read_bytes()[:-50])
    assert "truncated or damaged" in refused(path, tmp_path / "out").problem
    dump(tmp_path / "m", "AUSDT", "trades", trades(1, 40), "2024-08-01")
    dump(tmp_path / "m", "AUSDT", "trades", trades(1, 40), "2024-08")
    error = refused(tmp_path / "m", tmp_path / "out")
    assert "holds trades of the same time" in error.problem
    assert "--ignore" in str(error.remedy)
    assert ingested(tmp_path / "m", tmp_path / "month", ignore=("*-01.zip",))[1].read == 40
    error = refused(
        tmp_path / "m", tmp_path / "out", ignore=("*-01.zip",), tick_sizes=("AUSDT.um=3",)
    )
    assert "is not a multiple of 3" in error.problem
    error = refused(tmp_path / "m", tmp_path / "out", ignore=("*-01.zip",), lot_sizes=("AUSDT=1",))
    assert "AUSDT.um" in str(error.remedy)
    empty = tmp_path / "e"
    empty.mkdir()
    assert refused(empty, tmp_path / "out").problem == "the folder holds no .zip or .csv files"
    (empty / "AUSDT-trades-2024-08-01.csv").write_text("")
    assert "no quotes or trades, only file without rows" in refused(empty, tmp_path / "out").problem


def test_damaged_text_is_read_or_refused(tmp_path: Path) -> None:
    draw, refusals = np.random.default_rng(11), 0
    plain = text_of("bookTicker", quotes(1, 30), spot=False, header=True).encode()
    path = tmp_path / "AUSDT-bookTicker-2024-08-01.csv.bz2"
    for k in range(150):
        data = bytearray(plain)
        for place in draw.integers(0, len(data), int(draw.integers(1, 3))).tolist():
            data[place] = int(draw.choice([*b'0123456789.,-"\n\r x', 200]))
        path.write_bytes(bz2.compress(bytes(data)))
        attempt = partial(ingest, "binance-vision", BinanceVision(), path, tmp_path / f"{k}")
        refusals += refusal(attempt) is not None
    assert 20 < refusals < 150


def test_a_run_on_what_was_ingested(tmp_path: Path) -> None:
    dump(tmp_path / "in", "BTCUSDT", "bookTicker", quotes(2, 600))
    dump(tmp_path / "in", "BTCUSDT", "trades", trades(1, 300))
    ingested(tmp_path / "in", tmp_path / "data")
    run = backtest.run(
        runs=tmp_path / "runs",
        dataset=str(tmp_path / "data"),
        strategy="imbalance",
        latency={"service": "constant:1us"},
    )
    assert run.metrics["account"]["fills"] > 0
