"""Which variant to deploy: in words, as a leaderboard, and as a frontier."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.figures import ANNUALISATION
from backtest.comparison.trials import Trials, trials_behind
from backtest.comparison.verdict import Field, earned, verdict
from backtest.plugins.report_sections.fields import of_each_field
from backtest.report.charts import Chart, Series
from backtest.report.html import amount, bullets, details, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.scales import Axis, number
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
            trials = trials_behind(compared, field.members[0])
            first, *rest = verdict(compared, field, trials)
            shown = paragraph(first, "lead") + bullets(rest)
            if trials is not None:
                shown += details("How much of this is luck", bullets(_luck(trials)))
            return shown

        shown = of_each_field(material, of) or Markup("")
        shown += paragraph(
            "Differences are paired by time on the same ticks. Intervals are at 95 % and allow for "
            "correlation in time (cosine transforms with Student's t); probabilities are corrected "
            "for multiple comparisons (Holm).",
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
        compared = material.compared
        order = [k for field in material.fields for k in field.members]
        order.sort(key=lambda k: -_or_last(earned(compared.rows[k])))
        unit = compared.profits[order[0]].unit
        headers = (
            "run", "class", f"net {unit}", "answered", "p50 ms", "p99 ms", "accuracy", "drawdown",
            "hit rate", "profit factor", "turnover", "exposure", "Sharpe", "Sortino", "Calmar",
        )  # fmt: skip
        rows = []
        for k in order:
            row = compared.rows[k]
            rows.append(
                (
                    compared.labels[k] + (" *" if row["partial"] else ""),
                    row["class"] or "–",
                    amount(earned(row)),
                    percent(row["response_rate"]),
                    amount(row["p50_ms"], 1),
                    amount(row["p99_ms"], 1),
                    amount(row["correlation"], 3),
                    amount(row["drawdown"]),
                    percent(row["hit_rate"], 0),
                    amount(row["profit_factor"], 1),
                    amount(row["turnover"], 0),
                    amount(row["exposure"], 0),
                    *("–" if row[n] is None else number(row[n]) for n in _RATIOS),
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
        shown = table(headers, rows, right=headers[2:], caption="Runs ranked by what they earned")
        return shown + Markup("").join(paragraph(note, "note") for note in notes)


class Frontier(ReportSection):
    """Accuracy and PnL against latency."""

    title: ClassVar[str] = "Speed, accuracy and PnL"
    place: ClassVar[int] = 30

    def render(self, material: Material) -> Markup | None:
        compared = material.compared
        unit = compared.profits[0].unit
        main = material.fields[0] if len(material.compared.runs) > 8 else None
        chosen = list(main.members) if main else list(range(len(compared.rows)))
        labels = main.labels(compared) if main else dict(enumerate(compared.labels))
        plots = []
        for name, title, field in (
            ("Accuracy against latency", "correlation with the reference", "correlation"),
            (f"Net {unit} against latency", f"net {unit}", None),
        ):
            series = []
            for k in chosen:
                row = compared.rows[k]
                value = earned(row) if field is None else row[field]
                if value is not None and row["p99_ms"]:
                    point = np.array([row["p99_ms"]]), np.array([value])
                    series.append(Series(labels[k], material.numbers[k], *point))
            if series:
                axis = Axis("p99 sojourn time, ms", log=True, roomy=True)
                note = f"On the frontier (not dominated): {', '.join(_frontier(series))}."
                chart = Chart(
                    name, axis, Axis(title, roomy=True), series, points=True, names=True, note=note
                )
                plots.append(chart.render())
        return (
            Markup('<div class="pair">{}</div>').format(Markup("").join(plots)) if plots else None
        )


def _luck(trials: Trials) -> list[str]:
    """Each figure of the trials behind a winner, with what it means."""
    sharpe = trials.sharpe
    within = (
        f"no interval: {sharpe.reason}"
        if sharpe.low is None or sharpe.high is None
        else f"95 %: {number(sharpe.low)} to {number(sharpe.high)}"
    )
    needed = "no number of" if np.isinf(trials.needed) else f"{trials.needed:,.0f}"
    lines = [
        f"Sharpe ratio {number(sharpe.value)} a bucket ({within}). The profits amount to "
        f"{trials.buckets:,.0f} independent buckets, and {needed} such buckets would show at 95 % "
        "that the ratio exceeds what luck among the trials explains.",
        f"Probabilistic Sharpe ratio {percent(trials.probabilistic)}. It is the probability that "
        "the true ratio exceeds 0, given the skewness and the tails of the profits. It takes the "
        "run as if it had been the only trial.",
        f"Deflated Sharpe ratio {percent(trials.deflated)}. It is the probability that the true "
        f"ratio exceeds {number(trials.benchmark)}, the highest to expect of "
        f"{trials.independent:.1f} independent trials that are worth nothing. Below 95 %, the "
        "number of trials may explain the result.",
    ]
    if trials.overfitting is not None:
        lines.append(
            f"Probability of overfitting {percent(trials.overfitting, 0)}. In that share of the "
            "ways to split the window in half, the trial that was best in one half was no better "
            "than the median in the other (CSCV). At 50 % or more, what was best so far says "
            "nothing about what will be."
        )
    if trials.best is not None:
        lines.append(
            f"SPA p = {trials.best.spa:.2g}; White's reality check: p = "
            f"{trials.best.reality_check:.2g}. They are the probabilities that the best of as many "
            "worthless trials, moving together as these do, would look this good by chance. Above "
            "0.05, chance may explain that any trial earned money at all."
        )
    return lines


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


def _or_last(value: float | None) -> float:
    return float("-inf") if value is None else value
