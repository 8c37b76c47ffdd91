"""When and with what a single run earned: by day, by hour of the day and by symbol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.report.html import amount, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection
from backtest.report.tear_sheet import MOST_DAYS, day_label, gains_by_day, gains_by_hour
from backtest.report.trades import Sums, Trades
from backtest.trading.layout import COSTS


class WhenAndWhere(ReportSection):
    """What a single run earned by day, by hour of the day and by symbol."""

    title: ClassVar[str] = "PnL by day, hour and symbol"
    place: ClassVar[int] = 51

    def render(self, material: Material) -> Markup | None:
        trades, profits = material.trades, material.compared.profits[0]
        if material.single is None or trades is None:
            return None
        gains = gains_by_day(profits)
        by_month = len(_dates(trades, gains)) > MOST_DAYS
        by_hour = gains_by_hour(profits)
        tables = (
            ("month" if by_month else "day", _days(trades, gains, by_month=by_month)),
            ("hour", _hours(trades, by_hour)),
        )
        shown = self._by_symbol(material, trades)
        units = f"{profits.unit}, {material.zone}"
        shown += Markup('<div class="pair">{}</div>').format(
            Markup("").join(
                Markup("<div>{}</div>").format(_table(name, rows, units))
                for name, rows in tables
                if len(rows) > 1
            )
        )
        few = [f"one {name}" for name, rows in tables if len(rows) < 2]
        notes = [f"The window lies within {' and '.join(few)}."] if few else []
        if len(few) < 2:
            notes.append(
                "net: marked to the mid, each time bucket counting where it ends. realised: the "
                "net of the round trips that ended then."
            )
            if by_hour is None:
                notes.append("Time buckets are longer than an hour, so there is no net by hour.")
        return shown + paragraph(" ".join(notes), "note")

    def _by_symbol(self, material: Material, trades: Trades) -> Markup:
        figures = material.compared.runs[0].metrics["account"].get("by_symbol")
        if figures is None:
            return Markup("")
        numbers = {name: k for k, name in enumerate(trades.symbols)}
        traded = sorted(numbers, key=lambda name: (-figures[name]["net"], name))
        costs = [c for c in COSTS if any(figures[name][c] for name in traded)]
        headers = ("net", "decision", *costs, "round trips", "won", "fills", "lots", "turnover")

        def money(value: float) -> str:
            return amount(value / trades.unit)

        rows = []
        for name in traded:
            of, k = figures[name], numbers[name]
            trips = int(trades.by_symbol["trips"][k])
            rows.append(
                (
                    name,
                    money(of["net"]),
                    money(of["decision"]),
                    *(money(-of[c] if of[c] else 0) for c in costs),
                    f"{trips:,}",
                    percent(trades.by_symbol["won"][k] / trips if trips else None, 0),
                    f"{of['fills']:,}",
                    f"{of['lots_traded']:,}",
                    money(trades.by_symbol["turnover"][k]),
                )
            )
        bars = ("net", "decision", *costs)
        return table(
            ("symbol", *headers), rows, right=headers, bars=bars,
            caption=f"PnL by symbol, {material.compared.profits[0].unit}: "
            "net is decision and the costs, which count below zero, added up",
        )  # fmt: skip


def _table(name: str, rows: list[tuple[str, ...]], units: str) -> Markup:
    """A table of what was earned and traded; without the net where it is not known."""
    headers: tuple[str, ...] = ("net", "round trips", "realised", "fills", "turnover")
    if all(row[1] == "–" for row in rows):
        headers, rows = headers[1:], [(row[0], *row[2:]) for row in rows]
    bars = ("net", "realised")
    caption = f"PnL by {name}, {units}"
    return table((name, *headers), rows, right=headers, bars=bars, caption=caption)


def _dates(trades: Trades, gains: Mapping[int, float]) -> list[int]:
    """Days since 1970, in the zone of the page, on which something was traded or earned."""
    traded = np.flatnonzero(trades.by_day["fills"]) + trades.first_day
    return sorted({*gains, *traded.tolist()})


def _days(trades: Trades, gains: Mapping[int, float], *, by_month: bool) -> list[tuple[str, ...]]:
    """A row a day or month."""
    groups: dict[str, list[int]] = {}
    for day in _dates(trades, gains):
        groups.setdefault(day_label(day, month=by_month), []).append(day)
    sums, first = trades.by_day, trades.first_day
    return [
        _row(label, sum(gains.get(d, 0.0) for d in of), sums, [d - first for d in of], trades.unit)
        for label, of in groups.items()
    ]


def _hours(trades: Trades, gains: Mapping[int, float] | None) -> list[tuple[str, ...]]:
    """A row an hour of the day in which something was traded or earned."""
    hours = sorted({*(gains or ()), *np.flatnonzero(trades.by_hour["fills"]).tolist()})
    return [
        _row(f"{hour:02}:00", None if gains is None else gains.get(hour, 0.0), trades.by_hour,
             [hour], trades.unit)
        for hour in hours
    ]  # fmt: skip


def _row(
    label: str, net: float | None, sums: Sums, places: list[int], unit: int
) -> tuple[str, ...]:
    within = [k for k in places if 0 <= k < len(sums)]
    trips, realised, fills, turnover = (
        float(sums[name][within].sum()) for name in ("trips", "net", "fills", "turnover")
    )
    return (
        label,
        amount(net),
        f"{trips:,.0f}",
        amount(realised / unit),
        f"{fills:,.0f}",
        amount(turnover / unit),
    )
