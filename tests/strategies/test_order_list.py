"""Lists of orders: what a file may hold, what is refused by row, and what a run makes of them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from backtest.api import run
from backtest.data.canonical import write_canonical
from backtest.data.card import Card, InstrumentTable
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, EventBatch
from backtest.runs.folder import Run
from backtest.trading.order_list import OrderList

MS = 1_000_000
START = 1_700_000_000_000_000_000

Table = dict[str, list[Any]]


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """100 lots at the bid of A, then prints of 80, 30 and 50; B, which does not trade."""
    printed = [0, 80, 30, 50, 0]
    write_canonical(
        tmp_path / "market",
        Card(
            name="market",
            symbols=("A", "B"),
            instruments={"B": InstrumentTable(tradable=False)},
        ),
        [
            EventBatch(
                symbol=np.array([0, 0, 0, 0, 1], dtype=np.int32),
                ts_event=START + MS * np.arange(0, 50, 10),
                bid=np.full(5, 1000),
                ask=np.full(5, 1002),
                bid_size=np.array([100, 20, 9, 9, 9]),
                ask_size=np.full(5, 60),
                trade_price=np.array([1000 if lots else NO_PRICE for lots in printed]),
                trade_size=np.array(printed),
                aggressor=np.array([-(lots > 0) for lots in printed], dtype=np.int8),
            )
        ],
    )
    return tmp_path / "market"


def table(*changed: tuple[str, Any]) -> Table:
    """A new order and its cancel, but for what is changed."""
    columns: Table = {
        "ts_sent": [START + MS, START + 25 * MS],
        "symbol": ["A", "A"],
        "action": ["new", "cancel"],
        "id": [1, 1],
        "side": ["buy", None],
        "price": [1000, None],
        "total": [50, None],
        "tif": ["gtc", None],
        "post_only": ["no", None],
    }
    columns |= dict(changed)
    return {name: values for name, values in columns.items() if values is not None}


def replay(market: Path, orders: Any) -> Run:
    """Run a list: columns, an Arrow table, or the bytes of a file."""
    file = market.parent / "orders.parquet"
    if isinstance(orders, bytes):
        file.write_bytes(orders)
    elif orders is not None:
        frame = pl.from_arrow(orders) if isinstance(orders, pa.Table) else pl.DataFrame(orders)
        assert isinstance(frame, pl.DataFrame)
        frame.write_parquet(file)
    return run(
        dataset=str(market),
        strategy=f"order-list:{file}",
        latency={"service": "constant:0ns"},
        runs=market.parent / "runs",
    )


def made(done: Run) -> list[int]:
    """The lots of the fills of resting orders."""
    return done.table("fills").filter(pl.col("maker"))["lots"].to_list()


def test_a_list_is_sent_as_it_is(market: Path) -> None:
    done = replay(market, table())
    assert made(done) == [10]  # the cancel arrives before the print of 50
    assert done.table("orders")["report"].to_list() == ["accepted", "filled", "cancelled"]


def test_what_no_action_needs_may_be_left_out(market: Path) -> None:
    least = table(("tif", None), ("post_only", None))
    assert made(replay(market, least)) == [10]
    every = table(("action", ["new", "cancel_all"]), ("id", [1, None]))
    assert made(replay(market, every)) == [10]


def test_an_empty_list_sends_nothing(market: Path) -> None:
    done = replay(market, pl.DataFrame(table()).head(0).to_arrow())
    assert done.table("fills").is_empty()


@pytest.mark.parametrize(
    "instants",
    [
        pl.Series([START // 1000 + 1000, START // 1000 + 25_000]).cast(pl.Datetime("us", "UTC")),
        pl.Series([START + MS, START + 25 * MS]).cast(pl.Datetime("ns", "Asia/Tokyo")),
    ],
)
def test_instants_of_any_zone_and_unit(market: Path, instants: pl.Series) -> None:
    assert made(replay(market, table(("ts_sent", instants)))) == [10]


def test_words_may_be_dictionaries(market: Path) -> None:
    words = pl.DataFrame(table()).with_columns(pl.col("symbol", "side").cast(pl.Categorical))
    assert made(replay(market, words.to_arrow())) == [10]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (("ts_sent", None), "it has no column ts_sent"),
        (("id", None), "it has no column id"),
        (("price", None), "row 0: price is missing"),
        (("total", None), "row 0: total is missing"),
        (("side", None), "row 0: a new order has no side"),
        (("ts_sent", [START, None]), "row 1: ts_sent is missing"),
        (("symbol", ["A", None]), "row 1: symbol is missing"),
        (("action", ["new", None]), "row 1: action is missing"),
        (("id", [1, None]), "row 1: id is missing"),
        (("price", [None, 1000]), "row 0: price is missing"),
        (("total", [None, 50]), "row 0: total is missing"),
        (("side", [None, "buy"]), "row 0: a new order has no side"),
        (("symbol", ["A", "C"]), "row 1: symbol is 'C'"),
        (("symbol", ["A", "B"]), "row 1: the symbol does not trade"),
        (("action", ["neu", "cancel"]), "row 0: action is 'neu'"),
        (("side", ["bid", None]), "row 0: side is 'bid'"),
        (("tif", ["day", None]), "row 0: tif is 'day'"),
        (("post_only", ["yes", None]), "row 0: post_only is 'yes'"),
        (("total", [-1, 50]), "row 0: total is -1"),
        (("total", [0, 50]), "row 0: a new order has a total of 0 lots"),
        (("total", [2**53 + 1, 50]), "row 0: total is 9,007,199,254,740,993"),
        (("price", [2**60 + 1, None]), "row 0: price is 1,152,921,504,606,846,977"),
        (("price", [-(2**63), None]), "row 0: price is -9,223,372,036,854,775,808"),
        (("id", pl.Series([1, 2**64 - 1], dtype=pl.UInt64)), "row 1: id is 18,446,744,073,709,551"),
        (("ts_sent", [START, -(2**63)]), "row 1: ts_sent is -9,223,372,036,854,775,808"),
        (("ts_sent", [1.5, 2.5]), "column ts_sent holds double, not whole numbers"),
        (("ts_sent", [date(2024, 1, 1)] * 2), "column ts_sent holds date32"),
        (("ts_sent", [datetime(2024, 1, 1)] * 2), "ts_sent have no time zone"),
        (("price", [1000.0, None]), "column price holds double, not whole numbers"),
        (("price", ["1000", None]), "column price holds large_string, not whole numbers"),
        (("total", [True, False]), "column total holds bool, not whole numbers"),
        (("id", [[1], [1]]), "column id holds large_list"),
        (("symbol", [0, 0]), "column symbol holds int64, not text"),
        (("side", [1, None]), "column side holds int64, not text"),
    ],
)
def test_a_list_that_is_none_is_refused_with_its_row(
    market: Path, changed: tuple[str, Any], problem: str
) -> None:
    with pytest.raises(DataError) as caught:
        replay(market, table(changed))
    assert problem in caught.value.problem
    assert caught.value.place == str(market.parent / "orders.parquet")
    assert caught.value.remedy
    assert not list((market.parent / "runs").glob("*/manifest.json"))


def test_instants_beyond_nanoseconds_are_refused(market: Path) -> None:
    late = pa.array([2**40, 2**40], type=pa.timestamp("s", "UTC"))
    orders = pa.table({**table(), "ts_sent": late})
    with pytest.raises(DataError, match="outside the years 1678 to 2262"):
        OrderList.of(orders, ("A", "B"), "orders")


def test_a_column_that_is_there_twice_is_refused() -> None:
    orders = pa.table(table())
    orders = orders.append_column("price", orders["price"])
    with pytest.raises(DataError, match="2 columns called price"):
        OrderList.of(orders, ("A", "B"), "orders")


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more", b"ts_sent,symbol\n"])
def test_a_file_that_cannot_be_read_is_named(market: Path, content: bytes | None) -> None:
    with pytest.raises(DataError, match=r"orders\.parquet") as caught:
        replay(market, content)
    assert caught.value.remedy
