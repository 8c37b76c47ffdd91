"""Other engines on the same ticks with the same orders, each in an environment of its own."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.data import dataset, quotes

_PEERS = {"hftbacktest": "hftbacktest==2.4.4", "nautilus": "nautilus_trader"}

_STRATEGY = Path(__file__).with_name("every_hundredth.py")

_RUN = {
    "strategy": "every-hundredth",
    "sizing": "proportional:gain=1",
    "undropped": False,
    "latency": {"service": "constant:0ns", "entry": "constant:1us", "response": "constant:1us"},
}


def peers(scratch: Path, events: int, repeats: int) -> dict[str, Any]:
    """Whole runs of this engine and of others, one after another; or why there is none."""
    found: dict[str, Any] = {"ticktoll": ours(scratch, events, repeats)}
    ticks = [*quotes(events)]
    columns = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    path = scratch / f"ticks-{events}.npz"
    np.savez(path, **{c: np.concatenate([getattr(b, c) for b in ticks]) for c in columns})
    for name in _PEERS:
        try:
            script = Path(__file__).with_name(f"peer_{name}.py")
            command = [str(python_with(scratch, name)), "-P", str(script), str(path), str(repeats)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
        except subprocess.CalledProcessError as error:
            last = (error.stderr or str(error)).strip().splitlines()
            found[name] = {"unavailable": last[-1] if last else str(error)}
    return found


def python_with(scratch: Path, name: str) -> Path:
    """The Python of an environment that has a peer, which is made unless it is there."""
    home = scratch / f"venv-{name}"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", _PEERS[name]]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return python


def ours(scratch: Path, events: int, repeats: int) -> dict[str, Any]:
    """The same ticks from a Parquet file, one order every 100 ticks, to fills and PnL on disk."""
    import backtest
    from backtest.plugins.manager import load_plugins

    folder, plugins = dataset(scratch, events), load_plugins([_STRATEGY])

    def once() -> None:
        shutil.rmtree(scratch / "runs", ignore_errors=True)
        backtest.run(dataset=str(folder), runs=scratch / "runs", plugins=plugins, **_RUN)

    wall, cpu = _spent(once, repeats)
    return {
        "what": "39 symbols, an order every 100 ticks, whole runs",
        "best": round(events / min(wall) / 1e6, 3),
        "median": round(events / median(wall) / 1e6, 3),
        "cpu_s_best": round(min(cpu), 3),
        "cpu_s_median": round(median(cpu), 3),
        "load": round(os.getloadavg()[0], 2),
    }


def _spent(once: Callable[[], None], repeats: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of some runs, after one that compiles."""
    once()
    wall, cpu = [], []
    for _ in range(repeats):
        begun, before = time.perf_counter(), _cpu()
        once()
        wall.append(time.perf_counter() - begun)
        cpu.append(_cpu() - before)
    return wall, cpu


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run it by itself: ``python -m benchmarks.peers --events 2000000``."""
    from benchmarks.timing import parser_of

    given = parser_of(__doc__, repeats=5).parse_args()
    print(json.dumps(peers(given.scratch, given.events, given.repeats), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
