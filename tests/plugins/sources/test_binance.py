"""Recorded Binance streams: files made here against a plain reading, and the real ones."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.binance import BinanceStream

SHARED = Path(os.environ.get("BACKTEST_SHARED", Path(__file__).parents[4] / "shared"))
REAL = SHARED / "data" / "crypto-2024"
T0 = 1_723_161_255_000  # ms
MS = 1_000_000


def message(recv: int, stream: str, data: dict[str, Any]) -> str:
    text = json.dumps({"stream": stream, "data": data}, separators=(",", ":"))
    return f"{recv} {text}"


def spot_quote(recv: int, u: int, quote: str, symbol: str = "BTCUSDT") -> str:
    b, size_b, a, size_a = quote.split()
    data = {"u": u, "s": symbol, "b": b, "B": size_b, "a": a, "A": size_a}
    return message(recv, f"{symbol.lower()}@bookTicker", data)


def spot_trade(
    recv: int, t: int, ms: int, trade: str, symbol: str = "BTCUSDT", *, maker_buys: bool = True
) -> str:
    price, size = trade.split()
    data = {"e": "trade", "E": ms + 1, "s": symbol, "t": t, "p": price, "q": size, "T": ms}
    return message(recv, f"{symbol.lower()}@trade", data | {"m": maker_buys, "M": True})


def futures_quote(recv: int, u: int, ms: int, quote: str, symbol: str = "BTCUSD_PERP") -> str:
    b, size_b, a, size_a = quote.split()
    data = {"u": u, "e": "bookTicker", "s": symbol, "b": b, "B": size_b, "a": a, "A": size_a}
    return message(recv, f"{symbol.lower()}@bookTicker", data | {"T": ms, "E": ms + 1})


def futures_trade(recv: int, t: int, ms: int, trade: str, symbol: str, how: str = "MARKET") -> str:
    price, size = trade.split()
    data = {"e": "trade", "E": ms, "T": ms, "s": symbol, "t": t, "p": price, "q": size}
    return message(recv, f"{symbol.lower()}@trade", data | {"X": how, "m": False})


UPDATE = {"e": "depthUpdate", "E": T0, "s": "BTCUSDT", "U": 7, "u": 9, "b": [["1", "2"]], "a": []}
DEPTH = message(T0 * MS, "btcusdt@depth@100ms", UPDATE)
SNAPSHOT = f'{T0 * MS} {{"lastUpdateId":1,"bids":[],"asks":[]}}'
QUOTE = "100.10 1.50000 100.20 2.00000"


def written(folder: Path, name: str, lines: Iterable[str]) -> Path:
    folder.mkdir(exist_ok=True)
    text = "".join(f"{line}\n" for line in lines).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return folder / name


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("binance-stream", BinanceStream(**parameters), path, out)
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        ingest("binance-stream", BinanceStream(**parameters), path, out)
    assert not out.exists()
    assert not [p for p in out.parent.iterdir() if p.name.startswith(".")]
    return caught.value


def sample(count: int = 600) -> list[str]:
    """Spot lines of a recorder whose clock is 1.27 s behind and jitters."""
    draw = np.random.default_rng(5)
    lines = []
    recv = T0 * MS
    for i in range(count):
        recv += int(draw.integers(1, 9)) * 777_777
        bid = 100 + int(draw.integers(0, 50))
        if draw.random() < 0.7:
            lines.append(spot_quote(recv, i, f"{bid}.1{i % 10} 1.5{i % 7} {bid + 1}.25 0.001"))
        else:
            event = recv // MS + 1270 - int(draw.integers(0, 200)) if lines else recv // MS + 1270
            lines.append(spot_trade(recv, i, event, f"{bid}.5 0.25", maker_buys=i % 3 > 0))
    trades = [i for i, line in enumerate(lines) if "@trade" in line]
    times = sorted(json.loads(lines[i].split(" ", 1)[1])["data"]["T"] for i in trades)
    for i, ms in zip(trades, times, strict=True):  # the venue's times of a stream never go back
        recv_text, text = lines[i].split(" ", 1)
        body = json.loads(text)
        body["data"]["T"] = ms
        lines[i] = f"{recv_text} {json.dumps(body, separators=(',', ':'))}"
    return lines


def plainly(
    lines: Iterable[str], symbols: tuple[str, ...], ticks: Any, lots: Any, market: str = ""
) -> list[Any]:
    """One file's events, by Decimal and one line at a time."""
    rows = []
    for number, line in enumerate(lines):
        recv_text, text = line.split(" ", 1)
        body = json.loads(text)
        kind = body.get("stream", "@").split("@")[1]
        if kind in ("bookTicker", "trade"):
            rows.append((number, int(recv_text), kind, body["data"]))
    skew = sorted(recv - d["T"] * MS for _, recv, _, d in rows if "T" in d)
    shift = -skew[(len(skew) - 1) // 100]
    events = []
    for number, recv, kind, d in rows:
        moved = recv + shift
        ts = d["T"] * MS if "T" in d else moved
        received = max(moved, ts) if "T" in d else NO_TIME
        name = d["s"] + market
        symbol = symbols.index(name)
        names = ("b", "a", "B", "A") if kind == "bookTicker" else ("p", "q")
        steps = [Decimal(d[k]) / (ticks if k in "bap" else lots)[name] for k in names]
        assert all(step == int(step) for step in steps)
        order = (ts, kind != "trade", symbol, number)
        aggressor = [] if kind == "bookTicker" else [-1 if d["m"] else 1]
        numbers = [*map(int, steps), *aggressor]
        events.append((order, ts, received, symbol, kind, numbers))
    return sorted(events)


def with_standing(events: Iterable[Any]) -> list[tuple[int, ...]]:
    standing: dict[int, tuple[int, ...]] = {}
    rows = []
    for _, ts, received, symbol, kind, numbers in events:
        if kind == "bookTicker":
            standing[symbol] = tuple(numbers)
        quote = standing.get(symbol, (NO_PRICE, NO_PRICE, 0, 0))
        trade = (NO_PRICE, 0, 0) if kind == "bookTicker" else tuple(numbers)
        rows.append((symbol, ts, received, *quote, *trade))
    return rows


def rows_of(dataset: Dataset) -> list[tuple[int, ...]]:
    e = read_events(dataset)
    columns: Any = (e.symbol, e.ts_event, e.ts_recv, e.bid, e.ask)
    columns += (e.bid_size, e.ask_size, e.trade_price, e.trade_size, e.aggressor)
    return [tuple(row) for row in np.stack(columns, axis=1).tolist()]


def test_events_are_those_of_a_plain_reading(tmp_path: Path) -> None:
    lines = sample()
    path = written(tmp_path, "spot.gz", [DEPTH, *lines, SNAPSHOT, ""])
    dataset, report = ingested(path, tmp_path / "out", depth="leave")
    assert dataset.symbols == ("BTCUSDT",)
    assert not dataset.has_depth
    instrument = dataset.instruments[0]
    assert (instrument.tick_size, instrument.lot_size) == (Decimal("0.01"), Decimal("0.001"))
    assert instrument.tradable
    expected = plainly(
        lines, ("BTCUSDT",), {"BTCUSDT": Decimal("0.01")}, {"BTCUSDT": Decimal("0.001")}
    )
    assert rows_of(dataset) == with_standing(expected)
    assert report.read == 602
    assert report.written == 600
    assert report.refused == {"depth updates": 1, "order book snapshots": 1}
    assert [*report.repaired.values()] == [1]  # of some 180 with the venue's time, 1 % is 1


def test_files_of_a_folder_become_one_dataset_whatever_their_names(tmp_path: Path) -> None:
    ms = T0 + 1270
    eth = [spot_trade((T0 + i) * MS, i, ms + i, "2683.8 0.2", "ETHUSDT") for i in range(9)]
    perp = [
        futures_quote((ms + i - 1260) * MS, i, ms + i, "61804.7 35 61804.8 1645") for i in range(9)
    ]
    perp.append(futures_trade((ms + 9) * MS, 0, ms + 8, "61804.8 4", "BTCUSD_PERP"))
    usdm = [futures_quote((ms + i) * MS, i, ms + i, QUOTE, "ETHUSDT") for i in range(9)]
    rows = []
    for i, names in enumerate((("a.gz", "b", "c.gz"), ("z", "b.gz", "a"))):
        for name, lines in zip(names, (eth, perp, usdm), strict=True):
            written(tmp_path / f"in{i}", name, lines)
        dataset, report = ingested(tmp_path / f"in{i}", tmp_path / f"out{i}")
        rows.append(rows_of(dataset))
        assert report.written == 28
    assert rows[0] == rows[1]
    assert dataset.symbols == ("BTCUSD_PERP", "ETHUSDT", "ETHUSDT.um")
    assert [i.tradable for i in dataset.instruments] == [False, True, True]
    assert [row[1] for row in rows[0]] == sorted(row[1] for row in rows[0])
    shifts = dataset.card.notes["clock"]["shift_ns"]
    assert shifts == {"z": 1270 * MS, "b.gz": 1260 * MS, "a": 0}


def test_a_trusted_clock_is_left_alone(tmp_path: Path) -> None:
    lines = [
        spot_trade((T0 + 5) * MS, 0, T0, "10.5 1"),
        spot_quote((T0 + 6) * MS, 1, QUOTE),
        spot_trade((T0 + 7) * MS, 1, T0 + 9, "10.5 1"),
    ]
    dataset, report = ingested(written(tmp_path, "x", lines), tmp_path / "out", clock="keep")
    events = read_events(dataset)
    assert events.ts_recv is not None
    assert events.ts_event.tolist() == [T0 * MS, (T0 + 6) * MS, (T0 + 9) * MS]
    assert events.ts_recv.tolist() == [(T0 + 5) * MS, NO_TIME, (T0 + 9) * MS]
    assert list(report.repaired.values()) == [1]  # received 2 ms before it happened


def test_nothing_to_align_a_clock_by_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, "x", [spot_quote(T0 * MS, 1, QUOTE)])
    assert "clock=keep" in str(refused(path, tmp_path / "out"))
    assert ingested(path, tmp_path / "out", clock="keep")[1].written == 1


