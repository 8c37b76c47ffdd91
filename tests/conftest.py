"""What all tests share: properties are tried with the same examples every time."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from backtest.data.canonical import write_canonical
from backtest.data.card import Card, Features, Targets
from backtest.market.events import EventBatch

if TYPE_CHECKING:
    from backtest.plugins.manager import Plugins

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")

MS = 1_000_000


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """SIGINT interrupts tests and what they start, also where a shell runs them behind it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    """The shipped plugins, to read from."""
    from backtest.plugins.manager import load_plugins

    return load_plugins(entry_points=False)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dataset: 600 events of three symbols, quotes, two features, one target.

    Events are about 1 ms apart. The first feature is the target, the next move of the mid.
    """
    random = np.random.default_rng(5)
    n = 600
    times = 1_700_000_000_000_000_000 + np.cumsum(random.integers(0, 2 * MS, n))
    symbol = random.integers(0, 3, n).astype(np.int32)
    moves = random.integers(-3, 4, n)
    mids = np.empty(n, dtype=np.int64)
    for s in range(3):
        rows = np.flatnonzero(symbol == s)
        mids[rows] = 1000 + np.concatenate([[0], np.cumsum(moves[rows])[:-1]])
    features = np.column_stack([moves, random.normal(size=n)]).astype(np.float32)
    batch = EventBatch(
        symbol=symbol,
        ts_event=times,
        ts_recv=times + random.integers(0, MS, n),
        bid=mids,
        ask=mids + 1,
        bid_size=random.integers(1, 9, n),
        ask_size=random.integers(1, 9, n),
        features=features,
    )
    folder = tmp_path_factory.mktemp("datasets") / "small"
    card = Card(
        name="small",
        symbols=("AAA", "BBB", "CCC"),
        features=Features(columns=("move", "noise")),
        targets=Targets(columns=("target",)),
    )
    write_canonical(folder, card, [(batch, features[:, :1].copy())])
    return folder


@pytest.fixture(scope="session")
def finished_runs(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of five runs on the small dataset: two policies, one at three scales, one partial."""
    from backtest.api import run

    runs = tmp_path_factory.mktemp("runs")
    for policy, scale, limit in (
        ("all", 1.0, None),
        ("one", 1.0, None),
        ("all", 0.0, None),
        ("all", 4.0, None),
        ("all", 1.0, 100),
    ):
        run(
            runs=runs,
            dataset=str(small_dataset),
            strategy="imbalance",
            policy=policy,
            latency={"service": "affine:1ms,0.1ms", "entry": "constant:50us", "scale": scale},
            limit=limit,
        )
    return runs
