"""The market of orders, its books kept once more in plain Python; copies that know less."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.cli import main
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.data.collapse import collapse, levels_of
from backtest.data.dataset import open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.data.reading.depth import stream_depth
from backtest.data.synthetic.orders import OrderMarket, generate_orders, order_batches
from backtest.errors import DataError, UsageError
from backtest.market.depth import (
    ADD,
    ASK,
    BID,
    CANCEL,
    CLEAR,
    EXECUTE,
    LAST,
    MODIFY,
    SNAPSHOT,
    DepthBatch,
    DepthRows,
)
from backtest.market.events import NO_PRICE
from tests.data.depth_rows import mixed, rows_of
from tests.parquet_files import assert_same

MARKETS = {
    "plain": OrderMarket(seed=3),
    "snapshots": OrderMarket(seed=4, symbols=3, snapshots=500),
    "narrow": OrderMarket(seed=5, symbols=1, reach=2, target=20, size=2, limits=450, cancels=200),
    "takers": OrderMarket(seed=6, limits=500, cancels=100, modifies=50),
}


class Queues:
    """A symbol's orders, level by level in the order of their queues."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.levels: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.of: dict[int, tuple[int, int]] = {}

    def best(self, side: int) -> int:
        prices = [price for (own, price), queue in self.levels.items() if own == side and queue]
        return max(prices, key=lambda price: side * price) if prices else NO_PRICE

    def displayed(self, side: int, price: int) -> int:
        return sum(self.sizes[order] for order in self.levels[side, price])

    def remove(self, order: int, lots: int) -> None:
        assert 0 < lots <= self.sizes[order]
        self.sizes[order] -= lots
        if not self.sizes[order]:
            self.levels[self.of.pop(order)].remove(order)
            del self.sizes[order]

    def add(self, order: int, side: int, price: int, size: int) -> None:
        assert order not in self.of
        assert size > 0
        self.of[order], self.sizes[order] = (side, price), size
        self.levels[side, price].append(order)


def in_order(market: OrderMarket, actions: int) -> list[tuple[bool, tuple[int, ...]]]:
    """Events and rows of depth as the bus has them."""
    found: list[tuple[bool, tuple[int, ...]]] = []
    for events, depth in order_batches(market, actions):
        names = [n for n in events.__dataclass_fields__ if n not in ("ts_recv", "features")]
        rows = list(zip(*(getattr(events, n).tolist() for n in names), strict=True))
        names = ["symbol", "ts_event", "side", "price", "size", "flags", "order_id", "action"]
        others = list(zip(*(getattr(depth, n).tolist() for n in names), strict=True))
        at = 0
        for follows, row in zip(depth.follows.tolist(), others, strict=True):
            found += [(False, event) for event in rows[at:follows]]
            at = follows
            found.append((True, row))
        found += [(False, event) for event in rows[at:]]
    return found


