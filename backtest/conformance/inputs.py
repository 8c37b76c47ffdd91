"""Events to try strategies on, and ways to group them into calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.market.events import EventBatch
from backtest.strategies.base import Strategy, form_problem


@dataclass(frozen=True, slots=True)
class InputSet:
    """Events, how they are grouped, and whose state is looked at.

    Attributes:
        name: what the events are like.
        events: in time order.
        cuts: where the strategy under test is given a new call.
        shown: symbols whose state is compared.
    """

    name: str
    events: EventBatch
    cuts: tuple[int, ...]
    shown: tuple[int, ...]

    def last_tenth(self) -> Int64Array:
        """Rows of the last tenth of every symbol's events."""
        turn = turns(self.events)
        counts = np.bincount(self.events.symbol)
        return np.flatnonzero(turn >= counts[self.events.symbol] * 0.9)


def random_events(
    n: int,
    *,
    symbols: int,
    features: int,
    seed: int,
    persistence: float = 0.9,
    crowd: float = 0.0,
) -> EventBatch:
    """Events with quotes and autocorrelated features; symbols come in bursts of their own.

    ``crowd`` is the share of the events that the first symbol has beyond its own.
    """
    rng = np.random.default_rng(seed)
    symbol = np.repeat(rng.integers(0, symbols, n), rng.integers(1, 4, n))[:n].astype(np.int32)
    if crowd:
        symbol[rng.random(n) < crowd] = 0
    symbol[:symbols] = np.arange(symbols)
    last = rng.standard_normal((symbols, features))
    rows = np.empty((n, features), dtype=np.float32)
    for i, s in enumerate(symbol):
        noise = rng.standard_normal(features)
        last[s] = persistence * last[s] + np.sqrt(1 - persistence**2) * noise
        rows[i] = last[s]
    bid = rng.integers(900, 1000, n)
    return EventBatch(
        symbol=symbol,
        ts_event=np.cumsum(rng.integers(0, 1000, n)),
        bid=bid,
        ask=bid + rng.integers(0, 3, n),
        bid_size=rng.integers(0, 50, n),
        ask_size=rng.integers(0, 50, n),
        features=rows,
    )


def at_most_each(events: EventBatch, most: int) -> EventBatch:
    """The first ``most`` events of each symbol."""
    return events.select(turns(events) < most)


def turns(events: EventBatch) -> Int64Array:
    """How many events of its symbol came before each event, [n]."""
    by_symbol = np.argsort(events.symbol, kind="stable")
    ordered = events.symbol[by_symbol]
    turn = np.empty(len(events), dtype=np.int64)
    turn[by_symbol] = np.arange(len(events)) - np.searchsorted(ordered, ordered)
    return turn


def answers(strategy: Strategy, events: EventBatch, cuts: Sequence[int]) -> Float32Array:
    """Predictions for all events, ``predict`` being called on the pieces between the cuts.

    Raises:
        AssertionError: a call gave something of another form than float32 [n, outputs].
    """
    edges = [0, *cuts, len(events)]
    pieces = []
    for piece in (events.select(slice(a, b)).read_only() for a, b in pairwise(edges)):
        found = strategy.predict(piece)
        problem = form_problem(found, len(piece), strategy.outputs)
        assert problem is None, problem
        pieces.append(found.copy())  # a strategy may use its array again
    return np.concatenate(pieces)


def random_cuts(n: int, rng: np.random.Generator) -> list[int]:
    """Sorted cuts, some equal: empty pieces are legal calls."""
    return sorted(rng.integers(0, n + 1, rng.integers(1, n // 4)).tolist())


def uneven_cuts(n: int, rng: np.random.Generator, *, largest: int = 200) -> list[int]:
    """Cuts into pieces of 1 to ``largest`` events, as many tens as ones."""
    cuts = [1]  # so that a batch of one is always among them
    while cuts[-1] < n:
        cuts.append(cuts[-1] + round(float(np.exp(rng.uniform(0, np.log(largest))))))
    return cuts[:-1]
