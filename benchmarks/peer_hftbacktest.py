"""hftbacktest on the benchmark's ticks: an order every 100 ticks. Run in its own environment.

The loop alone, on ticks in memory; and whole runs: each asset's file read, orders filled, balances
and positions added up and written.
"""

# ruff: noqa: T201
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from hftbacktest import (
    ALL_ASSETS,
    BUY_EVENT,
    DEPTH_BBO_EVENT,
    EXCH_EVENT,
    LIMIT,
    LOCAL_EVENT,
    SELL_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
)
from hftbacktest.order import IOC
from hftbacktest.types import event_dtype
from numba import njit

ticks = np.load(sys.argv[1])
repeats = int(sys.argv[2])
symbols = int(ticks["symbol"].max()) + 1
count = len(ticks["symbol"])


def events_of(symbol):
    rows = np.flatnonzero(ticks["symbol"] == symbol)
    data = np.zeros(2 * len(rows), event_dtype)
    # Quotes replace the best price, where DEPTH_EVENT would leave the level before in the book.
    flags = DEPTH_BBO_EVENT | EXCH_EVENT | LOCAL_EVENT
    for k, (side, price, size) in enumerate(
        ((BUY_EVENT, "bid", "bid_size"), (SELL_EVENT, "ask", "ask_size"))
    ):
        data["ev"][k::2] = flags | side
        data["exch_ts"][k::2] = data["local_ts"][k::2] = ticks["ts_event"][rows]
        data["px"][k::2] = ticks[price][rows]
        data["qty"][k::2] = ticks[size][rows]
    return data


def asset(data):
    return (
        BacktestAsset()
        .data([data])
        .linear_asset(1.0)
        .constant_order_latency(1000, 1000)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(1.0)
        .lot_size(1.0)
    )


@njit
def rule(hbt, assets):
    seen = 0
    while hbt.wait_next_feed(True, 10**15) in (2, 3):
        seen += 1
        if seen % 100 == 0:
            a = (seen // 100) % assets
            hbt.clear_inactive_orders(ALL_ASSETS)
            depth = hbt.depth(a)
            hbt.submit_buy_order(a, seen, depth.best_ask, 1.0, IOC, LIMIT, False)
    return seen


def seen_all(seen):
    """Stop where the loop ended early, which would make it look fast."""
    if seen < count:
        raise SystemExit(f"saw {seen} of {count} ticks")


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def figures(once):
    """Wall and CPU seconds of some runs, after one that compiles."""
    once()
    wall, used = [], []
    for _ in range(repeats):
        begun, before = time.perf_counter(), cpu()
        once()
        wall.append(time.perf_counter() - begun)
        used.append(cpu() - before)
    return {
        "best": round(count / min(wall) / 1e6, 3),
        "median": round(count / median(wall) / 1e6, 3),
        "cpu_s_best": round(min(used), 3),
        "cpu_s_median": round(median(used), 3),
    }


with tempfile.TemporaryDirectory() as folder:
    # Assets do not keep their arrays: without this list they read memory that was freed.
    arrays = [events_of(symbol) for symbol in range(symbols)]
    files = []
    for symbol, data in enumerate(arrays):
        files.append(str(Path(folder) / f"{symbol}.npz"))
        np.savez(files[-1], data=data)

    spent = []

    def whole():
        hbt = HashMapMarketDepthBacktest([asset(file) for file in files])
        seen_all(rule(hbt, symbols))
        worth = [
            (s.position, s.balance, s.fee, s.num_trades)
            for s in map(hbt.state_values, range(symbols))
        ]
        np.savez(Path(folder) / "result.npz", worth=np.array(worth))
        hbt.close()

    def loop():
        hbt = HashMapMarketDepthBacktest([asset(data) for data in arrays])
        begun = time.perf_counter()
        seen = rule(hbt, symbols)
        spent.append(time.perf_counter() - begun)
        seen_all(seen)
        hbt.close()

    found = {"whole": figures(whole)}
    for _ in range(repeats + 1):
        loop()
print(
    json.dumps(
        {
            "what": f"{symbols} assets, an order every 100 ticks",
            **found["whole"],
            "loop_best": round(count / min(spent[1:]) / 1e6, 3),
            "loop_median": round(count / median(spent[1:]) / 1e6, 3),
            "load": round(os.getloadavg()[0], 2),
        }
    )
)
