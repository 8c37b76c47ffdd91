"""US equity ticks: the NBBO against one kept a row at a time, sessions, and what is refused."""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import numpy as np
import pytest

from backtest.core import zones
from backtest.core.times import parse_utc
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.equities import UsEquitiesTicks
from backtest.plugins.sources.equities import events as equity_events
from backtest.plugins.sources.equities import files as equity_files

SHARED = Path(os.environ.get("BACKTEST_SHARED", Path(__file__).parents[4] / "shared"))
REAL = SHARED / "data" / "us-equities-2013"
OPEN, CLOSE = 34_200_000, 57_600_000
EDT_MIDNIGHT = parse_utc("2013-10-07T04:00:00Z")
MS = 1_000_000


def packed(
    folder: Path, symbol: str, day: str, kind: str, rows: Iterable[Sequence[object]]
) -> Path:
    folder.mkdir(exist_ok=True)
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    path = folder / f"{symbol}_{day}_{kind}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{day}_{symbol}_{kind.title()}_Tick.csv", text)
    return path


def bid(ms: int, price: int, size: int, exchange: str = "P", flag: int = 0) -> tuple[object, ...]:
    return (ms, price, size, 0, 0, exchange, 1, flag)


def ask(ms: int, price: int, size: int, exchange: str = "P", flag: int = 0) -> tuple[object, ...]:
    return (ms, 0, 0, price, size, exchange, 1, flag)


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("us-equities-ticks", UsEquitiesTicks(**parameters), path, out)
    assert report.read == report.written + sum(report.refused.values())
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> str:
    with pytest.raises(DataError) as caught:
        ingest("us-equities-ticks", UsEquitiesTicks(**parameters), path, out)
    assert not out.exists()
    assert not [p for p in out.parent.iterdir() if p.name.startswith(".")]
    return str(caught.value)


def rows_of(dataset: Dataset) -> list[tuple[int, ...]]:
    e = read_events(dataset)
    columns: Any = (e.symbol, e.ts_event, e.bid, e.ask, e.bid_size, e.ask_size)
    columns += (e.trade_price, e.trade_size)
    assert e.aggressor is None  # the format does not say
    return [tuple(row) for row in np.stack(columns, axis=1).tolist()]


def quote_rows(dataset: Dataset) -> list[tuple[int, ...]]:
    return [row[1:6] for row in rows_of(dataset) if row[6] == NO_PRICE]


def plain_nbbo(
    rows: Sequence[Sequence[str]], rule: str, midnight: int = EDT_MIDNIGHT
) -> list[tuple[int, ...]]:
    """The NBBO's changes in the session: (ns, bid, ask, bid size, ask size), in ticks."""
    bids: dict[str, tuple[int, int]] = {}
    asks: dict[str, tuple[int, int]] = {}
    quotes = [
        (int(r[0]), int(r[1]), int(r[2]), int(r[3]), int(r[4]), r[5] if rule == "exchange" else "")
        for r in rows
        if r[7] == "0" and int(r[1]) % 100 == 0 and int(r[3]) % 100 == 0
    ]
    changes: list[tuple[int, ...]] = []
    for i, (ms, bid_price, bid_size, ask_price, ask_size, who) in enumerate(quotes):
        if bid_price or not ask_price:
            bids.pop(who, None)
            if bid_price and bid_size:
                bids[who] = bid_price, bid_size
        if ask_price or not bid_price:
            asks.pop(who, None)
            if ask_price and ask_size:
                asks[who] = ask_price, ask_size
        if i + 1 < len(quotes) and bid_price and not ask_price:
            then = quotes[i + 1]
            if then[0] == ms and then[5] == who and not then[1] and then[3]:
                continue
        if not OPEN <= ms < CLOSE:
            continue
        best_bid = max((price for price, _ in bids.values()), default=None)
        best_ask = min((price for price, _ in asks.values()), default=None)
        if best_bid is not None and best_ask is not None and best_bid >= best_ask:
            continue
        state = (
            NO_PRICE if best_bid is None else best_bid // 100,
            NO_PRICE if best_ask is None else best_ask // 100,
            sum(size for price, size in bids.values() if price == best_bid),
            sum(size for price, size in asks.values() if price == best_ask),
        )
        if not changes and state[:2] == (NO_PRICE, NO_PRICE):
            continue
        if not changes or changes[-1][1:] != state:
            changes.append((midnight + ms * MS, *state))
    return changes


