"""Whole runs on datasets with depth: their fills, reports and money are the oracle's."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest

from backtest.data.canonical import write_canonical
from backtest.data.card import Card, InstrumentTable
from backtest.errors import UsageError
from backtest.market.events import EventBatch
from benchmarks.be_that_order import chosen, tell
from benchmarks.queue_market import Market, take_out
from tests.depth_makers import LevelMaker, OrderMaker
from tests.depth_records import Depth
from tests.order_engine import batch_of, columns_of
from tests.order_oracle import simulate_orders
from tests.order_records import Message, OrderRules, Row, Tif
from tests.runs.test_resting_orders import (
    LATENCY,
    QUOTING,
    SYMBOLS,
    WORTH,
    assert_same,
    end_of,
    fees,
    quoted,
    rows_of,
    run,
)


def made(folder: Path, rows: list[Row], depth: Depth) -> Path:
    """A dataset of these rows."""
    costs = InstrumentTable(
        fee_rate=Decimal("0.0003"),
        maker_fee_rate=Decimal("-0.0001"),
        maker_fee_per_lot=Decimal("0.000002"),
    )
    card = Card(name="deep", symbols=SYMBOLS, instruments={"default": costs})
    write_canonical(
        folder, card, [(EventBatch(**columns_of(rows)), batch_of(depth.rows, orders=depth.orders))]
    )
    return folder


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(4, 1500)


@pytest.fixture(scope="module", params=["L2", "L3"])
def market(
    rows: list[Row], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Depth]:
    orders = request.param == "L3"
    maker = (OrderMaker if orders else LevelMaker)(Random(1), tuple(rows))
    depth = Depth(tuple(row for row in maker.between() if row.ts < end_of(rows)), orders)
    return made(tmp_path_factory.mktemp("made") / request.param, rows, depth), depth


@pytest.mark.parametrize("model", ["trades", "power:2", "l3"])
def test_quotes_are_the_oracles(
    model: str, rows: list[Row], market: tuple[Path, Depth], tmp_path: Path
) -> None:
    dataset, depth = market
    if model == "l3" and not depth.orders:
        with pytest.raises(UsageError, match=r"fills\.queue.*l3 needs depth that tells of every"):
            run(dataset, tmp_path, quoting=QUOTING, fills={"queue": model})
        return
    ran = run(dataset, tmp_path, quoting=QUOTING, fills={"queue": model})
    expected = quoted(rows, ran, OrderRules(end=end_of(rows), model=model), depth=depth)
    assert_same(ran, expected)
    alone = quoted(rows, ran, OrderRules(end=end_of(rows), model=model.replace("l3", "trades")))
    assert expected.fills != alone.fills


def test_takers_walk_the_levels(
    rows: list[Row], market: tuple[Path, Depth], tmp_path: Path
) -> None:
    dataset, depth = market
    random = np.random.default_rng(7)
    sent = sorted(random.integers(rows[0].ts, end_of(rows), 300).tolist())
    messages: list[Message] = []
    for number, ts in enumerate(sent):
        symbol, side = int(random.integers(2)), int(random.choice([-1, 1]))
        quote = [row for row in rows if row.symbol == symbol and row.ts <= ts][-1:]
        touch = (quote[0].ask if quote else None) or 1000
        tifs: tuple[Tif, ...] = ("gtc", "ioc", "fok")
        messages.append(
            Message(
                symbol,
                ts,
                "new",
                number,
                side,
                touch + side * int(random.integers(0, 4)),
                int(random.integers(1, 30)),
                tifs[int(random.integers(3))],
                latency=LATENCY["entry"],
                response=LATENCY["response"],
            )
        )
    listed = [
        (m.sent, SYMBOLS[m.symbol], m.action, m.id, "buy" if m.side > 0 else "sell", m.price,
         m.total, m.tif)
        for m in messages
    ]  # fmt: skip
    names = ["ts_sent", "symbol", "action", "id", "side", "price", "total", "tif"]
    pl.DataFrame(listed, schema=names, orient="row").write_parquet(tmp_path / "sent.parquet")
    ran = run(dataset, tmp_path, strategy=f"order-list:{tmp_path / 'sent.parquet'}")
    rules = OrderRules(end=end_of(rows))
    response = [LATENCY["response"]] * len(rows)
    expected = simulate_orders(
        rows, messages, rules, response, value=[WORTH, WORTH], depth=depth, **fees()
    )
    assert_same(ran, expected)
    deep = [(f.id, f.ts) for f in expected.fills if not f.maker]
    assert len(deep) > len({*deep}) + 20  # several levels at once


def test_the_bracket_is_traded_on_depth(market: tuple[Path, Depth], tmp_path: Path) -> None:
    dataset, _ = market
    taking = QUOTING.replace("post_only=slide", "post_only=no")
    ran = run(dataset, tmp_path, quoting=taking)
    for name, figures in ran.metrics["orders"]["bracket"].items():
        other = run(dataset, tmp_path, quoting=taking, fills={"queue": name})
        assert figures["net"] == other.metrics["account"]["net"]
        assert figures["fills"] == other.metrics["account"]["fills"]


def test_orders_taken_out_of_a_market_are_filled_as_they_were(tmp_path: Path) -> None:
    """From files to the table of fills, under l3."""
    random = Random(3)
    market = Market(random)
    market.play(3000)
    taken = take_out(market.changes, chosen(market, random, 60))
    told = tell(taken.changes)
    columns = told.events | {"aggressor": told.events["aggressor"].astype(np.int8)}
    symbol = np.zeros(len(told.events["ts_event"]), dtype=np.int32)
    folder = tmp_path / "real"
    card = Card(name="real", symbols=("AAA",))
    write_canonical(folder, card, [(EventBatch(symbol, **columns), told.depth["L3"])])
    sides = {1: "buy", -1: "sell"}
    listed = [(m.ts, "AAA", m.action, m.id, sides[m.side], m.price, m.total) for m in taken.sent]
    names = ["ts_sent", "symbol", "action", "id", "side", "price", "total"]
    pl.DataFrame(listed, schema=names, orient="row").write_parquet(tmp_path / "sent.parquet")
    ran = run(
        folder,
        tmp_path,
        strategy=f"order-list:{tmp_path / 'sent.parquet'}",
        latency={"service": "constant:0ns", "entry": "constant:0ns"},
        fills={"queue": "l3"},
    )
    fills = ran.table("fills").filter(pl.col("order") >= 0)
    assert fills["maker"].all()
    found: dict[int, list[tuple[int, int]]] = {number: [] for number in taken.executed}
    for number, ts, lots in fills.select("order", pl.col("ts_venue").cast(int), "lots").rows():
        found[number].append((ts, abs(lots)))
    assert found == taken.executed
    assert sum(map(len, found.values())) > 10
