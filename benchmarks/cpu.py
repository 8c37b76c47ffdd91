"""CPU benchmarks: ``python -m benchmarks.cpu``. JSON on stdout, or a table with ``--table``.

Each figure is the best and the median of several runs, in million events a second, beside the load
average while it was taken; the bound of whatever reads quotes is a bare pyarrow scan of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.data import START, dataset, quotes

_PEERS = {"hftbacktest": "hftbacktest==2.4.4", "nautilus": "nautilus_trader"}
_RUN = {
    "strategy": "imbalance",
    "sizing": "sign:lots=1,threshold=0.9",
    "latency": {"service": "affine:1us,350ns", "entry": "constant:1us", "response": "constant:1us"},
}


def timed(events: int, repeats: int, once: Callable[[], None]) -> dict[str, Any]:
    """Speeds of some runs, the first of which is not counted but told: it compiles."""
    begun = time.perf_counter()
    once()
    first = time.perf_counter() - begun
    speeds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        once()
        speeds.append(events / (time.perf_counter() - begun) / 1e6)
    return {
        "best": round(max(speeds), 3),
        "median": round(median(speeds), 3),
        "first_run_s": round(first, 2),
        "events": events,
        "load": round(os.getloadavg()[0], 2),
    }


def scan(folder: Path, events: int, repeats: int) -> dict[str, Any]:
    """The bound: every column decoded by pyarrow and dropped."""
    import pyarrow.dataset as ds

    def once() -> None:
        for _ in ds.dataset(folder, format="parquet", exclude_invalid_files=True).to_batches():
            pass

    return timed(events, repeats, once)


def bus(folder: Path, events: int, repeats: int) -> dict[str, Any]:
    """The bus alone."""
    from backtest.bus import EventBus
    from backtest.data.dataset import open_dataset

    opened = open_dataset(folder)

    def once() -> None:
        for _ in EventBus(opened):
            pass

    return timed(events, repeats, once)


def queues(events: int, repeats: int) -> dict[str, Any]:
    """Pass 1 on arrivals in memory, mean batch about 2, columns warm."""
    from backtest.plugins.latency_models import Affine
    from backtest.plugins.policies import (
        All,
        AtMost,
        Deadline,
        NewestPerSymbol,
        One,
        OnePerSymbol,
    )
    from backtest.queueing import Queue, rule_of
    from backtest.room import Room
    from backtest.server import InferenceServer

    random = np.random.default_rng(0)
    times = START + np.cumsum(random.exponential(1000, events)).astype(np.int64)
    symbols = random.integers(0, 39, events).astype(np.int32)

    class Warm(Room):
        """Columns that are used again, so that a run does not pay for fresh pages."""

        def __init__(self) -> None:
            super().__init__(events)
            self.kept: list[Any] = []
            self.next = 0

        def column(self, dtype: Any, width: int | None = None) -> Any:
            if self.next == len(self.kept):
                self.kept.append(np.empty(events, dtype))
            self.next += 1
            column = self.kept[self.next - 1]
            column[:] = 0
            return column

    found = {}
    for name, policy in {
        "all": All(),
        "one": One(),
        "at-most:4": AtMost(4),
        "one-per-symbol": OnePerSymbol(),
        "newest-per-symbol": NewestPerSymbol(),
        "deadline:3,2us": Deadline(3, 2000),
    }.items():
        latency = Affine(700) if name == "one" else Affine(1000, 350)
        server = InferenceServer(policy, latency)
        room, spent = Warm(), []
        for _ in range(repeats + 1):
            room.next = 0
            queue = Queue(
                server, rule_of(server), symbols, times, np.empty(0, dtype=np.int64),
                symbols=39, end=int(times[-1]) + 1, room=room,
            )  # fmt: skip
            begun = time.perf_counter()
            queue.advance(events)
            spent.append(time.perf_counter() - begun)
        found[name] = {
            "best": round(events / min(spent[1:]) / 1e6, 1),
            "median": round(events / median(spent[1:]) / 1e6, 1),
            "first_run_s": round(spent[0], 2),
            "events": events,
            "mean_batch": round(float(queue.timing.answered.sum()) / queue.number, 2),
            "load": round(os.getloadavg()[0], 2),
        }
    return found


def end_to_end(folder: Path, events: int, repeats: int, scratch: Path) -> dict[str, Any]:
    """Quotes (zstd), a compiled rule, the market accountant, a run folder."""
    import backtest

    def once() -> None:
        shutil.rmtree(scratch / "runs", ignore_errors=True)
        backtest.run(dataset=str(folder), runs=scratch / "runs", **_RUN)

    return timed(events, repeats, once)


def closed_loop(events: int, repeats: int) -> dict[str, Any]:
    """A Python strategy called for each batch of 16, its service times measured."""
    from backtest.closed_loop import ClosedLoop
    from backtest.events import EventBatch, Float32Array, concatenate
    from backtest.plugins.latency_models import Constant, Measured
    from backtest.plugins.policies import AtMost
    from backtest.predictions import Inference
    from backtest.room import Room
    from backtest.server import InferenceServer
    from backtest.strategies.base import Session, Strategy

    class Rule(Strategy):
        """The imbalance at the touch."""

        def predict(self, batch: EventBatch) -> Float32Array:
            imbalance = np.subtract(batch.bid_size, batch.ask_size, dtype=np.float32)
            return imbalance.reshape(-1, 1)

    ticks = concatenate([*quotes(events, mean_gap_ns=1)])
    session = Session(tuple(f"S{k}" for k in range(39)))
    inference = Inference(Rule(), {"name": "rule"}, {}, session)
    server = InferenceServer(AtMost(16), Measured(), line_limit=1 << 40)

    def once() -> None:
        end = int(ticks.ts_event[-1]) + 10**12
        ClosedLoop(server, inference, ticks, Constant(0), end=end, room=Room(events)).run()

    return timed(events, repeats, once)


_MEMORY = """
import resource, shutil, sys
sys.path.insert(0, {root!r})
import backtest
backtest.run(dataset={folder!r}, runs={runs!r}, reuse=False, **{run!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory(scratch: Path, short: int, long: int) -> dict[str, Any]:
    """Peak resident memory (MB) of whole runs of two lengths, each in a process of its own."""
    found: dict[str, Any] = {}
    for events in (short, long):
        runs = scratch / "memory-runs"
        shutil.rmtree(runs, ignore_errors=True)
        program = _MEMORY.format(
            root=str(Path(__file__).parents[1]),
            folder=str(dataset(scratch, events)),
            runs=str(runs),
            run=_RUN,
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[f"{events}_events_mb"] = round(float(done.stdout))
        shutil.rmtree(runs, ignore_errors=True)
    return found


def peers(scratch: Path, events: int) -> dict[str, Any]:
    """Other engines on the same ticks, each in an environment of its own; or why there is none."""
    found: dict[str, Any] = {}
    ticks = [*quotes(events)]
    columns = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    path = scratch / f"ticks-{events}.npz"
    np.savez(path, **{c: np.concatenate([getattr(b, c) for b in ticks]) for c in columns})
    for name, requirement in _PEERS.items():
        home = scratch / f"venv-{name}"
        python = home / "bin" / "python"
        try:
            if not python.exists():
                subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", requirement]
            subprocess.run(install, check=True, capture_output=True, text=True)
            script = Path(__file__).with_name(f"peer_{name}.py")
            done = subprocess.run(
                [str(python), str(script), str(path)], check=True, capture_output=True, text=True
            )
            found[name] = json.loads(done.stdout.splitlines()[-1])
        except subprocess.CalledProcessError as error:
            last = (error.stderr or str(error)).strip().splitlines()
            found[name] = {"unavailable": last[-1] if last else str(error)}
    return found


def table(results: dict[str, Any]) -> str:
    """The figures as a Markdown table, the bound beside those that read quotes."""
    bound = results["scan"]["median"]
    rows = [("bare pyarrow scan, zstd (the bound)", results["scan"], None)]
    rows += [("bus alone", results["bus"], bound), ("end to end", results["end_to_end"], bound)]
    rows += [(f"pass 1, `{name}`", row, None) for name, row in results["pass_1"].items()]
    rows.append(("closed loop, batches of 16", results["closed_loop"], None))
    lines = ["| million events/s | best | median | of the bound | load |", "|---|---|---|---|---|"]
    for name, row, of in rows:
        share = "" if of is None else f"{row['median'] / of:.0%}"
        lines.append(f"| {name} | {row['best']} | {row['median']} | {share} | {row['load']} |")
    for name, row in results.get("peers", {}).items():
        speed = row.get("speed", row.get("unavailable"))
        lines.append(f"| {name}, {row.get('what', '')} | {speed} | | | {row.get('load', '')} |")
    if "memory" in results:
        peaks = ", ".join(f"{peak} ({run})" for run, peak in results["memory"].items())
        lines += ["", f"Peak resident memory of whole runs, MB: {peaks}."]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--long", type=int, default=0, help="also compare memory with so many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="install and run other engines")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "ticktoll")
    parser.add_argument("--table", action="store_true", help="print a table instead of JSON")
    given = parser.parse_args()
    events, repeats, scratch = given.events, given.repeats, given.scratch
    folder = dataset(scratch, events)
    results: dict[str, Any] = {
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "scan": scan(folder, events, repeats),
        "bus": bus(folder, events, repeats),
        "pass_1": queues(events, repeats),
        "end_to_end": end_to_end(folder, events, repeats, scratch),
        "closed_loop": closed_loop(min(events, 1_000_000), repeats),
    }
    if given.long:
        results["memory"] = memory(scratch, events, given.long)
    if given.peers:
        results["peers"] = peers(scratch, min(events, 1_000_000))
    print(table(results) if given.table else json.dumps(results, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
