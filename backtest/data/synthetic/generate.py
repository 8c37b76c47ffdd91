"""Generates a synthetic market as a canonical dataset, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.core.callbacks import ProgressCallback
from backtest.core.prefetch import ahead
from backtest.data.canonical import write_canonical
from backtest.data.card import Card, Features, InstrumentTable, Targets
from backtest.data.synthetic.arrivals import ArrivalBlock, arrivals
from backtest.data.synthetic.feature_maker import FeatureMaker
from backtest.data.synthetic.market import (
    FEE_HALF_TICKS,
    SPREAD_SPREAD,
    TICK_SIZE,
    Floats,
    Market,
    RandomStream,
)
from backtest.data.synthetic.processes import Processes
from backtest.data.synthetic.truth import truth
from backtest.market.events import EventBatch

VERSION = 1
"""Of the generator: another version may make other data from the same parameters."""


def generate(
    market: Market,
    output: Path,
    *,
    events: int,
    skip: int = 0,
    name: str = "synthetic",
    overwrite: bool = False,
    on_progress: ProgressCallback = lambda done, total: None,
) -> Card:
    """Write a dataset of the market, whole or not at all, and return its card.

    Args:
        market: its parameters.
        output: the folder to make.
        events: how many events to write.
        skip: how many events of the market to leave out before them, so that a later stretch of
            the same market becomes a dataset of its own.
        name: the dataset's, for its card.
        overwrite: replace a dataset that is already there.
        on_progress: called with (events done, events in all).

    Raises:
        DataError: the folder is there and may not be replaced, or cannot be written.
    """
    card = _card(market, name, {"events": events, "skip": skip})
    made = ahead(_cut(market, skip, skip + events, on_progress), 2)
    write_canonical(output, card, made, overwrite=overwrite)
    return card


def batches(market: Market) -> Iterator[tuple[EventBatch, Float32Array]]:
    """The market's events with their targets, block by block, without end."""
    return _batches(market, 0)


def _cut(
    market: Market, low: int, high: int, on_progress: ProgressCallback
) -> Iterator[tuple[EventBatch, Float32Array]]:
    passed = 0
    for batch, targets in _batches(market, low):
        rows = slice(max(low - passed, 0), max(high - passed, 0))
        passed += len(batch)
        yield batch.select(rows), targets[rows]
        on_progress(min(passed, high), high)
        if passed >= high:
            return


def _batches(market: Market, featureless: int) -> Iterator[tuple[EventBatch, Float32Array]]:
    """All blocks; the first ``featureless`` events may come with features of 0, which is faster."""
    processes, maker = Processes(market), FeatureMaker(market)
    passed = 0
    for events in arrivals(market):
        paths = processes.step(events)
        passed += len(events)
        if passed <= featureless:
            features = np.zeros((market.features, len(events)), dtype=np.float32).T
        else:
            features = maker.block(events.block, paths["alpha"] + paths["offset"])
        alpha = paths["alpha"].astype(np.float32)
        targets = np.repeat(alpha[None, :], market.targets, axis=0).T
        yield _quoted(market, events, paths, features), targets


def _quoted(
    market: Market, events: ArrivalBlock, paths: dict[str, Floats], features: Float32Array
) -> EventBatch:
    s = SPREAD_SPREAD
    spread = np.rint(market.spread * np.exp(s * paths["spread"] - s * s / 2))
    spread = np.maximum(spread, 1).astype(np.int64)
    doubled_mid = paths["price"] + 2 * market.base_ticks
    bid = np.rint((doubled_mid - spread) / 2).astype(np.int64)
    random = market.random(RandomStream.QUOTES, events.block)
    depth = market.depth * np.exp(s * paths["depth"] - s * s / 2)
    sizes = 1 + np.floor(depth * random.standard_exponential((2, len(events)))).astype(np.int64)
    return EventBatch(
        symbol=events.symbol,
        ts_event=events.ts,
        bid=bid,
        ask=bid + spread,
        bid_size=sizes[0],
        ask_size=sizes[1],
        features=features,
    )


def _card(market: Market, name: str, extent: dict[str, int]) -> Card:
    width = max(3, len(str(market.symbols - 1)))
    fee = TICK_SIZE / 2 * Decimal(str(FEE_HALF_TICKS))
    notes: dict[str, Any] = {
        "generator": {
            "version": VERSION,
            "numpy": np.__version__,
            **extent,
            **dict(market.parameters()),
        },
        "truth": truth(market, next(arrivals(market))),
    }
    return Card(
        name=name,
        description="A synthetic market: a short-lived alpha drives the mids; features show it with"
        " a slow offset along the same loadings, under noise. Targets are the alpha.",
        symbols=tuple(f"SYM_{k:0{width}d}" for k in range(market.symbols)),
        features=Features(columns=_names("feature", market.features)),
        targets=Targets(columns=_names("target", market.targets)),
        instruments={"default": InstrumentTable(tick_size=TICK_SIZE, fee_per_lot=fee)},
        notes=notes,
    )


def _names(noun: str, count: int) -> tuple[str, ...]:
    return tuple(f"{noun}_{k:02d}" for k in range(count))
