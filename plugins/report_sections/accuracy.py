"""How close the answers came to those of the reference that answers every event."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.verdict import Field
from backtest.core.arrays import Float64Array
from backtest.plugins.report_sections.fields import of_each_field, series_of
from backtest.report.charts import Chart
from backtest.report.html import amount, details, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.scales import Axis
from backtest.report.sections import ReportSection


class AccuracySection(ReportSection):
    """By output, by symbol, and over time."""

    title: ClassVar[str] = "Accuracy"
    place: ClassVar[int] = 100

    def render(self, material: Material) -> Markup | None:
        if all(a is None for a in material.accuracy):
            return None
        note = (
            "Errors are root mean squares in standard deviations of the reference's output, over "
            "answered events only; each output of the ensemble is one of its towers."
        )
        shown = of_each_field(material, lambda field: _of_field(material, field))
        return None if shown is None else shown + paragraph(note, "note")


def _of_field(material: Material, field: Field) -> Markup | None:
    labels, rows = field.labels(material.compared), material.compared.rows
    known = [(k, a) for k in field.members if (a := material.accuracy[k]) is not None]
    if not known:
        return None
    outputs = max(len(a.outputs) for _, a in known)
    headers = ("run", "answered", *(f"output {k}" for k in range(outputs)))
    by_output = [
        (labels[k], percent(rows[k]["response_rate"]), *(f"{e:.3g}" for e in a.outputs))
        for k, a in known
    ]
    shown = table(headers, by_output, right=headers[1:], caption="Error by output (tower)")

    def drift(k: int) -> tuple[Float64Array, Float64Array] | None:
        found = material.accuracy[k]
        if found is None or not np.isfinite(found.drift).any():
            return None
        return found.hours * 60, np.maximum(found.drift, 1e-9)

    chart = Chart(
        "Error over time",
        Axis("minutes into the window"),
        Axis("standard deviations", log=True),
        [*series_of(material, field, drift)],
        note="A rising curve means drift: state that went wrong once stays wrong. Values below "
        "1e-9 are drawn at 1e-9.",
        height=240,
    )
    symbols = sorted({s for _, a in known for s in a.symbols})
    names = [labels[k] for k, _ in known]
    by_symbol = [
        (symbol, *(amount(a.symbols.get(symbol), 4) for _, a in known)) for symbol in symbols
    ]
    folded = table(("symbol", *names), by_symbol, right=names, caption="Correlation by symbol")
    return shown + chart.render() + details("Accuracy by symbol", folded)
