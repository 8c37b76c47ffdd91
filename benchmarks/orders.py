"""How fast orders rest: ``python -m benchmarks.orders``.

Whole runs on quotes and trades of 39 symbols, with a bid and an ask working in each: a quoting
rule wants both at the touch after every event. A run has three venues, the chosen one and the two
of the bracket. CPU time of each and of what they share, in ns a row: the least of several runs.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import backtest
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.market.events import NO_PRICE, EventBatch
from backtest.trading import order_venue_loops
from backtest.trading.order_venue import OrderVenue
from benchmarks.data import quotes
from benchmarks.timing import parser_of

RUN: dict[str, Any] = {
    "strategy": "imbalance",
    "quoting": "two-sided:lots=5",
    "latency": {"service": "affine:1us,350ns", "entry": "constant:1us", "response": "constant:1us"},
}
"""A rule that keeps up, so that every row is answered and both sides are compared with it."""

_SHARES = {
    "follow": "quotes linked",
    "answer": "commands made",
    "advance": "fills booked",
    "settle": "quotes forgotten",
    "take_fills": "fills by arrival",
    "take_log": "reports by time",
}

_LOOPS = "the loops"

_TRADES = 0.2
"""Share of rows that are trades."""

_MOVES = 0.1
"""Share of quotes that move the touch by a tick; the others change its sizes."""


def ticks(events: int, symbols: int = 39) -> Iterator[EventBatch]:
    """Quotes and trades at exponential gaps; a trade is of 1 to 9 lots at the touch."""
    random = np.random.default_rng(3)
    mids = np.full(symbols, 10_000, dtype=np.int64)
    for batch in quotes(events, symbols):
        n = len(batch)
        traded = random.random(n) < _TRADES
        moves = np.where(random.random(n) < _MOVES, random.choice((-1, 1), n), 0)
        moves[traded] = 0
        bid = np.empty(n, dtype=np.int64)
        sizes = [batch.bid_size, batch.ask_size]
        for s in range(symbols):
            rows = np.flatnonzero(batch.symbol == s)
            if not len(rows):
                continue
            bid[rows] = mids[s] + np.cumsum(moves[rows])
            mids[s] = bid[rows[-1]]
        buys = random.random(n) < 0.5
        yield EventBatch(
            batch.symbol,
            batch.ts_event,
            bid=bid,
            ask=bid + 1,
            bid_size=sizes[0],
            ask_size=sizes[1],
            trade_price=np.where(traded, bid + buys, NO_PRICE),
            trade_size=np.where(traded, random.integers(1, 10, n), 0),
            aggressor=np.where(traded, 2 * buys - 1, 0).astype(np.int8),
        )


def dataset(folder: Path, events: int) -> Path:
    """The folder of a dataset of that many rows, written unless it is there."""
    path = folder / f"quotes-and-trades-{events}"
    if not path.exists():
        card = Card(name=path.name, symbols=tuple(f"S{k:02d}" for k in range(39)))
        write_canonical(path, card, ticks(events))
    return path


def main() -> None:
    """Run it."""
    given = parser_of(__doc__, repeats=5).parse_args()
    folder = dataset(given.scratch, given.events)
    stopwatch = _Stopwatch()
    for name, label in _SHARES.items():
        setattr(OrderVenue, name, stopwatch.on(getattr(OrderVenue, name), label))
    order_venue_loops.work = stopwatch.on(order_venue_loops.work, _LOOPS)  # type: ignore[assignment]
    least: dict[tuple[str, str], float] = {}
    for repeat in range(given.repeats + 1):
        shutil.rmtree(given.scratch / "runs", ignore_errors=True)
        stopwatch.spent.clear()
        begun = _cpu()
        backtest.run(dataset=str(folder), runs=given.scratch / "runs", **RUN)
        stopwatch.spent["run", "all threads"] = _cpu() - begun
        for place, seconds in stopwatch.spent.items():
            if repeat:
                least[place] = min(least.get(place, seconds), seconds)
    _show({place: seconds / given.events * 1e9 for place, seconds in least.items()})


class _Stopwatch:
    """CPU time of calls by queue model and label; what is called inside another counts alone."""

    def __init__(self) -> None:
        self.spent: dict[tuple[str, str], float] = {}
        self._inner: list[float] = []
        self._model = ""

    def on(self, call: Callable[..., Any], label: str) -> Callable[..., Any]:
        """The call, its time taken."""

        @functools.wraps(call)
        def timed(*given: Any, **named: Any) -> Any:
            if isinstance(given[0], OrderVenue):
                self._model = type(given[0]._orders.fills.queue).__name__.lower()
            self._inner.append(0.0)
            begun = time.thread_time()
            try:
                return call(*given, **named)
            finally:
                took = time.thread_time() - begun
                place = (self._model, label)
                self.spent[place] = self.spent.get(place, 0) + took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return timed


def _show(found: dict[tuple[str, str], float]) -> None:
    """ns a row, and million rows a second of one core."""
    models = [model for model, label in found if label == _LOOPS]
    labels = [_LOOPS, *_SHARES.values()]
    print(f"{'ns a row':20}" + "".join(f"{model:>12}" for model in models))  # noqa: T201
    for label in labels:
        values = [found.get((model, label), 0.0) for model in models]
        print(f"{label:20}" + "".join(f"{value:12.1f}" for value in values))  # noqa: T201
    sums = [sum(found.get((model, label), 0.0) for label in labels) for model in models]
    print(f"{'one venue':20}" + "".join(f"{value:12.1f}" for value in sums))  # noqa: T201
    for what, values in (
        ("the loops", [found[model, _LOOPS] for model in models]),
        ("one venue", sums),
    ):
        print(  # noqa: T201
            f"{what + ', M rows/s':20}" + "".join(f"{1e3 / value:12.1f}" for value in values)
        )
    run = found["run", "all threads"]
    print(  # noqa: T201
        f"three venues {sum(sums):.1f} ns; whole run {run:.1f} ns, {1e3 / run:.2f} M rows a "
        f"CPU second; load {os.getloadavg()[0]:.2f}"
    )


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
