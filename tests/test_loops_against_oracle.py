"""Closed loops of strategies that send their own orders are the oracle's, call by call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

from tests.loop_engine import simulate_loop as engine
from tests.loop_oracle import Looped, Rule, Server
from tests.loop_oracle import simulate_loop as oracle
from tests.oracle import NoClosingQuote
from tests.order_markets import OrderMarket, random_market
from tests.order_records import Row
from tests.test_orders_against_oracle import seen


@dataclass(frozen=True)
class LoopMarket:
    """A market, a server and messages' latencies."""

    market: OrderMarket
    rows: tuple[Row, ...]
    symbols: int
    server: Server
    latency: dict[Any, tuple[int, ...]]
    seed: int

    def run(self, simulate: Any = oracle, **options: Any) -> Looped:
        market = self.market
        looped: Looped = simulate(
            [*self.rows], self.symbols, self.server, Rule(self.seed), market.rules, self.latency,
            impact=market.impact, value=[*market.value], maker_fee=market.maker,
            taker_fee=market.taker, **options,
        )  # fmt: skip
        return looped


def random_loop(seed: int, *, instant: bool = False) -> LoopMarket:
    """A market whose rows come faster or slower than they are served; with a timer or without."""
    rnd = Random(seed)
    market = replace(random_market(rnd), messages=())
    rows = tuple(row for row in market.rows if row.ts <= market.rules.end)
    n = len(rows)
    feed = rnd.choice((0, 0, 2)) if rnd.random() < 0.6 else None
    timer = rnd.choice((None, 1, 2, 3, 7))
    server = Server(
        feed=tuple(rnd.choice((0, 0, 1, 3)) if feed is None else feed for _ in rows),
        base=rnd.choice((0, 1, 1, 2, 5)),
        per_event=rnd.choice((0, 0, 1)),
        most=rnd.choice((None, None, 1, 2)),
        line=rnd.choice((100, 2, 1)),
        timer=timer,
        start=rows[0].ts - rnd.choice((0, 0, 2)) if rows else 0,
        warmup=rnd.choice((0, 0, 0, 3)),
    )
    if instant:
        server = replace(server, feed=(0,) * n, base=0, per_event=0, most=1, line=10**6)
    latency = {
        name: tuple(rnd.choice((0, 1, 3)) for _ in rows)
        for name in ("entry", "cancel", "replace", "response")
    }
    return LoopMarket(market, rows, len(market.value), server, latency, seed)


def agree(case: LoopMarket, chunk: int, **options: Any) -> Looped | None:
    """Hold one loop against the other."""
    if not case.rows:
        return None
    try:
        theirs = case.run()
    except NoClosingQuote:
        with pytest.raises(NoClosingQuote):
            case.run(engine, chunk=chunk, **options)
        return None
    mine = case.run(engine, chunk=chunk, **options)
    for k, (found, wanted) in enumerate(zip(mine.views, theirs.views, strict=False)):
        assert found == wanted, k
    assert len(mine.views) == len(theirs.views)
    assert mine.answered == sorted(theirs.answered)
    assert mine.sent == theirs.sent
    expected = seen(theirs.result)
    for name, values in seen(mine.result).items():
        assert values == expected[name], name
    return theirs


def test_random_loops_agree() -> None:
    kinds: set[str] = set()
    timers = fills = 0
    for seed in range(700):
        done = agree(random_loop(seed), Random(seed).choice((1, 3, 7, 64)))
        if done is not None:
            kinds |= {report.kind for report in done.result.reports}
            timers += sum(not view.batch for view in done.views)
            fills += len(done.result.fills)
    assert kinds == {
        "accepted", "rejected", "filled", "cancelled", "replaced", "expired", "late",
    }  # fmt: skip
    assert timers > 1000
    assert fills > 1000


def test_loops_without_latency_of_the_server_agree() -> None:
    """At scale 0 each event is a batch, and a timer goes before the events of its instant."""
    fills = 0
    for seed in range(300):
        done = agree(random_loop(seed, instant=True), Random(seed).choice((1, 7, 64)), scale=0.0)
        fills += 0 if done is None else len(done.result.fills)
    assert fills > 300
