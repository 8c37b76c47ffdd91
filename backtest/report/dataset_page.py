"""The description of a dataset as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from backtest.core.times import format_span, parse_utc
from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import paragraph, table
from backtest.report.page import page

_TIME = Axis("time (UTC)", kind="time")
_SMALL = 200
"""Height of charts that stand side by side, px."""


def render(figures: dict[str, Any]) -> str:
    """The page.

    Args:
        figures: what ``backtest.data.quality.describe.describe`` gives.
    """
    d = figures
    subtitle = f"{d['location']}, {d['first']} to {d['last']}"
    chapters = [
        ("overview", "Overview", _overview(d)),
        ("events", "Events over time", _events(d)),
        ("gaps", "Time between events", _gaps(d)),
        ("symbols", "Symbols", _symbols(d)),
        ("features", "Features", _moments(d["features"], "Features")),
        ("targets", "Targets", _moments(d["targets"], "Targets")),
    ]
    shown = [
        {"name": name, "title": title, "content": content}
        for name, title, content in chapters
        if content
    ]
    return page(d["name"], subtitle, shown, entries=[d["name"]], first=[0])


def _overview(d: dict[str, Any]) -> Markup:
    """Figures of the whole dataset; what is likely to be a fault is marked."""
    facts: list[tuple[str, object]] = [
        ("events", _count(d["rows"])),
        ("symbols", _count(len(d["symbols"]))),
        ("files", _count(d["files"])),
        ("span", format_span(d["span_ns"])),
        ("events a second", _number(d["events_per_s"])),
        *_quantiles("time between events", d["gaps_ns"]),
        *(
            (f"most events in {format_span(b['window_ns'])}", _count(b["events"]))
            for b in d["busiest"]
        ),
        ("same symbol and instant", _count(d["same_instant_and_symbol"])),
        ("identical to an earlier event", _count(d["identical"])),
    ]
    if d["quotes"]:
        facts += [
            ("valid quotes", _count(d["quotes"]["valid"])),
            ("crossed quotes", _fault(d["quotes"]["crossed"])),
            ("locked quotes", _count(d["quotes"]["locked"])),
            ("one-sided quotes", _count(d["quotes"]["one_sided"])),
        ]
    if d["trades"]:
        facts += [
            ("trades initiated by buyers", _count(d["trades"]["buyer"])),
            ("trades initiated by sellers", _count(d["trades"]["seller"])),
            ("trades whose initiator is unknown", _count(d["trades"]["unknown"])),
        ]
    if d["depth"]:
        facts += [
            (f"rows of depth, of {d['depth']['of']}", _count(d["depth"]["rows"])),
            ("snapshots of depth", _count(d["depth"]["snapshots"])),
            ("clears of depth", _count(d["depth"]["clears"])),
        ]
    if d["feed_latency_ns"]:
        latency = d["feed_latency_ns"]
        facts += [
            *_quantiles("feed latency", latency["not_negative"]),
            ("received before it happened", _fault(latency["negative"])),
        ]
    if d["sessions"]:
        sessions = d["sessions"]
        facts += [
            ("sessions", _count(sessions["sessions"])),
            ("sessions without events", _fault(sessions["empty"])),
            ("events outside sessions", _fault(sessions["events_outside"])),
        ]
    half = -(-len(facts) // 2)
    return Markup('<div class="pair"><div>{}</div><div>{}</div></div>').format(
        *(
            table(("figure", "value"), some, right=("value",), caption=caption)
            for some, caption in ((facts[:half], "Events"), (facts[half:], "Events, continued"))
        )
    )


def _events(d: dict[str, Any]) -> Markup:
    counts, width = d["timeline"]["events"], d["timeline"]["bucket_ns"]
    times = parse_utc(d["timeline"]["start"]) / 1e9 + np.arange(len(counts) + 1) * (width / 1e9)
    line = Series("events", 0, times, np.array([*counts, counts[-1]], dtype=np.float64))
    return Chart(
        f"Events in {format_span(width)}", _TIME, Axis("events", low=0), [line], steps=True
    ).render()


def _gaps(d: dict[str, Any]) -> Markup:
    """Times between events by powers of two, and the longest."""
    shown = Markup("")
    octaves = [(low, count) for low, count in d["gap_octaves"] if low]
    if octaves:
        edges = np.array([low for low, _ in octaves] + [2 * octaves[-1][0]]) / 1e9
        counts = [count for _, count in octaves]
        line = Series("events", 0, edges, np.array([*counts, counts[-1]], dtype=np.float64))
        shown += Chart(
            "Time since the event before, of any symbol", Axis("s", kind="log"),
            Axis("events", low=0), [line], steps=True, note="Each step is twice as long a time.",
        ).render()  # fmt: skip
    together = sum(count for low, count in d["gap_octaves"] if not low)
    if together:
        shown += paragraph(
            f"Not in the chart: {_count(together)} events at the instant of the event before.",
            "note",
        )
    rows = [(gap["after"], format_span(gap["gap_ns"])) for gap in d["largest_gaps"]]
    if rows:
        shown += table(
            ("after", "time"), rows, right=("time",), caption="Longest times without an event"
        )
    return shown


def _symbols(d: dict[str, Any]) -> Markup:
    """The mids of the first symbols, and a row for each symbol."""
    start, width = parse_utc(d["timeline"]["start"]) / 1e9, d["timeline"]["bucket_ns"] / 1e9
    drawn = []
    for s in d["symbols"]:
        if s["valid_quotes"] and s["mid_ticks"]:
            mids = np.array(s["mid_ticks"], dtype=np.float64)
            times = start + np.arange(1, len(mids) + 1) * width
            line = Series(s["symbol"], 0, times, mids)
            chart = Chart(f"Mid of {s['symbol']}", _TIME, Axis("ticks"), [line], height=_SMALL)
            drawn.append(chart.render())
    headers = ("symbol", "events", "valid quotes", "trades", "median spread, ticks", "99 %",
               "longest gap")  # fmt: skip
    rows = [
        (
            s["symbol"], _count(s["rows"]), _count(s["valid_quotes"]), _count(s["trades"]),
            _number(s["spread_ticks_p50"]), _number(s["spread_ticks_p99"]),
            format_span(s["longest_gap_ns"]),
        )
        for s in d["symbols"]
    ]  # fmt: skip
    shown = table(headers, rows, right=headers[1:], caption="Symbols")
    return Markup('<div class="pair">{}</div>').format(Markup("").join(drawn)) + shown


def _moments(rows: Sequence[dict[str, Any]], caption: str) -> Markup:
    headers = ("name", "mean", "s.d.", "min", "max", "zeros", "NaN", "infinite")
    cells = [
        (
            f["name"], *(_number(f[name]) for name in ("mean", "sd", "min", "max")),
            _count(f["zero"]), _fault(f["nan"]), _fault(f["inf"]),
        )
        for f in rows
    ]  # fmt: skip
    return table(headers, cells, right=headers[1:], caption=caption) if rows else Markup("")


def _quantiles(what: str, found: dict[str, int] | None) -> list[tuple[str, object]]:
    names = {"p50": "median", "p01": "1st percentile", "p99": "99th percentile"}
    return [(f"{what}, {name}", format_span(found[key])) for key, name in names.items() if found]


def _count(value: int) -> str:
    return f"{value:,}"


def _fault(count: int) -> str | Markup:
    """A count that should be 0."""
    return Markup('<span class="warning">{:,}</span>').format(count) if count else "0"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
