"""How fast a venue follows depth: ``python -m benchmarks.depth``.

Quotes and trades of 39 symbols with nine rows of depth an event, within 20 ticks of the touch, and
a bid and an ask resting in each symbol, which are replaced by turns. CPU time of one venue and of
what it shares with others, in ns a row of depth: the least of several runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market.depth import ADD, CANCEL, DepthBatch
from backtest.market.events import EventBatch, concatenate
from backtest.market.instruments import Instrument
from backtest.market.window import Window
from backtest.trading.depth_window import DepthWindow
from backtest.trading.order_list import OrderList
from backtest.trading.order_terms import FillRules, OrderTerms
from backtest.trading.order_venue import OrderVenue
from backtest.trading.orders import OrderRules
from backtest.trading.queue_models import Exact, Power, QueueModel, Trades
from backtest.trading.terms import ClosingQuotes, Terms
from benchmarks.orders import ticks
from benchmarks.timing import parser_of

SYMBOLS = 39

_CHUNK = 1 << 14
"""Events given to a venue at once."""

_AN_EVENT = 9
"""Rows of depth an event."""

_NEAR = 20
"""Levels of a side that rows touch."""

_LIVES = 4096
"""Rows after which an order is cancelled."""

_EVERY = 200
"""Events between two messages."""


def levels(events: EventBatch) -> DepthBatch:
    """Rows of levels; a fifth of them are gone with their row."""
    random = np.random.default_rng(5)
    follows = np.repeat(np.arange(len(events)) + 1, _AN_EVENT)
    n = len(follows)
    symbol = random.integers(0, SYMBOLS, n).astype(np.int32)
    side = np.where(random.random(n) < 0.5, 1, -1).astype(np.int8)
    return DepthBatch(
        symbol=symbol,
        ts_event=events.ts_event[follows - 1],
        follows=follows,
        side=side,
        price=_touches(events, follows, symbol, side) - side * random.integers(0, _NEAR, n),
        size=np.where(random.random(n) < 0.2, 0, random.integers(1, 100, n)),
        flags=np.zeros(n, dtype=np.uint8),
    )


def orders(events: EventBatch) -> DepthBatch:
    """Rows of single orders: one is added, an old one cancelled, by turns."""
    rows = levels(events)
    n = len(rows)
    id_of = np.arange(n)
    ends = np.arange(_LIVES + 1, n, 2)
    id_of[ends] -= _LIVES + 1
    action = np.full(n, ADD, dtype=np.int8)
    action[ends] = CANCEL
    size = np.maximum(rows.size, 1)
    return DepthBatch(
        symbol=rows.symbol[id_of],
        ts_event=rows.ts_event,
        follows=rows.follows,
        side=rows.side[id_of],
        price=rows.price[id_of],
        size=size[id_of],
        flags=rows.flags,
        order_id=id_of,
        action=action,
    )


def _touches(events: EventBatch, follows: Int64Array, symbol: Any, side: Any) -> Int64Array:
    """The touch of each row's side after the events before it."""
    assert events.bid is not None
    assert events.ask is not None
    touch = np.full(len(follows), 10_000, dtype=np.int64)
    for s in range(SYMBOLS):
        own = np.flatnonzero(events.symbol == s)
        rows = np.flatnonzero(symbol == s)
        latest = np.searchsorted(own, follows[rows]) - 1
        known = latest >= 0
        rows, latest = rows[known], own[latest[known]]
        touch[rows] = np.where(side[rows] > 0, events.bid[latest], events.ask[latest])
    return touch


