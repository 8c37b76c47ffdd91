"""How fast answers were, what they waited for, and how well the server kept up."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.verdict import Field
from backtest.core.arrays import Float64Array
from backtest.plugins.report_sections.fields import of_each_field, series_of
from backtest.report.charts import Chart, Series
from backtest.report.html import amount, details, paragraph, table
from backtest.report.material import BINS, TAIL, Material
from backtest.report.scales import Axis
from backtest.report.sections import ReportSection

_TICKS = [(10.0**-k, f"{100 * (1 - 10.0**-k):.{max(k - 2, 0)}f} %") for k in range(1, 6)]
_BURST = 1.5


class LatencyDistributions(ReportSection):
    """Latency split into what causes it: queueing, service, network."""

    title: ClassVar[str] = "Latency"
    place: ClassVar[int] = 60

    def render(self, material: Material) -> Markup | None:
        def of(field: Field) -> Markup | None:
            charts = []
            for cause, title in (
                ("sojourn", "Sojourn time: queueing plus service"),
                ("queueing", "Queueing: receipt to the start of service"),
                ("service", "Service: start to answer"),
                ("network", "Network: feed and order entry"),
            ):

                def points(k: int, cause: str = cause) -> tuple[Float64Array, Float64Array] | None:
                    spans = material.pace[k].quantiles[cause]
                    if not np.isfinite(spans).any():
                        return None
                    # A logarithmic axis has no 0: a microsecond stands for what is less.
                    return np.maximum(spans, 1e-3), 1 - TAIL

                series = [*series_of(material, field, points)]
                x = Axis("ms; less than 1 µs is drawn at 1 µs", log=True)
                y = Axis("answered within", log=True, ticks=_TICKS[::-1], low=1e-5, high=1.0)
                charts.append(Chart(title, x, y, series))
            if not charts[0].series:
                return None
            shown = Markup("").join(chart.render() for chart in charts)
            return Markup('<div class="pair">{}</div>').format(shown) + self._table(material, field)

        return of_each_field(material, of)

    def _table(self, material: Material, field: Field) -> Markup:
        labels = field.labels(material.compared)
        levels = (0.5, 0.9, 0.99, 0.999)
        headers = ("run", "cause", *(f"p{100 * q:g} ms" for q in levels))
        rows: list[tuple[Any, ...]] = []
        for k in field.members:
            for cause, spans in material.pace[k].quantiles.items():
                found = [float(spans[int(np.argmin(np.abs(TAIL - q)))]) for q in levels]
                shown = [amount(v if np.isfinite(v) else None, 3) for v in found]
                rows.append((labels[k], cause, *shown))
        return details("The same figures as a table", table(headers, rows, right=headers[2:]))


class Load(ReportSection):
    """How many events waited, and how many were answered, over time."""

    title: ClassVar[str] = "Queue and response rate"
    place: ClassVar[int] = 70

    def render(self, material: Material) -> Markup | None:
        def of(field: Field) -> Markup:
            pace = material.pace
            first = pace[field.members[0]]
            minutes = first.hours * 60
            bursts = bursts_of(first.arrivals)
            width = minutes[-1] / BINS
            spans = [(minutes[k] - width, minutes[k]) for k in bursts]
            axis = Axis("minutes into the window")
            queue = series_of(material, field, lambda k: (pace[k].hours * 60, pace[k].deepest))
            rate = series_of(
                material, field, lambda k: (pace[k].hours * 60, 100 * pace[k].answered)
            )
            seconds = width * 60
            note = (
                f"Each point is the longest queue within {seconds:,.3g} s. Shaded: "
                + (f"{len(bursts)} bursts" if len(bursts) else "no bursts, which would be periods")
                + f" of at least {_BURST:g} times the median arrival rate."
            )
            arrivals = Series("events a second", 0, minutes, first.arrivals / seconds)
            charts = (
                Chart("Events waiting", axis, Axis("events"), [*queue], spans,
                      note=note, steps=True),
                Chart("Share of arriving events that were answered", axis,
                      Axis("%", low=0, high=100), [*rate], spans, height=220),
                Chart("Arrivals", axis, Axis("events a second", low=0), [arrivals], spans,
                      height=180),
            )  # fmt: skip
            return Markup("").join(chart.render() for chart in charts)

        return of_each_field(material, of)


def bursts_of(arrivals: Float64Array) -> list[int]:
    """Which spans of time saw at least ``_BURST`` times the median number of arrivals."""
    return np.flatnonzero(arrivals >= _BURST * max(float(np.median(arrivals)), 1.0)).tolist()


class ServiceTime(ReportSection):
    """How long batches of each size took, and the least that the device could need."""

    title: ClassVar[str] = "Service time against batch size"
    place: ClassVar[int] = 110

    def render(self, material: Material) -> Markup | None:
        shown = of_each_field(material, lambda field: self._of_field(material, field))
        note = (
            "The roofline is the least time that the device's memory and arithmetic allow; it is "
            "drawn where a measured profile states it."
        )
        return None if shown is None else shown + paragraph(note, "note")

    def _of_field(self, material: Material, field: Field) -> Markup | None:
        labels = field.labels(material.compared)
        series: list[Series] = []
        notes: list[str] = []
        for k in field.members:
            sizes, p50, p99, counts = material.pace[k].batches
            if not len(sizes):
                continue
            number, name, x = material.numbers[k], labels[k], sizes.astype(float)
            series.append(Series(f"{name}: median", number, x, p50))
            if not np.array_equal(p50, p99):
                series.append(Series(f"{name}: p99", number + 8, x, p99))
            busiest = int(sizes[np.argmax(counts)])
            notes.append(f"{name}: {int(counts.sum()):,} batches, most of them of {busiest}.")
            roof = roofline(material.compared.runs[k].manifest["config"]["latency"]["service"], x)
            if roof is not None:
                series.append(Series(f"{name}: roofline", number + 16, x, roof))
        if not series:
            return None
        x_axis, y_axis = Axis("events in the batch", log=True), Axis("ms", log=True)
        note = " ".join(notes)
        return Chart("Service time of a batch", x_axis, y_axis, series, note=note).render()


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
