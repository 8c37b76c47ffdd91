"""hftbacktest on the benchmark's ticks: an order every 100 ticks. Run in its own environment."""

# ruff: noqa: T201
import json
import os
import sys
import time

import numpy as np
from hftbacktest import (
    ALL_ASSETS,
    BUY_EVENT,
    DEPTH_EVENT,
    EXCH_EVENT,
    GTC,
    LIMIT,
    LOCAL_EVENT,
    SELL_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
)
from hftbacktest.types import event_dtype
from numba import njit

ticks = np.load(sys.argv[1])
symbols = int(ticks["symbol"].max()) + 1


def asset(symbol):
    rows = np.flatnonzero(ticks["symbol"] == symbol)
    data = np.zeros(2 * len(rows), event_dtype)
    flags = DEPTH_EVENT | EXCH_EVENT | LOCAL_EVENT
    for k, (side, price, size) in enumerate(
        ((BUY_EVENT, "bid", "bid_size"), (SELL_EVENT, "ask", "ask_size"))
    ):
        data["ev"][k::2] = flags | side
        data["exch_ts"][k::2] = data["local_ts"][k::2] = ticks["ts_event"][rows]
        data["px"][k::2] = ticks[price][rows]
        data["qty"][k::2] = ticks[size][rows]
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
    count = 0
    while hbt.wait_next_feed(True, 10**15) in (2, 3):
        count += 1
        if count % 100 == 0:
            a = (count // 100) % assets
            hbt.clear_inactive_orders(ALL_ASSETS)
            depth = hbt.depth(a)
            hbt.submit_buy_order(a, count, depth.best_ask, 1.0, GTC, LIMIT, False)
    return count


assets = [asset(symbol) for symbol in range(symbols)]
for _ in range(2):  # the first compiles
    hbt = HashMapMarketDepthBacktest([asset(s) for s in range(symbols)])
    begun = time.perf_counter()
    rule(hbt, symbols)
    spent = time.perf_counter() - begun
    hbt.close()
print(
    json.dumps(
        {
            "what": f"{symbols} assets, an order every 100 ticks",
            "speed": round(len(ticks["symbol"]) / spent / 1e6, 3),
            "load": round(os.getloadavg()[0], 2),
        }
    )
)
