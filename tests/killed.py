"""Runs a backtest in processes that kill themselves at a chosen step, and again to its end.

A step is a call of the strategy, or one by which a file or folder comes to be on the disk, gets its
name, or goes. Run as ``python -m tests.killed DATASET FOLDER STRATEGY STRIDE``; prints JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

# What a run imports, here rather than in every child.
import pyarrow.parquet  # noqa: F401
from numba.core.registry import cpu_target
from numpy.typing import NDArray

import backtest
import backtest.api
import backtest.report.trades
import backtest.runs.settling
import backtest.timing.arrival_loops
import backtest.timing.quantile_loops
import backtest.timing.server_loops
import backtest.trading.booking_loops
import backtest.trading.ideal_loops
import backtest.trading.target_loops
from backtest.core.arrays import Float32Array
from backtest.core.parts import Origin
from backtest.data.reading import stream
from backtest.inference import checkpoints
from backtest.market.events import EventBatch
from backtest.plugins.hookspecs import Register
from backtest.plugins.manager import Plugins, load_plugins
from backtest.strategies.base import Session, StateArrays, Strategy


class Killer:
    """Kills the process at a step."""

    def __init__(self) -> None:
        self.left = 0

    def step(self) -> None:
        """Take a step, perhaps the last."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner: Any, name: str) -> None:
        """Count the calls of a function as steps."""
        real = getattr(owner, name)

        def counted(*args: Any, **named: Any) -> Any:
            self.step()
            return real(*args, **named)

        setattr(owner, name, counted)


KILLER = Killer()


@dataclass
class Summing(Strategy):
    """The running sum of its symbol's first feature."""

    def bind(self, session: Session) -> None:
        self.sums = np.zeros(len(session.symbols))

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.features is not None
        KILLER.step()
        out = np.empty((len(batch), 1), dtype=np.float32)
        for row, symbol in enumerate(batch.symbol):
            self.sums[symbol] += 0.1 * batch.features[row, 0]
            out[row] = self.sums[symbol]
        return out

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        return {"sums": self.sums[list(symbols)]}

    def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
        self.sums[list(symbols)] = state["sums"]

    def reset(self, symbols: Sequence[int]) -> None:
        self.sums[list(symbols)] = 0


class ByBatch(Summing):
    """The same, and depending on the batches."""

    batch_invariant: ClassVar[bool] = False

    def predict(self, batch: EventBatch) -> Float32Array:
        out = super().predict(batch)
        self.sums *= 0.99
        return out


class Hiding(Summing):
    """The same with a state that it does not show."""

    snapshot = Strategy.snapshot


class Plugin:
    """The strategies above."""

    @backtest.hookimpl
    def backtest_register_strategies(self, register: Register[Strategy]) -> None:
        for part in (Summing, ByBatch, Hiding):
            register(part.__name__.lower(), part)


def run(dataset: str, runs: Path, strategy: str, plugins: Plugins) -> None:
    backtest.run(
        runs=runs,
        plugins=plugins,
        dataset=dataset,
        strategy=strategy,
        policy="all",
        latency={"service": "affine:3ms,0.1ms"},
        server={"line_limit": 2},
    )


def child(work: Callable[[], None], step: int) -> int:
    """The exit status of a process that does the work; killed at the step, 0 for none."""
    with warnings.catch_warnings():
        # Since Python 3.12 forking beside threads warns. Those of libraries hold no lock here.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    KILLER.left = step
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def outcome(runs: Path) -> dict[str, Any]:
    """What the run in a folder came to, and what lies beside it."""
    (path,) = runs.glob("[!.]*/manifest.json")
    manifest = json.loads(path.read_text())
    stored = sorted(p.name for p in (runs / "predictions").iterdir())
    notes = manifest["predictions"].values()
    keys = {f"{note['key']}.parquet" for note in notes}
    return {
        "digest": manifest["digest"],
        "resumed": [note["resumed"] for note in notes if "resumed" in note],
        "left": [name for name in stored if name not in keys],
    }


def main() -> None:
    dataset, folder, strategy, stride = sys.argv[1:]
    cpu_target.target_context.refresh()  # imports what numba puts off until the first call
    stream.WITH_FEATURES = 150
    checkpoints.EVERY, checkpoints._SHARE = 0.0, 0
    for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
        KILLER.watch(os, name)
    plugins = load_plugins(entry_points=False)
    plugins.add(Plugin(), Origin("killed"))
    found: dict[str, Any] = {"killed": [], "again": None}

    def started(name: str, step: int) -> tuple[Path, int]:
        runs = Path(folder) / name
        return runs, child(lambda: run(dataset, runs, strategy, plugins), step)

    whole, status = started("whole", 0)
    assert status == 0, status
    found["whole"] = outcome(whole)
    for step in itertools.count(1, int(stride)):
        runs, status = started(f"{step}", step)
        if status == 0:
            break
        assert os.WIFSIGNALED(status), status
        assert os.WTERMSIG(status) == signal.SIGKILL
        runs, status = started(f"{step}", 0)
        assert status == 0, status
        found["killed"].append(outcome(runs))
        shutil.rmtree(runs)
    # The same run killed again and again, some steps later each time.
    for step in itertools.count(9, max(4, int(stride))):
        runs, status = started("again", step)
        if status == 0:
            break
    found["again"] = outcome(runs)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
