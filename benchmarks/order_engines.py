"""A list of orders in hftbacktest, in an environment of its own, and in this engine."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import backtest
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.market.events import NO_PRICE, EventBatch
from backtest.trading import order_layout as ol
from backtest.trading.order_venue import OrderVenue
from benchmarks.order_feeds import LATENCY, MS, order_list
from benchmarks.order_rules import Fate

_STATUS = {2: "rejected", 3: "filled", 4: "cancelled"}


def theirs(
    python: Path, ticks: Path, listed: Mapping[str, Any], scratch: Path, repeats: int = 0
) -> Any:
    """The fate of each order in hftbacktest, which reads its events from a file; with ``repeats``
    the seconds that it took."""
    orders, result = scratch / "orders.npz", scratch / "result.npz"
    np.savez(orders, **listed)
    script = Path(__file__).with_name("peer_orders.py")
    command = [str(python), "-P", str(script), str(ticks), str(orders), str(result), str(repeats)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    if repeats:
        return json.loads(done.stdout.splitlines()[-1])
    found = {name: column.tolist() for name, column in np.load(result).items()}
    return {
        order: Fate(lots, time if lots else 0, _STATUS[status])
        for order, status, time, lots in zip(
            found["id"], found["status"], found["time"], found["lots"], strict=True
        )
    }


def _write_list(path: Path, listed: Mapping[str, Any], symbol: str) -> None:
    count = len(listed["sent"])
    table = pa.table(
        {
            "ts_sent": listed["sent"],
            "symbol": [symbol] * count,
            "action": np.where(listed["action"] == 0, "new", "cancel"),
            "id": listed["id"],
            "side": np.where(listed["side"] > 0, "buy", "sell"),
            "price": listed["price"],
            "total": listed["total"],
            "tif": ["gtc"] * count,
            "post_only": ["reject"] * count,
        }
    )
    pq.write_table(table, path)


def _settings(dataset: Path, listed: Path, **fills: str) -> dict[str, Any]:
    span = f"constant:{LATENCY}ns"
    return {
        "dataset": str(dataset),
        "strategy": f"order-list:{listed}",
        "fills": {"through": "full", "cross": "full", **fills},
        "latency": {"service": "constant:0ns", "entry": span, "response": span},
    }


def ours(dataset: Path, listed: Mapping[str, Any], scratch: Path, **fills: str) -> dict[int, Fate]:
    """The fate of each order here."""
    path = scratch / "orders.parquet"
    _write_list(path, listed, "BTCUSDT.um")
    shutil.rmtree(scratch / "runs", ignore_errors=True)
    run = backtest.run(runs=scratch / "runs", **_settings(dataset, path, **fills))
    table = pq.read_table(Path(run.folder) / "orders.parquet")
    table = table.select(["order", "report", "lots", "ts_venue"])
    lots: Counter[int] = Counter()
    times: dict[int, int] = {}
    ends: dict[int, str] = {}
    rows = table.set_column(3, "ts_venue", table["ts_venue"].cast(pa.int64())).to_pylist()
    for row in rows:
        order, report = row["order"], row["report"]
        if report == "filled":
            lots[order] += row["lots"]
            times[order] = row["ts_venue"]
            ends[order] = "filled"
        elif report in ("rejected", "cancelled", "expired"):
            ends[order] = report
    return {k: Fate(lots[k], times.get(k, 0), ends[k]) for k in sorted(ends)}


def speeds(
    python: Path, day: Mapping[str, Any], feeds: Mapping[str, Any], given: Any, scratch: Path
) -> dict[str, Any]:
    """Both engines in turn on copies of the day, one after another: seconds, wall and CPU."""
    copies = given.copies
    listed = _copies(order_list(day, given.orders, (1,)), copies, "sent")
    listed["id"] += np.repeat(np.arange(copies), 2 * given.orders) * given.orders
    many = {name: scratch / f"{k}-copies.npz" for k, name in enumerate(feeds)}
    counts = {}
    for name, file in many.items():
        data = _copied_events(np.load(feeds[name])["data"], copies)
        counts[name] = len(data)
        np.savez(file, data=data)
    dataset, path = scratch / "copies", scratch / "copies.parquet"
    card = Card(name="copies", symbols=("BTCUSDT",))
    write_canonical(dataset, card, _batches(_copies(day, copies, "ts_event")))
    _write_list(path, listed, "BTCUSDT")
    spent: dict[str, dict[str, list[float]]] = {name: {} for name in (*many, "here")}
    for repeat in range(given.repeats):
        for name, file in many.items():
            _add(spent[name], theirs(python, file, listed, scratch, 1))
        _add(spent["here"], _own_speed(dataset, path, scratch, warm=repeat == 0))
    rows = copies * len(day["ts_event"])
    return {
        "rows": rows,
        "messages": len(listed["sent"]),
        "copies of the day": copies,
        "events of hftbacktest": counts,
        **{
            name: {
                f"{what}, s": {"best": round(min(of), 4), "median": round(median(of), 4)}
                for what, of in by.items()
            }
            for name, by in spent.items()
        },
    }


_SPAN = 400_000 * MS
"""From one copy of the day to the next, ns: it is of six minutes."""


def _copies(columns: Mapping[str, Any], copies: int, times: str) -> dict[str, Any]:
    """Columns over and over, each time later."""
    many = {
        name: np.tile(column, copies) if np.ndim(column) else column
        for name, column in columns.items()
    }
    many[times] = many[times] + np.repeat(np.arange(copies) * _SPAN, len(columns[times]))
    return many


def _copied_events(data: Any, copies: int) -> Any:
    many = np.tile(data, copies)
    for name in ("exch_ts", "local_ts"):
        many[name] += np.repeat(np.arange(copies) * _SPAN, len(data))
    return many


def _batches(day: Mapping[str, Any]) -> Iterator[EventBatch]:
    count, traded = len(day["ts_event"]), day["trade_size"] > 0
    columns = {name: day[name] for name in ("ts_event", "bid", "ask", "bid_size", "ask_size")}
    columns["trade_price"] = np.where(traded, day["trade_price"], NO_PRICE)
    columns["trade_size"] = day["trade_size"]
    columns["aggressor"] = day["aggressor"].astype(np.int8)
    for first in range(0, count, _PIECE):
        rows = slice(first, min(first + _PIECE, count))
        symbol = np.zeros(rows.stop - first, dtype=np.int32)
        yield EventBatch(symbol, **{name: column[rows] for name, column in columns.items()})


_PIECE = 1 << 18


def _own_speed(dataset: Path, listed: Path, scratch: Path, *, warm: bool) -> dict[str, Any]:
    """Seconds of a whole run, with its three venues; and of the loops of the chosen one: quotes are
    followed, orders carried out and filled, the costs of fills added up."""
    loop = [0.0, 0.0]

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def once(venue: OrderVenue, *given: Any, **named: Any) -> None:
            begun, before = time.perf_counter(), time.thread_time()
            call(venue, *given, **named)
            if venue._order_rules[ol.MODEL] == ol.TRADES:  # not one of the bracket
                loop[0] += time.perf_counter() - begun
                loop[1] += time.thread_time() - before

        return once

    follow, advance = timed(OrderVenue.follow), timed(OrderVenue.advance)
    with patch.object(OrderVenue, "follow", follow), patch.object(OrderVenue, "advance", advance):
        for _ in range(1 + warm):
            shutil.rmtree(scratch / "runs", ignore_errors=True)
            loop[:] = 0.0, 0.0
            begun, before = time.perf_counter(), _cpu()
            backtest.run(runs=scratch / "runs", **_settings(dataset, listed))
            whole, whole_cpu = time.perf_counter() - begun, _cpu() - before
    return {
        "whole": [whole],
        "whole_cpu": [whole_cpu],
        "loop": [loop[0]],
        "loop_cpu": [loop[1]],
    }


def _add(spent: dict[str, list[float]], found: Mapping[str, Any]) -> None:
    for what in ("whole", "whole_cpu", "loop", "loop_cpu"):
        spent.setdefault(what, []).extend(found[what])


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