def test_repeated_empty_and_crossed_messages_are_counted(tmp_path: Path) -> None:
    lines = [
        spot_trade(T0 * MS, 7, T0, "10.5 1"),
        spot_trade(T0 * MS + 1, 7, T0, "10.5 1"),
        spot_trade(T0 * MS + 2, 8, T0, "10.5 0.000"),
        spot_quote(T0 * MS + 3, 1, "10.1 0.0 10.2 1"),
        spot_quote(T0 * MS + 4, 2, "10.2 1 10.2 1"),
        spot_quote(T0 * MS + 5, 3, "10.1 1 10.2 1"),
        spot_quote(T0 * MS + 6, 2, "10.1 1 10.2 1"),
    ]
    dataset, report = ingested(written(tmp_path, "x", lines), tmp_path / "out")
    assert report.refused == {
        "repeated update": 2,
        "price or size of 0": 1,
        "locked or crossed": 1,
    }
    assert report.repaired["side with a price or size of 0: absent"] == 1
    assert (report.read, report.written) == (7, 3)
    events = read_events(dataset)
    assert events.bid is not None
    assert events.ask is not None
    assert events.bid.tolist() == [NO_PRICE, NO_PRICE, 101]  # the trade, then an empty side
    assert events.ask.tolist() == [NO_PRICE, 102, 102]


