"""A tournament as one HTML page: who won, how the lead changed, and what each team did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from backtest.experiments.tournament import RoundResult, Standing
from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import amount, bullets, paragraph, percent, table
from backtest.report.page import page


def tournament_page(results: Sequence[RoundResult], placed: Sequence[Standing]) -> str:
    """The page's HTML.

    Args:
        placed: the teams in the order of their places.
    """
    numbers = {standing.team: k for k, standing in enumerate(placed)}
    unit = next((p.unit for r in results for p in r.profits), "points")
    chapters: list[dict[str, Any]] = [
        {"name": "standings", "title": "Standings", "content": _standings(results, placed, unit)}
    ]
    for k, result in enumerate(results):
        content = _round(result, numbers, unit)
        chapters.append({"name": f"round-{k + 1}", "title": f"Round: {result.name}",
                         "content": content})  # fmt: skip
    subtitle = f"{len(placed)} teams, {len(results)} rounds, in virtual time"
    teams = [standing.team for standing in placed]
    return page("Tournament", subtitle, chapters, entries=teams, first=range(min(len(teams), 8)))


def _standings(results: Sequence[RoundResult], placed: Sequence[Standing], unit: str) -> Markup:
    headers = ("place", "team", *(r.name for r in results), f"total {unit}")
    rows = [
        (
            k + 1 if standing.finished else "–",
            standing.team,
            *("failed" if s is None else amount(s) for s in standing.scores),
            amount(standing.total),
        )
        for k, standing in enumerate(placed)
    ]
    first = placed[0]
    lead = f"{first.team} wins with {amount(first.total)} {unit}."
    if not first.finished:
        lead = "No team finished every round."
    return paragraph(lead, "lead") + table(headers, rows, right=headers[2:], caption="All rounds")


def _round(result: RoundResult, numbers: dict[str, int], unit: str) -> Markup:
    shown = Markup("")
    if result.failed:
        shown += paragraph("Failed:", "warning")
        shown += bullets([f"{team}: {error}" for team, error in result.failed])
    if result.compared is None or not len(result.ends):
        return shown + paragraph("Nothing was earned or lost.")
    axis = Axis.of_clock(result.compared.zone)
    curves = [
        Series(team, numbers[team], p.ends / 1e9, p.net)
        for team, p in zip(result.teams, result.profits, strict=True)
    ]
    ranks = [
        Series(team, numbers[team], result.ends / 1e9, -rank.astype(float))
        for team, rank in zip(result.teams, result.ranks, strict=True)
    ]
    places = [(-float(k), str(k)) for k in range(1, len(result.teams) + 1)]
    shown += Chart("Earned so far", axis, Axis(unit), curves, zero=True).render()
    shown += Chart(
        "Place on the leaderboard", axis, Axis("place", ticks=places, roomy=True), ranks, height=240
    ).render()
    begun = min(int(p.ends[0]) for p in result.profits if len(p.ends))
    headers = ("team", *(f"after {(end - begun) / 6e10:.3g} min" for end in result.ends))
    order = sorted(range(len(result.teams)), key=lambda k: -float(result.scores[k][-1]))
    rows = [(result.teams[k], *(amount(s) for s in result.scores[k])) for k in order]
    shown += table(headers, rows, right=headers[1:], caption=f"Leaderboard over time, {unit}")
    facts = ("team", "strategy", "policy", "service", "class", "answered", "p50 ms", "p99 ms",
             "agreement", "IC")  # fmt: skip
    rows = []
    for k in order:
        row = result.compared.rows[k]
        rows.append(
            (
                result.teams[k],
                row["strategy"],
                row["policy"],
                row["service_model"],
                row["class"] or "–",
                percent(row["response_rate"]),
                amount(row["p50_ms"], 1),
                amount(row["p99_ms"], 1),
                amount(row["agreement"], 3),
                amount(row["ic"], 3),
            )
        )
    return shown + table(facts, rows, right=facts[5:], caption="What each team ran")