class Checks:
    """Asserts of each event and each row that it follows from the books before it."""

    def __init__(self, symbols: int) -> None:
        self.books = [Queues() for _ in range(symbols)]
        self.counts: dict[Any, int] = defaultdict(int)
        self._quoted: dict[int, tuple[int, ...]] = {}
        self._trade: tuple[int, ...] | None = None
        self._restated: list[tuple[int, ...]] = []

    def event(self, row: tuple[int, ...]) -> None:
        assert self._trade is None  # the row of the trade before came right after it
        symbol, ts, *quote, price, size, aggressor = row
        if size:
            self._trade = (symbol, ts, -aggressor, price, size)
            self.counts["trades"] += 1
            assert tuple(quote) == self._quoted[symbol]
            return
        book = self.books[symbol]
        bid, ask = touch = [book.best(BID), book.best(ASK)]
        sides = zip((BID, ASK), touch, strict=True)
        sizes = [0 if p == NO_PRICE else book.displayed(s, p) for s, p in sides]
        assert quote == [*touch, *sizes]
        assert self._quoted.get(symbol) != tuple(quote)
        assert NO_PRICE in touch or bid < ask
        self._quoted[symbol] = tuple(quote)
        self.counts["quotes"] += 1

    def row(self, row: tuple[int, ...]) -> None:
        symbol, _, side, price, size, flags, order, action = row
        book = self.books[symbol]
        self.counts[action] += 1
        if flags:
            self._snapshot(book, row)
        elif action == EXECUTE:
            assert row[:5] == self._trade
            self._trade = None
            assert price == book.best(side)
            assert order == book.levels[side, price][0]
            book.remove(order, size)
        elif action == CANCEL:
            assert book.of[order] == (side, price)
            book.remove(order, size)
        elif action == MODIFY:
            assert book.of[order][0] == side
            stays = book.of[order][1] == price and size <= book.sizes[order]
            if stays:
                book.sizes[order] = size
            else:
                book.remove(order, book.sizes[order])
                book.add(order, side, price, size)
            self.counts["kept" if stays else "moved"] += 1
        else:
            book.add(order, side, price, size)

    def _snapshot(self, book: Queues, row: tuple[int, ...]) -> None:
        _, _, side, price, size, flags, order, action = row
        if flags & CLEAR:
            assert flags == CLEAR | SNAPSHOT
            self._restated = [
                (own, p, book.sizes[o], o)
                for own in (BID, ASK)
                for p in sorted({p for s, p in book.levels if s == own}, key=lambda p: -own * p)
                for o in book.levels[own, p]
            ]
            self.counts["snapshots"] += 1
            return
        assert (side, price, size, order) == self._restated.pop(0)
        assert action == ADD
        assert bool(flags & LAST) == (not self._restated)

    def done(self) -> None:
        assert not self._restated
        assert self._trade is None


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
def test_every_row_follows_from_the_book(market: OrderMarket) -> None:
    checks = Checks(market.symbols)
    last = 0
    for of_depth, row in in_order(market, 6000):
        assert row[1] >= last
        last = row[1]
        if of_depth:
            checks.row(row)
        else:
            checks.event(row)
    checks.done()
    counts = checks.counts
    assert min(counts[k] for k in ("trades", "quotes", ADD, EXECUTE, CANCEL, MODIFY)) > 100
    assert min(counts["kept"], counts["moved"]) > 10
    assert (counts["snapshots"] > 0) == bool(market.snapshots)
    assert all(len(book.sizes) > 8 for book in checks.books)


