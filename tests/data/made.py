"""Small datasets for the tests of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backtest.data.canonical import write_canonical
from backtest.data.card import Card, Features, Targets
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.features.builders import random_events
from backtest.market.events import ABSENT, EventBatch

START = 1_700_000_000_000_000_000
SYMBOLS = ("AAA", "BBB", "CCC")


def quote_events(rows: int, *, seed: int = 3, symbols: int = 3) -> EventBatch:
    """Quotes and trades with aggressors: shared instants, one-sided and crossed quotes."""
    rng = np.random.default_rng(seed)
    frame = random_events(rows, seed=seed, start=START)
    columns: dict[str, Any] = {
        name: frame[name].fill_null(ABSENT.get(name, 0)).to_numpy() for name in frame.columns
    }
    columns["aggressor"] = columns["aggressor"].astype(np.int8)
    ts = columns["ts_event"]
    recv = ts + rng.integers(10_000, 2_000_000, rows)
    return EventBatch(
        symbol=rng.integers(0, symbols, rows).astype(np.int32), ts_recv=recv, **columns
    )


def quote_dataset(folder: Path, rows: int = 3000, **card: Any) -> Dataset:
    """``quote_events`` as a dataset without features."""
    write_canonical(folder, Card(name="made", symbols=SYMBOLS, **card), [quote_events(rows)])
    return open_dataset(folder)


def feature_dataset(folder: Path, rows: int = 1000, *, packed: bool = False) -> Dataset:
    """``quote_events`` with two features and a target."""
    names = ("f0", "f1")
    features = Features(packed="x", names=names) if packed else Features(columns=names)
    card = Card(name="made", symbols=SYMBOLS, features=features, targets=Targets(columns=("y",)))
    rng = np.random.default_rng(9)
    events = quote_events(rows)
    matrix = rng.normal(size=(rows, 3)).astype(np.float32)
    columns = {name: getattr(events, name) for name in EventBatch.__dataclass_fields__}
    batch = EventBatch(**columns | {"features": matrix[:, :2]})
    write_canonical(folder, card, [(batch, matrix[:, 2:])])
    return open_dataset(folder)
