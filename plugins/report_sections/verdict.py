"""Which variant to deploy: in words, as a leaderboard, and as a frontier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.figures import ANNUALISED, annualisation
from backtest.comparison.frontier import Point, amount_tolerance, correlation_tolerance, frontier
from backtest.comparison.intervals import total_difference
from backtest.comparison.profits import gains
from backtest.comparison.run_settings import ticks
from backtest.comparison.trials import Trials, trials_behind
from backtest.comparison.verdict import Field, Verdict, earned, verdict
from backtest.core.times import format_span
from backtest.plugins.report_sections.fields import of_each_field
from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import amount, bullets, details, number, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection

_CLASSES = (
    "The class states how a variant's answers relate to the reference's: exact (equal up to "
    "rounding), close (within a stated tolerance) or approximate (another function, judged by "
    "accuracy and PnL)."
)


_METHOD = (
    "Differences are paired by time on the same ticks. Intervals are at 95 % and allow for "
    "correlation in time (cosine transforms with Student's t); probabilities are corrected for "
    "multiple comparisons (Holm)."
)

_WARNINGS = 2
"""Warnings that are shown without being unfolded, at most."""


class VerdictSection(ReportSection):
    """Which variant to deploy, and whether chance explains its lead."""

    title: ClassVar[str] = "Verdict"
    place: ClassVar[int] = 10

    def render(self, material: Material) -> Markup | None:
        compared = material.compared
        shown = of_each_field(material, lambda field: _of_field(material, field)) or Markup("")
        if material.single is not None:
            return shown
        seconds = sum(float(run.manifest.get("seconds") or 0.0) for run in compared.runs)
        took = ""
        if seconds:  # the joined run of a walk-forward has no time of its own
            spent = format_span(round(seconds * 1e9))
            took = f"{len(compared.runs):,} runs took {spent} of computing. "
        shown += paragraph(took + _METHOD, "note")
        if compared.failed:
            shown += paragraph(f"{len(compared.failed)} runs of the sweep failed:", "warning")
            shown += bullets([f"{f.id} ({f.state}): {f.error}" for f in compared.failed])
        return shown


def _of_field(material: Material, field: Field) -> Markup:
    """Three numbers and a few lines; all comparisons and what they rest on are folded."""
    compared = material.compared
    trials = trials_behind(compared, field.members[0])
    found = verdict(compared, field, trials, dict(enumerate(material.names)))
    shown = paragraph(found.lead, "lead")
    if material.single is None:  # a tear sheet has key figures of its own
        shown += _numbers(material, field, trials)
    lines = [line for line in (found.reason, _certainty(field, found), found.luck) if line]
    shown += bullets([*lines, *found.warnings[:_WARNINGS]])
    if len(found.contests) > 1:
        count = len(found.contests)
        shown += details(f"All {count} comparisons", bullets(found.contests))
    if len(found.warnings) > _WARNINGS:
        more = found.warnings[_WARNINGS:]
        shown += details(f"{len(more)} more warnings", bullets(more))
    if trials is not None:
        shown += details("How much of this is luck", bullets(_luck(trials)))
    return shown


def _certainty(field: Field, found: Verdict) -> str | None:
    """How many others the best run beats beyond chance, and the closest of them."""
    if not field.contests:
        return None
    closest = min(range(len(field.contests)), key=lambda k: abs(field.contests[k].difference.value))
    if len(field.contests) == 1:
        return found.contests[0]
    settled = sum(contest.settled for contest in field.contests)
    return (
        f"It beats {settled} of {len(field.contests)} others beyond chance. The closest: "
        f"{found.contests[closest]}"
    )


def _numbers(material: Material, field: Field, trials: Trials | None) -> Markup:
    """What the best run earned, how sure that is, and how fast it was."""
    compared, best = material.compared, field.members[0]
    row, profits = compared.rows[best], compared.profits[best]
    facts = []
    if earned(row) is not None:
        (gained,) = gains([profits])
        estimate = total_difference(gained, np.zeros(len(gained)))
        ends = estimate.reason or "no interval"
        if estimate.low is not None and estimate.high is not None:
            ends = f"95 %: {amount(estimate.low)} to {amount(estimate.high)}"
        facts.append((f"{amount(earned(row))} {profits.unit}", f"net ({ends})"))
    if trials is not None and trials.best is not None:
        title = f"chance that the best of {trials.count} worthless trials looks this good (SPA)"
        facts.append((percent(trials.best.spa), title))
    elif row["response_rate"] is not None:
        facts.append((percent(row["response_rate"]), "of the events answered"))
    if row["p99_ms"] is not None:
        facts.append((f"{number(row['p99_ms'])} ms", "p99 from receipt to answer"))
    items = Markup("").join(Markup("<li><b>{}</b><span>{}</span></li>").format(*f) for f in facts)
    return Markup('<ul class="numbers">{}</ul>').format(items)


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
        f"{trials.independent:.1f} independent trials that are worth nothing. It takes the whole "
        "spread of the trials' ratios for luck, so that trials which lose for a good reason push "
        "it down, too.",
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


class Leaderboard(ReportSection):
    """Every run ranked by what it earned, with its class, speed, accuracy and tear sheet."""

    title: ClassVar[str] = "Leaderboard"
    place: ClassVar[int] = 20
    many: ClassVar[bool] = True

    def render(self, material: Material) -> Markup | None:
        if material.single is not None:
            return None
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
        ]
        years = dict.fromkeys(map(annualisation, compared.profits))
        notes += [f"Sharpe, Sortino and Calmar are {year}." for year in years]
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
        ratios = {n: "–" if row[n] is None else number(row[n]) for n in ANNUALISED}
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
    # A figure that no run has, such as a Sharpe ratio of minutes, gets no column.
    kept = [
        k
        for k, header in enumerate(headers)
        if header not in figures or {row[k] for row in rows} - {"–"}
    ]
    caption = f"Runs ranked by what they earned, in {unit}" if unit else "Runs"
    return table(
        [headers[k] for k in kept], [[row[k] for k in kept] for row in rows],
        right=(headers[1], *figures), factors=factors, entries=order,
        more=(*figures[7:], "class"), caption=caption,
    )  # fmt: skip


def _head(material: Material, k: int) -> str:
    """The place and the run's id where other columns say what it is, else its name."""
    if not material.factors:
        return material.names[k]
    return f"{material.order.index(k) + 1}. {material.compared.short_ids[k]}"


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
