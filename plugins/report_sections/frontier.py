"""What runs earn, and how right they are, against how fast they answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.frontier import Point, amount_tolerance, correlation_tolerance, frontier
from backtest.comparison.rows import earned
from backtest.comparison.run_settings import ticks
from backtest.report.charts import Axis, Chart, Series
from backtest.report.material import Material
from backtest.report.sections import ReportSection


class Frontier(ReportSection):
    """Agreement, accuracy and PnL against latency."""

    title: ClassVar[str] = "Speed, accuracy and PnL"
    place: ClassVar[int] = 30

    def render(self, material: Material) -> Markup | None:
        if material.single is not None:
            return None
        compared = material.compared
        # Figures of other events, or in other units, do not belong on the same axes.
        groups: dict[tuple[Any, ...], list[int]] = {}
        for k in material.order:
            groups.setdefault((ticks(compared.runs[k]), compared.rows[k]["unit"]), []).append(k)
        plots = Markup("")
        for (_, unit), members in groups.items():
            of = f", {compared.rows[members[0]]['dataset']}" if len(groups) > 1 else ""
            for name, title, field in (
                ("Agreement with the reference", "correlation with the reference", "agreement"),
                ("IC", "correlation with the targets", "ic"),
                (f"Net {unit}", f"net {unit}", None),
            ):
                points = _points(material, members, field)
                if points:
                    plots += _against_latency(
                        material, points, f"{name} against latency{of}", title
                    )
        return Markup('<div class="pair">{}</div>').format(plots) if plots else None


def _points(
    material: Material, members: Sequence[int], field: str | None
) -> list[tuple[int, Point]]:
    """Runs by p99 sojourn time and a figure of their rows, or, by default, what they earned."""
    found = []
    for k in members:
        row = material.compared.rows[k]
        value = earned(row) if field is None else row[field]
        if value is None or not row["p99_ms"]:
            continue
        apart = amount_tolerance(value) if field is None else correlation_tolerance(row["class"])
        found.append((k, Point(row["p99_ms"], value, apart)))
    return found


def _against_latency(
    material: Material,
    points: Sequence[tuple[int, Point]],
    title: str,
    axis: str,
) -> Markup:
    """The points as a chart that names those on the frontier."""
    series = [
        Series(material.names[k], k, np.array([p.latency]), np.array([p.value])) for k, p in points
    ]
    names = "; ".join(series[k].name for k in frontier([point for _, point in points]))
    x, y = Axis("p99 sojourn time, ms", kind="log", roomy=True), Axis(axis, roomy=True)
    note = f"On the frontier (not dominated): {names}."
    return Chart(title, x, y, series, points=True, note=note).render()
