"""Which variant to deploy, in words, and what it was chosen from."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.fields import Field
from backtest.comparison.intervals import total_difference
from backtest.comparison.profits import gains
from backtest.comparison.rows import earned
from backtest.comparison.trials import Trials, trials_behind
from backtest.comparison.verdict import Verdict, verdict
from backtest.core.times import format_span
from backtest.plugins.report_sections.fields import of_each_field
from backtest.report.html import amount, bullets, details, number, paragraph, percent
from backtest.report.material import Material
from backtest.report.sections import ReportSection

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
    lines = [
        line for line in (found.reason, found.queue, _certainty(field, found), found.luck) if line
    ]
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
