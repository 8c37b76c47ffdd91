"""A window's events as sequences to train on: by symbol, in order, never shuffled across time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.data.dataset import Dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.training_data import cut_lanes
from backtest.errors import UsageError


@dataclass(frozen=True, slots=True)
class Sequences:
    """Events of a window.

    Attributes:
        features: float32 [n, F].
        targets: float32 [n, T].
        lanes: rows of the events of each lane in order, int64 [lanes, longest]; -1 past its end. A
            lane holds consecutive events of one symbol.
        window: first ts_event and the one after the last, int64 ns.
    """

    features: Float32Array
    targets: Float32Array
    lanes: Int64Array
    window: tuple[int, int]


def read_window(
    dataset: Dataset, start: int | None, end: int | None, validation: float, lanes: int
) -> tuple[Sequences, Sequences]:
    """What to train on, and the later stretch to stop early by.

    Raises:
        UsageError: the window holds too few events.
        DataError: as ``read_events``.
    """
    events = read_events(dataset, start=start, end=end, features=True)
    targets = read_targets(dataset, start=start, end=end)
    ts = events.ts_event
    cut = 0
    if len(ts):
        held_out_from = int(ts[-1]) - int((int(ts[-1]) - int(ts[0])) * validation)
        cut = int(np.searchsorted(ts, held_out_from))
    if not 0 < cut < len(ts):
        raise UsageError(
            f"{len(ts)} events are too few for training and validation",
            place=f"dataset {dataset.name!r}",
            remedy="Widen the window, or change validation.",
        )
    assert events.features is not None
    features = np.ascontiguousarray(events.features)
    last = int(ts[-1]) + 1 if end is None else end
    return (
        _sequences(features[:cut], targets[:cut], events.symbol[:cut], lanes,
                   (int(ts[0]), int(ts[cut]))),
        _sequences(features[cut:], targets[cut:], events.symbol[cut:], 0, (int(ts[cut]), last)),
    )  # fmt: skip


def _sequences(
    features: Float32Array,
    targets: Float32Array,
    symbol: np.ndarray,
    lanes: int,
    window: tuple[int, int],
) -> Sequences:
    """About ``lanes`` lanes of equal length, or with 0 one per symbol."""
    order = np.argsort(symbol, kind="stable")
    counts = np.bincount(symbol)
    begin = np.cumsum(counts) - counts
    cut = cut_lanes(counts, lanes)
    found = np.full((len(cut), cut[:, 2].max()), -1, dtype=np.int64)
    for lane, (of, first, length) in zip(found, cut.tolist(), strict=True):
        lane[:length] = order[begin[of] + first :][:length]
    return Sequences(features, targets, found, window)
