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
    DEPTH_EVENT,
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
    """Quotes as changes of depth: a new touch sets its size, and deletes the one before if that
    was better. Its exchange does not read ``DEPTH_BBO_EVENT``; touches move by one tick here."""
    rows = np.flatnonzero(ticks["symbol"] == symbol)
    data = np.zeros((len(rows), 4), event_dtype)
    for k, (side, sign, price, size) in enumerate(
        ((BUY_EVENT, 1, "bid", "bid_size"), (SELL_EVENT, -1, "ask", "ask_size"))
    ):
        prices = ticks[price][rows]
        before = np.append(prices[:1], prices[:-1])
        data["ev"][:, 2 * k] = DEPTH_EVENT | EXCH_EVENT | LOCAL_EVENT | side
        data["px"][:, 2 * k], data["qty"][:, 2 * k] = prices, ticks[size][rows]
        gone = sign * before > sign * prices
        data["ev"][gone, 2 * k + 1] = DEPTH_EVENT | EXCH_EVENT | LOCAL_EVENT | side
        data["px"][:, 2 * k + 1] = before
    data["exch_ts"] = data["local_ts"] = ticks["ts_event"][rows, None]
    return data[data["ev"] != 0]


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
def rule(hbt, assets, every):
    seen = 0
    while hbt.wait_next_feed(True, 10**15) in (2, 3):
        seen += 1
        if seen % every == 0:
            a = (seen // every) % assets
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
    every = round(100 * sum(map(len, arrays)) / count)  # events to an order: 100 ticks
    files = []
    for symbol, data in enumerate(arrays):
        files.append(str(Path(folder) / f"{symbol}.npz"))
        np.savez(files[-1], data=data)

    spent = []

    def whole():
        hbt = HashMapMarketDepthBacktest([asset(file) for file in files])
        seen_all(rule(hbt, symbols, every))
        worth = [
            (s.position, s.balance, s.fee, s.num_trades)
            for s in map(hbt.state_values, range(symbols))
        ]
        np.savez(Path(folder) / "result.npz", worth=np.array(worth))
        hbt.close()
        if not any(trades for _, _, _, trades in worth):
            raise SystemExit("none of the orders was filled")

    def loop():
        hbt = HashMapMarketDepthBacktest([asset(data) for data in arrays])
        begun = time.perf_counter()
        seen = rule(hbt, symbols, every)
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
