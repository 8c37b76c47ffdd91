"""Figures of pass 1: response rate and delays. Empty sets give ``None``, never NaN."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import ceil
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.compiled import writable
from backtest.core.moments import JointMoments
from backtest.timing.outcomes import Status, Timing

_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
_DELAYS = ("feed", "queueing", "service", "sojourn")
_FINE = 16
"""Bits of a value that a second look at the delays resolves at most."""

_ROWS = 1 << 16
"""Rows read at once."""

Delays: TypeAlias = tuple[Int64Array, Timing]
"""ts_event of some events, ns [n], and their timing."""


class DelayTally:
    """Counts events by status and their delays by magnitude, piece by piece.

    Quantiles are exact all the same: where a count holds more than one value, the delays are looked
    at once more.
    """

    def __init__(self) -> None:
        from backtest.timing import quantile_loops as loops

        self._loops = loops
        self._counts = np.zeros((len(_DELAYS), loops.BINS), dtype=np.int64)
        self._most = np.full(len(_DELAYS) + 1, -1, dtype=np.int64)
        self._statuses = np.zeros(len(Status), dtype=np.int64)
        self._growth = JointMoments(2)
        self._start: int | None = None

    def add(self, ts_event: Int64Array, timing: Timing) -> None:
        """Count some events whose outcome is final."""
        columns = (ts_event, timing.received, timing.begun, timing.ended, timing.status)
        self._loops.coarse(
            *map(writable, columns), writable(timing.batch), self._counts, self._most,
            self._statuses,
        )  # fmt: skip
        answered: Any = timing.answered
        answered = slice(None) if answered.all() else answered
        received = timing.received[answered]
        if len(received):
            # From the first one on, so that float64 holds every ns of the first hundred days.
            self._start = int(received[0]) if self._start is None else self._start
            sojourn = timing.ended[answered] - received
            self._growth.add(np.array([received - self._start, sojourn], dtype=np.float64))

    def metrics(self, again: Callable[[], Iterable[Delays]]) -> dict[str, Any]:
        """Counts by status, response rate, and p50, p99 and maximum (ns) of each delay.

        ``sojourn_growth`` is the slope of the sojourn times over the times of receipt, by least
        squares, in ns a ns: about 0 for a server that keeps up, and 1 less the share of events
        that it can serve for one whose line grows without end.

        Quantiles are of answered events and are values that occurred (inverted CDF).

        Args:
            again: gives all events that were added once more.
        """
        counts = self._statuses.tolist()
        total, answered = sum(counts), counts[Status.ANSWERED]
        # Batches are numbered as they are sent; only the last can be unfinished.
        batches = int(self._most[-1]) + 1 if answered else 0
        delays = self._quantiles(answered, again)
        return {
            "events": total,
            **{status.name.lower(): counts[status] for status in Status},
            "response_rate": answered / total if total else None,
            "batches": batches,
            "mean_batch": answered / batches if batches else None,
            "sojourn_growth": self._growth.slope(0, 1),
            "latency_ns": dict(zip(_DELAYS, delays, strict=True)),
        }

    def _quantiles(
        self, answered: int, again: Callable[[], Iterable[Delays]]
    ) -> list[dict[str, int | None]]:
        if not answered:
            return [dict.fromkeys(_QUANTILES)] * len(_DELAYS)
        loops = self._loops
        inner = [q for q in _QUANTILES.values() if q < 1]
        # The value at rank ceil(q n), counted from 1, as numpy's inverted CDF has it.
        ranks = np.array([[max(ceil(q * answered), 1) for q in inner]] * len(_DELAYS))
        bins = np.empty_like(ranks)
        for k, row in enumerate(self._counts):
            _descend(row, ranks[k], bins[k])
        edges = zip(*map(loops.bounds, bins.ravel()), strict=True)
        low, width = (np.array(v).reshape(ranks.shape) for v in edges)
        while width.max() > 1:
            shift = np.maximum(np.log2(width).astype(np.int64) - _FINE, 0)
            counts = np.zeros((*ranks.shape, 1 << _FINE), dtype=np.int64)
            for ts_event, timing in again():
                columns = (ts_event, timing.received, timing.begun, timing.ended, timing.status)
                loops.fine(*map(writable, columns), low, width, shift, counts)
            for at in np.ndindex(*ranks.shape):
                place = np.empty(1, dtype=np.int64)
                rank = ranks[at][None].copy()
                _descend(counts[at], rank, place)
                ranks[at] = rank[0]
                low[at] += place[0] << shift[at]
            width = 1 << shift
        return [
            dict(zip(_QUANTILES, [*map(int, row), int(self._most[k])], strict=True))
            for k, row in enumerate(low)
        ]


def read_delays(path: Path) -> Iterator[Delays]:
    """What a run's table of timing holds."""
    import pyarrow.parquet as pq

    names = ["ts_event", "ts_received", "ts_begun", "ts_ended", "status"]
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        for batch in file.iter_batches(_ROWS, columns=names):
            ts_event, received, begun, ended = (
                batch[name].cast("int64").fill_null(0).to_numpy() for name in names[:4]
            )
            # Which batch it was does not matter to a delay.
            status = batch["status"].to_numpy()
            yield ts_event, Timing(received, begun, ended, status, received)


def _descend(counts: Int64Array, ranks: Int64Array, bins: Int64Array) -> None:
    """The bin that holds each rank (from 1); ``ranks`` become ranks within their bins."""
    below = np.cumsum(counts)
    bins[:] = np.searchsorted(below, ranks)
    ranks -= below[bins] - counts[bins]
