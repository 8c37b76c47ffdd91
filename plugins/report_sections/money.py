"""What was earned, and what it was lost to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.break_even import Crossing, crossing
from backtest.comparison.profits import gains
from backtest.comparison.rows import earned
from backtest.comparison.run_settings import settings
from backtest.core.arrays import Float64Array
from backtest.plugins.report_sections.fields import series_of
from backtest.report.charts import Axis, Chart
from backtest.report.html import amount, details, paragraph, table
from backtest.report.markouts import HORIZONS_NS
from backtest.report.material import Material
from backtest.report.sections import ReportSection
from backtest.trading.layout import COSTS


class Equity(ReportSection):
    """What had been earned at each moment, and how far it was below its peak."""

    title: ClassVar[str] = "Equity and drawdown"
    place: ClassVar[int] = 40

    def render(self, material: Material) -> Markup | None:
        profits = material.compared.profits

        def equity(k: int) -> tuple[Float64Array, Float64Array] | None:
            return (profits[k].ends / 1e9, profits[k].net) if len(profits[k].ends) else None

        def drawdown(k: int) -> tuple[Float64Array, Float64Array] | None:
            net = profits[k].net
            fall = net - np.maximum(np.maximum.accumulate(net), 0.0)
            return (profits[k].ends / 1e9, fall) if len(net) else None

        shown = Markup("")
        for unit in material.compared.units:
            curves = series_of(material, equity, unit=unit)
            if curves:
                falls = series_of(material, drawdown, unit=unit)
                title = f"Drawdown, {unit} below the peak so far"
                shown += Chart(
                    f"Cumulative net {unit}", material.clock, Axis(unit), curves, zero=True
                ).render()
                shown += Chart(title, material.clock, Axis(unit), falls, height=200).render()
        return shown or None


class Attribution(ReportSection):
    """From what a perfect server would have earned to what was earned, cause by cause."""

    title: ClassVar[str] = "Where the money went"
    place: ClassVar[int] = 50

    def render(self, material: Material) -> Markup | None:
        rows = material.compared.rows
        settled = [k for k in material.order if rows[k]["net"] is not None]
        if not settled:
            return None
        gains, losses = ("ideal", "decision", "net"), ("silence", "liquidity", *COSTS)
        columns = [
            name
            for name in ("ideal", "silence", "liquidity", "decision", *COSTS, "net")
            if any(rows[k][name] for k in settled)
        ]

        def cell(k: int, name: str) -> str:
            value = rows[k][name]
            return amount(-value if name in losses and value else value)

        begin = "ideal" if "ideal" in columns else "decision"  # where orders rest none is ideal
        shown = Markup("")
        for unit in dict.fromkeys(rows[k]["unit"] for k in settled):
            members = [k for k in settled if rows[k]["unit"] == unit]
            shown += table(
                ("run", *columns),
                [(material.names[k], *(cell(k, name) for name in columns)) for k in members],
                right=columns,
                bars=[name for name in columns if name in gains + losses],
                entries=members,
                caption=f"From {begin} to net, {unit}",
            )
        rest = "rest: how far it moved away while orders rested; " if "rest" in columns else ""
        ideal = (
            "ideal: the same sizing filled at the mid of every event, at once, without size "
            "limits; silence: what was lost because events went unanswered, or answers came too "
            "late to trade; liquidity: because orders found nothing to fill them; decision, which "
            "is what is left: "
        )
        note = (
            f"{ideal if begin == 'ideal' else 'decision: '}"
            "what the fills earned from the mids of their events on; feed, "
            "queueing, service, entry: how far the mid moved away in each delay (a gain: it moved "
            f"our way); {rest}spread, impact, fees: paid for trading. The columns add up exactly."
        )
        return shown + paragraph(note, "note")


class LatencyScale(ReportSection):
    """What would be earned if everything were slower or faster by a factor."""

    title: ClassVar[str] = "PnL against latency"
    place: ClassVar[int] = 80

    def render(self, material: Material) -> Markup | None:
        compared = material.compared
        lines: dict[tuple[str, ...], list[int]] = {}
        for k, run in enumerate(compared.runs):
            table_ = {"unit": compared.profits[k].unit, **settings(run)}
            key = tuple(str(v) for name, v in table_.items() if name != "latency.scale")
            lines.setdefault(key, []).append(k)
        charts = [
            chart
            for unit in compared.units
            if (chart := _against_scale(material, unit, lines.values())) is not None
        ]
        return Markup("").join(charts) if charts else None


def _against_scale(material: Material, unit: str, lines: Iterable[Sequence[int]]) -> Markup | None:
    """The chart and break-evens of all lines in one unit; ``None``: none has two scales.

    Args:
        lines: runs that differ in the scale alone.
    """
    rows, rank = material.compared.rows, material.order.index
    curves: dict[int, tuple[Float64Array, Float64Array]] = {}
    found: list[tuple[int, Crossing]] = []
    for line in lines:
        members = [k for k in line if rows[k]["unit"] == unit and earned(rows[k]) is not None]
        members.sort(key=lambda k: rows[k]["scale"])
        if len(members) < 2:
            continue
        scales = [rows[k]["scale"] for k in members]
        net = np.array([earned(rows[k]) for k in members], dtype=np.float64)
        curves |= dict.fromkeys(members, (np.array(scales, dtype=np.float64), net))
        turn = crossing(scales, gains([material.compared.profits[k] for k in members]))
        found.append((min(members, key=rank), turn))
    if not curves:
        return None
    axis = Axis("latency scale (1: as configured, 0: no latency)")
    note = "An overloaded server trades less: see silence above."
    chart = Chart(
        f"Net {unit} against latency scale", axis, Axis(unit), series_of(material, curves.get),
        zero=True, note=note,
    )  # fmt: skip
    factors = [(name, values) for name, values in material.factors if name != "scale"]
    found.sort(key=lambda item: rank(item[0]))
    lines_shown = [
        (
            material.names[k],
            *(values[k] for _, values in factors),
            "none in this range" if turn.at is None else f"{turn.at:.2f}",
            turn.within(),
        )
        for k, turn in found
    ]
    headers = ("best run", *(name for name, _ in factors), "break-even scale", "95 % interval")
    shown = table(
        headers, lines_shown, right=headers[-2:-1], factors=headers[1:-2],
        entries=[k for k, _ in found],
        caption="The latency scale at which nothing is earned any more",
    )  # fmt: skip
    return chart.render() + details("Break-even scales", shown)


class Markouts(ReportSection):
    """How the mid price moved after fills, in their direction."""

    title: ClassVar[str] = "Markouts"
    place: ClassVar[int] = 90

    def render(self, material: Material) -> Markup | None:
        if all(m is None for m in material.markouts):
            return None

        def points(k: int) -> tuple[Float64Array, Float64Array] | None:
            curve = material.markouts[k]
            return None if curve is None else (HORIZONS_NS[1:] / 1e6, curve[1:] / 2)

        axis = Axis("time after the fill, ms", kind="log")
        title = "Mean move of the mid after a fill, in its direction, per lot"
        note = (
            "Above 0, the market moved our way after the fill, so the forecast still held. A "
            "curve near 0 from the start means that orders came too late."
        )
        shown = Chart(
            title, axis, Axis("ticks"), series_of(material, points), zero=True, note=note
        ).render()
        missing = [
            label
            for label, curve in zip(material.names, material.markouts, strict=True)
            if curve is None
        ]
        if missing:
            shown += details("Runs without a curve", paragraph(
                f"No fills, or the dataset with the quotes is missing: {', '.join(missing)}."
            ))  # fmt: skip
        return shown