def test_the_side_that_is_not_the_maker_initiated_a_trade(tmp_path: Path) -> None:
    text: dict[str, Any] = {"s": "BTCUSDT", "p": "10.5", "q": "1", "T": T0, "M": True}
    rows: list[dict[str, Any]] = [{"m": False, "q": "0"}]  # no trade
    rows += [{"m": True}, {"m": False}, {}, {"m": None}]
    lines = [
        message(T0 * MS, "btcusdt@trade", text | {"t": number} | row)
        for number, row in enumerate(rows)
    ]
    dataset, _ = ingested(written(tmp_path, "x", lines), tmp_path / "out")
    events = read_events(dataset)
    assert events.aggressor is not None
    assert events.aggressor.tolist() == [-1, 1, 0, 0]
    assert validate(dataset).usable


def test_futures_trades_outside_the_book_are_left_out(tmp_path: Path) -> None:
    hows = ("MARKET", "INSURANCE_FUND", "MARKET", "ADL", "NA")
    prices = ("10.5", "7.5", "10.6", "9.123", "0")  # those left out set no grid
    lines = [
        futures_trade((T0 + i) * MS, i, T0 + i, f"{price} 1", "BTCUSDT", how)
        for i, (price, how) in enumerate(zip(prices, hows, strict=True))
    ]
    dataset, report = ingested(written(tmp_path, "x", lines), tmp_path / "out")
    assert report.refused == {"trades outside the order book": 3}
    assert (report.read, report.written) == (5, 2)
    events = read_events(dataset)
    assert events.trade_price is not None
    assert events.trade_price.tolist() == [105, 106]
    none = written(tmp_path, "y", lines[1:2])
    assert "no quotes or trades" in str(refused(none, tmp_path / "no"))


