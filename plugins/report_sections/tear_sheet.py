"""The tear sheet of a single run: its key figures, drawdowns and exposure.

A report on several runs has none of these sections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from markupsafe import Markup

from backtest.comparison.drawdowns import drawdowns, rolling_sharpe
from backtest.comparison.figures import ANNUALISED, annualisation, days_of, not_annualised
from backtest.comparison.rows import earned
from backtest.core.zones import clock_text
from backtest.plugins.report_sections.trades import span
from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import amount, number, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection
from backtest.report.trades import Trades
from backtest.trading.layout import COSTS


class KeyFigures(ReportSection):
    """What a single run earned, risked and traded, and how fast it was."""

    title: ClassVar[str] = "Key figures"
    place: ClassVar[int] = 15

    def render(self, material: Material) -> Markup | None:
        if material.single is None:
            return None
        row, profits = material.compared.rows[0], material.compared.profits[0]
        shown = self._numbers(material, row, profits.unit)
        notes = []
        reason = not_annualised(profits)
        if reason is None:
            notes.append(f"Sharpe, Sortino and Calmar are {annualisation(profits)}.")
        else:
            notes.append(f"No Sharpe, Sortino and Calmar ratios: {reason}.")
        halves = (
            (self._money(row, annualised=reason is None), f"Money, {profits.unit}"),
            (self._trading(material, row), "Trading and speed"),
        )
        tables = (
            table(
                ("figure", "value"), [(name, value) for name, value in figures if value != "–"],
                right=("value",), caption=caption,
            )
            for figures, caption in halves
        )  # fmt: skip
        shown += Markup('<div class="pair">{}</div>').format(
            Markup("").join(Markup("<div>{}</div>").format(half) for half in tables)
        )
        return shown + paragraph(" ".join(notes), "note")

    def _numbers(self, material: Material, row: Mapping[str, Any], unit: str) -> Markup:
        trades = material.trades
        facts = [
            (amount(earned(dict(row))), f"net {unit}"),
            (amount(row["drawdown"]), f"deepest drawdown, {unit}"),
        ]
        if trades is not None and trades.trips.count:
            facts.append(
                (percent(_share(trades)), f"of {trades.trips.count:,} round trips with a profit")
            )
        facts.append((percent(row["response_rate"]), "of the events answered"))
        if row["p99_ms"] is not None:
            facts.append((f"{amount(row['p99_ms'], 1)} ms", "p99 sojourn time"))
        items = Markup("").join(
            Markup("<li><b>{}</b><span>{}</span></li>").format(*fact) for fact in facts
        )
        return Markup('<ul class="numbers">{}</ul>').format(items)

    def _money(self, row: Mapping[str, Any], *, annualised: bool) -> list[tuple[str, str]]:
        turnover, net = row["turnover"], row["net"]
        ratios = [(n, row[n]) for n in ANNUALISED if annualised]
        return [
            ("net", amount(earned(dict(row)))),
            *((name, amount(row[name])) for name in ("ideal", "decision")),
            *((name, amount(row[name])) for name in COSTS if row[name]),
            ("net per notional traded, basis points",
             amount(1e4 * net / turnover if net is not None and turnover else None)),
            ("deepest drawdown", amount(row["drawdown"])),
            *((name.capitalize(), "–" if v is None else number(v)) for name, v in ratios),
            ("time buckets with a profit", percent(row["hit_rate"])),
            ("profit factor of time buckets", amount(row["profit_factor"])),
        ]  # fmt: skip

    def _trading(self, material: Material, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        trades = material.trades
        lots = material.compared.runs[0].metrics["account"].get("lots_traded")
        found = [
            ("turnover", amount(row["turnover"])),
            ("mean exposure", amount(row["exposure"])),
        ]
        if trades is not None:
            found += [
                ("fills", f"{trades.fills:,}"),
                ("lots traded", "–" if lots is None else f"{lots:,}"),
                ("round trips", f"{trades.trips.count:,}"),
                ("round trips with a profit", percent(_share(trades))),
                ("median holding time", span(trades.trips.holding.quantile(0.5))),
            ]
        return [
            *found,
            ("events", f"{row['events']:,}"),
            ("answered", percent(row["response_rate"])),
            ("p50 sojourn time, ms", amount(row["p50_ms"], 1)),
            ("p99 sojourn time, ms", amount(row["p99_ms"], 1)),
        ]


class Drawdowns(ReportSection):
    """The deepest drawdowns of a single run, and its Sharpe ratio over time."""

    title: ClassVar[str] = "Drawdowns"
    place: ClassVar[int] = 41

    def render(self, material: Material) -> Markup | None:
        profits = material.compared.profits[0]
        if material.single is None or not len(profits.ends):
            return None
        unit, zone = profits.unit, material.zone
        rows = [
            (
                str(k),
                amount(-d.depth),
                clock_text(d.begin, zone),
                clock_text(d.bottom, zone),
                "not recovered" if d.recovery is None else clock_text(d.recovery, zone),
                span(d.end - d.begin),
                span(d.bottom - d.begin),
            )
            for k, d in enumerate(drawdowns(profits), 1)
        ]
        shown = paragraph("Profits were never below their highest so far.")
        if rows:
            spans = ("length", "to the bottom")
            headers = ("rank", f"depth, {unit}", "begin", "bottom", "recovery", *spans)
            shown = table(
                headers, rows, right=(headers[1], *spans), bars=headers[1:2],
                caption=f"The deepest drawdowns, measured at the ends of time buckets, {zone}",
            )  # fmt: skip
        return shown + self._rolling(material)

    def _rolling(self, material: Material) -> Markup:
        profits = material.compared.profits[0]
        found = rolling_sharpe(profits)
        if isinstance(found, str):
            return paragraph(f"No rolling Sharpe ratio: {found}.", "note")
        line = Series(material.names[0], 0, found.ends / 1e9, found.ratio)
        title = f"Sharpe ratio over the {found.days:,.0f} {days_of(profits)} before"
        note = f"{annualisation(profits).capitalize()}."
        return Chart(
            title, material.clock, Axis("Sharpe ratio"), [line], zero=True, note=note
        ).render()


class ExposureSection(ReportSection):
    """What a single run held over time, in all and by symbol."""

    title: ClassVar[str] = "Exposure and positions"
    place: ClassVar[int] = 43

    def render(self, material: Material) -> Markup | None:
        held = material.exposure
        if held is None or not held.symbols:
            return None
        currency = material.compared.profits[0].unit
        unit, shown = "lots", Markup("")
        if held.gross is not None and held.net is not None:
            unit = currency
            lines = [
                Series("gross: long and short together", 0, held.times, held.gross),
                Series("net: long less short", 0, held.times, held.net, 1),
            ]
            shown = Chart(
                "Value of all positions at the mid", material.clock, Axis(unit), lines, zero=True,
                note="Solid: gross. Dashed: net.",
            ).render()  # fmt: skip
        shown += Markup('<div class="pair">{}</div>').format(
            Markup("").join(
                Chart(
                    f"Position in {name}", material.clock, Axis(unit),
                    [Series(name, 0, held.times, values)], zero=True, steps=True, height=200,
                ).render()
                for name, values in held.symbols
            )
        )  # fmt: skip
        notes = ["Positions are those at the ends of time buckets."]
        if held.traded > len(held.symbols):
            notes.append(
                f"By symbol: the {len(held.symbols)} largest of {held.traded:,}, by the mean of "
                "their positions without a sign."
            )
        if unit == "lots":
            notes.append("This run's tables hold no mids, so values in currency are not known.")
        return shown + paragraph(" ".join(notes), "note")


def _share(trades: Trades) -> float | None:
    """Of the round trips, those with a profit."""
    return trades.trips.won / trades.trips.count if trades.trips.count else None
