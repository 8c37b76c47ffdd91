"""What a single run traded: its round trips, and its largest fills with their stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from backtest.core.arrays import Float64Array
from backtest.core.zones import clock_text
from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import amount, number, paragraph, percent, table
from backtest.report.magnitudes import Magnitudes
from backtest.report.material import Material
from backtest.report.sections import ReportSection
from backtest.report.trades import MOST_FILLS, Trades, TripTally
from backtest.trading.fill_table import INSTANTS
from backtest.trading.layout import COSTS

_BARS = 40


class RoundTripSection(ReportSection):
    """Round trips of a single run: how many earned, how much, and how long they took."""

    title: ClassVar[str] = "Round trips"
    place: ClassVar[int] = 52

    def render(self, material: Material) -> Markup | None:
        trades = material.trades
        if trades is None or not trades.trips.count:
            return None
        unit = material.compared.profits[0].unit
        tallies = (("all", trades.trips), ("long", trades.longs), ("short", trades.shorts))
        figures = [_figures(tally, trades.unit) for _, tally in tallies]
        rows = [(name, *(of[name] for of in figures)) for name in figures[0]]
        names = tuple(name for name, _ in tallies)
        shown = table(
            ("figure", *names), rows, right=names, caption=f"Round trips; money in {unit}"
        )
        shown += Markup('<div class="pair">{}</div>').format(
            _histogram(
                "Net of a round trip", Axis(unit), trades.trips.nets,
                lambda values: values / trades.unit,
            )
            + _histogram(
                "Holding time of a round trip", Axis("s", kind="log"), trades.trips.holding,
                lambda values: np.maximum(values, 1.0) / 1e9,
            )
        )  # fmt: skip
        note = (
            "A round trip leads from flat to flat; a fill that goes through zero ends one and "
            "begins the next. net is after fees. Medians and percentiles are exact to 0.4 %. "
            "Charts end at the first and the last percentile; what is beyond counts there."
        )
        return shown + paragraph(note, "note")


class LargestFills(ReportSection):
    """The largest fills of a single run, with when each stage was reached and what it cost."""

    title: ClassVar[str] = "Largest fills"
    place: ClassVar[int] = 53

    def render(self, material: Material) -> Markup | None:
        trades = material.trades
        if trades is None:
            return None
        unit = material.compared.profits[0].unit
        costs = [c for c in COSTS if any(fill[c] for fill in trades.largest)]
        rests = any(fill["ts_venue"] != fill["ts_arrived"] for fill in trades.largest)
        stages = ("receipt, ms", "begin, ms", "end, ms", "venue, ms", "fill, ms")[: 4 + rests]
        numbers = ("lots", "price", "notional", *stages, "decision", *costs)
        instants = INSTANTS[: len(stages) + 1]
        rows = [self._row(fill, instants, trades, costs, material.zone) for fill in trades.largest]
        count = f"all {trades.fills:,} fills"
        if trades.fills > MOST_FILLS:
            count = f"the {MOST_FILLS} largest of {trades.fills:,} fills"
        shown = table(
            ("event", "symbol", *numbers), rows, right=numbers,
            caption=f"By notional, {count}; money in {unit}",
        )  # fmt: skip
        note = (
            f"event: when it happened, {material.zone}; receipt, begin and end of its service, and "
            "arrival of the order at the venue are in ms after it"
            f"{', and so is the fill of an order that rested' if rests else ''}. "
            "decision: what the fill earned "
            "from the mid of its event to the end of the window, before costs. "
            "Fills without these times close a position at the end of the window."
        )
        return shown + paragraph(note, "note")

    def _row(
        self,
        fill: dict[str, Any],
        instants: Sequence[str],
        trades: Trades,
        costs: list[str],
        zone: str,
    ) -> tuple[str, ...]:
        event, *later = (fill[name] for name in instants)
        closes, price = fill["closes"], fill.get("price")
        return (
            clock_text(event, zone, 26),
            fill["symbol"],
            f"{fill['lots']:,}",
            "–" if price is None else f"{price:,.10g}",
            amount(fill["notional"] / trades.unit),
            *("–" if closes else f"{(instant - event) / 1e6:,.3f}" for instant in later),
            *(number(fill[name] / trades.unit) for name in ("decision", *costs)),
        )


def span(ns: float | None) -> str:
    """A time span for people."""
    if ns is None:
        return "–"
    for unit, length in (("d", 86400e9), ("h", 3600e9), ("min", 60e9), ("s", 1e9), ("ms", 1e6)):
        if ns >= length:
            return f"{number(ns / length)} {unit}"
    return f"{number(ns / 1e3)} µs"


def _figures(tally: TripTally, unit: int) -> dict[str, str]:
    """Figures of some round trips as text."""
    net = tally.profit + tally.loss

    def money(value: float | None) -> str:
        return "–" if value is None else number(value / unit)

    some = tally.count > 0
    return {
        "round trips": f"{tally.count:,}",
        "with a profit": percent(tally.won / tally.count if some else None),
        "net": amount(net / unit),
        "mean net": money(net / tally.count if some else None),
        "median net": money(tally.nets.quantile(0.5)),
        "mean profit": money(tally.profit / tally.won if tally.won else None),
        "mean loss": money(tally.loss / tally.lost if tally.lost else None),
        "profit factor": amount(-tally.profit / tally.loss if tally.lost else None),
        "best": money(tally.best if some else None),
        "worst": money(tally.worst if some else None),
        "median holding time": span(tally.holding.quantile(0.5)),
        "holding time, 10th percentile": span(tally.holding.quantile(0.1)),
        "holding time, 90th percentile": span(tally.holding.quantile(0.9)),
    }


def _histogram(title: str, axis: Axis, counted: Magnitudes, scaled: Any) -> Markup:
    """Bars from the first to the last percentile, over which logarithmic axes are logarithmic."""
    low, high = counted.quantile(0.01), counted.quantile(0.99)
    assert low is not None  # there are some
    assert high is not None
    edges: Float64Array
    if axis.kind == "log":
        low = max(low, 1.0)
        edges = np.geomspace(low, max(high, 1.5 * low), _BARS + 1)
    else:
        room = 0.0 if high > low else max(abs(low) / 2, 1.0)
        edges = np.linspace(low - room, high + room, _BARS + 1)
    counts = counted.histogram(edges).astype(np.float64)
    line = Series("round trips", 0, scaled(edges), np.append(counts, counts[-1]))
    y = Axis("round trips", low=0)
    return Chart(title, axis, y, [line], steps=True, height=220).render()
