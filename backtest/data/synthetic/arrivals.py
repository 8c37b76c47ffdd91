"""When events happen: a self-exciting process, so that queues form.

Hawkes (1971), "Spectra of some self-exciting and mutually exciting point processes", in the cluster
form of Hawkes and Oakes (1974): immigrants come at random, and every event sets off a Poisson
number of others after exponential delays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from backtest.core.arrays import Int32Array, Int64Array
from backtest.data.synthetic.market import SECOND, Market, RandomStream

ROWS = 32_768
"""Mean number of events per block: it determines the span of time of a block."""


@dataclass(frozen=True, slots=True)
class ArrivalBlock:
    """Events of one block in time order: ts_event int64 ns [n], symbol int32 [n]."""

    block: int
    ts: Int64Array
    symbol: Int32Array

    def __len__(self) -> int:
        return len(self.ts)


def arrivals(market: Market) -> Iterator[ArrivalBlock]:
    """Blocks of events, without end.

    A block's clusters are drawn from its own random numbers; what they set off after its end is
    carried over, so that the process does not notice the blocks.
    """
    span = max(1, round(ROWS / (market.rate * market.symbols) * SECOND))
    ts, symbol = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
    block = 0
    while True:
        random = market.random(RandomStream.ARRIVALS, block)
        new_ts, new_symbol = _clusters(market, random, market.start + block * span, span)
        ts, symbol = np.concatenate([ts, new_ts]), np.concatenate([symbol, new_symbol])
        order = np.argsort(ts, kind="stable")
        ts, symbol = ts[order], symbol[order]
        now = int(np.searchsorted(ts, market.start + (block + 1) * span))
        yield ArrivalBlock(block, ts[:now], symbol[:now])
        ts, symbol = ts[now:], symbol[now:]
        block += 1


def _clusters(
    market: Market, random: Generator, start: int, span: int
) -> tuple[Int64Array, Int32Array]:
    """Immigrants of one block with all their descendants, generation by generation."""
    expected = market.rate * market.symbols * (1 - market.branching) * span / SECOND
    count = int(random.poisson(expected))
    ts = start + random.integers(0, span, count)
    symbol = random.integers(0, market.symbols, count, dtype=np.int32)
    generations = [(ts, symbol)]
    while len(ts):
        children = random.poisson(market.branching, len(ts))
        ts, symbol = np.repeat(ts, children), np.repeat(symbol, children)
        ts = ts + np.ceil(random.exponential(market.child_delay, len(ts))).astype(np.int64)
        other = random.integers(0, market.symbols, len(ts), dtype=np.int32)
        symbol = np.where(random.random(len(ts)) < market.same_symbol, symbol, other)
        generations.append((ts, symbol))
    return (
        np.concatenate([t for t, _ in generations]),
        np.concatenate([s for _, s in generations]),
    )
