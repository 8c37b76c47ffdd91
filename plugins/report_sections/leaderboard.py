"""Every run ranked, and what each setting does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from markupsafe import Markup

from backtest.comparison.figures import ANNUALISED, annualisation
from backtest.comparison.rows import earned
from backtest.report.html import amount, number, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection

_CLASSES = (
    "The class states how a variant's answers relate to the reference's: exact (equal up to "
    "rounding), close (within a stated tolerance) or approximate (another function, judged by "
    "accuracy and PnL)."
)


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
