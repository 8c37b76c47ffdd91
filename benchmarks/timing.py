"""How benchmarks are timed: several runs after one that compiles, beside the load."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

Once = Callable[[], None]


def parser_of(about: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """Options of every benchmark of whole runs."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "ticktoll")
    return parser


def timed(events: int, repeats: int, once: Once) -> dict[str, Any]:
    """Speeds of some runs in million events/s, the first (which compiles) not counted."""
    return timed_together(events, repeats, {"": once})[""]


def timed_together(events: int, repeats: int, all_of: dict[str, Once]) -> dict[str, dict[str, Any]]:
    """The same of several things in turn, so that what slows one slows the others too."""
    first = {name: _spent(once) for name, once in all_of.items()}
    spent: dict[str, list[float]] = {name: [] for name in all_of}
    for _ in range(repeats):
        for name, once in all_of.items():
            spent[name].append(_spent(once))
    return {name: speeds(events, first[name], of) for name, of in spent.items()}


def speeds(events: int, first: float, spent: list[float]) -> dict[str, Any]:
    """What some runs come to, given the seconds that they took."""
    return {
        "best": round(events / min(spent) / 1e6, 3),
        "median": round(events / median(spent) / 1e6, 3),
        "first_run_s": round(first, 2),
        "events": events,
        "load": round(os.getloadavg()[0], 2),
    }


def peak_mb() -> int:
    """The most memory that this program had resident, MB.

    Not what ``getrusage`` tells: on Linux that is also what the process that started this one held.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak >> (20 if sys.platform == "darwin" else 10)
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) >> 10


def _spent(once: Once) -> float:
    begun = time.perf_counter()
    once()
    return time.perf_counter() - begun