def _messages(events: EventBatch) -> OrderList:
    """A bid and an ask of each symbol, replaced by turns, at the touch of the moment."""
    assert events.bid is not None
    assert events.ask is not None
    rows = np.arange(len(events) // 20, len(events), _EVERY)
    turn = np.arange(len(rows))
    side = np.where(turn % 2 == 0, 1, -1)
    symbol = events.symbol[rows]
    price = np.where(side > 0, events.bid[rows], events.ask[rows])
    return OrderList.of(
        {
            "ts_sent": events.ts_event[rows],
            "symbol": [f"S{s:02d}" for s in symbol],
            "action": np.where(turn < 4 * SYMBOLS, "new", "replace").tolist(),
            "id": np.where(side > 0, 1, 2),
            "side": np.where(side > 0, "buy", "sell").tolist(),
            "price": price,
            "total": np.full(len(rows), 10**6) + turn,
            "post_only": ["reject"] * len(rows),
        },
        [f"S{s:02d}" for s in range(SYMBOLS)],
        "messages",
    )


def _terms(events: EventBatch, queue: QueueModel) -> Terms:
    end = int(events.ts_event[-1]) + 1
    rules = OrderRules(None, 0, 0, None, end)
    closing = ClosingQuotes(SYMBOLS, rules)
    names = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    closing.look_back([getattr(events, name) for name in names])
    listed = _messages(events)
    latency = np.full((len(listed), 4), 1000, dtype=np.int64)
    return Terms(
        symbols=[f"S{s:02d}" for s in range(SYMBOLS)],
        instruments=[Instrument()] * SYMBOLS,
        rules=rules,
        sizing=None,
        entry=0,
        response=0,
        warmup=0,
        ends=np.array([end], dtype=np.int64),
        closing=closing,
        orders=OrderTerms(FillRules(queue), 0, 0, listed=listed, listed_latency=latency),
    )


def once(events: EventBatch, depth: DepthBatch, queue: QueueModel) -> dict[str, float]:
    """CPU seconds of each share of one venue's way through all rows."""
    window = Window(OrderVenue.COLUMNS)
    rows = DepthWindow(SYMBOLS, orders=depth.order_id is not None)
    venue = OrderVenue(window, _terms(events, queue), rows)
    spent = {"depth taken in": 0.0, "events linked": 0.0, "the loops": 0.0}

    def timed(share: str, call: Callable[[], Any]) -> None:
        begun = time.thread_time()
        call()
        spent[share] += time.thread_time() - begun

    given, cuts = 0, np.searchsorted(depth.follows, np.arange(0, len(events), _CHUNK) + _CHUNK)
    for first in range(0, len(events), _CHUNK):
        stop = min(first + _CHUNK, len(events))
        places = window.extend(stop - first)
        for name in ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size", "trade_price"):
            window[name][places] = getattr(events, name)[first:stop]
        for name in ("trade_size", "aggressor"):
            window[name][places] = getattr(events, name)[first:stop]
        last = stop == len(events)
        timed("events linked", lambda f=first, s=stop, e=last: venue.follow(f, s, last=e))
        piece = depth.select(slice(given, len(depth) if last else int(cuts[first // _CHUNK])))
        given += len(piece)
        timed("depth taken in", lambda p=piece: (rows.extend(p), venue.follow_depth()))
        venue.settle(0, stop, np.zeros(stop, dtype=np.float32))
        now = int(events.ts_event[stop - 1])
        timed("the loops", lambda n=now: venue.advance(n))
        venue.take_fills()
        venue.take_log()
        window.release(venue.needs)
        rows.release(venue.needs_depth or rows.stop)
    venue.finish()
    return spent


def main() -> None:
    """Run it."""
    given = parser_of(__doc__, repeats=3).parse_args()
    events = concatenate([*ticks(given.events // _AN_EVENT, SYMBOLS)])
    kinds: dict[str, tuple[DepthBatch, QueueModel]] = {}
    by_level, by_order = levels(events), orders(events)
    kinds["L2, trades"] = by_level, Trades()
    kinds["L2, power:2"] = by_level, Power(2)
    kinds["L3, trades"] = by_order, Trades()
    kinds["L3, l3"] = by_order, Exact()
    for name, (depth, queue) in kinds.items():
        once(events, depth, queue)  # compiles
        runs = [once(events, depth, queue) for _ in range(given.repeats)]
        least = {share: min(run[share] for run in runs) for share in runs[0]}
        shares = {share: seconds / len(depth) * 1e9 for share, seconds in least.items()}
        whole = sum(shares.values())
        print(  # noqa: T201
            f"{name:12} {len(depth):,} rows, {len(events):,} events: "
            + ", ".join(f"{share} {ns:.1f}" for share, ns in shares.items())
            + f" ns a row: {1e3 / shares['the loops']:.1f} M rows/s in the loops, "
            f"{1e3 / whole:.1f} in all; load {os.getloadavg()[0]:.2f}"
        )


if __name__ == "__main__":
    main()
