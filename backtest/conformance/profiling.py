"""Service times of a strategy on a device: measured as a server would meet them.

A sample is one call of ``predict`` on events in host memory, until the answers are in host memory:
the host's work, both copies and the device's work are in it.
"""

from __future__ import annotations

import gc
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from backtest.conformance.inputs import random_events
from backtest.core.arrays import Int64Array
from backtest.core.atomic import new_file
from backtest.core.callbacks import StepCallback
from backtest.market.events import EventBatch
from backtest.strategies.base import Session, Strategy

_INPUTS = 16
"""Different batches of each size that samples take turns with."""

_WARM_UP = 5
_SECONDS = 20.0
"""After this long a size has been sampled enough, whatever was asked for."""

_ENOUGH = 20
"""Samples that a size gets however long they take."""

_COPIED = 2**31


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """Samples of one batch size.

    Attributes:
        size: events in the batch.
        symbols: distinct ones among them.
        samples: service times, int64 ns.
        floor_ns: the bytes that must move over the bandwidth that a copy reaches; ``None`` where
            the strategy cannot tell.
    """

    size: int
    symbols: int
    samples: Int64Array
    floor_ns: float | None = None

    def quantile(self, q: float) -> float:
        """A quantile of the samples, ns."""
        return float(np.quantile(self.samples, q))


@dataclass
class Measurement:
    """What profiling found.

    Attributes:
        timings: one a size, of distinct symbols.
        duplicates: two events of every symbol in the batch; ``None`` if no size allows it.
        bind_ns, first_ns: until the strategy is bound, and then its first batch.
        memory: peak device memory in bytes; ``None`` on a CPU.
        bandwidth: bytes a second of a device copy, reads and writes both counted.
        traffic: bytes of weights, and those moved for a symbol; ``None`` if not stated.
        about: device, versions, precision and date.
    """

    bind_ns: int
    timings: list[BatchTiming] = field(default_factory=list)
    duplicates: BatchTiming | None = None
    first_ns: int = 0
    memory: int | None = None
    bandwidth: float | None = None
    traffic: tuple[int, int] | None = None
    about: dict[str, str] = field(default_factory=dict)


