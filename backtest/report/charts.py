"""Charts: a ``figure`` with its data, which the page's script draws with uPlot.

The figure carries a caption that says what it shows, and its values as JSON. Series belong to the
page's entries (runs, teams), which a reader picks once for all charts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from backtest.core.arrays import Float64Array

HEIGHT = 280
MOST_POINTS = 60_000
"""About how many points a chart holds at most, all series together."""

SPANS, FEWEST_SPANS = 240, 20
"""Into how many equal spans of x a series is cut; of each its first, last, least and largest value
is kept. With many series there are fewer."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        title: with the unit.
        kind: ``time`` is in s since 1970 and labelled by the clock.
        zone: of the clock; an IANA name such as ``America/New_York``.
        ticks: labels at places of one's own choice.
        low, high: the least range.
        roomy: whether a margin is left around the data.
        complement: whether values are shares that are missing from a whole: 0.01 is "99 %", and
            the axis falls.
    """

    title: str
    kind: Literal["linear", "log", "time"] = "linear"
    zone: str = "UTC"
    ticks: Sequence[tuple[float, str]] | None = None
    low: float | None = None
    high: float | None = None
    roomy: bool = False
    complement: bool = False

    @classmethod
    def of_clock(cls, zone: str) -> Axis:
        """The axis of what is shown over time."""
        return cls(f"time ({zone})", kind="time", zone=zone)


@dataclass(frozen=True)
class Series:
    """One line, or one point.

    Attributes:
        name: what a reader sees.
        entry: which of the page's entries it belongs to; ``None``: it is always shown.
        x, y: float64 [n]; where y is not finite the line has a gap. ``x`` ascends.
        dash: 0 solid, 1 dashed, 2 dotted.
    """

    name: str
    entry: int | None
    x: Float64Array
    y: Float64Array
    dash: int = 0


@dataclass
class Chart:
    """A chart.

    Attributes:
        title: what it shows.
        spans: stretches of x to shade, such as bursts.
        zero: whether 0 belongs to the range of y, and has a line.
        steps: whether a value holds until the next one.
        points: whether each series is a single point, with its name.
        note: a sentence below it.
        height: px.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series] = ()
    spans: Sequence[tuple[float, float]] = ()
    zero: bool = False
    steps: bool = False
    points: bool = False
    note: str = ""
    height: int = HEIGHT

    def render(self) -> Markup:
        """The figure."""
        caption_note = Markup('<p class="note">{}</p>').format(self.note) if self.note else ""
        return Markup(
            '<figure class="chart"><figcaption>{}</figcaption>'
            '<div class="plot" role="img" aria-label="{}" tabindex="0"></div>'
            '<output class="readout"></output>'
            '<script type="application/json">{}</script>{}</figure>'
        ).format(self.title, self._summary(), embedded(self._data()), caption_note)

    def _summary(self) -> str:
        many = f"{len(self.series)} series" if len(self.series) > 1 else "1 series"
        return f"{self.title}: {self.y.title} against {self.x.title}, {many}"

    def _data(self) -> dict[str, Any]:
        spans = int(np.clip(MOST_POINTS // (4 * max(len(self.series), 1)), FEWEST_SPANS, SPANS))
        tables: dict[bytes, int] = {}
        xs: list[list[float | int | None]] = []
        series = []
        for s in self.series:
            x, y = downsample(*_drawable(s, self.x, self.y), spans)
            key = x.tobytes()
            if key not in tables:
                tables[key] = len(xs)
                xs.append(_numbers(x, exact=self.x.kind == "time"))
            series.append({
                "name": s.name, "entry": s.entry, "dash": s.dash, "x": tables[key],
                "y": _numbers(y),
            })  # fmt: skip
        return {
            "x": _axis(self.x), "y": _axis(self.y), "xs": xs, "series": series,
            "spans": [list(map(float, span)) for span in self.spans], "zero": self.zero,
            "steps": self.steps, "points": self.points, "height": self.height,
        }  # fmt: skip


def downsample(x: Float64Array, y: Float64Array, spans: int = SPANS) -> tuple[Any, Any]:
    """At most four points of each of ``spans`` equal spans of x: first, last, lowest, highest.

    No extreme is lost. ``x`` ascends.
    """
    if len(x) <= 4 * spans:
        return x, y
    edges = np.linspace(x[0], x[-1], spans + 1)[1:-1]
    cuts = [0, *np.searchsorted(x, edges).tolist(), len(x)]
    kept: set[int] = set()
    for a, b in pairwise(cuts):
        if a < b:
            part = y[a:b]
            kept |= {a, b - 1}
            if np.isfinite(part).any():
                kept |= {a + int(np.nanargmin(part)), a + int(np.nanargmax(part))}
    chosen = sorted(kept)
    return x[chosen], y[chosen]


def embedded(value: Any) -> Markup:
    """JSON for a ``script`` element, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _drawable(series: Series, x: Axis, y: Axis) -> tuple[Float64Array, Float64Array]:
    """A series without what has no place on its axes; gaps stay, as NaN."""
    xs, ys = np.asarray(series.x, dtype=np.float64), np.asarray(series.y, dtype=np.float64)
    there = np.isfinite(xs) & ((xs > 0) | (x.kind != "log"))
    xs, ys = xs[there], ys[there].copy()
    ys[~(np.isfinite(ys) & ((ys > 0) | (y.kind != "log")))] = np.nan
    return xs, ys


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "title": axis.title, "kind": axis.kind, "zone": axis.zone, "low": axis.low,
        "high": axis.high, "roomy": axis.roomy, "complement": axis.complement,
        "ticks": None if axis.ticks is None else [list(tick) for tick in axis.ticks],
    }  # fmt: skip


def _numbers(values: Float64Array, *, exact: bool = False) -> list[float | int | None]:
    """Numbers for JSON, to a thousandth of their range at least, or to a microsecond."""
    finite = values[np.isfinite(values)]
    span, largest = (np.ptp(finite), np.abs(finite).max()) if len(finite) else (0.0, 0.0)
    digits = 15 if not span else int(np.clip(5 + np.floor(np.log10(largest / span)), 5, 15))
    found: list[float | int | None] = []
    for value in values.tolist():
        if not np.isfinite(value):
            found.append(None)
            continue
        rounded = round(value, 6) if exact else float(f"{value:.{digits}g}")
        found.append(int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded)
    return found
