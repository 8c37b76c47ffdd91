"""One day of ticks for two engines: as a dataset, as hftbacktest's events, and orders to send."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.plugins.sources.binance import BinanceStream
from benchmarks.order_rules import Message, Tick

LATENCY = 5_000_000
"""Of orders, cancellations and reports, ns."""

MS = 1_000_000
_LAST = 15_000 * MS
"""The list ends so long before the day does."""


def order_list(day: Mapping[str, Any], count: int, lots: tuple[int, ...]) -> dict[str, Any]:
    """Post-only orders, and their cancellations 2 to 8 s later: columns, by the time of sending.

    They are sent, and arrive, half a millisecond after what the venue does, which has whole ones.
    """
    random = np.random.default_rng(0)
    first, last = int(day["ts_event"][0]) + 2000 * MS, int(day["ts_event"][-1]) - _LAST
    sent = np.sort(random.integers(first // MS, last // MS, count)) * MS + MS // 2
    rows = np.searchsorted(day["ts_event"], sent) - 1
    buys = random.random(count) < 0.5
    behind = random.integers(0, 2, count)
    price = np.where(buys, day["bid"][rows] - behind, day["ask"][rows] + behind)
    total = random.choice(np.array(lots), count)
    order = np.arange(1, count + 1)
    ends = sent + random.integers(2000, 8000, count) * MS
    whole = {
        "sent": np.concatenate([sent, ends]),
        "action": np.repeat([0, 1], count),
        "id": np.tile(order, 2),
        "side": np.tile(np.where(buys, 1, -1), 2),
        "price": np.tile(price, 2),
        "total": np.tile(total, 2),
    }
    by_time = np.argsort(whole["sent"], kind="stable")
    return {name: column[by_time] for name, column in whole.items()} | {"latency": LATENCY}


def ingested(file: Path, folder: Path) -> tuple[dict[str, Any], Path]:
    """Columns of the day's rows, the quote of each filled in, and the dataset."""
    folder.mkdir()
    BinanceStream().ingest(file, folder)
    table = pa.concat_tables(
        pq.read_table(path) for path in sorted(folder.glob("events-*.parquet"))
    )
    day: dict[str, Any] = {
        name: table[name].cast(pa.int64()).fill_null(0).to_numpy()
        for name in ("ts_event", "bid", "ask", "bid_size", "ask_size", "trade_price")
    }
    day["trade_size"] = table["trade_size"].fill_null(0).to_numpy()
    day["aggressor"] = table["aggressor"].to_numpy().astype(np.int64)
    return day, folder


def ticks_of(day: Mapping[str, Any]) -> list[Tick]:
    names = ("ts_event", "bid", "ask", "bid_size", "ask_size", "trade_price", "trade_size")
    columns = [day[name].tolist() for name in (*names, "aggressor")]
    return [Tick(*row) for row in zip(*columns, strict=True)]


def messages_of(listed: Mapping[str, Any]) -> list[Message]:
    found = []
    for k, action in enumerate(listed["action"].tolist()):
        time, order, side, price, total = (
            int(listed[name][k]) for name in ("sent", "id", "side", "price", "total")
        )
        found.append(Message(time + LATENCY, order, side, price, 0 if action else total))
    return found


_CONVERT = """
import sys, numpy as np
from hftbacktest.data.utils.binancefutures import convert
convert(sys.argv[1], sys.argv[2], buffer_size=4_000_000)
"""


def depth_events(python: Path, file: Path, output: Path) -> Any:
    """The day as hftbacktest converts it."""
    command = [str(python), "-c", _CONVERT, str(file), str(output)]
    subprocess.run(command, check=True, capture_output=True)
    return np.load(output)["data"]


def touch_events(day: Mapping[str, Any], depth: Any = None) -> Any:
    """Prints and touches as hftbacktest's events: a touch sets the size of its price, and deletes
    the prices better than it. Its exchange does not read ``DEPTH_BBO_EVENT``.

    Args:
        depth: converted events, of which those of prices behind the touch are put in between.
    """
    events: list[tuple[int, int, int, int]] = []
    levels: dict[int, set[int]] = {1: set(), -1: set()}
    shown: dict[int, tuple[int, int]] = {}
    behind = _depth_rows(depth)
    place = 0
    for tick in [*ticks_of(day), None]:
        while place < len(behind) and (tick is None or behind[place][0] < tick.time):
            time, side, price, size = behind[place]
            place += 1
            if side in shown and side * price < side * shown[side][0]:
                events.append((_DEPTH | _FLAG[side], time, price, size))
                levels[side].add(price)
        if tick is None:
            break
        if tick.initiator:
            events.append((_TRADE | _FLAG[tick.initiator], tick.time, tick.price, tick.lots))
        for side, price, size in ((1, tick.bid, tick.bid_size), (-1, tick.ask, tick.ask_size)):
            if shown.get(side) == (price, size):
                continue
            shown[side] = (price, size)
            events.append((_DEPTH | _FLAG[side], tick.time, price, size))
            for gone in sorted(level for level in levels[side] if side * level > side * price):
                levels[side].remove(gone)
                events.append((_DEPTH | _FLAG[side], tick.time, gone, 0))
            levels[side].add(price)
    flags, times, prices, sizes = (np.array(column) for column in zip(*events, strict=True))
    data = np.zeros(len(events), dtype=_EVENT)
    data["ev"] = flags | _EXCHANGE | _LOCAL
    data["exch_ts"] = data["local_ts"] = times
    data["px"], data["qty"] = prices * 0.1, sizes * 0.001
    return data


def _depth_rows(depth: Any) -> list[tuple[int, int, int, int]]:
    """Time, side, price in ticks and size in lots of the events that set a level."""
    if depth is None:
        return []
    kind = depth["ev"] & 0xFF
    some = depth[((kind == _DEPTH) | (kind == _SNAPSHOT)) & (depth["ev"] & _EXCHANGE != 0)]
    side = np.where(some["ev"] & _FLAG[1] != 0, 1, -1)
    price, size = np.rint(some["px"] / 0.1), np.rint(some["qty"] / 0.001)
    columns = (some["exch_ts"], side, price.astype(np.int64), size.astype(np.int64))
    return [*zip(*(column.tolist() for column in columns), strict=True)]


# hftbacktest's events: kind, who sees them, and side or initiator.
_DEPTH, _TRADE, _SNAPSHOT = 1, 2, 4
_EXCHANGE, _LOCAL = 1 << 31, 1 << 30
_FLAG = {1: 1 << 29, -1: 1 << 28}

_EVENT = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("order_id", "u8"),
        ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)
