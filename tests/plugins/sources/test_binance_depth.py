"""Depth in recorded Binance streams: the books that its rows make, against books kept plainly."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.data.dataset import Dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.data.reading.depth import stream_depth
from backtest.market.depth import ASK, BID, CLEAR, LAST, SNAPSHOT
from backtest.market.events import NO_PRICE, NO_TIME
from tests.data.depth_rows import rows_of
from tests.plugins.sources.test_binance import (
    MS,
    REAL,
    T0,
    futures_trade,
    ingested,
    message,
    refused,
    spot_quote,
    spot_trade,
    written,
)

Book = dict[tuple[int, int], int]


def levels(text: str) -> list[list[str]]:
    """Levels from ``price size, price size``."""
    return [part.split() for part in text.split(",") if part.strip()]


def update(
    number: int,
    first: int,
    last: int,
    bids: str,
    asks: str,
    *,
    previous: int | None = None,
    symbol: str = "BTCUSDT",
) -> str:
    """A line of updates, one ms after another: of futures if it says what came before."""
    data: dict[str, Any] = {"e": "depthUpdate", "E": T0 + number, "s": symbol, "U": first}
    data |= {"u": last, "b": levels(bids), "a": levels(asks)}
    data |= {} if previous is None else {"T": T0 + number, "pu": previous}
    return message((T0 + number) * MS, f"{symbol.lower()}@depth@100ms", data)


def snapshot(number: int, last: int, bids: str, asks: str, **further: Any) -> str:
    """A line with an answer to a request for the book."""
    data = {"lastUpdateId": last, **further, "bids": levels(bids), "asks": levels(asks)}
    return f"{(T0 + number) * MS} {json.dumps(data)}"


def depth_of(dataset: Dataset) -> list[tuple[int, ...]]:
    """Milliseconds since T0, side, price, size and flags of each row."""
    return [((row[2] - T0 * MS) // MS, *row[3:7]) for row in rows_of([*stream_depth(dataset)])]


TRADE = spot_trade(T0 * MS, 1, T0, "10.5 1")
TICKER = spot_quote(T0 * MS, 1, "10.1 1 10.9 1")


def spot(tmp_path: Path, lines: Iterable[str], **parameters: Any) -> Any:
    """A dataset of these lines after a trade and a quote."""
    path = written(tmp_path, "spot", [TRADE, TICKER, *lines])
    return ingested(path, tmp_path / "out", clock="keep", **parameters)


def test_updates_become_rows_in_their_order(tmp_path: Path) -> None:
    lines = [
        update(1, 5, 7, "10.1 2, 10.0 0", "10.9 1"),
        update(2, 8, 8, "", ""),
        update(3, 9, 11, "9.5 3", ""),
    ]
    dataset, report = spot(tmp_path, lines)
    assert depth_of(dataset) == [
        (1, BID, 101, 2, 0),
        (1, BID, 100, 0, 0),
        (1, ASK, 109, 1, 0),
        (3, BID, 95, 3, 0),
    ]
    assert (report.read, report.written, report.refused) == (5, 2, {})
    assert report.depth == {"read": 3, "written": 4, "quotes": 0}
    assert validate(dataset).usable
    assert not dataset.depth_orders


def test_a_gap_clears_the_book_and_is_counted(tmp_path: Path) -> None:
    lines = [
        update(1, 5, 7, "10.1 2", ""),
        update(2, 9, 9, "10.0 1", ""),
        update(3, 8, 8, "10.0 7", ""),  # late, and older than what is known
        update(4, 9, 9, "10.0 7", ""),
        update(5, 9, 12, "10.0 4", ""),  # overlaps what is known
    ]
    dataset, report = spot(tmp_path, lines)
    assert depth_of(dataset) == [
        (1, BID, 101, 2, 0),
        (2, 0, 0, 0, CLEAR),
        (2, BID, 100, 1, 0),
        (5, BID, 100, 4, 0),
    ]
    assert report.refused == {"depth updates that were known already": 2}
    gaps = "gaps in depth updates: the book is unknown until the next snapshot"
    assert report.repaired == {gaps: 1}
    assert report.read == report.written + report.depth["read"] + 2


def test_futures_say_what_came_before(tmp_path: Path) -> None:
    lines = [
        futures_trade(T0 * MS, 1, T0, "10.5 1", "BTCUSDT"),
        update(1, 5, 7, "10.1 2", "", previous=3),
        update(2, 11, 15, "10.1 3", "", previous=7),
        update(4, 21, 25, "10.1 4", "", previous=19),
    ]
    dataset, _ = ingested(written(tmp_path, "um", lines), tmp_path / "out", clock="keep")
    assert dataset.symbols == ("BTCUSDT.um",)
    found = depth_of(dataset)
    assert [row[3] for row in found] == [2, 3, 0, 4]
    assert found[2] == (4, 0, 0, 0, CLEAR)


def test_a_snapshot_states_what_later_updates_have_not_changed(tmp_path: Path) -> None:
    lines = [
        update(1, 5, 7, "10.1 2", "10.9 5"),
        update(2, 8, 9, "10.1 0, 10.0 6", "11.0 1"),
        snapshot(3, 8, "10.1 4, 9.9 1", "10.9 5, 11.0 3"),
        update(4, 10, 10, "9.9 2", ""),
    ]
    dataset, report = spot(tmp_path, lines)
    assert depth_of(dataset)[5:] == [
        (3, BID, 100, 6, SNAPSHOT),
        (3, BID, 99, 1, SNAPSHOT),
        (3, ASK, 109, 5, SNAPSHOT),
        (3, ASK, 110, 1, SNAPSHOT | LAST),
        (4, BID, 99, 2, 0),
    ]
    assert report.refused == {}
    assert report.depth["read"] == 4


def test_a_snapshot_that_is_ahead_waits_for_the_update_it_knows(tmp_path: Path) -> None:
    lines = [
        snapshot(1, 9, "10.1 4", "10.9 5"),
        update(2, 5, 8, "9.0 1, 10.1 1", ""),
        update(3, 9, 10, "10.1 3", ""),
    ]
    dataset, _ = spot(tmp_path, lines)
    assert depth_of(dataset) == [
        (2, BID, 90, 1, 0),
        (2, BID, 101, 1, 0),
        (3, BID, 101, 3, 0),
        (3, BID, 101, 3, SNAPSHOT),
        (3, ASK, 109, 5, SNAPSHOT | LAST),
    ]


def test_a_snapshot_that_nothing_joins_is_left_out(tmp_path: Path) -> None:
    lines = [
        update(1, 5, 7, "10.1 2", ""),
        snapshot(2, 2, "10.1 4", ""),  # of before the first update
        update(3, 20, 21, "10.1 1", ""),
        snapshot(4, 7, "10.1 4", ""),  # of before the gap
        snapshot(5, 19, "10.0 4", ""),
    ]
    dataset, report = spot(tmp_path, [*lines, update(6, 22, 22, "9.9 1", "")])
    rows = depth_of(dataset)
    assert [row for row in rows if row[4] & SNAPSHOT] == [
        (5, BID, 101, 1, SNAPSHOT),
        (5, BID, 100, 4, SNAPSHOT | LAST),
    ]
    unknown = "order book snapshots of no known symbol"
    stale = "order book snapshots that the updates around them do not join"
    assert report.refused == {unknown: 1, stale: 1}
    assert report.read == report.written + report.depth["read"] + 2


def test_a_snapshot_cut_at_its_limit_does_not_end(tmp_path: Path) -> None:
    bids = ",".join(f"{10 - i / 10:.1f} 1" for i in range(5))
    lines = [update(1, 5, 7, "10.1 2", ""), snapshot(2, 7, bids, "10.9 5, 11 1")]
    for beyond, end in (("unknown", SNAPSHOT), ("empty", SNAPSHOT | LAST)):
        folder = tmp_path / beyond
        folder.mkdir()
        rows = depth_of(spot(folder, lines, beyond=beyond)[0])
        assert len(rows) == 8
        assert [row[4] for row in rows] == [0, *[SNAPSHOT] * 6, end]


def test_snapshots_are_given_to_the_book_whose_numbers_they_have(tmp_path: Path) -> None:
    lines = [
        update(1, 5, 9, "10.1 2", ""),
        update(1, 105, 109, "20.1 2", "", symbol="ETHUSDT"),
        snapshot(2, 109, "20.1 2, 20.0 1", ""),
        snapshot(2, 9, "10.1 2", ""),
        snapshot(2, 50, "30 1", ""),
    ]
    dataset, report = spot(tmp_path, lines)
    assert dataset.symbols == ("BTCUSDT", "ETHUSDT")
    found = [row for row in rows_of([*stream_depth(dataset)]) if row[6] & SNAPSHOT]
    assert [(row[1], row[4]) for row in found] == [(0, 101), (1, 201), (1, 200)]
    assert report.refused == {"order book snapshots of no known symbol": 1}


def test_partial_books_replace_one_another(tmp_path: Path) -> None:
    def partial(number: int, last: int, bids: str, asks: str) -> str:
        data = {"lastUpdateId": last, "bids": levels(bids), "asks": levels(asks)}
        return message((T0 + number) * MS, "btcusdt@depth5@100ms", data)

    five = ",".join(f"{10 - i / 10:.1f} 1" for i in range(5))
    lines = [
        partial(1, 7, five, "10.9 5"),
        partial(2, 9, "10.0 2", "10.9 4"),
        partial(3, 8, "10.0 9", ""),
    ]
    dataset, report = spot(tmp_path, lines)
    cleared = (0, 0, 0, CLEAR | SNAPSHOT)
    assert depth_of(dataset) == [
        (1, *cleared),
        *((1, BID, 100 - i, 1, SNAPSHOT) for i in range(5)),
        (1, ASK, 109, 5, SNAPSHOT),  # no LAST: there may be a sixth bid
        (2, *cleared),
        (2, BID, 100, 2, SNAPSHOT),
        (2, ASK, 109, 4, SNAPSHOT | LAST),
    ]
    assert report.refused == {"depth updates that were known already": 1}
    (tmp_path / "both").mkdir()
    dataset, report = spot(tmp_path / "both", [*lines, update(4, 10, 11, "9.9 1", "")])
    assert depth_of(dataset) == [(4, BID, 99, 1, 0)]
    assert report.refused == {"partial depth beside depth updates": 3}


def test_partial_books_of_futures_are_told_by_the_stream(tmp_path: Path) -> None:
    data: dict[str, Any] = {"e": "depthUpdate", "E": T0 + 2, "T": T0 + 1, "s": "BTCUSDT"}
    data |= {"U": 5, "u": 9, "pu": 4, "b": [["10.1", "2"]], "a": [["10.9", "1"]]}
    lines = [
        futures_trade(T0 * MS, 1, T0, "10.5 1", "BTCUSDT"),
        message((T0 + 2) * MS, "btcusdt@depth20@100ms", data),
    ]
    dataset, _ = ingested(written(tmp_path, "um", lines), tmp_path / "out", clock="keep")
    assert [row[4] for row in depth_of(dataset)] == [
        CLEAR | SNAPSHOT,
        SNAPSHOT,
        SNAPSHOT | LAST,
    ]


def test_a_symbol_without_quotes_takes_them_from_its_known_book(tmp_path: Path) -> None:
    lines = [
        TRADE,
        update(1, 5, 7, "10.1 2", "10.9 5"),
        snapshot(2, 7, "10.1 2, 9.9 1", "10.9 5, 11.0 3"),
        update(3, 8, 8, "9.5 7", ""),  # changes no touch
        update(4, 9, 9, "10.1 0", "10.9 4"),
        update(5, 11, 11, "10.2 1", ""),  # after a gap
        update(6, 12, 12, "10.2 2", ""),
        snapshot(7, 12, "10.2 2", "10.8 3"),
    ]
    path = written(tmp_path, "spot", lines)
    dataset, report = ingested(path, tmp_path / "out", clock="keep")
    events = read_events(dataset)
    assert events.ts_recv is not None
    quotes: Any = (events.ts_event // MS - T0, events.bid, events.bid_size)
    quotes += (events.ask, events.ask_size)
    assert np.stack(quotes, axis=1).tolist() == [
        [0, NO_PRICE, 0, NO_PRICE, 0],  # the trade
        [2, 101, 2, 109, 5],
        [4, 99, 1, 109, 4],
        [5, NO_PRICE, 0, NO_PRICE, 0],
        [7, 102, 2, 108, 3],
    ]
    assert (events.ts_recv[1:] == NO_TIME).all()
    assert report.depth["quotes"] == 4
    assert report.read == len(lines) == report.written - 4 + report.depth["read"]


def test_rows_come_after_all_events_of_their_time(tmp_path: Path) -> None:
    lines = [
        futures_trade((T0 + i) * MS, i, T0 + i // 3, "10.5 1", "BTCUSDT") for i in range(1, 30)
    ]
    lines += [update(i, i, i, "10.1 2", "", previous=i - 1) for i in range(1, 9)]
    dataset, _ = ingested(written(tmp_path, "um", lines), tmp_path / "out", clock="keep")
    ts = read_events(dataset).ts_event
    for row in rows_of([*stream_depth(dataset)]):
        assert row[0] == int((ts <= row[2]).sum())


def test_sizes_between_lots_count_as_a_lot(tmp_path: Path) -> None:
    dataset, report = spot(tmp_path, [update(1, 5, 7, "10.1 2.25, 10.0 0.5", "10.9 3")])
    assert [row[3] for row in depth_of(dataset)] == [3, 1, 3]
    assert dataset.instruments[0].lot_size == 1
    assert report.repaired == {"depth sizes between lots: rounded up": 2}


def test_files_of_one_book_follow_one_another(tmp_path: Path) -> None:
    first = [TRADE, TICKER, update(1, 5, 7, "10.1 2", ""), update(2, 8, 9, "10.1 3", "")]
    second = [
        spot_trade((T0 + 3) * MS, 2, T0 + 3, "10.5 1"),
        update(3, 8, 9, "10.1 3", ""),
        update(4, 10, 11, "10.1 4", ""),
    ]
    written(tmp_path / "in", "b", first)
    written(tmp_path / "in", "a", second)
    dataset, report = ingested(tmp_path / "in", tmp_path / "out", clock="keep")
    assert [row[3] for row in depth_of(dataset)] == [2, 3, 4]
    assert report.refused == {"depth updates that were known already": 1}
    assert not any("gaps" in what for what in report.repaired)


BAD_LINES = {
    "has no 's'": message(T0 * MS, "x@depth", {"U": 1, "u": 2, "b": [], "a": []}),
    "has no 'U'": message(T0 * MS, "x@depth", {"s": "X", "u": 2, "b": [], "a": []}),
    "has no 'bids'": message(T0 * MS, "x@depth", {"s": "X", "U": 1, "u": 2, "a": []}),
    "not a price and a size": message(
        T0 * MS, "x@depth", {"s": "X", "U": 1, "u": 2, "b": [["1", "2"], ["3"]], "a": []}
    ),
    "'-1' is not a decimal number": update(1, 5, 7, "", "10 1, -1 2"),
    "is not as expected": message(
        T0 * MS, "x@depth", {"s": "X", "U": 1, "u": "no", "b": [], "a": []}
    ),
    "earlier time than the line before it": update(-1, 6, 7, "10 1", "", previous=5),
}


@pytest.mark.parametrize("problem", BAD_LINES)
def test_a_bad_line_is_named_and_nothing_is_left(tmp_path: Path, problem: str) -> None:
    good = update(1, 4, 5, "10.5 1", "", previous=3)
    trade = futures_trade(T0 * MS, 1, T0, "10.5 1", "BTCUSDT")
    path = written(tmp_path, "x.gz", [trade, good, BAD_LINES[problem]])
    error = refused(path, tmp_path / "out", clock="keep")
    assert problem in str(error)
    assert "line 3 " in str(error)
    assert "x.gz" in str(error)


@pytest.mark.parametrize("seed", range(6))
def test_known_books_are_those_that_were_recorded(tmp_path: Path, seed: int) -> None:
    """A book changes at random; its recorder loses, repeats and delays messages."""
    draw = np.random.default_rng(seed)
    book: Book = {(s, 100 + s * -k): 5 for s in (BID, ASK) for k in range(1, 5)}
    books: dict[int, Book] = {}
    lines: list[str] = []
    number, asked = 10, -1
    for i in range(400):
        changes: Book = {}
        first = number + 1
        for _ in range(int(draw.integers(0, 4))):
            side = int(draw.choice([BID, ASK]))
            key = side, 100 - side * int(draw.integers(1, 20))
            changes[key] = book[key] = int(draw.integers(0, 9) * (draw.random() < 0.6))
            number += 1
        number = max(number, first)
        book = {key: size for key, size in book.items() if size}
        books[number] = dict(book)
        texts = [
            ",".join(f"{p / 10} {n}" for (s, p), n in changes.items() if s == side)
            for side in (BID, ASK)
        ]
        line = update(i, first, number, *texts)
        lines += [line] * int(draw.choice([0, 1, 2], p=[0.02, 0.93, 0.05]))
        if asked < 0 and draw.random() < 0.05:
            asked = number
        elif asked >= 0 and draw.random() < 0.4:  # the answer may be much later
            known = books[asked]
            sides = [
                ",".join(f"{p / 10} {n}" for (s, p), n in known.items() if s == side)
                for side in (BID, ASK)
            ]
            lines.append(snapshot(i, asked, *sides))
            asked = -1
    dataset, report = spot(tmp_path, lines, beyond="empty")
    assert report.read == len(lines) + 2  # a trade and a quote
    found: Book = {}
    known_rows, at = False, None
    times = {json.loads(line.split(" ", 1)[1]).get("data", {}).get("E", 0): line for line in lines}
    checked = 0
    rows = depth_of(dataset)
    for row, following in itertools.zip_longest(rows, rows[1:]):
        at, side, price, size, flags = row
        if flags & CLEAR:
            found, known_rows = {}, False
        elif size:
            found[side, price] = size
        else:
            found.pop((side, price), None)
        known_rows |= bool(flags & LAST)
        whole = following is None or following[0] != at
        # A snapshot may come while updates were lost: then no line tells the book's number.
        if whole and known_rows and T0 + at in times:
            newest = json.loads(times[T0 + at].split(" ", 1)[1])["data"]["u"]
            assert found == books[newest]
            checked += 1
    assert checked > 100


@pytest.mark.skipif(not REAL.is_dir(), reason="the recorded streams are not here")
def test_real_books_have_the_touch_of_the_quotes(tmp_path: Path) -> None:
    """Updates and quotes of spot share one numbering, so both sides can be compared at each."""
    path = REAL / "spot_ethusdt_20240808.gz"
    with gzip.open(path, "rt") as file:
        lines = [line.rstrip("\n") for line in itertools.islice(file, 6000)]
    dataset, report = ingested(written(tmp_path, path.name, lines), tmp_path / "out")
    assert report.read == 6000
    tick, lot = dataset.instruments[0].tick_size, dataset.instruments[0].lot_size
    quotes, numbers = {}, []
    for line in lines:
        body = json.loads(line.split(" ", 1)[1])
        data = body.get("data", {})
        if "bookTicker" in body.get("stream", ""):
            steps = [Decimal(data[k]) / (tick if k in "ba" else lot) for k in "bBaA"]
            quotes[data["u"]] = tuple(map(int, steps))
        elif "depth" in body.get("stream", ""):
            numbers.append(data["u"])
    touches = []
    book: Book = {}
    rows = rows_of([*stream_depth(dataset)])
    for row, following in itertools.zip_longest(rows, rows[1:]):
        _, _, at, side, price, size, flags, *_ = row
        book[side, price] = size
        # Updates and the snapshot have times of their own: a row of another ends a message.
        ends = following is None or following[2] != at or (following[6] ^ flags) & SNAPSHOT
        if ends and not flags & SNAPSHOT:
            bid = max((p for (s, p), n in book.items() if s == BID and n), default=0)
            ask = min((p for (s, p), n in book.items() if s == ASK and n), default=0)
            touches.append((bid, book.get((BID, bid)), ask, book.get((ASK, ask))))
    assert len(touches) == len(numbers)
    checked = 0
    for number, touch in zip(numbers[3:], touches[3:], strict=True):
        earlier = [u for u in quotes if u <= number]
        if earlier:
            assert touch == quotes[max(earlier)]
            checked += 1
    assert checked > 400
