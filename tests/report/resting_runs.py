"""A market with trades, and runs whose orders rest in it, for the tests of their reports."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.api import run
from backtest.data.canonical import write_canonical
from backtest.data.card import Card, InstrumentTable
from backtest.market.events import NO_PRICE, EventBatch
from backtest.runs.folder import Run

START = 1_700_000_000 * 10**9
SYMBOLS = ("AAA", "BBB")
LATENCY = {
    "service": "affine:20ms,5ms",
    "feed": "constant:7ms",
    "entry": "constant:30ms",
    "response": "constant:10ms",
}
WORTH = 5_000_000
"""Money units of half a tick of a lot."""


def write_market(folder: Path, n: int = 4000) -> Path:
    """About 25 events a second for some minutes, no two at one instant; a third are trades."""
    random = np.random.default_rng(3)
    symbol = random.integers(0, 2, n).astype(np.int32)
    walks = [base + np.cumsum(random.choice([-1, 0, 0, 0, 1], n)) for base in (1000, 5000)]
    bid = np.where(symbol == 0, *walks)
    ask = bid + random.choice([1, 1, 2], n)
    trades = random.random(n) < 0.35
    side = random.choice([-1, 1], n)
    price = np.where(side < 0, bid, ask) + random.choice([0, 0, 0, 1], n) * side
    batch = EventBatch(
        symbol=symbol,
        ts_event=START + np.cumsum(random.integers(1, 80, n)) * 10**6,
        bid=bid,
        ask=ask,
        bid_size=random.integers(1, 9, n),
        ask_size=random.integers(1, 9, n),
        trade_price=np.where(trades, price, NO_PRICE),
        trade_size=np.where(trades, random.integers(1, 12, n), 0),
        aggressor=np.where(trades, side * random.integers(0, 2, n), 0).astype(np.int8),
    )
    costs = InstrumentTable(
        fee_rate=Decimal("0.0003"),
        maker_fee_rate=Decimal("-0.0001"),
        maker_fee_per_lot=Decimal("0.000002"),
    )
    write_canonical(
        folder, Card(name="traded", symbols=SYMBOLS, instruments={"default": costs}), [batch]
    )
    return folder


def quoting_run(runs: Path, dataset: Path, **settings: Any) -> Run:
    """Quotes of three lots, which take where they would."""
    return run(
        runs=runs,
        dataset=str(dataset),
        **{
            "strategy": "imbalance",
            "quoting": "two-sided:lots=3,skew=0.5,min_interval=2ms,post_only=no",
            "accountant": "market:impact=0.5",
            "latency": {**LATENCY, "cancel": "constant:20ms", "replace": "constant:25ms"},
            **settings,
        },
    )


def target_run(runs: Path, dataset: Path) -> Run:
    """Orders that take, in the same market."""
    return quoting_run(runs, dataset, quoting=None, latency=LATENCY)


def list_run(runs: Path, dataset: Path, file: Path) -> Run:
    """A list of orders of all kinds, some of which are replaced, cancelled, or both."""
    random = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    for number in range(300):
        sent = START + int(random.integers(10**9, 120 * 10**9))
        side, symbol = str(random.choice(["buy", "sell"])), int(random.integers(2))
        price = (1000, 5000)[symbol] + int(random.integers(-25, 25))
        order = {"symbol": SYMBOLS[symbol], "id": number, "side": side}
        tif = str(random.choice(["gtc", "gtc", "gtc", "ioc", "fok"]))
        new = {"ts_sent": sent, "action": "new", "total": int(random.integers(1, 9)), "tif": tif}
        rows.append({**order, **new, "price": price})
        if random.random() < 0.6:
            later = {"ts_sent": sent + int(random.integers(0, 20 * 10**9)), "action": "replace"}
            moved, total = price + int(random.integers(-3, 4)), int(random.integers(1, 9))
            rows.append({**order, **later, "price": moved, "total": total, "tif": "gtc"})
        if random.random() < 0.6:
            later = {"ts_sent": sent + int(random.integers(0, 40 * 10**9)), "action": "cancel"}
            rows.append({**order, **later, "price": 0, "total": 0, "tif": "gtc"})
    rows.sort(key=lambda row: row["ts_sent"])
    pq.write_table(pa.Table.from_pylist(rows), file)
    return quoting_run(runs, dataset, strategy=f"order-list:{file}", quoting=None)
