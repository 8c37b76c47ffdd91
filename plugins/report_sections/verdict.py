"""Which variant to deploy: in words, as a leaderboard, and as a frontier."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.figures import ANNUALISATION
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

_RATIOS = ("sharpe", "sortino", "calmar")


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
        if material.single is not None:
            return shown
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

    def render(self, material: Material) -> Markup | None:
        if material.single is not None:
            return None
        compared = material.compared
        unit = compared.profits[material.order[0]].unit
        factors = [name for name, _ in material.factors]
        figures = (
            "answered", "p99 ms", "accuracy", "drawdown", "Sharpe", "turnover", "p50 ms",
            "hit rate", "profit factor", "exposure", "Sortino", "Calmar",
        )  # fmt: skip
        headers = ("run", f"net {unit}", *factors, *figures, "class")
        rows = []
        for k in material.order:
            row = compared.rows[k]
            ratios = {n: "–" if row[n] is None else number(row[n]) for n in _RATIOS}
            rows.append(
                (
                    self._head(material, k) + (" *" if row["partial"] else ""),
                    amount(earned(row)),
                    *(values[k] for _, values in material.factors),
                    percent(row["response_rate"]),
                    amount(row["p99_ms"], 1),
                    amount(row["correlation"], 3),
                    amount(row["drawdown"]),
                    ratios["sharpe"],
                    amount(row["turnover"], 0),
                    amount(row["p50_ms"], 1),
                    percent(row["hit_rate"], 0),
                    amount(row["profit_factor"], 1),
                    amount(row["exposure"], 0),
                    ratios["sortino"],
                    ratios["calmar"],
                    row["class"] or "–",
                )
            )
        notes = [
            _CLASSES,
            "Latencies are sojourn times, from receipt to answer. Accuracy is the correlation with "
            "the forecasts of a reference that answers every event, over answered events only.",
            f"Sharpe, Sortino and Calmar are {ANNUALISATION}. For a window of minutes they show "
            "how steady it was, not what a year would bring.",
        ]
        if any(row["partial"] for row in compared.rows):
            notes.append("*: a partial run, limited to the first events of its window.")
        if not compared.same_ticks:
            notes.insert(
                0, "Not all runs saw the same events, so their figures are not comparable."
            )
        shown = table(
            headers, rows, right=(headers[1], *figures), factors=factors, entries=material.order,
            more=(*figures[6:], "class"),
            caption="Runs ranked by what they earned",
        )  # fmt: skip
        return shown + Markup("").join(paragraph(note, "note") for note in notes)

    def _head(self, material: Material, k: int) -> str:
        """The place and the run's id where other columns say what it is, else its name."""
        if not material.factors:
            return material.names[k]
        return f"{material.order.index(k) + 1}. {material.compared.runs[k].id[-12:][:6]}"


class Effects(ReportSection):
    """What each setting does, alone and with another."""

    title: ClassVar[str] = "What each setting does"
    place: ClassVar[int] = 25

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
    """Accuracy and PnL against latency."""

    title: ClassVar[str] = "Speed, accuracy and PnL"
    place: ClassVar[int] = 30

    def render(self, material: Material) -> Markup | None:
        if material.single is not None:
            return None
        compared = material.compared
        unit = compared.profits[0].unit
        plots = []
        for name, title, figure in (
            ("Accuracy against latency", "correlation with the reference", "correlation"),
            (f"Net {unit} against latency", f"net {unit}", None),
        ):
            series = []
            for k in material.order:
                row = compared.rows[k]
                value = earned(row) if figure is None else row[figure]
                if value is not None and row["p99_ms"]:
                    point = np.array([row["p99_ms"]]), np.array([value])
                    series.append(Series(material.names[k], k, *point))
            if series:
                axis = Axis("p99 sojourn time, ms", kind="log", roomy=True)
                note = f"On the frontier (not dominated): {'; '.join(_frontier(series))}."
                chart = Chart(name, axis, Axis(title, roomy=True), series, points=True, note=note)
                plots.append(chart.render())
        return (
            Markup('<div class="pair">{}</div>').format(Markup("").join(plots)) if plots else None
        )


def _frontier(series: list[Series]) -> list[str]:
    """Names of the points that no other point beats in both ways, further left and higher up."""
    return [
        s.name
        for s in series
        if not any(
            (o.x[0] <= s.x[0] and o.y[0] >= s.y[0]) and (o.x[0] < s.x[0] or o.y[0] > s.y[0])
            for o in series
        )
    ]