def measure(
    strategy: Strategy,
    spec: str,
    session: Session,
    *,
    sizes: Sequence[int],
    batches: int,
    on_step: StepCallback,
) -> Measurement:
    """Bind a strategy and time it.

    Args:
        strategy: not yet bound.
        spec: what it was asked for as.
        session: with at least as many symbols as the largest size.
        sizes: events in a batch.
        batches: samples of each size, fewer where they take long.
        on_step: called with each step as it begins.

    Raises:
        BacktestError: it cannot be bound.
    """
    cuda = _cuda(session.device)
    if cuda is not None and cuda.is_initialized():  # what was there before is not this strategy's
        gc.collect()
        cuda.empty_cache()
        cuda.reset_peak_memory_stats(session.device)
    on_step("binding")
    began = time.perf_counter_ns()
    strategy.bind(session)
    if cuda is not None:
        cuda.synchronize(session.device)
    measured = Measurement(time.perf_counter_ns() - began)
    measured.about = _about(strategy, spec, session.device)
    rng = np.random.default_rng(session.seed)
    began = time.perf_counter_ns()
    strategy.predict(_batch(rng, session, 1, 1))
    measured.first_ns = time.perf_counter_ns() - began
    # Freeze live objects: otherwise a collection during the samples would walk all of torch.
    gc.collect()
    gc.freeze()
    for size in sizes:
        on_step(f"batches of {size}")
        measured.timings.append(_time(strategy, rng, session, size, size, batches))
    pairs = [size for size in sizes if size % 2 == 0]
    if pairs:
        size = min(pairs, key=lambda n: abs(n - 20))
        on_step(f"batches of {size} with two events of each symbol")
        measured.duplicates = _time(strategy, rng, session, size, size // 2, batches)
    gc.unfreeze()
    if cuda is not None:
        measured.memory = int(cuda.max_memory_reserved(session.device))
        measured.bandwidth = copy_bandwidth(session.device)
    measured.traffic = strategy.memory_traffic()
    _set_floors(measured)
    return measured


def write_profile(path: Path, measured: Measurement, command: str) -> None:
    """Write a latency profile: columns ``batch_size`` and ``sample_ns``, and what was measured.

    Raises:
        DataError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sizes = [np.full(len(t.samples), t.size, dtype=np.int32) for t in measured.timings]
    samples = [t.samples for t in measured.timings]
    about = {
        **measured.about,
        "command": command,
        "bind_s": f"{measured.bind_ns / 1e9:.2f}",
        "first_batch_ms": f"{measured.first_ns / 1e6:.2f}",
    }
    if measured.memory is not None:
        about["peak_memory_bytes"] = str(measured.memory)
    if measured.traffic is not None:
        about["weight_bytes"], about["symbol_bytes"] = map(str, measured.traffic)
    if measured.bandwidth is not None:
        about["copy_bytes_per_s"] = f"{measured.bandwidth:.3e}"
    table = pa.table({"batch_size": np.concatenate(sizes), "sample_ns": np.concatenate(samples)})
    table = table.replace_schema_metadata({"ticktoll": json.dumps(about)})
    with new_file(path) as aside:
        pq.write_table(table, aside, compression="zstd", write_page_checksum=True)


def _time(
    strategy: Strategy,
    rng: np.random.Generator,
    session: Session,
    size: int,
    symbols: int,
    batches: int,
) -> BatchTiming:
    inputs = [_batch(rng, session, size, symbols) for _ in range(_INPUTS)]
    for number in range(_WARM_UP):
        strategy.predict(inputs[number])
    samples = []
    predict, clock = strategy.predict, time.perf_counter_ns
    deadline = clock() + int(_SECONDS * 1e9)
    for number in range(batches):
        batch = inputs[number % _INPUTS]
        began = clock()
        predict(batch)  # returns host memory, so the device has finished
        ended = clock()
        samples.append(ended - began)
        if ended > deadline and number >= _ENOUGH:
            break
    return BatchTiming(size, symbols, np.array(samples, dtype=np.int64))


def _batch(rng: np.random.Generator, session: Session, size: int, symbols: int) -> EventBatch:
    """Events of distinct symbols, or as many of each as it takes."""
    drawn = random_events(
        size, symbols=size, features=len(session.features), seed=int(rng.integers(2**31))
    )
    chosen = rng.permutation(len(session.symbols))[:symbols].astype(np.int32)
    drawn.symbol[:] = np.resize(chosen, size)
    return drawn


def _set_floors(measured: Measurement) -> None:
    if measured.traffic is None or measured.bandwidth is None:
        return
    weights, symbol = measured.traffic
    per_ns = measured.bandwidth / 1e9

    def with_floor(t: BatchTiming) -> BatchTiming:
        return BatchTiming(t.size, t.symbols, t.samples, (weights + symbol * t.symbols) / per_ns)

    measured.timings = [with_floor(t) for t in measured.timings]
    if measured.duplicates is not None:
        measured.duplicates = with_floor(measured.duplicates)


def _cuda(device: str) -> Any:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda


def copy_bandwidth(device: str) -> float | None:
    """Bytes a second, read and written, of a large device copy; ``None`` if it does not fit."""
    import torch

    try:
        source = torch.empty(_COPIED, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
    except torch.OutOfMemoryError:
        return None
    event: Any = torch.cuda.Event
    times = []
    for _ in range(10):
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * _COPIED / sorted(times)[len(times) // 2]


def _about(strategy: Strategy, spec: str, device: str) -> dict[str, str]:
    about = {
        "device": platform.processor() or platform.machine(),
        "strategy": spec,
        "precision": str(getattr(strategy, "precision", "fp32")),
        "conformance": str(strategy.conformance or ""),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    for package in ("torch", "triton", "numpy"):
        try:
            about[package] = version(package)
        except PackageNotFoundError:
            continue
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        about["torch"] = str(torch.__version__)
        if device.startswith("cuda"):
            about["device"] = torch.cuda.get_device_name(device)
            about["cuda"] = str(torch.version.cuda)
    return about
