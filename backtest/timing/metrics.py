"""Figures of a run: response rate, latency, accuracy. Empty sets give ``None``, never NaN."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from backtest.core.arrays import Int64Array, chunks, writable
from backtest.core.room import Room
from backtest.timing.outcomes import Status, Timing

_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
_DELAYS = ("feed", "queueing", "service", "sojourn")
_FINE = 16


_Summary = tuple[list[int], int, list[dict[str, int | None]]]
"""Events by status, answered batches, and quantiles of each delay."""


class Tally:
    """Counts of events and their delays, from which figures are made without sorting any column.

    Rows may be added as soon as their timing is settled, each once.

    Args:
        timing: pass 1's result.
        ts_event: int64 ns [n].
        room: of the columns, released as they are read again.
    """

    def __init__(self, timing: Timing, ts_event: Int64Array, room: Room | None = None) -> None:
        from backtest.timing import quantile_loops as loops

        self._loops = loops
        self._room = room
        self._rows = len(ts_event)
        self._columns = (ts_event, timing.received, timing.begun, timing.ended, timing.status)
        self._batch = timing.batch
        self._counts = np.zeros((len(_DELAYS), loops.BINS), dtype=np.int64)
        self._most = np.full(len(_DELAYS) + 1, -1, dtype=np.int64)
        self._statuses = np.zeros(len(Status), dtype=np.int64)

    def add(self, rows: slice) -> None:
        """Count some rows."""
        chunk = [writable(c[rows]) for c in (*self._columns, self._batch)]
        self._loops.coarse(*chunk, self._counts, self._most, self._statuses)

    def summary(self) -> _Summary:
        """What all rows come to, once they have been added."""
        statuses, answered = self._statuses.tolist(), int(self._statuses[Status.ANSWERED])
        if not answered:
            return statuses, 0, [dict.fromkeys(_QUANTILES)] * len(_DELAYS)
        inner = [q for q in _QUANTILES.values() if q < 1]
        # The value at rank ceil(q n), counted from 1, as numpy's inverted CDF has it.
        ranks = np.array([[max(ceil(q * answered), 1) for q in inner]] * len(_DELAYS))
        bins = np.empty_like(ranks)
        for k, row in enumerate(self._counts):
            _descend(row, ranks[k], bins[k])
        edges = zip(*map(self._loops.bounds, bins.ravel()), strict=True)
        low, width = (np.array(v).reshape(ranks.shape) for v in edges)
        while width.max() > 1:
            shift = np.maximum(np.log2(width).astype(np.int64) - _FINE, 0)
            counts = np.zeros((*ranks.shape, 1 << _FINE), dtype=np.int64)
            for first, last in chunks(self._rows, self._room):
                chunk = [writable(c[first:last]) for c in self._columns]
                self._loops.fine(*chunk, low, width, shift, counts)
            for at in np.ndindex(*ranks.shape):
                place = np.empty(1, dtype=np.int64)
                rank = ranks[at][None].copy()
                _descend(counts[at], rank, place)
                ranks[at] = rank[0]
                low[at] += place[0] << shift[at]
            width = 1 << shift
        delays: list[dict[str, int | None]] = [
            dict(zip(_QUANTILES, [*map(int, row), int(self._most[k])], strict=True))
            for k, row in enumerate(low)
        ]
        return statuses, int(self._most[-1]) + 1, delays


def timing_metrics(
    timing: Timing, ts_event: Int64Array, tally: Tally | None = None
) -> dict[str, Any]:
    """Counts by status, response rate, and p50, p99 and maximum (ns) of each delay.

    Quantiles are of answered events and are values that occurred (inverted CDF).

    Args:
        timing: pass 1's result.
        ts_event: int64 ns [n].
        tally: to which all rows were added, where there is one.
    """
    total = len(ts_event)
    counts, batches, delays = tally.summary() if tally else _sorted(timing, ts_event)
    answered = counts[Status.ANSWERED]
    return {
        "events": total,
        **{status.name.lower(): counts[status] for status in Status},
        "response_rate": answered / total if total else None,
        "batches": batches,
        "mean_batch": answered / batches if batches else None,
        "latency_ns": dict(zip(_DELAYS, delays, strict=True)),
    }


def _sorted(timing: Timing, ts_event: Int64Array) -> _Summary:
    answered = timing.answered
    received, begun, ended = (a[answered] for a in (timing.received, timing.begun, timing.ended))
    delays = (received - ts_event[answered], begun - received, ended - begun, ended - received)
    counts = [int((timing.status == status).sum()) for status in Status]
    # Batches are numbered as they are sent; only the last can be unfinished.
    batches = int(timing.batch[answered].max(initial=-1)) + 1
    return counts, batches, [_quantiles(values) for values in delays]


def _descend(counts: Int64Array, ranks: Int64Array, bins: Int64Array) -> None:
    """The bin that holds each rank (from 1); ``ranks`` become ranks within their bins."""
    below = np.cumsum(counts)
    bins[:] = np.searchsorted(below, ranks)
    ranks -= below[bins] - counts[bins]


def _quantiles(values: Int64Array) -> dict[str, int | None]:
    if not len(values):
        return dict.fromkeys(_QUANTILES)
    return {
        name: int(np.quantile(values, q, method="inverted_cdf")) for name, q in _QUANTILES.items()
    }