def test_given_grids_are_used_and_checked(tmp_path: Path) -> None:
    path = written(tmp_path, "x", [spot_trade(T0 * MS, 1, T0, "100.5 1.5")])
    dataset, _ = ingested(
        path, tmp_path / "out", tick_sizes=("BTCUSDT=0.25",), lot_sizes=("BTCUSDT=0.5",)
    )
    events = read_events(dataset)
    assert events.trade_price is not None
    assert events.trade_size is not None
    assert (events.trade_price[0], events.trade_size[0]) == (402, 3)
    problem = refused(path, tmp_path / "no", tick_sizes=("BTCUSDT=0.2",))
    assert "100.5 is not a multiple of 0.2" in str(problem)
    assert "ETHUSDT" in str(refused(path, tmp_path / "no", lot_sizes=("ETHUSDT=1",)))
    with pytest.raises(ValueError, match="not a number above 0"):
        BinanceStream(tick_sizes=("BTCUSDT=0",))


def test_a_half_tick_lot_must_be_whole(tmp_path: Path) -> None:
    path = written(tmp_path, "x", [spot_trade(T0 * MS, 1, T0, "0.00001234 0.1")])
    dataset, _ = ingested(path, tmp_path / "in-finer-money")
    assert dataset.instruments[0].unit == Decimal("1e-10")
    too_fine = spot_trade(T0 * MS, 1, T0, "0.000000000000001234 0.1")
    path = written(tmp_path, "fine", [too_fine])
    problem = refused(path, tmp_path / "out")
    assert "whole number" in str(problem)
    assert "lot_sizes=BTCUSDT" in str(problem)
    lines = [spot_trade(T0 * MS, 1, T0, "0.00001234 0.10000", "ETHBTC")]
    dataset, _ = ingested(written(tmp_path, "y", lines), tmp_path / "out")
    assert not dataset.instruments[0].tradable  # not in the accountant's currency


