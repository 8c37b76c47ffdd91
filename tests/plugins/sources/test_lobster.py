"""LOBSTER's files: markets made here order by order, written as published, and read back."""

from __future__ import annotations

import gzip
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.api import run
from backtest.core.times import parse_utc
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.data.reading.stream import Stream
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.depth import ADD, CANCEL, CLEAR, EXECUTE, LAST, MODIFY, SNAPSHOT
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.lobster import Lobster

MIDNIGHT = parse_utc("2012-06-21T04:00:00Z")  # New York, in summer
OPEN = 34_200
ABSENT = {1: -9_999_999_999, -1: 9_999_999_999}


@dataclass
class Exchange:
    """A book of which only the best levels are recorded, as LOBSTER does.

    Attributes:
        levels: recorded.
        orders: id -> [side, price in 1/10,000, size], in the order of their arrival.
    """

    levels: int
    orders: dict[int, list[int]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    books: list[str] = field(default_factory=list)
    states: list[dict[int, dict[int, int]]] = field(default_factory=list)

    def sums(self) -> dict[int, dict[int, int]]:
        """What the best levels display, by side and price."""
        found: dict[int, dict[int, int]] = {1: defaultdict(int), -1: defaultdict(int)}
        for side, price, size in self.orders.values():
            found[side][price] += size
        return {
            side: dict(sorted(of.items(), reverse=side > 0)[: self.levels])
            for side, of in found.items()
        }

    def record(self, time: str, kind: int, order: int, size: int, price: int, side: int) -> None:
        """Write a message and the book after it."""
        self.messages.append(f"{time},{kind},{order},{size},{price},{side}")
        sums = self.sums()
        cells: list[int] = []
        for k in range(self.levels):
            for s in (-1, 1):
                of = [*sums[s].items()]
                cells += of[k] if k < len(of) else (ABSENT[s], 0)
        self.books.append(",".join(map(str, cells)))
        self.states.append(sums)


def market(seed: int, count: int, levels: int) -> Exchange:
    """Random orders, some of them from before the first message, and hidden executions."""
    draw = np.random.default_rng(seed)
    exchange = Exchange(levels)
    number, ns = 1, OPEN * 10**9
    for _ in range(count + 20):
        before = number <= 20
        ns += int(draw.integers(0, 3)) * int(draw.integers(1, 10**6))
        time = f"{ns // 10**9}.{ns % 10**9:09d}"
        seen = exchange.sums()
        resting = [*exchange.orders]
        what = (
            "add"
            if before or len(resting) < 10
            else draw.choice(["add", "less", "gone", "trade", "hid"])
        )
        side = int(draw.choice([1, -1]))
        if what == "add":
            price = 1_000_000 - side * int(draw.integers(1, 9)) * 100
            exchange.orders[number] = [side, price, int(draw.integers(1, 6)) * 10]
            entry = (1, number, exchange.orders[number][2], price, side)
            number += 1
            seen = exchange.sums()
        elif what == "hid":
            entry = (5, 0, 7, 1_000_000 + int(draw.choice([0, 50])), side)
            seen = {s: {entry[3]: 1} for s in (1, -1)}
        else:
            order = int(draw.choice(resting))
            if what == "trade" and seen[side]:
                best = next(iter(seen[side]))
                order = next(k for k, of in exchange.orders.items() if of[:2] == [side, best])
            side, price, size = exchange.orders[order]
            part = max(1, size // 2) if what != "gone" else size
            kind = {"less": 2, "gone": 3, "trade": 4}[what]
            exchange.orders[order][2] -= part
            if exchange.orders[order][2] == 0:
                del exchange.orders[order]
                kind = 3 if what == "less" else kind
            entry = (kind, order, part, price, side)
        # Nobody is told of what is deeper than the recorded levels.
        if not before and entry[3] in seen[entry[4]]:
            exchange.record(time, *entry)
    return exchange


def written(folder: Path, exchange: Exchange, symbol: str = "AAA", **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    day, times = more.get("day", "2012-06-21"), more.get("times", "34200000_57600000")
    for kind, lines in (("message", exchange.messages), ("orderbook", exchange.books)):
        name = f"{symbol}_{day}_{times}_{kind}_{exchange.levels}.csv"
        text = "".join(f"{line}\n" for line in lines).encode()
        if more.get("packed"):
            (folder / f"{name}.gz").write_bytes(gzip.compress(text))
        else:
            (folder / name).write_bytes(text)
    return folder


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("lobster", Lobster(**parameters), path, out, overwrite=True)
    made = report.written - report.depth["quotes"]
    assert report.read == made + report.depth["read"] + sum(report.refused.values())
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> str:
    with pytest.raises(DataError) as caught:
        ingest("lobster", Lobster(**parameters), path, out)
    assert not out.exists()
    return str(caught.value)


def rows_of(dataset: Dataset) -> list[tuple[int, ...]]:
    """ns after midnight, quote, trade and aggressor of each event."""
    batch: Any = read_events(dataset)
    names = ("bid", "ask", "bid_size", "ask_size", "trade_price", "trade_size", "aggressor")
    columns = [batch.ts_event - MIDNIGHT, *(getattr(batch, name) for name in names)]
    return [*zip(*(column.tolist() for column in columns), strict=True)]


def plainly(exchange: Exchange) -> list[tuple[int, ...]]:
    """The events of a market: an execution, then the touch if it is another."""
    none = (NO_PRICE, NO_PRICE, 0, 0)
    last = none
    rows: list[tuple[int, ...]] = []
    for message, state in zip(exchange.messages, exchange.states, strict=True):
        text, kind, _, size, price, side = message.split(",")
        seconds, decimals = text.split(".")
        ts = int(seconds) * 10**9 + int(decimals.ljust(9, "0"))
        if kind in "45" and int(price) % 100 == 0:
            rows.append((ts, *last, int(price) // 100, int(size), -int(side)))
        best = [next(iter(state[s].items()), (NO_PRICE * 100, 0)) for s in (1, -1)]
        now = best[0][0] // 100, best[1][0] // 100, best[0][1], best[1][1]
        if now != last:
            rows.append((ts, *now, NO_PRICE, 0, 0))
        last = now
    return rows


def depth_of(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables(map(pq.read_table, sorted(folder.glob("depth-*.parquet")))).to_pylist()


class Replay:
    """Orders as rows of depth say, in the words of their definition."""

    def __init__(self) -> None:
        self.orders: dict[int, list[int]] = {}

    def apply(self, row: dict[str, Any]) -> None:
        order, size = row["order_id"], row["size"]
        if row["flags"] & CLEAR:
            self.orders.clear()
        elif row["action"] in (ADD, MODIFY):
            self.orders[order] = [row["side"], row["price"] * 100, size]
        elif order in self.orders:
            assert row["action"] in (CANCEL, EXECUTE)
            assert self.orders[order][:2] == [row["side"], row["price"] * 100]
            assert self.orders[order][2] >= size
            self.orders[order][2] -= size
            if not self.orders[order][2]:
                del self.orders[order]
        else:
            assert row["action"] == EXECUTE  # hidden

    def sums(self) -> dict[int, dict[int, int]]:
        found: dict[int, dict[int, int]] = {1: defaultdict(int), -1: defaultdict(int)}
        for side, price, size in self.orders.values():
            found[side][price] += size
        return {side: dict(of) for side, of in found.items()}


@pytest.mark.parametrize("levels", [1, 2, 5, 10])
@pytest.mark.parametrize("seed", range(4))
def test_quotes_and_trades_are_those_of_the_market(seed: int, levels: int, tmp_path: Path) -> None:
    exchange = market(seed, 400, levels)
    assert {line.split(",")[1] for line in exchange.messages} == set("12345")
    dataset, report = ingested(written(tmp_path / "in", exchange), tmp_path / "out")
    assert rows_of(dataset) == plainly(exchange)
    assert report.read == len(exchange.messages)
    off = sum(line.split(",")[4].endswith("50") for line in exchange.messages)
    assert report.refused == {"hidden execution off the tick": off}
    assert off > 0


@pytest.mark.parametrize("levels", [1, 2, 5, 10])
@pytest.mark.parametrize("seed", range(4))
def test_orders_add_up_to_the_book_after_each_message(
    seed: int, levels: int, tmp_path: Path
) -> None:
    exchange = market(seed, 400, levels)
    dataset, report = ingested(written(tmp_path / "in", exchange), tmp_path / "out")
    assert dataset.depth_orders
    rows = depth_of(tmp_path / "out")
    assert sum(map(len, Stream(dataset).depth())) == report.depth["written"] == len(rows)
    assert validate(dataset).usable
    assert rows[0]["flags"] == CLEAR | SNAPSHOT
    assert [bool(row["flags"] & LAST) for row in rows].count(True) == 1
    times = []
    for message in exchange.messages:
        seconds, decimals = message.split(",")[0].split(".")
        times.append(MIDNIGHT + int(seconds) * 10**9 + int(decimals))
    replay, at = Replay(), 0
    for k, state in enumerate(exchange.states):
        if k + 1 < len(times) and times[k + 1] == times[k]:
            continue  # rows of one instant are told apart by messages alone
        while at < len(rows) and rows[at]["ts_event"].value <= times[k]:
            replay.apply(rows[at])
            at += 1
        for side, shown in replay.sums().items():
            best = dict(sorted(shown.items(), reverse=side > 0)[: len(state[side])])
            assert best == dict(state[side].items())
            if len(state[side]) < levels:
                assert len(shown) == len(state[side])
    assert at == len(rows)
    # Known orders are those of the market, with what is left of them.
    if levels == 10:
        for order, of in replay.orders.items():
            if order > 0:
                assert exchange.orders[order] == of


def test_messages_become_rows_of_their_orders(tmp_path: Path) -> None:
    exchange = Exchange(2)
    exchange.orders = {1: [1, 999_900, 30], 2: [-1, 1_000_200, 10]}
    exchange.orders[3] = [1, 999_900, 20]
    exchange.record("34200.1", 1, 3, 20, 999_900, 1)
    exchange.orders[3][2] = 15
    exchange.record("34200.2", 2, 3, 5, 999_900, 1)
    exchange.orders[1][2] = 10
    exchange.record("34200.3", 4, 1, 20, 999_900, 1)
    exchange.record("34200.4", 5, 0, 9, 1_000_100, -1)
    del exchange.orders[3]
    exchange.record("34200.5", 3, 3, 15, 999_900, 1)
    ingested(written(tmp_path / "in", exchange), tmp_path / "out")
    names = ("side", "price", "size", "flags", "order_id", "action")
    nameless = [row["order_id"] for row in depth_of(tmp_path / "out")[1:3]]
    assert max(nameless) < 0
    assert len({*nameless}) == 2
    assert [tuple(row[name] for name in names) for row in depth_of(tmp_path / "out")] == [
        (0, 0, 0, CLEAR | SNAPSHOT, 0, ADD),
        (1, 9999, 30, SNAPSHOT, nameless[0], ADD),
        (-1, 10002, 10, SNAPSHOT | LAST, nameless[1], ADD),
        (1, 9999, 20, 0, 3, ADD),
        (1, 9999, 5, 0, 3, CANCEL),
        (1, 9999, 20, 0, nameless[0], EXECUTE),
        (-1, 10001, 9, 0, 0, EXECUTE),
        (1, 9999, 15, 0, 3, CANCEL),
    ]


@pytest.mark.parametrize("levels", [1, 3])
def test_levels_are_those_of_the_book(levels: int, tmp_path: Path) -> None:
    exchange = market(7, 300, levels)
    dataset, _ = ingested(written(tmp_path / "in", exchange), tmp_path / "out", depth="levels")
    assert dataset.has_depth
    assert not dataset.depth_orders
    assert rows_of(dataset) == plainly(exchange)
    shown: dict[int, dict[int, int]] = {1: {}, -1: {}}
    for row in depth_of(tmp_path / "out"):
        if row["flags"] & CLEAR:
            shown[row["side"]].clear()
        else:
            shown[row["side"]][row["price"] * 100] = row["size"]
    found = {side: {p: s for p, s in of.items() if s} for side, of in shown.items()}
    assert found == exchange.states[-1]


@pytest.mark.parametrize("depth", ["orders", "levels", "none"])
def test_there_is_no_quote_during_a_halt(depth: Any, tmp_path: Path) -> None:
    exchange = Exchange(1, {1: [1, 999_900, 30], 2: [-1, 1_000_200, 10]})
    exchange.record("34200.0", 1, 1, 30, 999_900, 1)
    exchange.record("34201.0", 7, 0, 0, -1, -1)
    exchange.orders[1][2] = 20
    exchange.record("34202.0", 2, 1, 10, 999_900, 1)
    exchange.record("34203.0", 7, 0, 0, 0, -1)
    exchange.record("34204.0", 7, 0, 0, 1, -1)
    exchange.record("34205.0", 6, 9, 100, 1_000_000, 1)
    dataset, report = ingested(written(tmp_path / "in", exchange), tmp_path / "out", depth=depth)
    assert [(row[0] // 10**9, *row[1:5]) for row in rows_of(dataset)] == [
        (34_200, 9999, 10_002, 30, 10),
        (34_201, NO_PRICE, NO_PRICE, 0, 0),
        (34_204, 9999, 10_002, 20, 10),
    ]
    assert report.refused == {"cross trade": 1, "message about a trading halt": 3}
    if depth == "levels":  # stated anew, since the absent quote removed them
        after = [row for row in depth_of(tmp_path / "out") if row["ts_event"].second == 4]
        assert [row["size"] for row in after if not row["flags"]] == [20, 10]


def test_pairs_of_symbols_and_days(tmp_path: Path) -> None:
    for symbol in ("AAA", "BBB"):
        for day in ("2012-06-21", "2012-12-21"):
            written(tmp_path / "in", market(3, 50, 2), symbol, day=day, packed=symbol == "AAA")
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert dataset.card.symbols == ("AAA", "BBB")
    assert report.read == 4 * len(market(3, 50, 2).messages)
    summer, winter = (parse_utc(f"2012-{text}Z") for text in ("06-21T13:30:00", "12-21T14:30:00"))
    assert dataset.card.calendar is not None
    hours = dataset.card.calendar.sessions
    assert hours is not None
    assert [*hours] == [(t, t + 6 * 3600 * 10**9 + 1800 * 10**9) for t in (summer, winter)]
    times = read_events(dataset).ts_event
    assert int(times[0]) >= summer
    assert int(times[-1]) >= winter
    one = next((tmp_path / "in").glob("BBB_2012-06*message*"))
    assert ingested(one, tmp_path / "one")[1].read == report.read // 4


def test_a_zip_of_a_pair_and_other_files(tmp_path: Path) -> None:
    folder = written(tmp_path / "plain", market(3, 50, 2))
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "AAA.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
        archive.writestr("ReadMe.txt", "read me")
    assert "--ignore" in refused(tmp_path / "in", tmp_path / "out")
    _, report = ingested(tmp_path / "in", tmp_path / "out", ignore=("*.txt",))
    assert report.read > 20
    assert report.ignored == {"named by --ignore": 1}


def test_a_tick_below_a_cent_and_a_seventh_column(tmp_path: Path) -> None:
    exchange = Exchange(1, {1: [1, 5_055, 30]})
    exchange.record("34200", 1, 1, 30, 5_055, 1)
    exchange.messages = [f"{line},null" for line in exchange.messages]
    folder = written(tmp_path / "in", exchange)
    assert "row 0 displays a price that is not a multiple of 0.01" in refused(
        folder, tmp_path / "out"
    )
    dataset, _ = ingested(folder, tmp_path / "out", tick_size="0.0001")
    assert rows_of(dataset)[0][1] == 5055
    with pytest.raises(ValueError, match="multiple"):
        Lobster(tick_size="0.00005")


@pytest.mark.parametrize(
    ("kind", "line", "problem"),
    [
        ("message", "34200.5,9,1,10,1000000,1", "row 3 has the type 9"),
        ("message", "34200.5,1,1,-10,1000000,1", "row 3 has the size -10"),
        ("message", "34200.5,1,1,10,-1000000,1", "row 3 has the price -1000000"),
        ("message", "34200.5,1,1,10,1000000,0", "row 3 has the direction 0"),
        ("message", "34200.5,1,0,10,1000000,1", "row 3 has the order 0"),
        ("message", "34100.5,1,1,10,1000000,1", "row 3 has an earlier time"),
        ("message", "99999.5,1,1,10,1000000,1", "row 3 has the time '99999.5'"),
        ("message", "x,1,1,10,1000000,1", "row 3 has the time 'x'"),
        ("message", "34200.5,1,1,10,1000000", "row 3 cannot be read as CSV"),
        ("message", "34200.5,1,,10,1000000,1", "row 3"),
        ("message", "34200.5,1,1,1.5,1000000,1", "row 3 cannot be read as CSV"),
        ("message", None, "row 3 has no counterpart: the orderbook file has more rows"),
        ("orderbook", None, "row 3 has no counterpart: the message file has more rows"),
        ("orderbook", "1000200,10,1000000", "row 3 cannot be read as CSV"),
        ("orderbook", "1000200,-10,999900,30,9999999999,0,-9999999999,0", "is not above 0"),
        ("orderbook", "9999999999,0,999900,30,1000200,5,-9999999999,0", "after one that is not"),
        ("orderbook", "1000200,1,999900,30,1000100,5,-9999999999,0", "not in the order"),
    ],
)
def test_what_is_not_as_lobster_writes_it_is_refused(
    kind: str, line: str | None, problem: str, tmp_path: Path
) -> None:
    exchange = Exchange(2, {1: [1, 999_900, 30], 2: [-1, 1_000_200, 10]})
    for _ in range(4):
        exchange.record("34200.5", 1, 1, 30, 999_900, 1)
    lines = exchange.messages if kind == "message" else exchange.books
    lines[3:] = [] if line is None else [line]
    message = refused(written(tmp_path / "in", exchange), tmp_path / "out")
    assert problem in message
    assert "AAA_2012-06-21_34200000_57600000" in message


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", market(1, 50, 2))
    message = next(folder.glob("*message*"))
    book = next(folder.glob("*orderbook*"))
    text = book.read_text()
    book.unlink()
    assert "the orderbook file that belongs to it is not there" in refused(folder, tmp_path / "out")
    assert "is not there" in refused(message, tmp_path / "out")
    book.write_text(text)
    book.with_name("notes.csv").write_text("1\n")
    assert "its name does not show" in refused(folder, tmp_path / "out")
    book.with_name("notes.csv").unlink()
    written(folder, market(1, 50, 3), times="34200000_50000000")
    assert "same symbol and time" in refused(folder, tmp_path / "out")
    for path in folder.iterdir():
        path.unlink()
    assert "holds no .csv files" in refused(folder, tmp_path / "out")
    written(folder, Exchange(2))
    assert "there are no rows" in refused(folder, tmp_path / "out")


def test_a_run_on_what_was_ingested(tmp_path: Path) -> None:
    exchange = market(2, 600, 5)
    dataset, _ = ingested(written(tmp_path / "in", exchange), tmp_path / "out")
    done = run(
        dataset=str(tmp_path / "out"),
        strategy="imbalance",
        accountant="market",
        latency={"service": "constant:1us"},
        runs=tmp_path / "runs",
    )
    assert done.metrics["timing"]["events"] == len(rows_of(dataset))
    assert done.table("fills").height > 0
