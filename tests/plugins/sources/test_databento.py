"""Databento's files: made here and real ones, against the vendor's own decoder read plainly."""

from __future__ import annotations

import os
import sys
from collections import Counter
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backtest
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.data.reading.stream import Stream
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.depth import ADD, CANCEL, CLEAR, EXECUTE, MODIFY
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources import backtest_register_sources
from backtest.plugins.sources.databento import DatabentoDbn
from backtest.plugins.sources.shared.time_order import SLACK, TimeOrder
from tests.mutations import refusal
from tests.plugins.sources.dbn_files import (
    BAD,
    DAY,
    DAYS,
    LAST,
    NANO,
    SNAPSHOT,
    T0,
    TOB,
    decoded,
    definition,
    level_record,
    market_by_order,
    metadata,
    order,
    plainly,
    trade,
    v,
    written,
    zstd,
)

SHARED = Path(os.environ.get("BACKTEST_SHARED", Path(__file__).parents[4] / "shared"))
REAL = SHARED / "data" / "dbn"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the vendor's files lie beside the repository")
QUARTER = NANO // 4
COLUMNS = (
    *("symbol", "ts_event", "ts_recv", "bid", "ask", "bid_size", "ask_size"),
    *("trade_price", "trade_size", "aggressor"),
)


def ingested(path: Path, out: Path, **parameters: Any) -> tuple[Dataset, IngestReport]:
    report = ingest("databento", DatabentoDbn(**parameters), path, out)
    return open_dataset(out), report


