"""An own order in the place of a real one is filled as that was executed, row by row, under l3."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from backtest.trading.queue_models import Exact, Optimistic, Power, QueueModel, Through, Trades
from benchmarks.be_that_order import Fills, Told, believed, chosen, tell
from benchmarks.queue_market import Market, TakenOut, take_out


def taken_from(seed: int, changes: int, count: int) -> tuple[Told, TakenOut]:
    """A market without some orders, as it is told, and what became of those."""
    random = Random(seed)
    market = Market(random)
    market.play(changes)
    taken = take_out(market.changes, chosen(market, random, count))
    return tell(taken.changes), taken


@pytest.mark.parametrize("at_once", [1, 25])
def test_a_hundred_orders_are_filled_as_they_were(at_once: int) -> None:
    executions = 0
    for seed in range(100 // at_once):
        told, taken = taken_from(seed, 1500, at_once)
        assert believed(told, taken.sent, "L3", Exact()) == taken.executed
        executions += sum(map(len, taken.executed.values()))
    assert executions > 20


@pytest.mark.slow
def test_thousands_of_orders_are_filled_as_they_were() -> None:
    executions = 0
    for seed in range(30):
        told, taken = taken_from(1000 + seed, 40_000, 100)
        assert believed(told, taken.sent, "L3", Exact()) == taken.executed
        executions += sum(map(len, taken.executed.values()))
    assert executions > 1000


def test_what_knows_less_fills_no_more() -> None:
    """Lots filled by any time, of each order by itself: bounds, and depth that tells more."""
    chain: list[tuple[str, QueueModel]] = [
        ("L2", Through()),
        ("L2", Trades()),
        ("L3", Trades()),
        ("L3", Exact()),
        ("L3", Optimistic()),
    ]
    for seed in range(25):
        told, taken = taken_from(seed, 2000, 1)
        found = [believed(told, taken.sent, kind, queue) for kind, queue in chain]
        for less, more in pairwise(found):
            assert_no_more(less, more)
        assert_no_more(found[1], believed(told, taken.sent, "L2", Power(2)))


def assert_no_more(less: Fills, more: Fills) -> None:
    for number, fills in less.items():
        done = 0
        for ts, lots in fills:
            done += lots
            assert done <= sum(n for t, n in more[number] if t <= ts)
