"""How fast answers were, what they waited for, and how well the server kept up."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from backtest.core.arrays import Float64Array
from backtest.plugins.report_sections.fields import series_of
from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import amount, details, paragraph, table
from backtest.report.material import Material
from backtest.report.pace import TAIL
from backtest.report.sections import ReportSection

_TICKS = [(10.0**-k, f"{100 * (1 - 10.0**-k):.{max(k - 2, 0)}f} %") for k in range(1, 6)]
_BURST = 1.5


class LatencyDistributions(ReportSection):
    """Latency split into what causes it: queueing, service, network."""

    title: ClassVar[str] = "Latency"
    place: ClassVar[int] = 60

    def render(self, material: Material) -> Markup | None:
        missing = 1 - TAIL[::-1]
        # What is never longer than the longest span that was measured is drawn up to there.
        x = Axis("share of answers", kind="log", ticks=_TICKS, low=1e-5, high=1.0, complement=True)
        y = Axis("ms; less than 1 µs is drawn at 1 µs", kind="log")
        charts = []
        for cause, title in (
            ("sojourn", "Sojourn time: queueing plus service"),
            ("queueing", "Queueing: receipt to the start of service"),
            ("service", "Service: start to answer"),
            ("network", "Network: feed and order entry"),
        ):

            def points(k: int, cause: str = cause) -> tuple[Float64Array, Float64Array] | None:
                spans = material.pace[k].quantiles[cause][::-1]
                return (missing, np.maximum(spans, 1e-3)) if np.isfinite(spans).any() else None

            charts.append(Chart(title, x, y, series_of(material, points)))
        if not charts[0].series:
            return None
        shown = Markup("").join(chart.render() for chart in charts)
        return Markup('<div class="pair">{}</div>').format(shown) + self._table(material)

    def _table(self, material: Material) -> Markup:
        levels = (0.5, 0.9, 0.99, 0.999)
        headers = ("run", "cause", *(f"p{100 * q:g} ms" for q in levels), "p99, 95 % interval")
        rows: list[tuple[Any, ...]] = []
        for k in material.order:
            for cause, spans in material.pace[k].quantiles.items():
                found = [float(spans[int(np.argmin(np.abs(TAIL - q)))]) for q in levels]
                shown = [amount(v if np.isfinite(v) else None, 3) for v in found]
                rows.append((material.names[k], cause, *shown, _ends(material.pace[k].p99[cause])))
        figures = table(headers, rows, right=headers[2:], factors=("cause",), caption="Latencies")
        note = (
            "The interval lies between two of the latencies that occurred, and allows for events "
            "that waited for one another. –: too few events, or too few separate bursts; network "
            "has none."
        )
        return details("The same figures as a table", figures + paragraph(note, "note"))


def _ends(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else " to ".join(amount(end, 3) for end in interval)


class Load(ReportSection):
    """How many events waited, and how many were answered, over time."""

    title: ClassVar[str] = "Queue and response rate"
    place: ClassVar[int] = 70

    def render(self, material: Material) -> Markup | None:
        pace = material.pace
        first = pace[material.order[0]]
        bursts = bursts_of(first.arrivals)
        width = float(first.times[1] - first.times[0])
        spans = [(first.times[k] - width, first.times[k]) for k in bursts]
        note = f"Each point is the longest queue within {width:,.3g} s. Shaded: " + (
            (f"{len(bursts)} bursts" if len(bursts) else "no bursts, which would be periods")
            + f" of at least {_BURST:g} times the median arrival rate."
        )
        queue = series_of(material, lambda k: (pace[k].times, pace[k].deepest))
        rate = series_of(material, lambda k: (pace[k].times, 100 * pace[k].answered))
        arrivals = Series("events a second", None, first.times, first.arrivals / width)
        clock = material.clock
        charts = (
            Chart("Events waiting", clock, Axis("events"), queue, spans, note=note, steps=True),
            Chart("Share of arriving events that were answered", clock,
                  Axis("%", low=0, high=100), rate, spans, height=220),
            Chart("Arrivals", clock, Axis("events a second", low=0), [arrivals], spans,
                  height=180),
        )  # fmt: skip
        return Markup("").join(chart.render() for chart in charts)


def bursts_of(arrivals: Float64Array) -> list[int]:
    """Which spans of time saw at least ``_BURST`` times the median number of arrivals."""
    return np.flatnonzero(arrivals >= _BURST * max(float(np.median(arrivals)), 1.0)).tolist()


class ServiceTime(ReportSection):
    """How long batches of each size took, and the least that the device could need."""

    title: ClassVar[str] = "Service time against batch size"
    place: ClassVar[int] = 120

    def render(self, material: Material) -> Markup | None:
        pace = material.pace
        medians = series_of(material, lambda k: _spans(pace[k].batches, 1))
        if not medians:
            return None
        late = series_of(material, lambda k: _spans(pace[k].batches, 2), 1, ": p99")
        roofs = series_of(material, lambda k: _roof(material, k), 2, ": roofline")
        note = (
            "Dashed: the 99th percentile. Dotted: the roofline, the least time that the device's "
            "memory and arithmetic allow, drawn where a measured profile states it."
        )
        x, y = Axis("events in the batch", kind="log"), Axis("ms", kind="log")
        title = "Service time of a batch, median"
        shown = Chart(title, x, y, medians + late + roofs, note=note).render()
        rows = [
            (material.names[k], f"{int(counts.sum()):,}", int(sizes[np.argmax(counts)]))
            for k in material.order
            for sizes, _, _, counts in [pace[k].batches]
            if len(sizes)
        ]
        headers = ("run", "batches", "most often of")
        figures = table(headers, rows, right=headers[1:], caption="Batches")
        return shown + details("Batches of each run", figures)


def _spans(batches: Any, which: int) -> tuple[Float64Array, Float64Array] | None:
    """Sizes of batches and their median (1) or 99th percentile (2) ms, where these differ."""
    same = which == 2 and np.array_equal(batches[1], batches[2])
    return None if same or not len(batches[0]) else (batches[0].astype(float), batches[which])


def _roof(material: Material, k: int) -> tuple[Float64Array, Float64Array] | None:
    sizes = material.pace[k].batches[0].astype(float)
    service = material.compared.runs[k].manifest["config"]["latency"]["service"]
    found = roofline(service, sizes) if len(sizes) else None
    return None if found is None else (sizes, found)


def roofline(service: dict[str, Any], sizes: Float64Array) -> Float64Array | None:
    """The least ms of a batch of each of ``sizes``, if the profile states what bounds it.

    Its metadata then hold ``weight_bytes``, ``symbol_bytes`` (or ``state_bytes``, read and written
    once) and ``copy_bytes_per_s``, and may hold ``flops_per_event`` and ``flops_per_s``: the larger
    of bytes over bandwidth and FLOPs over rate (Williams, Waterman and Patterson, 2009,
    "Roofline").
    """
    from backtest.errors import BacktestError
    from backtest.plugins.latency_models import Profile, profile_metadata

    if service.get("name") != "profile":
        return None
    try:
        stated = profile_metadata(Profile(str(service["source"])).path)
        weights, bandwidth = float(stated["weight_bytes"]), float(stated["copy_bytes_per_s"])
        moved = stated.get("symbol_bytes")
        symbol = float(moved) if moved is not None else 2 * float(stated["state_bytes"])
        flops, rate = float(stated.get("flops_per_event", 0)), float(stated.get("flops_per_s", 1))
    except (BacktestError, KeyError, ValueError):
        return None
    if not (bandwidth > 0 and rate > 0):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        least = 1e3 * np.maximum((weights + symbol * sizes) / bandwidth, flops * sizes / rate)
    return least if (least > 0).all() and np.isfinite(least).all() else None
