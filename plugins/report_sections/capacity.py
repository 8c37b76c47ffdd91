"""What a single run would have earned at other sizes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.profits import money_units
from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import amount, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection
from backtest.trading.capacity import LEAST_FILLED

_SIZE = Axis("times this run's size", kind="log")


class CapacitySection(ReportSection):
    """PnL of a single run against its size, estimated from what its fills left at the touch."""

    title: ClassVar[str] = "Capacity"
    place: ClassVar[int] = 54

    def render(self, material: Material) -> Markup | None:
        found = material.capacity
        if material.rested:
            return paragraph(
                "No estimate: it scales up what orders took at the touch, and how much more orders "
                "that rest would be filled depends on the queue. Run other sizes and compare."
            )
        if material.single is None or found is None:
            return None
        unit = material.compared.profits[0].unit
        net = found.net / money_units(material.single)
        charts = (
            Chart(
                "PnL against size", _SIZE, Axis(unit),
                [Series("net", 0, found.sizes, net)], zero=True, height=220,
            ),
            Chart(
                "Share of the lots that are filled", _SIZE, Axis("%", low=0, high=100),
                [Series("filled", 0, found.sizes, 100 * found.traded)], height=220,
            ),
        )  # fmt: skip
        shown = Markup('<div class="pair">{}</div>').format(
            Markup("").join(chart.render() for chart in charts)
        )
        numbers = ("size", "net", "net per size", "filled")
        rows = []
        for size, earned, share in zip(found.sizes, net, found.traded, strict=True):
            known = [None, None] if np.isnan(earned) else [earned, earned / size]
            rows.append((f"{size:,.0f} ×", *map(amount, known), percent(share)))
        shown += table(
            numbers, rows, right=numbers[1:], caption=f"PnL against size; money in {unit}"
        )
        note = (
            "An estimate from this run's own fills. Each is scaled up to what was displayed at the "
            "touch, less what own fills had taken of it. Positions follow this run's, so many "
            "times as large; what could not be filled is tried again with the symbol's next fill, "
            "where a run of that size would try with every answer. Larger orders move no quotes, "
            "and nothing is refilled until the quote changes; impact grows with the square of the "
            "size where the run charges it. Positions that are open at the end are closed at the "
            "touch, whatever their size. filled: the lots traded, of this run's times the size; a "
            f"run of that size fills more. Below {LEAST_FILLED:.0%} nothing is said of the profit."
        )
        return shown + paragraph(note, "note")
