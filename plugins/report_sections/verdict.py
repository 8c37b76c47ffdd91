"""Which variant to deploy: in words, as a leaderboard, and as a frontier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.figures import ANNUALISATION, ANNUALISED
from backtest.comparison.frontier import Point, amount_tolerance, correlation_tolerance, frontier
from backtest.comparison.run_settings import ticks
from backtest.comparison.verdict import Field, earned, verdict
from backtest.plugins.report_sections.fields import of_each_field
from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import amount, bullets, number, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection

_CLASSES = (
    "The class states how a variant's answers relate to the reference's: exact (equal up to "
    "rounding), close (within a stated tolerance) or approximate (another function, judged by "
    "accuracy and PnL)."
)


class VerdictSection(ReportSection):
    """Which variant to deploy, and whether chance explains its lead."""

    title: ClassVar[str] = "Verdict"
    place: ClassVar[int] = 10

    def render(self, material: Material) -> Markup | None:
        compared = material.compared

        def of(field: Field) -> Markup:
            first, *rest = verdict(compared, field)
            return paragraph(first, "lead") + bullets(rest)

        shown = of_each_field(material, of) or Markup("")
        shown += paragraph(
            "Differences are paired by time on the same ticks. Intervals are at 95 %, from a "
            "circular block bootstrap with blocks as long as the differences are correlated "
            "(Politis and White); probabilities are corrected for multiple comparisons (Holm).",
            "note",
        )
        if compared.failed:
            shown += paragraph(f"{len(compared.failed)} runs of the sweep failed:", "warning")
            shown += bullets([f"{f.id} ({f.state}): {f.error}" for f in compared.failed])
        return shown


class Leaderboard(ReportSection):
    """Every run ranked by what it earned, with its class, speed, accuracy and tear sheet."""

    title: ClassVar[str] = "Leaderboard"
    place: ClassVar[int] = 20
    many: ClassVar[bool] = True

    def render(self, material: Material) -> Markup | None:
        compared = material.compared
        shown = Markup("")
        for unit in compared.units:
            members = [k for k in material.order if compared.rows[k]["unit"] == unit]
            shown += _ranked(material, members, unit)
        notes = [
            _CLASSES,
            "Latencies are sojourn times, from receipt to answer. Agreement is the correlation "
            "with the forecasts of a reference that answers every event: the strategy itself, or "
            "one that it stands in for. IC is the correlation with the dataset's targets, R² the "
            "share of their variance that is explained. All are of answered events only.",
            f"Sharpe, Sortino and Calmar are {ANNUALISATION}.",
        ]
        reasons = dict.fromkeys(row["not_annualised"] for row in compared.rows)
        notes += [f"Not annualised: {reason}." for reason in reasons if reason is not None]
        if any(row["partial"] for row in compared.rows):
            notes.append("*: a partial run, limited to the first events of its window.")
        if not compared.same_ticks:
            notes.insert(
                0, "Not all runs saw the same events, so their figures are not comparable."
            )
        return shown + Markup("").join(paragraph(note, "note") for note in notes)


def _ranked(material: Material, order: Sequence[int], unit: str) -> Markup:
    """The table of the runs that are paid in one unit."""
    compared = material.compared
    factors = [name for name, _ in material.factors]
    figures = (
        "answered", "p99 ms", "agreement", "IC", "drawdown", "Sharpe", "turnover", "R²", "p50 ms",
        "hit rate", "profit factor", "exposure", "Sortino", "Calmar",
    )  # fmt: skip
    headers = ("run", f"net {unit}", *factors, *figures, "class")
    rows = []
    for k in order:
        row = compared.rows[k]
        none = "–" if row["not_annualised"] is None else "not annualised"
        ratios = {n: none if row[n] is None else number(row[n]) for n in ANNUALISED}
        rows.append(
            (
                _head(material, k) + (" *" if row["partial"] else ""),
                amount(earned(row)),
                *(values[k] for _, values in material.factors),
                percent(row["response_rate"]),
                amount(row["p99_ms"], 1),
                amount(row["agreement"], 3),
                amount(row["ic"], 3),
                amount(row["drawdown"]),
                ratios["sharpe"],
                amount(row["turnover"], 0),
                amount(row["r2"], 3),
                amount(row["p50_ms"], 1),
                percent(row["hit_rate"], 0),
                amount(row["profit_factor"], 1),
                amount(row["exposure"], 0),
                ratios["sortino"],
                ratios["calmar"],
                row["class"] or "–",
            )
        )
    caption = f"Runs ranked by what they earned, in {unit}" if unit else "Runs"
    return table(
        headers, rows, right=(headers[1], *figures), factors=factors, entries=order,
        more=(*figures[7:], "class"), caption=caption,
    )  # fmt: skip


def _head(material: Material, k: int) -> str:
    """The place and the run's id where other columns say what it is, else its name."""
    if not material.factors:
        return material.names[k]
    return f"{material.order.index(k) + 1}. {material.compared.runs[k].id[-12:][:6]}"


class Effects(ReportSection):
    """What each setting does, alone and with another."""

    title: ClassVar[str] = "What each setting does"
    place: ClassVar[int] = 25
    many: ClassVar[bool] = True

    def render(self, material: Material) -> Markup | None:
        if not material.factors:
            return None
        return Markup(
            '<div class="effects" data-of="leaderboard"><div class="choose"></div>'
            '<div class="shown"></div></div>'
        ) + paragraph(
            "Means over all runs with these settings, whatever else they have: where settings "
            "were not combined in full, a mean also tells what they were combined with.",
            "note",
        )


class Frontier(ReportSection):
    """Agreement, accuracy and PnL against latency."""

    title: ClassVar[str] = "Speed, accuracy and PnL"
    place: ClassVar[int] = 30

    def render(self, material: Material) -> Markup | None:
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