def test_the_same_parameters_give_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate_orders(OrderMarket(seed=seed), tmp_path / name, actions=30_000, name="m")
    hashes = [open_dataset(tmp_path / name).data_hash() for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    dataset = open_dataset(tmp_path / "a")
    assert dataset.depth_orders
    assert validate(dataset).usable
    assert dataset.card.notes["generator"]["actions"] == 30_000
    with pytest.raises(DataError, match="already exists"):
        generate_orders(OrderMarket(), tmp_path / "a", actions=10)


def test_more_actions_are_the_same_market(tmp_path: Path) -> None:
    short, long = (in_order(MARKETS["snapshots"], n) for n in (2000, 5000))
    assert long[: len(short)] == short


@pytest.mark.parametrize(
    "wrong",
    [{"symbols": 0}, {"limits": 900}, {"target": 10}, {"base": 5}, {"rate": 0}, {"seed": -1}],
)
def test_parameters_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least|of 1000|above"):
        OrderMarket(**wrong)


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
def test_levels_are_sums_of_the_orders(tmp_path: Path, market: OrderMarket) -> None:
    generate_orders(market, tmp_path / "orders", actions=4000)
    orders = open_dataset(tmp_path / "orders")
    collapse(orders, tmp_path / "levels", to="levels")
    collapse(orders, tmp_path / "events", to="events")
    levels, events = (open_dataset(tmp_path / name) for name in ("levels", "events"))
    assert (levels.has_depth, levels.depth_orders, events.has_depth) == (True, False, False)
    assert validate(levels).usable
    for copy in (levels, events):
        assert_same(read_events(copy), read_events(orders))
    sums = [level_sums(rows_of([*stream_depth(of)])) for of in (orders, levels)]
    assert sums[0] == sums[1]
    assert len(sums[0]) > 1000
    with pytest.raises(UsageError, match="no rows of orders"):
        collapse(levels, tmp_path / "again", to="levels")
    assert not (tmp_path / "again").exists()


def level_sums(rows: list[tuple[int, ...]]) -> dict[tuple[int, int], dict[Any, int]]:
    """What levels display after the rows of each symbol at each place, outside of snapshots."""
    books: dict[int, Queues] = defaultdict(Queues)
    plain: dict[int, dict[Any, int]] = defaultdict(dict)
    found: dict[tuple[int, int], dict[Any, int]] = {}
    for follows, symbol, _, side, price, size, flags, order, action in rows:
        if flags & CLEAR:
            books[symbol], plain[symbol] = Queues(), {}
        elif action < 0:  # a level
            plain[symbol] = {**plain[symbol], (side, price): size}
        else:
            book = books[symbol]
            if action == MODIFY and order in book.of:
                book.remove(order, book.sizes[order])
            if action in (ADD, MODIFY):
                book.add(order, side, price, size)
            else:
                book.remove(order, size)
            plain[symbol] = {key: book.displayed(*key) for key in book.levels}
        shown = {key: size for key, size in plain[symbol].items() if size}
        if not flags or flags & LAST:
            found[symbol, follows] = shown
    return {key: value for key, value in found.items() if value}


def one_by_one(*rows: tuple[int, int, int, int, int, int]) -> list[tuple[int, ...]]:
    """Side, price, size and flags of the levels that orders make: side, price, size, flags, …"""
    columns = np.array(rows, dtype=np.int64).T
    depth = DepthBatch(
        symbol=np.zeros(len(rows), dtype=np.int32),
        ts_event=np.arange(len(rows)),
        follows=np.arange(len(rows)),
        side=columns[0].astype(np.int8),
        price=columns[1],
        size=columns[2],
        flags=columns[3].astype(np.uint8),
        order_id=columns[4],
        action=columns[5].astype(np.int8),
    )
    return [(row[0], *row[3:7]) for row in rows_of([*levels_of(iter([depth]))])]


def test_rules_of_orders_that_the_market_does_not_use() -> None:
    assert one_by_one(
        (BID, 100, 5, 0, 1, MODIFY),  # unknown: an add
        (BID, 100, 4, 0, 9, CANCEL),  # unknown: nothing
        (BID, 100, 4, 0, 9, EXECUTE),  # unknown: a print
        (BID, 99, 3, 0, 1, ADD),  # there already: a modification
        (BID, 99, 9, 0, 1, EXECUTE),  # more than there is
    ) == [
        (0, BID, 100, 0, SNAPSHOT | LAST),
        (0, BID, 100, 5, 0),
        (3, BID, 100, 0, 0),
        (3, BID, 99, 3, 0),
        (4, BID, 99, 0, 0),
    ]


def test_levels_are_not_told_before_a_snapshot_ends() -> None:
    assert (
        one_by_one(
            (BID, 100, 5, 0, 1, ADD),
            (ASK, 101, 5, 0, 2, ADD),
            (BID, 0, 0, CLEAR, 0, ADD),
            (BID, 100, 2, 0, 3, ADD),  # some of the level
            (ASK, 101, 1, 0, 2, CANCEL),
            (BID, 100, 2, SNAPSHOT, 3, ADD),
            (BID, 100, 4, SNAPSHOT, 4, ADD),
            (ASK, 101, 4, SNAPSHOT | LAST, 2, ADD),
            (BID, 100, 1, 0, 4, CANCEL),
        )[2:]
        == [
            (1, ASK, 101, 5, 0),
            (2, BID, 0, 0, CLEAR),
            (4, ASK, 101, 4, 0),
            (7, BID, 100, 6, SNAPSHOT),
            (7, ASK, 101, 4, SNAPSHOT | LAST),
            (8, BID, 100, 5, 0),
        ]
    )


def test_an_empty_snapshot_ends() -> None:
    assert one_by_one(
        (BID, 100, 5, 0, 1, ADD),
        (0, 0, 0, CLEAR | SNAPSHOT | LAST, 0, ADD),
        (BID, 99, 1, 0, 2, ADD),
    )[2:] == [
        (1, 0, 0, 0, CLEAR | SNAPSHOT),
        (1, BID, 1, 0, SNAPSHOT | LAST),
        (2, BID, 99, 1, 0),
    ]


def test_random_rows_make_levels_that_may_be_written(tmp_path: Path) -> None:
    data = mixed(300, 900, orders=True, seed=11)
    rows = [*levels_of(iter([data.among()]))]
    assert sum(map(len, rows)) > 200
    columns = {name: getattr(rows[0], name) for name in DepthRows.__dataclass_fields__}
    event = data.events.select(slice(0, 1))
    event.ts_event[:] = columns["ts_event"][0]
    names = [n for n in event.__dataclass_fields__ if n != "features"]
    plain = type(event)(**{name: getattr(event, name) for name in names})
    card = Card(name="x", symbols=("A", "B", "C"))
    write_canonical(tmp_path / "d", card, [plain, DepthRows(**columns)])
    assert json.dumps(validate(open_dataset(tmp_path / "d")).as_dict()).count('"error"') == 0


def status(words: list[str]) -> Any:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_the_command_writes_orders_or_levels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--events", "3000", "--seed", "7", "--set", "reach=5", "--set", "target=50"]
    for depth in ("orders", "levels"):
        assert status(["data", "generate", str(tmp_path / depth), "--depth", depth, *words]) == 0
        assert f"3000 actions of traders in 2 symbols, with the depth of {depth}" in "".join(
            capsys.readouterr().out.splitlines()
        )
    orders, levels = (open_dataset(tmp_path / name) for name in ("orders", "levels"))
    assert (orders.depth_orders, levels.depth_orders) == (True, False)
    assert_same(read_events(orders), read_events(levels))
    made = rows_of([*levels_of(stream_depth(orders))])
    assert rows_of([*stream_depth(levels)]) == made
    assert orders.card.notes["generator"]["reach"] == 5
    words = ["data", "generate", str(tmp_path / "no"), "--depth", "orders", "--skip", "5"]
    assert status(words) == 2
    assert "generated from its beginning" in capsys.readouterr().err


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
def test_a_window_has_the_queues_of_the_whole(tmp_path: Path, market: OrderMarket) -> None:
    generate_orders(market, tmp_path / "m", actions=5000)
    dataset = open_dataset(tmp_path / "m")
    rows = rows_of([*stream_depth(dataset)])
    whole = queues(rows)
    for number in (500, 2500, len(rows) - 3):
        found = rows_of([*stream_depth(dataset, start=rows[number][2])])
        later = [row for row in rows if row[2] >= rows[number][2]]
        assert [row[1:] for row in found[-len(later) :]] == [row[1:] for row in later]
        opening = found[: -len(later)]
        assert sum(row[6] == CLEAR | SNAPSHOT for row in opening) == market.symbols
        assert sum(bool(row[6] & LAST) for row in opening) == market.symbols
        assert queues(found) == whole


def queues(rows: list[tuple[int, ...]]) -> list[tuple[int, dict[Any, list[tuple[int, int]]]]]:
    """Each symbol's orders after the rows, with their lots, in the order of their queues."""
    books: dict[int, Queues] = defaultdict(Queues)
    for _, symbol, _, side, price, size, flags, order, action in rows:
        book = books[symbol]
        if flags & CLEAR:
            books[symbol] = Queues()
        elif action in (CANCEL, EXECUTE):
            book.remove(order, size)
        elif action == MODIFY and book.of[order][1] == price and size <= book.sizes[order]:
            book.sizes[order] = size
        else:
            if order in book.of:
                book.remove(order, book.sizes[order])
            book.add(order, side, price, size)
    shown = {
        symbol: {at: [(o, book.sizes[o]) for o in ids] for at, ids in book.levels.items() if ids}
        for symbol, book in books.items()
    }
    return sorted(shown.items(), key=lambda item: item[0])