def random_rows(count: int, seed: int) -> list[tuple[object, ...]]:
    """Exchanges that quote around a wandering price: crossed, locked and withdrawn at times."""
    draw = np.random.default_rng(seed)
    rows: list[tuple[object, ...]] = []
    ms, middle = OPEN - 40, 5000
    while len(rows) < count:
        ms += int(draw.integers(0, 3))
        middle += int(draw.integers(-1, 2))
        exchange = "NPQZ"[int(draw.integers(0, 4))]
        size = int(draw.integers(0, 5)) * 100
        flag = int(draw.random() < 0.02)
        what = draw.random()
        bid_price = (middle - int(draw.integers(0, 9))) * 100 + 50 * int(draw.random() < 0.02)
        ask_price = (middle + int(draw.integers(0, 9))) * 100
        if what < 0.4:
            rows.append(bid(ms, bid_price, size, exchange, flag))
        elif what < 0.7:
            rows.append(ask(ms, ask_price, size, exchange, flag))
        elif what < 0.72:
            rows.append((ms, 0, 0, 0, 0, exchange, 1, flag))
        else:
            rows += [bid(ms, bid_price, size, exchange), ask(ms, ask_price, size, exchange)]
    return rows


@pytest.mark.parametrize("rule", ["national", "exchange"])
@pytest.mark.parametrize("block", [1 << 22, 150])
def test_the_nbbo_is_that_of_a_plain_book(
    tmp_path: Path, rule: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equity_files, "_BLOCK_BYTES", block)  # a few rows a chunk
    rows = random_rows(2_000, seed=2)
    packed(tmp_path / "in", "ibm", "20131007", "quote", rows)
    monkeypatch.setattr(equity_events._States, "check", lambda self: None)  # it is crossed at will
    dataset, report = ingested(tmp_path / "in", tmp_path / "out", quotes=rule)
    expected = plain_nbbo([[str(cell) for cell in row] for row in rows], rule)
    assert len(expected) > 200
    assert any((row[1] == NO_PRICE) != (row[2] == NO_PRICE) for row in expected)
    assert quote_rows(dataset) == expected
    for reason in ("flagged suspicious", "price off the cent", "quote crossed", "quote locked"):
        assert report.refused[reason] > 0


