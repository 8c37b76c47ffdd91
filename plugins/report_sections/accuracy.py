"""How close the answers came to those of the reference that answers every event."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.core.arrays import Float64Array
from backtest.plugins.report_sections.fields import CLOCK, series_of
from backtest.report.charts import Axis, Chart
from backtest.report.html import amount, details, paragraph, percent, table
from backtest.report.material import Material
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
        compared, order = material.compared, material.order
        known = [(k, a) for k in order if (a := material.accuracy[k]) is not None]
        outputs = max(len(a.outputs) for _, a in known)
        headers = ("run", "answered", *(f"output {k}" for k in range(outputs)))
        by_output = [
            (
                material.names[k],
                percent(compared.rows[k]["response_rate"]),
                *(f"{e:.3g}" for e in a.outputs),
            )
            for k, a in known
        ]
        shown = table(
            headers, by_output, right=headers[1:], caption="Error by output (tower)",
            entries=[k for k, _ in known],
        )  # fmt: skip

        def drift(k: int) -> tuple[Float64Array, Float64Array] | None:
            found = material.accuracy[k]
            if found is None or not np.isfinite(found.drift).any():
                return None
            return found.times, np.maximum(found.drift, 1e-9)

        shown += Chart(
            "Error over time",
            CLOCK,
            Axis("standard deviations", kind="log"),
            series_of(material, drift),
            note="A rising curve means drift: state that went wrong once stays wrong. Values below "
            "1e-9 are drawn at 1e-9.",
        ).render()
        return shown + details("Accuracy by symbol", _by_symbol(material)) + paragraph(note, "note")


def _by_symbol(material: Material) -> Markup:
    """A column a symbol, so that many runs make a long table and not a wide one."""
    known = [(k, a) for k in material.order if (a := material.accuracy[k]) is not None]
    symbols = sorted({s for _, a in known for s in a.symbols})
    rows = [
        (material.names[k], *(amount(a.symbols.get(symbol), 4) for symbol in symbols))
        for k, a in known
    ]
    return table(("run", *symbols), rows, right=symbols, caption="Correlation by symbol")
