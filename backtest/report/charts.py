"""Charts as SVG: text, no pictures, coloured by the page's style sheet, readable without a script.

Each is a ``figure`` with a caption that says what it shows. Series carry their names, and plots
their axes' ranges, as attributes, from which the page's script reads values under the pointer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup, escape

from backtest.core.arrays import Float64Array
from backtest.report.scales import Axis, Scale, number

WIDTH, HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 14, 12, 40
_LETTER, _LINE = 7.5, 14
"""About the width of a letter in a plot, and the height of a line of them."""

COLUMNS = 240
"""How many columns a series is cut into; of each, the first, last, lowest and highest are drawn."""


_Line: TypeAlias = tuple[float, float, float]
"""The start, the end and the baseline of a line of text: x, x, y."""


@dataclass(frozen=True)
class Series:
    """One line or set of points.

    Attributes:
        number: which colour and dash it has, the same in every chart of a report.
        x, y: float64 [n]; what is not finite is left out.
    """

    name: str
    number: int
    x: Float64Array
    y: Float64Array


def downsample(x: Float64Array, y: Float64Array, columns: int = COLUMNS) -> tuple[Any, Any]:
    """At most four points of each of ``columns`` equal spans of x: first, last, lowest, highest.

    No extreme is lost. ``x`` ascends.
    """
    if len(x) <= 4 * columns:
        return x, y
    edges = np.linspace(x[0], x[-1], columns + 1)[1:-1]
    cuts = [0, *np.searchsorted(x, edges).tolist(), len(x)]
    kept: set[int] = set()
    for a, b in pairwise(cuts):
        if a < b:
            part = y[a:b]
            kept |= {a, b - 1, a + int(np.argmin(part)), a + int(np.argmax(part))}
    chosen = sorted(kept)
    return x[chosen], y[chosen]


@dataclass
class Chart:
    """A plot under construction.

    Attributes:
        title: what it shows, as a caption.
        spans: stretches of x to shade, such as bursts.
    """

    title: str
    x: Axis
    y: Axis
    series: list[Series] = field(default_factory=list)
    spans: Sequence[tuple[float, float]] = ()
    zero: bool = False
    steps: bool = False
    points: bool = False
    names: bool = False
    note: str = ""
    height: int = HEIGHT

    def render(self) -> Markup:
        """The figure."""
        return self._figure(self._curves)

    def _figure(self, draw: Callable[[Scale, Scale], Markup]) -> Markup:
        empty = np.empty(0)
        x = Scale.over(
            self.x, np.concatenate([s.x for s in self.series] or [empty]), _LEFT, WIDTH - _RIGHT
        )
        values = [s.y for s in self.series] + ([np.zeros(1)] if self.zero else [])
        y = Scale.over(self.y, np.concatenate(values or [empty]), self.height - _BOTTOM, _TOP)
        shaded = [(_clip(x, a), _clip(x, b)) for a, b in self.spans]
        body = Markup("").join(
            Markup('<rect class="burst" x="{}" y="{}" width="{}" height="{}"/>').format(
                _px(a), _TOP, _px(max(b - a, 1)), self.height - _BOTTOM - _TOP
            )
            for a, b in shaded
            if b >= a
        )
        body += _axes(x, y, self.zero, self.height) + draw(x, y)
        legend = _legend(self.series) if len({s.name for s in self.series}) > 1 else Markup("")
        return figure(self.title, body, self.height, legend, self.note, _ranges(x, y))

    def _curves(self, x: Scale, y: Scale) -> Markup:
        taken: list[_Line] = []
        return Markup("").join(self._curve(s, x, y, taken) for s in self.series)

    def _curve(self, series: Series, x: Scale, y: Scale, taken: list[_Line]) -> Markup:
        good = np.isfinite(series.x) & np.isfinite(series.y)
        good &= ((series.x > 0) | (not self.x.log)) & ((series.y > 0) | (not self.y.log))
        xs, ys = downsample(series.x[good], series.y[good])
        if not len(xs):
            return Markup("")
        px, py = x(xs), y(ys)
        style = f"s{series.number % 8} d{series.number // 8 % 3}"
        parts = Markup("")
        if not self.points:
            commands = [f"M{_px(px[0])} {_px(py[0])}"]
            for k in range(1, len(px)):
                step = f"H{_px(px[k])}V{_px(py[k])}" if self.steps else None
                commands.append(step or f"L{_px(px[k])} {_px(py[k])}")
            parts += Markup('<path d="{}"/>').format("".join(commands))
        if self.points or len(px) <= 12:
            mark = Markup('<circle cx="{}" cy="{}" r="{}"/>')
            size = 5 if self.points else 2.5
            parts += Markup("").join(
                mark.format(_px(a), _px(b), size) for a, b in zip(px, py, strict=True)
            )
        if self.names:
            right = px[-1] > WIDTH * 0.7
            at, width = px[-1] + (-9 if right else 9), _LETTER * len(series.name)
            left = at - width if right else at
            base = _free(taken, left, left + width, py[-1] + 4, self.height - _BOTTOM)
            taken.append((left, left + width, base))
            parts += Markup('<text class="name" x="{}" y="{}" text-anchor="{}">{}</text>').format(
                _px(at), _px(base), "end" if right else "start", series.name
            )
        return Markup('<g class="series {}" data-name="{}" data-series="{}">{}</g>').format(
            style, series.name, series.number, parts
        )


def _free(taken: list[_Line], left: float, right: float, base: float, lowest: float) -> float:
    """The height nearest to ``base`` where text from left to right covers no other; or ``base``."""
    heights = [base + side * k * _LINE for k in range(len(taken) + 1) for side in (1, -1)]
    for height in heights:
        covered = any(abs(height - h) < _LINE and left < b and a < right for a, b, h in taken)
        if _TOP + _LINE <= height <= lowest and not covered:
            return height
    return base


def waterfall(title: str, steps: Sequence[tuple[str, float, bool]], unit: str) -> Markup:
    """Bars from a first total down (or up) to a last one.

    Args:
        steps: name, amount, and whether it is a total, drawn from 0, or a change.
    """
    tops, running = [], 0.0
    for _, amount, total in steps:
        start = 0.0 if total else running
        running = amount if total else running + amount
        tops.append((start, running))
    axis = Axis(unit)
    y = Scale.over(axis, np.array([0.0, *np.ravel(tops)]), 220 - _BOTTOM, _TOP + 14)
    width = (WIDTH - _LEFT - _RIGHT) / max(len(steps), 1)
    body = _y_axis(y, 220) + _zero(y)
    for k, ((name, amount, total), (a, b)) in enumerate(zip(steps, tops, strict=True)):
        high, low = min(y(a), y(b)), max(y(a), y(b))
        left = _LEFT + k * width
        kind = "total" if total else ("loss" if amount < 0 else "gain")
        body += Markup(
            '<g class="bar {kind}"><title>{name}: {value} {unit}</title>'
            '<rect x="{x}" y="{y}" width="{w}" height="{h}"/>'
            '<text class="value" x="{c}" y="{above}" text-anchor="middle">{value}</text>'
            '<text class="tick" x="{c}" y="{below}" text-anchor="middle">{name}</text></g>'
        ).format(
            kind=kind, name=name, value=number(round(amount, 2)), unit=unit,
            x=_px(left + width * 0.12), y=_px(high), w=_px(width * 0.76),
            h=_px(max(low - high, 1)), c=_px(left + width / 2), above=_px(high - 4),
            below=220 - _BOTTOM + 18,
        )  # fmt: skip
        if k + 1 < len(steps):
            body += Markup('<path class="join" d="M{} {}H{}"/>').format(
                _px(left + width * 0.88), _px(y(b)), _px(left + width * 1.12)
            )
    return figure(title, body, 220, Markup(""), "", "")


def figure(title: str, body: Markup, height: int, legend: Markup, note: str, ranges: str) -> Markup:
    """A drawing with its caption, which also names it to a screen reader."""
    caption_note = Markup('<p class="note">{}</p>').format(note) if note else Markup("")
    interactive = Markup(' class="plot" tabindex="0"{}').format(Markup(ranges)) if ranges else ""
    readout = Markup('<output class="readout" aria-live="polite"></output>') if ranges else ""
    return Markup(
        '<figure><figcaption>{}</figcaption><svg role="img" aria-label="{}" '
        'viewBox="0 0 {} {}"{}>{}</svg>{}{}{}</figure>'
    ).format(title, title, WIDTH, height, interactive, body, readout, legend, caption_note)


def _ranges(x: Scale, y: Scale) -> str:
    parts = []
    for name, scale in (("x", x), ("y", y)):
        values = f"{scale.low!r} {scale.high!r} {_px(scale.start)} {_px(scale.end)}"
        kind = "log" if scale.axis.log else "linear"
        parts.append(
            f' data-{name}="{values} {kind}" data-{name}-title="{escape(scale.axis.title)}"'
        )
    return "".join(parts)


def _legend(series: Sequence[Series]) -> Markup:
    names = {s.name: s.number for s in series}
    items = Markup("").join(
        Markup(
            '<li><button type="button" aria-pressed="true" data-toggle="{}">'
            '<svg class="key s{} d{}" viewBox="0 0 24 8" aria-hidden="true">'
            '<path d="M1 4H23"/></svg>'
            "{}</button></li>"
        ).format(number_, number_ % 8, number_ // 8 % 3, name)
        for name, number_ in names.items()
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


def _axes(x: Scale, y: Scale, zero: bool, height: int) -> Markup:
    base = height - _BOTTOM
    parts = _y_axis(y, height)
    for value, text in x.ticks():
        at = _px(x(value))
        parts += Markup(
            '<path class="grid" d="M{} {}V{}"/><text class="tick" x="{}" y="{}" '
            'text-anchor="middle">{}</text>'
        ).format(at, _TOP, base, at, base + 16, text)
    parts += Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
        (WIDTH + _LEFT) // 2, height - 6, x.axis.title
    )
    return parts + (_zero(y) if zero else Markup(""))


def _y_axis(y: Scale, height: int) -> Markup:
    parts = Markup("")
    for value, text in y.ticks():
        at = _px(y(value))
        parts += Markup(
            '<path class="grid" d="M{} {}H{}"/><text class="tick" x="{}" y="{}" '
            'text-anchor="end">{}</text>'
        ).format(_LEFT, at, WIDTH - _RIGHT, _LEFT - 6, _px(y(value) + 4), text)
    return parts + Markup(
        '<text class="axis up" transform="translate(13 {}) rotate(-90)" '
        'text-anchor="middle">{}</text>'
    ).format((height - _BOTTOM + _TOP) // 2, y.axis.title)


def _zero(y: Scale) -> Markup:
    if not y.low <= 0 <= y.high:
        return Markup("")
    return Markup('<path class="zero" d="M{} {}H{}"/>').format(_LEFT, _px(y(0)), WIDTH - _RIGHT)


def _clip(scale: Scale, value: float) -> float:
    return float(np.clip(scale(value), min(scale.start, scale.end), max(scale.start, scale.end)))


def _px(value: Any) -> str:
    """A pixel to a tenth, without trailing zeros."""
    return f"{float(value):.1f}".removesuffix(".0")
