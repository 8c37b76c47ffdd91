"""Figures of a run: response rate, latency, accuracy. Empty sets give ``None``, never NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.accounting import Answers
from backtest.events import Float32Array, Int64Array
from backtest.server import Status, Timing

_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def timing_metrics(timing: Timing, ts_event: Int64Array) -> dict[str, Any]:
    """Counts by status, response rate, and p50, p99 and maximum (ns) of each delay.

    Quantiles are of answered events and are values that occurred (inverted CDF).
    """
    answered = timing.answered
    received, begun, ended = (a[answered] for a in (timing.received, timing.begun, timing.ended))
    delays = {
        "feed": received - ts_event[answered],
        "queueing": begun - received,
        "service": ended - begun,
        "sojourn": ended - received,
    }
    counts = {status.name.lower(): int((timing.status == status).sum()) for status in Status}
    sizes = np.unique(timing.batch[answered], return_counts=True)[1]
    total = len(ts_event)
    return {
        "events": total,
        **counts,
        "response_rate": counts["answered"] / total if total else None,
        "batches": len(sizes),
        "mean_batch": float(sizes.mean()) if len(sizes) else None,
        "latency_ns": {name: _quantiles(values) for name, values in delays.items()},
    }


def accuracy(
    answers: Answers, reference: Float32Array, reference_forecast: Float32Array, warmup: int
) -> dict[str, Any]:
    """How far answers lie from reference predictions, over the answered events after warm-up.

    Args:
        answers: predictions [n, outputs].
        reference: what should have been predicted, float32 [n, outputs].
        reference_forecast: the same, folded, float32 [n].
        warmup: events at the beginning to leave out.

    Returns:
        ``correlation`` (Pearson, of the forecasts), ``rmse`` of the forecasts, and by output
        ``mean_absolute_error`` and ``max_absolute_error``.
    """
    chosen = answers.answered.copy()
    chosen[:warmup] = False
    if not chosen.any():
        return {
            "correlation": None,
            "rmse": None,
            "mean_absolute_error": None,
            "max_absolute_error": None,
        }
    error = np.abs(answers.predictions[chosen].astype(np.float64) - reference[chosen])
    mine = answers.forecast[chosen].astype(np.float64)
    theirs = reference_forecast[chosen].astype(np.float64)
    return {
        "correlation": correlation(mine, theirs),
        "rmse": float(np.sqrt(np.mean((mine - theirs) ** 2))),
        "mean_absolute_error": error.mean(axis=0).tolist(),
        "max_absolute_error": error.max(axis=0).tolist(),
    }


def correlation(x: Any, y: Any) -> float | None:
    """Pearson's correlation; ``None`` where one side does not vary."""
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _quantiles(values: Int64Array) -> dict[str, int | None]:
    if not len(values):
        return dict.fromkeys(_QUANTILES)
    return {
        name: int(np.quantile(values, q, method="inverted_cdf")) for name, q in _QUANTILES.items()
    }
