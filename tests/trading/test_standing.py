"""How long own orders stood at the touch, and where in the queue they were filled."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest

from backtest.api import run
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.market.events import NO_PRICE, EventBatch
from backtest.runs.folder import Run
from backtest.trading import order_layout as ol
from backtest.trading import standing_loops
from backtest.trading.standing import standing_figures

MS = 1_000_000
START = 1_700_000_000_000_000_000
LARGEST = 2**62 - 1


def test_lots_and_time_are_multiplied_exactly() -> None:
    random = Random(3)
    pairs = [(random.getrandbits(random.randint(1, 62)), random.getrandbits(62)) for _ in range(50)]
    pairs += [(LARGEST, LARGEST), (1, LARGEST), (LARGEST, 1), (0, LARGEST)]
    standing = np.zeros((1, 2, ol.STANDING_SIZE), dtype=np.int64)
    for lots, span in pairs:
        of = np.zeros(ol.STANDING_SIZE, dtype=np.int64)
        standing_loops._add_product(of, lots, span)
        standing[0, 0] = of
        assert standing_figures(standing, 1, 1)["buy"]["lot_ns"] == lots * span
    standing[:] = 0
    for _ in range(3):  # what is added up has carries as well
        standing_loops._add_product(standing[0, 1], 2**61 - 1, 2**60 + 1)
    assert standing_figures(standing, 1, 1)["sell"]["lot_ns"] == 3 * (2**61 - 1) * (2**60 + 1)


def test_shares_are_of_the_open_time_of_all_symbols() -> None:
    standing = np.zeros((2, 2, ol.STANDING_SIZE), dtype=np.int64)
    standing[0, 0, ol.S_TIMES : ol.S_SUM] = 10, 20, 30
    standing[1, 0, ol.S_TIMES + ol.AT] = 40
    standing[1, 1, ol.S_TIMES + ol.BEHIND] = 100
    found = standing_figures(standing, 2, 100)
    assert found["open_ns"] == 100
    shares = ("at", "behind", "better", "none")
    assert [found["buy"][name] for name in shares] == [0.25, 0.1, 0.15, 0.5]
    assert [found["sell"][name] for name in shares] == [0, 0.5, 0, 0.5]
    assert [found["total"][name] for name in shares] == [0.125, 0.3, 0.075, 0.5]
    closed = standing_figures(standing, 2, 0)
    assert all(closed["total"][name] is None for name in shares)


def queue_run(folder: Path, orders: pl.DataFrame, queue: str = "trades") -> Run:
    """A run of a list of orders on five rows, 10 ms apart: 80, 30 and 50 lots are sold at 1000.

    The last row's bid is one tick lower.
    """
    printed = np.array([0, 80, 30, 50, 0])
    events = EventBatch(
        symbol=np.zeros(5, dtype=np.int32),
        ts_event=START + 10 * MS * np.arange(1, 6),
        bid=np.array([1000, 1000, 1000, 1000, 999]),
        ask=np.full(5, 1002),
        bid_size=np.array([100, 20, 9, 9, 9]),
        ask_size=np.full(5, 60),
        trade_price=np.where(printed > 0, 1000, NO_PRICE),
        trade_size=printed,
        aggressor=np.where(printed > 0, -1, 0).astype(np.int8),
    )
    write_canonical(folder / "queue", Card(name="queue", symbols=("AAA",)), [events])
    orders.write_parquet(folder / "orders.parquet")
    return run(
        runs=folder / "runs",
        dataset=str(folder / "queue"),
        strategy=f"order-list:{folder / 'orders.parquet'}",
        latency={"service": "constant:0ns", "entry": "constant:1ms"},
        fills={"queue": queue},
    )


def listed(*rows: tuple[int, str, int, str, int, int]) -> pl.DataFrame:
    """Orders (ms, action, id, side, price, total)."""
    names = ["ts_sent", "action", "id", "side", "price", "total"]
    frame = pl.DataFrame([list(row) for row in rows], schema=names, orient="row")
    sent = pl.col("ts_sent") * MS + START
    return frame.with_columns(sent, pl.lit("AAA").alias("symbol"))


ORDERS = listed(
    (11, "new", 1, "buy", 1000, 70),  # behind 100; 10 of it are filled at 30 ms, 50 at 40 ms
    (19, "new", 2, "sell", 1003, 5),  # behind the ask
    (24, "new", 3, "sell", 1001, 7),  # better than it
    (29, "cancel", 3, "sell", 1001, 7),
    (34, "new", 4, "buy", 1002, 4),  # takes
)


def test_shares_of_time(tmp_path: Path) -> None:
    made = queue_run(tmp_path, ORDERS)
    found = made.metrics["orders"]["standing"]
    whole = found["open_ns"]
    assert whole >= 40 * MS
    buy, sell = found["buy"], found["sell"]
    # At 50 ms 10 lots are left at 1000, of which the bid has fallen short.
    assert buy["at"] * whole == pytest.approx(38 * MS)
    assert buy["behind"] == 0
    assert buy["better"] * whole == pytest.approx(whole - 40 * MS)
    assert buy["lot_ns"] == (18 * 70 + 10 * 60) * MS + 10 * (whole - 30 * MS)
    assert sell["at"] == 0
    assert sell["better"] * whole == pytest.approx(5 * MS)
    assert sell["behind"] * whole == pytest.approx(whole - 10 * MS - 5 * MS)
    assert sell["lot_ns"] == 5 * (whole - 10 * MS) + 5 * MS * 7
    for of in (buy, sell, found["total"]):
        assert of["at"] + of["behind"] + of["better"] + of["none"] == pytest.approx(1)
    assert found["total"]["lot_ns"] == buy["lot_ns"] + sell["lot_ns"]
    assert found["total"]["at"] == pytest.approx(buy["at"] / 2)


def test_places_at_fills(tmp_path: Path) -> None:
    fills = queue_run(tmp_path, ORDERS).table("fills").filter(pl.col("order") >= 0)
    assert fills["maker"].to_list() == [True, False, True]
    assert fills["lots"].to_list() == [10, 4, 50]
    assert fills["ahead"].to_list() == [100, None, 100]
    assert fills["printed"].to_list() == [110, None, 160]
    assert fills["displayed"].to_list() == [0, 60, 0]


@pytest.mark.parametrize(("queue", "ahead"), [("through", None), ("optimistic", 0)])
def test_places_at_the_ends_of_the_bracket(tmp_path: Path, queue: str, ahead: int | None) -> None:
    """A price that only what goes through it fills has no queue; no one is ahead of the best."""
    orders = listed((11, "new", 1, "buy", 1000, 300), (12, "new", 2, "buy", 1003, 70))
    made = queue_run(tmp_path, orders, queue=queue)
    makers = made.table("fills").filter(pl.col("maker"))
    assert set(makers["ahead"].to_list()) == {ahead}
