"""Figures of a run: response rate, latency, accuracy. Empty sets give ``None``, never NaN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np

from backtest.accounting import Answers
from backtest.core.arrays import BoolArray, Float32Array, Float64Array, Int64Array, chunks, writable
from backtest.core.room import Room
from backtest.timing.outcomes import Status, Timing

_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
_DELAYS = ("feed", "queueing", "service", "sojourn")
_FINE = 16
_ACCURACY = ("correlation", "rmse", "mean_absolute_error", "max_absolute_error")


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


def accuracy(
    answers: Answers,
    reference: Float32Array,
    reference_forecast: Float32Array,
    warmup: int,
    room: Room | None = None,
) -> dict[str, Any]:
    """How far answers lie from reference predictions, over the answered events after warm-up.

    Args:
        answers: predictions [n, outputs].
        reference: what should have been predicted, float32 [n, outputs].
        reference_forecast: the same, folded, float32 [n].
        warmup: events at the beginning to leave out.
        room: of the columns, released as they are read.

    Returns:
        ``correlation`` (Pearson, of the forecasts), ``rmse`` of the forecasts, and by output
        ``mean_absolute_error`` and ``max_absolute_error``.
    """
    outputs = reference.shape[1]
    if answers.predictions is reference and answers.forecast is reference_forecast:
        return _faultless(answers, outputs, warmup)
    count = 0
    sums, squares = np.zeros(2), 0.0
    total, largest = np.zeros(outputs), np.zeros(outputs)
    least, most = np.full(2, np.inf), np.full(2, -np.inf)

    def pieces() -> Iterator[tuple[BoolArray, Float64Array, slice]]:
        for first, last in chunks(len(reference), room):
            rows = slice(first, last)
            chosen = answers.answered[rows].copy()
            chosen[: max(warmup - first, 0)] = False
            both = (answers.forecast[rows][chosen], reference_forecast[rows][chosen])
            yield chosen, np.array(both, dtype=np.float64), rows

    for chosen, both, rows in pieces():
        if not both.shape[1]:
            continue
        error = np.abs(
            answers.predictions[rows][chosen].astype(np.float64) - reference[rows][chosen]
        )
        count += both.shape[1]
        sums += both.sum(axis=1)
        squares += float(((both[0] - both[1]) ** 2).sum())
        least, most = np.minimum(least, both.min(axis=1)), np.maximum(most, both.max(axis=1))
        total += error.sum(axis=0)
        largest = np.maximum(largest, error.max(axis=0))
    if not count:
        return dict.fromkeys(_ACCURACY)
    products = np.zeros((2, 2))
    for _, both, _ in pieces():
        centred = both - (sums / count)[:, None]
        products += centred @ centred.T
    varies = count > 1 and (most > least).all()
    spread = float(np.sqrt(products[0, 0] * products[1, 1]))
    found: tuple[Any, ...] = (
        float(products[0, 1] / spread) if varies and spread else None,
        float(np.sqrt(squares / count)),
        (total / count).tolist(),
        largest.tolist(),
    )
    return dict(zip(_ACCURACY, found, strict=True))


def _faultless(answers: Answers, outputs: int, warmup: int) -> dict[str, Any]:
    """The accuracy of answers that are the reference itself, without reading more than it takes."""
    seen: set[float] = set()
    for first, last in chunks(len(answers.answered)):
        chosen = answers.answered[first:last].copy()
        chosen[: max(warmup - first, 0)] = False
        forecast = answers.forecast[first:last][chosen]
        if len(forecast):
            seen |= {float(forecast.min()), float(forecast.max())}
        if len(seen) > 1:
            break
    if not seen:
        return dict.fromkeys(_ACCURACY)
    found = (1.0 if len(seen) > 1 else None, 0.0, [0.0] * outputs, [0.0] * outputs)
    return dict(zip(_ACCURACY, found, strict=True))


def correlation(x: Any, y: Any) -> float | None:
    """Pearson's correlation; ``None`` where one side does not vary."""
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


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


def crossing(scales: Sequence[float], net: Sequence[float]) -> float | None:
    """The first scale at which net PnL falls from positive to zero or below, interpolated.

    Args:
        scales: ascending.
        net: net PnL at each.
    """
    for k in range(1, len(scales)):
        high, low = net[k - 1], net[k]
        if high > 0 >= low:
            return scales[k - 1] + (scales[k] - scales[k - 1]) * high / (high - low)
    return None