def test_symbols_and_days_become_one_dataset_with_sessions(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for symbol, price in (("ibm", 1_830_000), ("BRK.A", 1_700_000_000)):
        for day in ("20131101", "20131104"):  # clocks went back on the 3rd
            rows = [bid(OPEN, price, 100), ask(OPEN, price + 100, 200), bid(OPEN + 1, price, 300)]
            packed(folder, symbol, day, "quote", rows)
    packed(folder, "ibm", "20131104", "trade", [(OPEN + 1, 1_830_100, 70, "D", "20000020", 0)])
    dataset, report = ingested(folder, tmp_path / "out")
    assert dataset.symbols == ("BRK.A", "IBM")
    first, second = parse_utc("2013-11-01T13:30:00Z"), parse_utc("2013-11-04T14:30:00Z")
    hours = 23_400 * 10**9
    assert dataset.sessions is not None
    assert dataset.sessions.tolist() == [[first, first + hours], [second, second + hours]]
    assert dataset.hours.zone == "America/New_York"
    rows_found = rows_of(dataset)
    assert [row[1] for row in rows_found] == sorted(row[1] for row in rows_found)
    assert [(row[0], row[1] - second) for row in rows_found[4:]] == [
        (0, 0),
        (1, 0),
        (1, MS),  # the trade, before the quotes of its millisecond
        (0, MS),
        (1, MS),
    ]
    assert rows_found[6][2:] == (18_300, 18_301, 100, 200, 18_301, 70)
    assert dataset.instruments[1].fee_per_lot == dataset.instruments[0].fee_per_lot != 0
    assert report.written == 9


def test_trades_are_refused_by_rule(tmp_path: Path) -> None:
    rows = [
        (OPEN - 1, 1_830_000, 100, "N", 1, 0),
        (OPEN, 1_830_000, 100, "N", 1, 0),
        (OPEN, 1_830_050, 100, "D", 1, 0),
        (OPEN, 1_830_000, 100, "D", 1, 1),
        (OPEN, 1_830_000, 0, "N", 1, 0),
        (CLOSE, 1_830_000, 100, "N", 40, 0),
    ]
    path = packed(tmp_path, "ibm", "20131007", "trade", rows)
    dataset, report = ingested(path, tmp_path / "out")
    assert rows_of(dataset) == [
        (0, EDT_MIDNIGHT + OPEN * MS, NO_PRICE, NO_PRICE, 0, 0, 18_300, 100)
    ]
    assert report.refused == {
        "flagged suspicious": 1,
        "price off the cent": 1,
        "trade outside the session": 2,
        "trade without price or size": 1,
    }


def test_the_quote_before_the_open_holds_at_the_open(tmp_path: Path) -> None:
    rows = [bid(OPEN - 5, 1_000_000, 100), ask(OPEN - 5, 1_000_200, 100), bid(OPEN, 1_000_100, 100)]
    packed(tmp_path / "in", "ibm", "20131007", "quote", rows)
    dataset, _ = ingested(tmp_path / "in", tmp_path / "out")
    assert quote_rows(dataset) == [(EDT_MIDNIGHT + OPEN * MS, 10_001, 10_002, 100, 100)]


GOOD = [bid(OPEN, 1_000_000, 100), ask(OPEN, 1_000_200, 100)]
BAD_ROWS: dict[str, Sequence[object]] = {
    "row 3 has the time 34199999, earlier": bid(OPEN - 1, 1_000_000, 100),
    "not in milliseconds since midnight": bid(OPEN * 1000, 1_000_000, 100),
    "row 3 has no bid_size": (OPEN, 1_000_000, "", 0, 0, "P", 1, 0),
    "row 3 cannot be read as CSV: CSV parse error: Expected 8 columns": (OPEN, "1,000"),
    "row 3 cannot be read as CSV: column 'bid': CSV conversion error": (
        OPEN,
        "100.5",
        1,
        0,
        0,
        "P",
        1,
        0,
    ),
}


@pytest.mark.parametrize("problem", BAD_ROWS)
def test_a_bad_row_is_named_and_nothing_is_left(tmp_path: Path, problem: str) -> None:
    path = packed(tmp_path, "ibm", "20131007", "quote", [*GOOD, BAD_ROWS[problem]])
    text = refused(path, tmp_path / "out")
    assert problem in text
    assert path.name in text


def test_quotes_read_by_the_wrong_rule_are_refused(tmp_path: Path) -> None:
    # The national best rises and falls again; no exchange says that its quote is gone.
    rows = []
    for i, level in enumerate([*range(9), *range(9, -9, -1)]):
        rows.append(bid(OPEN + i, 1_000_000 + level * 100, 100, "PNQZ"[i % 4]))
        rows.append(ask(OPEN + i, 1_000_100 + level * 100, 100, "NQZP"[i % 4]))
    path = packed(tmp_path, "ibm", "20131007", "quote", rows)
    assert "are crossed" in refused(path, tmp_path / "out", quotes="exchange")
    assert ingested(path, tmp_path / "out")[1].written == 27


def test_damaged_and_misnamed_files_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "in", "ibm", "20131007", "quote", random_rows(500, seed=1))
    whole = path.read_bytes()
    out = tmp_path / "out"
    path.write_bytes(b"")
    assert "not a zip file" in refused(path, out)
    path.write_bytes(whole[: len(whole) // 2])
    assert "not a zip file" in refused(path, out)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :])
    assert "damaged" in refused(path, out) or "CSV" in refused(path, out)
    path.write_bytes(whole)
    renamed = path.rename(path.with_name("ibm_20131008_quote.zip"))
    assert "holds '20131007_ibm_Quote_Tick.csv'" in refused(renamed, out)
    renamed.rename(path.with_name("ibm_20131099_quote.zip"))
    assert "its name does not show" in refused(tmp_path / "in", out)
    hostile = path.with_name("..%2f_20131007_quote.zip")
    hostile.write_bytes(whole)
    assert "its name does not show" in refused(hostile, out)
    (tmp_path / "none").mkdir()
    assert "no zip files" in refused(tmp_path / "none", out)
    empty = packed(tmp_path, "ibm", "20131007", "quote", [])
    assert "there are no rows" in refused(empty, out)


def test_missing_time_zones_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ZoneInfoNotFoundError(name)

    path = packed(tmp_path, "ibm", "20131007", "quote", GOOD)
    monkeypatch.setattr(zones, "ZoneInfo", missing)
    monkeypatch.setattr(zones, "available_timezones", set)
    assert "tzdata" in refused(path, tmp_path / "out")


@pytest.mark.skipif(not REAL.is_dir(), reason="the equity ticks are not here")
def test_the_nbbo_of_a_real_day_is_that_of_a_plain_book(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for kind in ("quote", "trade"):
        shutil.copy(REAL / f"ibm_20131007_{kind}.zip", tmp_path / "in")
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    with zipfile.ZipFile(REAL / "ibm_20131007_quote.zip") as archive:
        text = archive.read(archive.namelist()[0]).decode()
    assert quote_rows(dataset) == plain_nbbo([*csv.reader(io.StringIO(text))], "national")
    assert report.read == 109_067 + 24_293
    events = read_events(dataset)
    assert events.bid is not None
    assert events.ask is not None
    assert events.trade_price is not None
    trades = (events.trade_price != NO_PRICE) & (events.bid != NO_PRICE)
    inside = (events.bid <= events.trade_price) & (events.trade_price <= events.ask)
    assert inside[trades].mean() > 0.95  # so the rows are the national best, as read
