"""Whether an own order is filled as a real one was: ``python -m benchmarks.be_that_order``.

Takes orders out of a market that is known order by order, and sends each as an own one at the same
instant, with its own cancels and replacements. On single orders (L3) the queue model ``l3`` must
fill it as it was executed, row by row. Then the market is told by levels (L2) and by its touch
(L1), and each queue model says what it believes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np

from backtest.market.depth import ACTIONS, LAST, SNAPSHOT, DepthBatch
from backtest.market.events import NO_PRICE
from backtest.market.instruments import Instrument
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading.depth_window import DepthWindow
from backtest.trading.order_list import OrderList
from backtest.trading.order_terms import FillRules, OrderTerms
from backtest.trading.order_venue import OrderVenue
from backtest.trading.orders import OrderRules
from backtest.trading.queue_models import (
    Exact,
    Optimistic,
    Power,
    QueueModel,
    Through,
    Trades,
)
from backtest.trading.terms import ClosingQuotes, Terms
from benchmarks.queue_market import Change, Market, Sent, TakenOut, take_out
from benchmarks.timing import parser_of

Fills = dict[int, list[tuple[int, int]]]
"""Of each order, (ts, lots) of its fills."""

MODELS: Mapping[str, tuple[str, QueueModel]] = {
    "L3 `l3`": ("L3", Exact()),
    "L3 `trades`": ("L3", Trades()),
    "L2 `through`": ("L2", Through()),
    "L2 `trades`": ("L2", Trades()),
    **{f"L2 `power:{n}`": ("L2", Power(n)) for n in range(1, 5)},
    "L1 `through`": ("L1", Through()),
    "L1 `trades`": ("L1", Trades()),
    **{f"L1 `power:{n}`": ("L1", Power(n)) for n in range(1, 5)},
    "L1 `optimistic`": ("L1", Optimistic()),
}


@dataclass(frozen=True)
class Told:
    """A market as a dataset would tell it: columns of events, and depth of either kind."""

    events: dict[str, Any]
    depth: dict[str, DepthBatch]


def tell(changes: Sequence[Change]) -> Told:
    """An event for each execution and each change of the touch or its size."""
    sizes: dict[int, dict[int, int]] = {1: {}, -1: {}}
    there: dict[int, tuple[int, int, int]] = {}  # id → side, price, lots
    events: list[tuple[int, ...]] = []
    levels: list[tuple[int, ...]] = []
    orders: list[tuple[int, ...]] = []
    quoted: tuple[int, ...] = ()

    def change_level(ts: int, side: int, price: int, lots: int) -> None:
        size = sizes[side].get(price, 0) + lots
        sizes[side][price] = size
        if size == 0:
            del sizes[side][price]
        levels.append((ts, len(events), side, price, size))

    for change in changes:
        code = ACTIONS.index(change.action)
        row = (change.ts, len(events), change.side, change.price, change.size, change.id, code)
        orders.append(row)
        before = there.pop(change.id, None)
        if before is not None:
            side, price, lots = before
            left = 0 if change.action == "modify" else lots - change.size
            change_level(change.ts, side, price, left - lots)
            if left > 0:
                there[change.id] = side, price, left
        if change.action in ("add", "modify"):
            there[change.id] = change.side, change.price, change.size
            change_level(change.ts, change.side, change.price, change.size)
        bid, ask = max(sizes[1], default=NO_PRICE), min(sizes[-1], default=NO_PRICE)
        quote = bid, ask, sizes[1].get(bid, 0), sizes[-1].get(ask, 0)
        trade = (NO_PRICE, 0, 0)
        if change.action == "execute":
            trade = change.price, change.size, -change.side
        if quote != quoted or trade[1]:
            events.append((change.ts, *quote, *trade))
            quoted = quote
    names = ("ts_event", "bid", "ask", "bid_size", "ask_size", "trade_price", "trade_size")
    columns = np.array(events, dtype=np.int64).T
    made = dict(zip((*names, "aggressor"), columns, strict=True))
    return Told(made, {"L2": _batch(levels), "L3": _batch(orders)})


def _batch(rows: Sequence[tuple[int, ...]]) -> DepthBatch:
    """Rows of depth; those of levels begin with a snapshot of a book without any."""
    columns = np.array(rows, dtype=np.int64).T
    flags = np.zeros(len(rows), dtype=np.uint8)
    flags[0] = SNAPSHOT | LAST if len(columns) == 5 else 0
    return DepthBatch(
        symbol=np.zeros(len(rows), dtype=np.int32),
        ts_event=columns[0],
        follows=columns[1],
        side=columns[2].astype(np.int8),
        price=columns[3],
        size=columns[4],
        flags=flags,
        order_id=columns[5] if len(columns) > 5 else None,
        action=columns[6].astype(np.int8) if len(columns) > 5 else None,
    )


def believed(told: Told, sent: Sequence[Sent], kind: str, queue: QueueModel) -> Fills:
    """What the venue fills of the orders that are sent, without any latency."""
    events, depth = told.events, told.depth.get(kind)
    count = len(events["ts_event"])
    window = Window(OrderVenue.COLUMNS, 2 * count)
    rows = None if depth is None else DepthWindow(1, orders=depth.order_id is not None)
    venue = OrderVenue(window, _terms(events, sent, queue), rows)
    places = window.extend(count)
    window["symbol"][places] = 0
    for name, column in events.items():
        window[name][places] = column
    venue.follow(0, count, last=True)
    if rows is not None and depth is not None:
        rows.extend(depth)
        venue.follow_depth()
    venue.settle(0, count, np.zeros(count, dtype=np.float32))
    venue.finish()
    fills: Fills = {message.id: [] for message in sent}
    columns = venue.take_fills()
    for number, ts, lots in columns[[at.ORDER, at.FILLED, at.LOTS]].T.tolist():
        if number >= 0:
            fills[number].append((ts, abs(lots)))
    return fills


def _terms(events: dict[str, Any], sent: Sequence[Sent], queue: QueueModel) -> Terms:
    end = int(events["ts_event"][-1]) + 1
    rules = OrderRules(None, 0, 0, None, end)
    closing = ClosingQuotes(1, rules)
    names = ("ts_event", "bid", "ask", "bid_size", "ask_size")
    symbol = np.zeros(len(events["ts_event"]), dtype=np.int32)
    closing.look_back([symbol, *(np.ascontiguousarray(events[name]) for name in names)])
    listed = OrderList.of(
        {
            "ts_sent": [m.ts for m in sent],
            "symbol": ["A"] * len(sent),
            "action": [m.action for m in sent],
            "id": [m.id for m in sent],
            "side": ["buy" if m.side > 0 else "sell" for m in sent],
            "price": [m.price for m in sent],
            "total": [m.total for m in sent],
        },
        ["A"],
        "sent",
    )
    latency = np.zeros((len(sent), 4), dtype=np.int64)
    return Terms(
        symbols=["A"],
        instruments=[Instrument()],
        rules=rules,
        sizing=None,
        entry=0,
        response=0,
        warmup=0,
        ends=np.array([end], dtype=np.int64),
        closing=closing,
        orders=OrderTerms(FillRules(queue), 0, 0, listed=listed, listed_latency=latency),
    )


def chosen(market: Market, random: Random, count: int) -> frozenset[int]:
    """Orders that came after the beginning, when both sides are there."""
    added = [change.id for change in market.changes if change.action == "add"]
    return frozenset(random.sample(added[200:], count))


def compare(executed: Fills, fills: Fills) -> dict[str, Any]:
    """How far what is believed is what happened, order by order."""
    both = [number for number in executed if executed[number] and fills[number]]
    late = [fills[number][0][0] - executed[number][0][0] for number in both]
    lots = [(sum(n for _, n in executed[k]), sum(n for _, n in fills[k])) for k in executed]
    return {
        "orders filled": sum(map(bool, fills.values())),
        "of them not in truth": sum(bool(fills[k]) and not executed[k] for k in executed),
        "missed": sum(bool(executed[k]) and not fills[k] for k in executed),
        "lots": sum(mine for _, mine in lots),
        "the same fills": sum(fills[k] == executed[k] for k in executed),
        "ms late, median": round(median(late) / 1e6, 3) if late else None,
        "ms late, mean": round(sum(late) / len(late) / 1e6, 3) if late else None,
    }


def merged(parts: Sequence[Fills]) -> Fills:
    """Those of several replays, in which ids begin anew."""
    return {(k << 32) + number: of for k, part in enumerate(parts) for number, of in part.items()}


def truth(taken: TakenOut) -> Fills:
    """What really became of the orders taken out."""
    return {number: list(fills) for number, fills in taken.executed.items()}


def main() -> None:
    """Run it."""
    parser = parser_of(__doc__, repeats=1)
    parser.add_argument("--orders", type=int, default=4000)
    parser.add_argument("--at-once", type=int, default=40)
    parser.add_argument("--changes", type=int, default=40_000)
    parser.add_argument("--result", type=Path)
    given = parser.parse_args()
    executed: list[Fills] = []
    found: dict[str, list[Fills]] = {name: [] for name in MODELS}
    for seed in range(given.orders // given.at_once):
        random = Random(seed)
        market = Market(random)
        market.play(given.changes)
        taken = take_out(market.changes, chosen(market, random, given.at_once))
        told = tell(taken.changes)
        executed.append(truth(taken))
        for name, (kind, queue) in MODELS.items():
            found[name].append(believed(told, taken.sent, kind, queue))
    real = merged(executed)
    rows = {"what happened": compare(real, real)}
    rows |= {name: compare(real, merged(parts)) for name, parts in found.items()}
    names = list(rows["what happened"])
    print("| | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")  # noqa: T201
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(str(row[n]) for n in names) + " |")  # noqa: T201
    if given.result is not None:
        settings = {"orders": given.orders, "at_once": given.at_once, "changes": given.changes}
        given.result.write_text(json.dumps({"settings": settings, "models": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
