"""Events a second that pass 2 takes an LSTM through, with and without batching over time.

python -m benchmarks.sequences --symbols 39 --device cpu
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from time import perf_counter

import numpy as np

from backtest import Strategy
from backtest.data.reading.stream import WITH_FEATURES
from backtest.market.events import EventBatch
from backtest.strategies.base import Session
from benchmarks.lstm import Lstm, Stepped

FEATURES = 79


def main() -> None:
    """Print one JSON object: best and median over the repeats, which take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=39)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--events", type=int, default=WITH_FEATURES, help="of a call of predict")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, help="of torch on the CPU")
    asked = parser.parse_args()
    import torch

    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    session = Session(
        tuple(f"S{i}" for i in range(asked.symbols)),
        tuple(f"f{i}" for i in range(FEATURES)),
        asked.device,
    )
    strategies: dict[str, Strategy] = {"sequences": Lstm(), "steps": Stepped()}
    for strategy in strategies.values():
        strategy.bind(session)
    seconds: dict[str, list[float]] = {name: [] for name in strategies}
    for repeat in range(asked.repeats + 1):  # the first one warms up
        batch = drawn(asked.events, asked.symbols, repeat)
        for name, strategy in strategies.items():
            began = perf_counter()
            strategy.predict(batch)
            if repeat:
                seconds[name].append(perf_counter() - began)
    rates = {
        name: {
            "best": round(asked.events / min(took)),
            "median": round(asked.events / statistics.median(took)),
        }
        for name, took in seconds.items()
    }
    about = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
    }
    sys.stdout.write(json.dumps({"events_per_second": rates, **vars(asked), **about}) + "\n")


def drawn(events: int, symbols: int, seed: int) -> EventBatch:
    """Events of random symbols."""
    random = np.random.default_rng(seed)
    return EventBatch(
        symbol=random.integers(0, symbols, events).astype(np.int32),
        ts_event=np.arange(events),
        features=random.standard_normal((events, FEATURES), dtype=np.float32),
    )


if __name__ == "__main__":
    main()