def refused(path: Path, out: Path, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        ingest("databento", DatabentoDbn(**parameters), path, out)
    assert not out.exists()
    return caught.value


def rows_of(dataset: Dataset) -> list[tuple[int, ...]]:
    e = read_events(dataset)
    there = [c for c in COLUMNS if getattr(e, c) is not None]
    assert len(there) == len(COLUMNS)
    return [tuple(row) for row in np.stack([getattr(e, c) for c in COLUMNS], axis=1).tolist()]


def in_order(rows: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return sorted(rows, key=lambda row: row[1])


def whole(report: IngestReport) -> bool:
    """Every record is an event, or refused, or two events; or an event, or depth, or refused."""
    refused_ = sum(report.refused.values())
    if report.depth:
        made = report.written - report.depth["quotes"] + report.depth["read"]
        return report.read == made + refused_
    two = "record of a trade and a new quote, written as two events"
    return report.read + report.repaired.get(two, 0) == report.written + refused_


TOPS = [(100.25, 100.5, 3, 4), (100.25, 100.5, 2, 4), (None, 100.5, 0, 4), (100.25, 100.75, 1, 1)]


def by_price(kind: Any, seed: int, count: int = 400) -> list[Any]:
    draw = np.random.default_rng(seed)
    out, ts = [], T0
    for _ in range(count):
        ts += int(draw.integers(0, 3)) * 1000
        more = {"number": int(draw.choice([7, 8])), "recv": ts + 700}
        top = TOPS[int(draw.integers(len(TOPS)))]
        if draw.random() < 0.3:
            flags = LAST if draw.random() < 0.5 else 0
            side = "ABN"[int(draw.integers(3))]
            out.append(
                level_record(kind, "T", ts, side, [top], price=100.25, size=2, flags=flags, **more)
            )
        else:
            flags = LAST if draw.random() < 0.8 else 0
            out.append(level_record(kind, "A", ts, "B", [top], flags=flags, **more))
    return out


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("name", ["a.dbn", "a.dbn.zst"])
def test_quotes_and_trades_by_price_are_those_of_a_plain_reading(
    tmp_path: Path, name: str, version: int
) -> None:
    records = by_price(v.MBP1Msg, version)
    path = written(tmp_path / "in" / name, "mbp-1", records, version=version)
    dataset, report = ingested(path, tmp_path / "out")
    assert dataset.symbols == ("ESU4", "NQU4")
    assert rows_of(dataset) == in_order(plainly(decoded(path), {7: 0, 8: 1}, QUARTER))
    assert report.read == len(records)
    assert whole(report)
    assert not dataset.has_depth


@pytest.mark.parametrize("seed", range(4))
def test_books_of_orders_are_those_of_a_plain_reading(tmp_path: Path, seed: int) -> None:
    records = market_by_order(seed, 600)
    path = written(tmp_path / "a.dbn", "mbo", records)
    dataset, report = ingested(path, tmp_path / "out")
    assert rows_of(dataset) == in_order(plainly(decoded(path), {7: 0, 8: 1}, QUARTER))
    assert report.written > 150
    assert whole(report)
    assert dataset.depth_orders


def replayed(dataset: Dataset) -> tuple[int, Counter[int]]:
    """Orders followed through the rows of depth: each quote is their touch; rows by action."""
    events: Any = read_events(dataset)
    orders: dict[tuple[int, int], tuple[int, int, int]] = {}
    actions: Counter[int] = Counter()
    checked, at = 0, 0

    def check(until: int) -> None:
        nonlocal at, checked
        for i in range(at, until):
            if events.trade_price[i] != NO_PRICE:
                continue
            s = int(events.symbol[i])
            for sign, price, size in (
                (1, events.bid[i], events.bid_size[i]),
                (-1, events.ask[i], events.ask_size[i]),
            ):
                side = [
                    (p * sign, n) for (o, _), (d, p, n) in orders.items() if (o, d) == (s, sign)
                ]
                best = max((p for p, _ in side), default=None)
                assert price == (NO_PRICE if best is None else best * sign)
                assert size == sum(n for p, n in side if p == best)
                checked += 1
        at = until

    batch: Any
    for batch in Stream(dataset).depth():
        for k in range(len(batch)):
            check(int(batch.follows[k]))
            s, flags = int(batch.symbol[k]), int(batch.flags[k])
            if flags & CLEAR:
                sides = (1, -1) if batch.side[k] == 0 else (int(batch.side[k]),)
                orders = {i: o for i, o in orders.items() if i[0] != s or o[0] not in sides}
                continue
            key = s, int(batch.order_id[k])
            side, price, size = int(batch.side[k]), int(batch.price[k]), int(batch.size[k])
            action = int(batch.action[k])
            actions[action] += 1
            if action in (ADD, MODIFY):
                assert (key in orders) == (action == MODIFY)
                orders[key] = side, price, size
            elif key in orders:
                assert orders[key][:2] == (side, price)
                left = orders[key][2] - size
                assert left >= 0
                orders[key] = side, price, left
                if not left:
                    del orders[key]
            else:
                assert action == EXECUTE
                assert key[1] == 0
    check(len(events))
    return checked, actions


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_depth_hold_the_orders_of_the_book(tmp_path: Path, seed: int) -> None:
    records = market_by_order(seed, 800)
    path = written(tmp_path / "a.dbn.zst", "mbo", records)
    dataset, _ = ingested(path, tmp_path / "out")
    checked, actions = replayed(dataset)
    assert checked > 200
    assert min(actions[a] for a in (ADD, EXECUTE, CANCEL, MODIFY)) > 20
    # Whatever traded against a known side is executed against it, and nothing else is.
    traded = sum(r.size for r in records if str(r.action) == "T" and str(r.side) != "N")
    unsaid = sum(
        f.size
        for t, f in pairwise(records)
        if (str(t.action), str(t.side)) == ("T", "N") and str(f.action) == "F"
    )
    executed = sum(
        int(b.size[(b.action == EXECUTE) & (b.flags & CLEAR == 0)].sum())
        for b in Stream(dataset).depth()
    )
    assert executed == traded + unsaid


def test_a_fill_is_the_execution_of_the_cancel_after_it(tmp_path: Path) -> None:
    records = [
        order("R", T0),
        order("A", T0 + 1, "B", 100, size=5, id=1),
        order("A", T0 + 2, "B", 100, size=4, id=2),
        order("T", T0 + 3, "A", 100, size=7, flags=0),
        order("F", T0 + 3, "B", 100, size=5, id=1, flags=0),
        order("C", T0 + 3, "B", 100, size=5, id=1, flags=0),
        order("F", T0 + 3, "B", 100, size=2, id=2, flags=0),
        order("M", T0 + 3, "B", 100, size=1, id=2),  # 2 filled, 1 taken back
        order("C", T0 + 4, "B", 100, size=1, id=2),
        order("T", T0 + 5, "B", 101, size=3),  # of an order that is not displayed
    ]
    dataset, report = ingested(written(tmp_path / "a.dbn", "mbo", records), tmp_path / "out")
    batch: Any
    (batch,) = Stream(dataset).depth()
    rows = np.stack(
        [batch.follows, batch.side, batch.price, batch.size, batch.order_id, batch.action], axis=1
    )
    assert rows.tolist() == [
        [0, 0, 0, 0, 0, ADD],
        [0, 1, 100, 5, 1, ADD],
        [1, 1, 100, 4, 2, ADD],
        [3, 1, 100, 5, 1, EXECUTE],
        [3, 1, 100, 2, 2, EXECUTE],
        [3, 1, 100, 1, 2, CANCEL],
        [4, 1, 100, 1, 2, CANCEL],
        [6, -1, 101, 3, 0, EXECUTE],
    ]
    assert batch.flags.tolist() == [7, 0, 0, 0, 0, 0, 0, 0]
    assert [row[3:] for row in rows_of(dataset)] == [
        (100, NO_PRICE, 5, 0, NO_PRICE, 0, 0),
        (100, NO_PRICE, 9, 0, NO_PRICE, 0, 0),
        (100, NO_PRICE, 9, 0, 100, 7, -1),
        (100, NO_PRICE, 1, 0, NO_PRICE, 0, 0),
        (NO_PRICE, NO_PRICE, 0, 0, NO_PRICE, 0, 0),
        (NO_PRICE, NO_PRICE, 0, 0, 101, 3, 1),
    ]
    assert whole(report)


def test_an_iceberg_order_joins_the_level_anew(tmp_path: Path) -> None:
    records = [
        order("R", T0),
        order("A", T0 + 1, "B", 100, size=5, id=1),
        order("A", T0 + 2, "B", 100, size=4, id=2),
        order("T", T0 + 3, "A", 100, size=5, flags=0),
        order("F", T0 + 3, "B", 100, size=5, id=1, flags=0),
        order("M", T0 + 3, "B", 100, size=5, id=1),
        order("M", T0 + 4, "B", 99, size=4, id=2),
        order("M", T0 + 5, "B", 99, size=4, id=2),  # says nothing new
        order("M", T0 + 6, "B", 99, size=0, id=2),
    ]
    dataset, report = ingested(written(tmp_path / "a.dbn", "mbo", records), tmp_path / "out")
    batch: Any
    (batch,) = Stream(dataset).depth()
    rows = [batch.action, batch.order_id, batch.price, batch.size]
    assert np.stack(rows, axis=1).tolist()[1:] == [
        [ADD, 1, 100, 5], [ADD, 2, 100, 4], [EXECUTE, 1, 100, 5], [ADD, 1, 100, 5],
        [MODIFY, 2, 99, 4], [CANCEL, 2, 99, 4],
    ]  # fmt: skip
    assert whole(report)


def test_a_snapshot_is_known_once_it_ends(tmp_path: Path) -> None:
    made = T0 + 10 * NANO
    flags = SNAPSHOT | 8
    records = [
        order("C", T0, "A", 101, size=1, id=9),  # of an order from before the file
        order("A", T0 + 1, "B", 99, size=1, id=3),
        order("R", T0 - 5, recv=made, flags=flags),
        order("A", T0 - 9, "B", 100, size=5, id=1, recv=made, flags=flags),
        order("A", T0 - 7, "A", 101, size=5, id=2, recv=made, flags=flags | LAST),
        order("A", made - 3, "A", 101, size=1, id=4, recv=made + 5),
    ]
    dataset, report = ingested(written(tmp_path / "a.dbn", "mbo", records), tmp_path / "out")
    assert [row[1:7] for row in rows_of(dataset)] == [
        (made, made, 100, 101, 5, 5),
        (made, made + 5, 100, 101, 5, 6),
    ]
    (batch,) = Stream(dataset).depth()
    assert batch.flags.tolist() == [CLEAR, 0, CLEAR | 1, 1, 1 | 4, 0]
    assert report.refused == {"cancel of an order that is not in the book": 1}
    assert report.depth == {"read": 5, "written": 6, "quotes": 2}
    assert [*report.repaired.values()] == [2]
    assert whole(report)


def test_a_book_of_tops_alone_shows_the_top(tmp_path: Path) -> None:
    top = LAST | TOB
    records = [
        order("A", T0, "B", 100, size=5, flags=top),
        order("A", T0 + 1, "A", 101, size=2, flags=top),
        order("A", T0 + 2, "B", 99, size=1, flags=top),
        order("A", T0 + 3, "A", None, size=0, flags=top),
    ]
    dataset, _ = ingested(written(tmp_path / "a.dbn", "mbo", records), tmp_path / "out")
    assert [row[3:7] for row in rows_of(dataset)] == [
        (100, NO_PRICE, 5, 0),
        (100, 101, 5, 2),
        (99, 101, 1, 2),
        (99, NO_PRICE, 1, 0),
    ]
    assert replayed(dataset)[0] == 8


def ladder(*shift: int) -> list[Any]:
    """Ten levels a side; ``shift`` moves the bids and changes the size of the first."""
    moved, size = shift
    return [
        (100 - 0.25 * (moved + i), 101 + 0.25 * i, size if i == 0 else 3 + i, 9) for i in range(10)
    ]


def test_ten_levels_are_depth_beside_their_events(tmp_path: Path) -> None:
    short = [(100.0, 101.0, 3, 9)] + [(None, None, 0, 0)] * 9
    states = [ladder(0, 3), ladder(0, 4), ladder(2, 3), ladder(0, 3), short, ladder(1, 3)]
    records = [
        level_record(v.MBP10Msg, "A", T0 + i, "B", levels, flags=LAST)
        for i, levels in enumerate(states)
    ]
    records.insert(1, level_record(v.MBP10Msg, "C", T0, "B", short, flags=0))
    records.append(level_record(v.MBP10Msg, "A", T0 + 9, "B", short, flags=LAST | BAD))
    dataset, report = ingested(written(tmp_path / "a.dbn", "mbp-10", records), tmp_path / "out")
    assert not dataset.depth_orders
    assert whole(report)
    events = rows_of(dataset)
    assert [row[3:7] for row in events[:3]] == [
        (400, 404, 3, 9),
        (400, 404, 4, 9),
        (398, 404, 3, 9),
    ]
    levels: dict[tuple[int, int], int] = {}
    at = 0
    (batch,) = Stream(dataset).depth()
    seen = []
    for k, state in enumerate(states):
        while at < len(batch) and batch.ts_event[at] <= T0 + k:
            key = int(batch.side[at]), int(batch.price[at])
            seen.append((k, *key, int(batch.size[at])))
            levels[key] = int(batch.size[at])
            at += 1
        shown = [((1, b * 4), n) for b, _, n, _ in state if b is not None]
        shown += [((-1, a * 4), n) for _, a, _, n in state if a is not None]
        for key, size in shown:
            assert levels[int(key[0]), int(key[1])] == size
        # A side that is not full is known as a whole.
        if k == 4:
            assert sum(size > 0 for size in levels.values()) == 2
    assert [row[1:] for row in seen if row[0] == 1] == [(1, 400, 4)]
    # Two levels came into sight; the two better ones are gone.
    assert {row[1:] for row in seen if row[0] == 2} >= {(1, 400, 0), (1, 399, 0), (1, 389, 12)}
    # The two that better ones pushed out are not said to be gone.
    assert not {row[1:3] for row in seen if row[0] == 3} & {(1, 390), (1, 389)}
    assert batch.flags[at:].tolist() == [CLEAR]
    assert events[-1][3:7] == (NO_PRICE, NO_PRICE, 0, 0)


def test_each_trade_of_tbbo_follows_the_quote_that_it_met(tmp_path: Path) -> None:
    records = by_price(v.MBP1Msg, 5, 60)
    trades = [r for r in records if str(r.action) == "T"]
    path = written(tmp_path / "a.dbn", "tbbo", trades)
    dataset, report = ingested(path, tmp_path / "out")
    rows = rows_of(dataset)
    assert [r[7:] for r in rows if r[7] != NO_PRICE] == [
        (401, 2, {"A": -1, "B": 1, "N": 0}[str(r.side)]) for r in trades
    ]
    for k, r in enumerate([row for row in rows if row[7] != NO_PRICE]):
        top = trades[k].levels[0]
        assert r[4] == top.ask_px // QUARTER
        assert r[6] == top.ask_sz
    assert whole(report)


def sampled(ts: int, levels: Any, **more: Any) -> Any:
    bid, ask, bid_size, ask_size = levels
    pair = v.BidAskPair(round(bid * NANO), round(ask * NANO), bid_size, ask_size)
    return v.BBOMsg(
        rtype=195, publisher_id=1, instrument_id=7, ts_event=more.get("last", T0), price=NANO,
        size=1, side=v.Side.BID, ts_recv=ts, flags=LAST, levels=pair,
    )  # fmt: skip


def test_trades_and_quotes_of_each_second_go_together(tmp_path: Path) -> None:
    quotes = [
        sampled(T0 + NANO, (100.25, 100.5, 1, 1)),
        sampled(T0 + 2 * NANO, (100.25, 100.5, 1, 1), last=v.UNDEF_TIMESTAMP),
        sampled(T0 + 3 * NANO, (100.25, 100.5, 1, 2)),
    ]
    trades = [trade(T0 + i * NANO // 2, "A", 100.25, i) for i in range(1, 7)]
    written(tmp_path / "in" / "q.dbn", "bbo-1s", quotes)
    written(tmp_path / "in" / "t.dbn.zst", "trades", [*trades, trade(T0 + 5 * NANO, "B", None, 1)])
    dataset, report = ingested(tmp_path / "in", tmp_path / "out")
    assert report.refused == {
        "record that changes neither side of the touch": 1,
        "trade without a price or size": 1,
    }
    none = NO_PRICE
    assert [(r[1] - T0, r[3], r[6], r[8]) for r in rows_of(dataset)] == [
        (NANO // 2, none, 0, 1),
        (NANO, none, 0, 2),  # a trade comes before the quote of its instant
        (NANO, 401, 1, 0),
        (3 * NANO // 2, 401, 1, 3),
        (2 * NANO, 401, 1, 4),
        (5 * NANO // 2, 401, 1, 5),
        (3 * NANO, 401, 1, 6),
        (3 * NANO, 401, 2, 0),
    ]
    assert {r[2] for r in rows_of(dataset) if r[8] == 0} == {NO_TIME}


def test_definitions_give_ticks_multipliers_and_currencies(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    written(
        folder / "definitions.dbn.zst",
        "definition",
        [
            definition("ESU4", 7, step=NANO // 4, min_price_increment_amount=25 * NANO // 2,
                       currency="USD"),
            definition("NQU4", 8, contract_multiplier=20, currency="EUR"),
            definition("ESU4-ESZ4", 9, step=NANO // 20, kind=v.InstrumentClass.FUTURE_SPREAD),
        ],
    )  # fmt: skip
    days = (DAYS[0], DAYS[2])
    mappings = {
        "ESU4": [(*days, "7")], "NQU4": [(*days, "8")], "ESU4-ESZ4": [(*days, "9")],
    }  # fmt: skip
    records = [
        trade(T0, "A", 100, 1),
        trade(T0, "A", 101, 1),
        trade(T0, "A", 17000.2, 1, number=8),
        trade(T0, "A", 17000.6, 1, number=8),
        trade(T0, "B", -0.05, 1, number=9),
        trade(T0, "B", 0, 1, number=9),
    ]
    written(folder / "trades.dbn", "trades", records, mappings)
    dataset, report = ingested(folder, tmp_path / "out", fee_per_lot="2.25")
    by_name = dict(zip(dataset.symbols, dataset.instruments, strict=True))
    es, nq, spread = (by_name[n] for n in ("ESU4", "NQU4", "ESU4-ESZ4"))
    assert (es.tick_size, es.multiplier, es.currency) == (Decimal("0.25"), Decimal(50), "USD")
    assert (nq.tick_size, nq.multiplier, nq.currency) == (Decimal("0.2"), Decimal(20), "EUR")
    assert (spread.tick_size, spread.signed_prices) == (Decimal("0.05"), True)
    assert es.fee_per_lot == Decimal("2.25")
    assert not es.signed_prices
    assert report.read == 6
    assert {r[7] for r in rows_of(dataset) if r[0] == dataset.symbols.index("ESU4-ESZ4")} == {-1, 0}
    given = ingested(folder, tmp_path / "given", tick_sizes=("ESU4=0.5",), multipliers=("ESU4=5",))[
        0
    ]
    assert given.instruments[0].tick_size == Decimal("0.5")
    assert given.instruments[0].multiplier == 5


def test_numbers_are_other_instruments_on_other_days(tmp_path: Path) -> None:
    mappings = {
        "MSFT": [(DAYS[0], DAYS[1], "7"), (DAYS[1], DAYS[2], "8")],
        "AAPL": [(DAYS[0], DAYS[1], "8"), (DAYS[1], DAYS[2], "7")],
    }
    records = [trade(T0 + d * DAY + n, "A", 100 + n, 1, number=n) for d in (0, 1) for n in (7, 8)]
    records += [trade(T0 + DAY + 99, "B", 5, 1, number=33)]
    dataset, _ = ingested(
        written(tmp_path / "a.dbn", "trades", records, mappings), tmp_path / "out"
    )
    assert dataset.symbols == ("33", "AAPL", "MSFT")
    assert [dataset.symbols[r[0]] for r in rows_of(dataset)] == [
        "MSFT", "AAPL", "AAPL", "MSFT", "33",
    ]  # fmt: skip


def test_a_continuous_contract_is_a_symbol_for_each_instrument(tmp_path: Path) -> None:
    mappings = {"ES.c.0": [(DAYS[0], DAYS[1], "7"), (DAYS[1], DAYS[2], "8")]}
    records = [trade(T0 + d * DAY, "A", 100, 1, number=7 + d) for d in (0, 1)]
    path = written(tmp_path / "in/a.dbn", "trades", records, mappings, stype_in="continuous")
    assert ingested(path, tmp_path / "out")[0].symbols == ("ES.c.0.7", "ES.c.0.8")
    written(tmp_path / "in/d.dbn", "definition", [definition("ESU4", 7), definition("ESZ4", 8)])
    assert ingested(path.parent, tmp_path / "named")[0].symbols == ("ESU4", "ESZ4")


def test_publishers_are_symbols_of_their_own(tmp_path: Path) -> None:
    records = [trade(T0 + i, "A", 100 + i, 1, publisher=1 + i % 2) for i in range(6)]
    path = written(tmp_path / "a.dbn", "trades", records)
    dataset, _ = ingested(path, tmp_path / "out")
    assert dataset.symbols == ("ESU4.1", "ESU4.2")
    assert [r[0] for r in rows_of(dataset)] == [0, 1, 0, 1, 0, 1]
    chosen, report = ingested(path, tmp_path / "one", publishers=(2,))
    assert chosen.symbols == ("ESU4",)
    assert report.refused == {"record of a publisher that was not asked for": 3}
    assert report.read == 6


def test_a_live_recording_says_what_its_numbers_are(tmp_path: Path) -> None:
    raw, number = v.SType.RAW_SYMBOL, v.SType.INSTRUMENT_ID
    records = [
        v.SymbolMappingMsg(1, 7, T0, raw, "ESU4", number, "7", 0, v.UNDEF_TIMESTAMP),
        v.SystemMsg(T0, "Heartbeat"),
        trade(T0, "A", 100, 1),
        v.SystemMsg(T0, "Heartbeat"),
        trade(T0 + 1, "B", 100.25, 1),
        level_record(v.MBP1Msg, "A", T0 + 2, "B", [(100, 101, 1, 1)]),
    ]
    path = written(tmp_path / "a.dbn", None, records, {})
    dataset, report = ingested(path, tmp_path / "out", schema="trades")
    assert dataset.symbols == ("ESU4",)
    assert len(rows_of(dataset)) == 2
    assert report.read == 6
    assert sum(report.refused.values()) == 4
    assert "schema=mbp-1" in str(refused(path, tmp_path / "any"))


def test_days_follow_each_other_and_order_books_carry_on(tmp_path: Path) -> None:
    records = market_by_order(9, 500)
    cut = 250
    while records[cut].ts_event == records[cut - 1].ts_event or not records[cut - 1].flags & LAST:
        cut += 1
    folder = tmp_path / "in"
    written(folder / "z-first.dbn", "mbo", records[:cut])
    written(folder / "a-second.dbn.zst", "mbo", records[cut:])
    one = written(tmp_path / "one.dbn", "mbo", records)
    both, report = ingested(folder, tmp_path / "both")
    assert rows_of(both) == rows_of(ingested(one, tmp_path / "out")[0])
    assert replayed(both)[0] > 200
    assert report.read == 500


def test_bad_books_have_no_sides(tmp_path: Path) -> None:
    records = [
        level_record(v.MBP1Msg, "A", T0, "B", [(100, 101, 1, 1)]),
        level_record(v.MBP1Msg, "A", T0 + 1, "B", [(100, 101, 1, 2)], flags=LAST | BAD),
        level_record(v.MBP1Msg, "A", T0 + 2, "B", [(100, 101, 1, 2)]),
    ]
    dataset, report = ingested(written(tmp_path / "a.dbn", "mbp-1", records), tmp_path / "out")
    none = (NO_PRICE, NO_PRICE, 0, 0)
    assert [r[3:7] for r in rows_of(dataset)] == [(100, 101, 1, 1), none, (100, 101, 1, 2)]
    assert report.repaired == {"book that may be bad by the record's flags: both sides absent": 1}


def test_rows_wait_a_second_for_earlier_ones_of_other_symbols() -> None:
    order_ = TimeOrder(2, least=1)

    def add(now: int, *rows: tuple[int, int]) -> list[tuple[int, int]]:
        symbol, ts = np.array(rows, dtype=np.int64).reshape(-1, 2).T
        found = order_.add({"symbol": symbol, "ts_event": ts, "ts_recv": ts + 5}, now)
        return [*zip(found["symbol"].tolist(), found["ts_event"].tolist(), strict=True)]

    assert add(2 * SLACK, (0, 900), (1, 800), (0, 850)) == [(1, 800), (0, 900), (0, 900)]
    assert order_.moved == 1
    assert add(2 * SLACK, (0, SLACK + 7), (1, SLACK + 5)) == []
    # More than a second late: moved to where the rest has got to.
    assert add(2 * SLACK + 6, (1, 10)) == [(1, SLACK + 5), (1, SLACK + 5)]
    assert order_.moved == 2
    rest = order_.rest()
    assert rest is not None
    assert rest["ts_event"].tolist() == [SLACK + 7]
    assert TimeOrder(1).rest() is None


def test_few_rows_are_not_given_out_one_by_one() -> None:
    order_, given = TimeOrder(3), []
    draw = np.random.default_rng(1)
    ts = (
        T0 + np.sort(draw.integers(0, 100 * SLACK, 200_000)) - draw.integers(0, SLACK // 2, 200_000)
    )
    symbol = draw.integers(0, 3, len(ts))
    for k in range(0, len(ts), 7000):
        part = slice(k, k + 7000)
        rows = {"symbol": symbol[part], "ts_event": ts[part], "ts_recv": ts[part]}
        given.append(order_.add(rows, int(ts[part].max())))
    assert sum(len(rows["ts_event"]) > 0 for rows in given) == 2
    rest = order_.rest()
    assert rest is not None
    found = np.concatenate([rows["ts_event"] for rows in [*given, rest]])
    wanted = [np.maximum.accumulate(ts[symbol == s]) for s in range(3)]
    assert (found == np.sort(np.concatenate(wanted))).all()


def test_frames_times_of_sending_and_mixed_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = market_by_order(4, 300)
    plain = metadata("mbo") + b"".join(map(bytes, records))
    wanted = ingested(written(tmp_path / "a.dbn", "mbo", records), tmp_path / "whole")
    monkeypatch.setattr("backtest.plugins.sources.databento.files._BLOCK_BYTES", 1000)
    framed = tmp_path / "framed.dbn.zst"
    framed.write_bytes(zstd(plain[:5000]) + zstd(plain[5000:]))
    found = ingested(framed, tmp_path / "framed")
    assert rows_of(found[0]) == rows_of(wanted[0])
    assert found[1] == wanted[1]
    assert replayed(found[0]) == replayed(wanted[0])
    # Of a live recording, each record may end with the time at which it was sent.
    sent = v.Metadata(
        dataset="GLBX.MDP3", start=T0, stype_in=None, stype_out=v.SType.INSTRUMENT_ID,
        schema=v.Schema.MBO, ts_out=True,
    ).encode()  # fmt: skip
    for record in records:
        data = bytearray(bytes(record))
        data[0] += 2
        sent += bytes(data) + (T0 + 5).to_bytes(8, "little")
    (tmp_path / "sent.dbn").write_bytes(sent)
    dataset, _ = ingested(tmp_path / "sent.dbn", tmp_path / "sent")
    assert dataset.symbols == ("7", "8")
    assert rows_of(dataset) == rows_of(wanted[0])


GOOD = [trade(T0 + i, "A", 100, 1) for i in range(50)]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    out, plain = tmp_path / "out", metadata("trades") + b"".join(map(bytes, GOOD))

    def file(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    for name, data, problem in (
        ("empty.dbn", b"", "the file is empty"),
        ("text.dbn", b"ts_event,price\n1,2\n", "the file is not DBN"),
        ("head.dbn", plain[:40], "it ends within the metadata"),
        ("cut.dbn", plain[:-10], "it ends within a record"),
        ("cut.dbn.zst", zstd(plain)[:-20], "truncated or damaged"),
        ("newer.dbn", plain[:3] + b"\x09" + plain[4:], "newer version"),
        ("zero.dbn", plain + b"\0" * 48, "damaged"),
        ("nothing.dbn", metadata("trades"), "there are no records of quotes or trades"),
        ("bars.dbn", metadata("ohlcv-1s"), "there are only ohlcv-1s"),
        (
            "time.dbn", metadata("trades") + bytes(trade(5, "A", 1, 1)),
            "record 0 has the ts_event 5, which is not between 1990 and 2100",
        ),
        ("mbo.dbn", metadata("mbo") + bytes(order("C", T0, "A", 1, size=1, id=1)), "no record"),
    ):  # fmt: skip
        error = refused(file(name, data), out)
        assert problem in error.problem
        assert name in str(error.place)
        assert error.remedy or name in ("empty.dbn", "nothing.dbn", "mbo.dbn")
    assert "is no multiple of 1e-9" in str(
        refused(file("ok.dbn", plain), out, tick_sizes=("ESU4=0.0000000001",))
    )
    error = refused(tmp_path / "ok.dbn", out, tick_sizes=("ESU4=0.75",))
    assert "the price 100, which is not a multiple of 0.75" in error.problem
    assert "ESU4" in str(refused(tmp_path / "ok.dbn", out, tick_sizes=("ESU5=1",)).remedy)


def test_times_that_cannot_be(tmp_path: Path) -> None:
    none = v.UNDEF_TIMESTAMP
    records = [
        trade(T0, "A", 100, 1),
        trade(T0 + 3600 * NANO, "A", 100, 2, recv=T0 + 7),
        trade(T0 + 9, "A", 100, 3, recv=T0 + 8),
        trade(none, "A", 100, 4, recv=T0 + 10),
        trade(T0 + 11, "A", 100, 5, recv=none),
        trade(none, "A", 100, 6, recv=none),
    ]
    dataset, report = ingested(written(tmp_path / "a.dbn", "trades", records), tmp_path / "out")
    assert [(row[1] - T0, row[8]) for row in rows_of(dataset)] == [
        (0, 1), (7, 2), (9, 3), (10, 4), (11, 5),
    ]  # fmt: skip
    assert [row[2] for row in rows_of(dataset)][2:] == [T0 + 9, T0 + 10, NO_TIME]
    assert report.refused == {"record without a time": 1}
    assert report.repaired == {
        "received before the event: ts_recv set to ts_event": 1,
        "ts_event more than a second after ts_recv: set to it": 1,
    }


def test_files_that_say_the_same_twice_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    written(folder / "a.dbn", "trades", GOOD)
    written(folder / "b.dbn", "trades", GOOD[10:20])
    error = refused(folder, tmp_path / "out")
    assert "holds records of 'ESU4' of the same time" in error.problem
    assert "--ignore" in str(error.remedy)
    dataset, report = ingested(folder, tmp_path / "out", ignore=("b.dbn",))
    assert len(dataset.symbols) == 1
    assert report.ignored == {"named by --ignore": 1}
    written(folder / "b.dbn", "mbp-1", by_price(v.MBP1Msg, 1))
    error = refused(folder, tmp_path / "again")
    assert "schemas mbp-1, trades" in error.problem
    _, report = ingested(folder, tmp_path / "again", schema="trades")
    assert report.ignored == {"schema mbp-1": 1}
    (folder / "metadata.json").write_text("{}")
    _, report = ingested(folder, tmp_path / "about", schema="trades")
    assert report.ignored["file about the download"] == 1
    (folder / "notes.txt").write_text("mine")
    assert "'notes.txt'" in str(refused(folder, tmp_path / "third"))


def test_the_vendors_package_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.dbn", "trades", GOOD)
    monkeypatch.setitem(sys.modules, "databento_dbn", None)
    error = refused(path, tmp_path / "out")
    assert "databento-dbn" in error.problem
    assert "pip install 'ticktoll[databento]'" in str(error.remedy)
    reasons: dict[str, str | None] = {}

    def register(name: str, part: type, *, unavailable: str | None = None) -> None:
        reasons[name] = unavailable

    backtest_register_sources(register)
    assert "pip install 'ticktoll[databento]'" in str(reasons.pop("databento"))
    assert not any(reasons.values())


def test_damaged_bytes_are_read_or_refused(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    plain = metadata("mbo") + b"".join(map(bytes, market_by_order(1, 60)))
    refusals = 0
    for k in range(150):
        data = bytearray(plain)
        for place in draw.integers(0, len(data), int(draw.integers(1, 4))).tolist():
            data[place] = int(draw.integers(256))
        path = tmp_path / "a.dbn"
        path.write_bytes(zstd(bytes(data)) if k % 2 else bytes(data))
        attempt = partial(ingest, "databento", DatabentoDbn(), path, tmp_path / f"{k}")
        refusals += refusal(attempt) is not None
    assert 20 < refusals < 150


@real
@pytest.mark.parametrize("name", ["es-future-20240701.mbp-1", "es-future-20231224.mbo"])
def test_real_futures_are_those_of_a_plain_reading(tmp_path: Path, name: str) -> None:
    path = REAL / f"{name}.dbn.zst"
    dataset, report = ingested(path, tmp_path / "out")
    records = decoded(path)
    number = records[0].instrument_id
    assert rows_of(dataset) == in_order(plainly(records, {number: 0}, QUARTER))
    assert report.read == len(records)
    assert whole(report)
    assert dataset.instruments[0].tick_size == Decimal("0.25")
    if dataset.has_depth:
        (batch,) = Stream(dataset).depth()
        assert len(batch) == len(records) + 1  # a clear, and each order of the snapshot
        assert batch.size.sum() == sum(r.size for r in records)
        assert replayed(dataset)[0] == 2


@real
def test_real_files_of_all_versions_and_schemas(tmp_path: Path) -> None:
    for path in sorted(REAL.glob("*.v?.dbn.zst")):
        schema = path.name.split(".")[0]
        if schema in ("definition", "mbo"):  # the book of these two cancels is not known
            assert refused(path, tmp_path / path.name)
            continue
        dataset, report = ingested(path, tmp_path / path.name)
        assert dataset.symbols == ("ESH1",)
        assert report.read == 2
        assert whole(report)
        assert validate(dataset).usable
        records = decoded(path)
        traded = [(r.price, r.size) for r in records if str(r.action) == "T"]
        tick = int(dataset.instruments[0].tick_size * NANO)
        rows = rows_of(dataset)
        assert [(r[7] * tick, r[8]) for r in rows if r[7] != NO_PRICE] == traded
    for version in (1, 2, 3):
        folder = tmp_path / f"msft{version}"
        day = [(date(2021, 10, 4), date(2021, 10, 5), "6819")]
        records = [trade(1_633_350_000 * NANO, "A", 290.05, 1, number=6819)]
        written(folder / "trades.dbn", "trades", records, {"MSFT": day})
        name = f"definition.v{version}.dbn.zst"
        (folder / name).write_bytes((REAL / name).read_bytes())
        dataset, _ = ingested(folder, tmp_path / f"out{version}")
        assert dataset.symbols == ("MSFT",)
        assert dataset.instruments[0].tick_size == Decimal("0.01")


def test_a_run_on_what_was_ingested(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dbn", "mbo", market_by_order(2, 600))
    ingested(path, tmp_path / "data")
    run = backtest.run(
        runs=tmp_path / "runs",
        dataset=str(tmp_path / "data"),
        strategy="imbalance",
        latency={"service": "constant:1us"},
    )
    assert run.metrics["account"]["fills"] > 10