GOOD = spot_trade(T0 * MS, 1, T0, "10.5 1")
BAD_LINES = {
    "is not local_ns JSON": "what is this",
    "is not JSON, or not whole": spot_trade(T0 * MS, 2, T0, "10.5 1")[:-9],
    "has no 'T'": message(T0 * MS, "x@trade", {"s": "X", "t": 2, "p": "1", "q": "1"}),
    "'-1' is not a decimal number": spot_trade(T0 * MS, 2, T0, "-1 1"),
    "'1e5' is not a decimal number": spot_trade(T0 * MS, 2, T0, "1 1e5"),
    "is not as expected": message(
        T0 * MS, "x@trade", {"s": "X", "t": 2, "p": "1", "q": "1", "T": T0, "m": "yes"}
    ),
    "changed from": message(T0 * MS, "x@trade", {"s": 1, "t": 2, "p": "1", "q": "1", "T": T0}),
    "earlier time than the line before it": spot_trade(T0 * MS, 2, T0 - 1, "10.5 1"),
    "the venue's time is not in ms": spot_trade(T0 * MS, 2, T0 * 1000, "10.5 1"),
    "the recorder's time is not in nanoseconds": spot_trade(T0 * 1000, 2, T0, "10.5 1"),
}


@pytest.mark.parametrize("problem", BAD_LINES)
def test_a_bad_line_is_named_and_nothing_is_left(tmp_path: Path, problem: str) -> None:
    error = refused(written(tmp_path, "x.gz", [GOOD, BAD_LINES[problem]]), tmp_path / "out")
    assert problem in str(error)
    assert "line 2 " in str(error)
    assert "x.gz" in str(error)


def test_microseconds_are_read_where_stated(tmp_path: Path) -> None:
    line = spot_trade(T0 * MS, 2, T0 * 1000 + 7, "10.5 1")
    dataset, _ = ingested(written(tmp_path, "x", [line]), tmp_path / "out", time_unit="us")
    assert read_events(dataset).ts_event.tolist() == [T0 * MS + 7000]


def test_empty_truncated_and_flipped_files_are_refused(tmp_path: Path) -> None:
    assert "empty" in str(refused(written(tmp_path, "x", []), tmp_path / "out"))
    whole = gzip.compress("\n".join(sample()).encode())
    (tmp_path / "y.gz").write_bytes(whole[: len(whole) // 2])
    assert "is truncated or damaged" in str(refused(tmp_path / "y.gz", tmp_path / "out"))
    (tmp_path / "y.gz").write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
    assert "is truncated or damaged" in str(refused(tmp_path / "y.gz", tmp_path / "out"))
    (tmp_path / "none").mkdir()
    assert "no files" in str(refused(tmp_path / "none", tmp_path / "out"))
    path = written(tmp_path, "z", [DEPTH])
    for depth in ("leave", "write"):
        assert "no quotes or trades" in str(refused(path, tmp_path / "out", depth=depth))


@pytest.mark.skipif(not REAL.is_dir(), reason="the recorded streams are not here")
def test_real_files_agree_with_a_plain_reading(tmp_path: Path) -> None:
    expected = []
    symbols = ("BTCUSDT", "BTCUSDT.um", "BTCUSD_PERP", "ETHUSDT")
    ticks = dict(zip(symbols, map(Decimal, ("0.01", "0.1", "0.1", "0.01")), strict=True))
    lots = dict(zip(symbols, map(Decimal, ("0.00001", "0.001", "1", "0.0001")), strict=True))
    for path in sorted(REAL.iterdir()):
        with gzip.open(path, "rt") as file:
            lines = [line.rstrip("\n") for line in itertools.islice(file, 6000)]
        written(tmp_path / "in", path.name, lines)
        market = ".um" if path.name.startswith("um") else ""
        expected += plainly(lines, symbols, ticks, lots, market)
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert dataset.symbols == symbols
    assert [(i.tick_size, i.lot_size) for i in dataset.instruments] == [
        (ticks[s], lots[s]) for s in symbols
    ]
    assert rows_of(dataset) == with_standing(sorted(expected))
    assert report.read == 24_000
    shifts = dataset.card.notes["clock"]["shift_ns"]
    assert all(1.2e9 < shift < 1.3e9 for shift in shifts.values())
