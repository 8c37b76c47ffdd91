"""A list of orders in hftbacktest, in an environment that has it: see ``order_differences``.

``python -P peer_orders.py TICKS LIST RESULT REPEATS``: ticks are its events, the list columns of
messages, the result what became of every order, all npz files. Seconds of its loop alone, and from
the file of ticks to that of the result, go to stdout.
"""

# ruff: noqa: T201
import json
import resource
import sys
import time

import numpy as np
from hftbacktest import (
    GTX,
    LIMIT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
)
from numba import njit

NEW = 0
TICK, LOT = 0.1, 0.001


@njit
def send_all(hbt, sent, action, order, side, price, total, tick, lot):
    """Send every message at its instant, then let the last ones be answered."""
    hbt.elapse(0)
    for k in range(len(sent)):
        if hbt.elapse(sent[k] - hbt.current_timestamp) != 0:
            return k
        if action[k] != NEW:
            known = hbt.orders(0).get(order[k])
            if known is not None and known.cancellable:
                hbt.cancel(0, order[k], False)
        elif side[k] > 0:
            hbt.submit_buy_order(0, order[k], price[k] * tick, total[k] * lot, GTX, LIMIT, False)
        else:
            hbt.submit_sell_order(0, order[k], price[k] * tick, total[k] * lot, GTX, LIMIT, False)
    hbt.elapse(1_000_000_000)
    return len(sent)


def asset(data, latency):
    return (
        BacktestAsset()
        .data([data])
        .linear_asset(1.0)
        .constant_order_latency(latency, latency)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(TICK)
        .lot_size(LOT)
    )


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    ticks, listed, result, repeats = sys.argv[1:]
    messages = np.load(listed)
    columns = [messages[name] for name in ("sent", "action", "id", "side", "price", "total")]
    latency = int(messages["latency"])
    ids = np.unique(messages["id"])
    kept = np.load(ticks)["data"]
    spent = {"whole": [], "whole_cpu": [], "loop": [], "loop_cpu": []}

    def whole(data):
        hbt = HashMapMarketDepthBacktest([asset(data, latency)])
        begun, before = time.perf_counter(), cpu()
        sent = send_all(hbt, *columns, TICK, LOT)
        loop, loop_cpu = time.perf_counter() - begun, cpu() - before
        if sent < len(columns[0]):
            raise SystemExit(f"sent {sent} of {len(columns[0])} messages")
        found = np.zeros((len(ids), 3), dtype=np.int64)
        orders = hbt.orders(0)
        for row, order in enumerate(ids):
            known = orders.get(order)
            found[row] = known.status, known.exch_timestamp, round(known.exec_qty / LOT)
        np.savez(result, id=ids, status=found[:, 0], time=found[:, 1], lots=found[:, 2])
        hbt.close()
        return loop, loop_cpu

    whole(kept)
    for _ in range(int(repeats)):
        begun, before = time.perf_counter(), cpu()
        whole(ticks)
        spent["whole"].append(time.perf_counter() - begun)
        spent["whole_cpu"].append(cpu() - before)
        loop, loop_cpu = whole(kept)
        spent["loop"].append(loop)
        spent["loop_cpu"].append(loop_cpu)
    print(json.dumps(spent | {"events": len(kept)}))


if __name__ == "__main__":
    main()
