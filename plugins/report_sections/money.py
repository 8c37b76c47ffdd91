"""What was earned, and what it was lost to."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.break_even import crossing
from backtest.comparison.profits import gains
from backtest.comparison.run_settings import settings
from backtest.comparison.verdict import Field, earned
from backtest.core.arrays import Float64Array
from backtest.plugins.report_sections.fields import of_each_field, series_of
from backtest.report.charts import Chart, Series, waterfall
from backtest.report.html import details, paragraph
from backtest.report.material import HORIZONS_NS, Material
from backtest.report.scales import Axis
from backtest.report.sections import ReportSection
from backtest.trading.layout import COSTS


class Equity(ReportSection):
    """What had been earned at each moment, and how far it was below its peak."""

    title: ClassVar[str] = "Equity and drawdown"
    place: ClassVar[int] = 40

    def render(self, material: Material) -> Markup | None:
        profits = material.compared.profits
        start = min((p.ends[0] for p in profits if len(p.ends)), default=0)

        def of(field: Field) -> Markup | None:
            def equity(k: int) -> tuple[Float64Array, Float64Array] | None:
                if not len(profits[k].ends):
                    return None
                return (profits[k].ends - start) / 6e10, profits[k].net

            def drawdown(k: int) -> tuple[Float64Array, Float64Array] | None:
                found = equity(k)
                if found is None:
                    return None
                return found[0], found[1] - np.maximum(np.maximum.accumulate(found[1]), 0.0)

            unit, axis = profits[field.members[0]].unit, Axis("minutes into the window")
            curves = [
                Chart(f"Cumulative net {unit}", axis, Axis(unit),
                      [*series_of(material, field, equity)]),
                Chart(f"Drawdown, {unit} below the peak so far", axis, Axis(unit),
                      [*series_of(material, field, drawdown)], height=200),
            ]  # fmt: skip
            if not curves[0].series:
                return None
            return Markup("").join(chart.render() for chart in curves)

        return of_each_field(material, of)


class Attribution(ReportSection):
    """From what a perfect server would have earned to what was earned, cause by cause."""

    title: ClassVar[str] = "Where the money went"
    place: ClassVar[int] = 50

    def render(self, material: Material) -> Markup | None:
        compared = material.compared

        def of(field: Field) -> Markup | None:
            labels = field.labels(compared)
            shown = []
            for k in field.members:
                row = compared.rows[k]
                if row["net"] is None:
                    continue
                steps = [("decision", row["decision"], True)]
                if row["ideal"] is not None:
                    steps = [
                        ("ideal", row["ideal"], True), ("missed", -row["missed"], False), *steps
                    ]  # fmt: skip
                steps += [(cost, -row[cost], False) for cost in COSTS]
                steps.append(("net", row["net"], True))
                shown.append(waterfall(labels[k], steps, row["currency"]))
            return (
                Markup('<div class="pair">{}</div>').format(Markup("").join(shown))
                if shown
                else None
            )

        shown = of_each_field(material, of)
        note = (
            "ideal: the same sizing filled at the mid of every event, at once, without size "
            "limits; missed: what of that was lost because events went unanswered (silence) or "
            "orders unfilled (liquidity); decision: what the fills earned from the mids of their "
            "events on; feed, queueing, service, entry: how far the mid moved away in each delay "
            "(a gain: it moved our way). The bars add up exactly."
        )
        return None if shown is None else shown + paragraph(note, "note")


class LatencyScale(ReportSection):
    """What would be earned if everything were slower or faster by a factor."""

    title: ClassVar[str] = "PnL against latency"
    place: ClassVar[int] = 80

    def render(self, material: Material) -> Markup | None:
        compared = material.compared
        lines: dict[tuple[str, ...], list[int]] = {}
        names: dict[tuple[str, ...], str] = {}
        for k, run in enumerate(compared.runs):
            table = settings(run)
            key = tuple(str(v) for name, v in table.items() if name != "latency.scale")
            lines.setdefault(key, []).append(k)
            names[key] = f"{table['strategy']}, {table['policy']}, {table['latency.service']}"
        series, notes = [], []
        for key, line in lines.items():
            members = [k for k in line if earned(compared.rows[k]) is not None]
            if len(members) < 2:
                continue
            members.sort(key=lambda k: compared.rows[k]["scale"])
            scales = [compared.rows[k]["scale"] for k in members]
            net = [earned(compared.rows[k]) for k in members]
            points = np.array(scales, dtype=float), np.array(net, dtype=float)
            series.append(Series(names[key], material.numbers[members[0]], *points))
            turn = crossing(scales, gains([compared.profits[k] for k in members]))
            notes.append(f"Break-even of {names[key]}: {turn.text()}.")
        if not series:
            return None
        unit = compared.profits[0].unit
        axis = Axis("latency scale (1: as configured, 0: no latency)")
        note = " ".join(notes) + " An overloaded server trades less: see missed above."
        title = f"Net {unit} against latency scale"
        return Chart(title, axis, Axis(unit), series, zero=True, note=note).render()


class Markouts(ReportSection):
    """How the mid price moved after fills, in their direction."""

    title: ClassVar[str] = "Markouts"
    place: ClassVar[int] = 90

    def render(self, material: Material) -> Markup | None:
        if all(m is None for m in material.markouts):
            return None

        def of(field: Field) -> Markup | None:
            def points(k: int) -> tuple[Float64Array, Float64Array] | None:
                curve = material.markouts[k]
                return None if curve is None else (HORIZONS_NS[1:] / 1e6, curve[1:] / 2)

            series = series_of(material, field, points)
            if not series:
                return None
            axis = Axis("time after the fill, ms", log=True)
            title = "Mean move of the mid after a fill, in its direction, per lot"
            note = (
                "Above 0, the market moved our way after the fill, so the forecast still held. A "
                "curve near 0 from the start means that orders came too late."
            )
            return Chart(title, axis, Axis("ticks"), [*series], zero=True, note=note).render()

        shown = of_each_field(material, of)
        missing = [
            label
            for label, curve in zip(material.compared.labels, material.markouts, strict=True)
            if curve is None
        ]
        if shown is not None and missing:
            shown += details("Runs without a curve", paragraph(
                f"No fills, or the dataset with the quotes is missing: {', '.join(missing)}."
            ))  # fmt: skip
        return shown
