"""A description as one self-contained HTML page: inline SVG, no script, nothing loaded."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from backtest.core.text import escape_text
from backtest.core.times import format_span

_WIDTH, _HEIGHT = 1000, 100


def render(figures: dict[str, Any]) -> str:
    """The page.

    Names from outside are escaped, and the page's content security policy allows nothing but its
    own style sheet.

    Args:
        figures: what ``backtest.data.quality.describe.describe`` gives.
    """
    folder = importlib.resources.files("backtest.report")
    style = folder.joinpath("dataset_page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"span": _span, "count": _count, "number": _number}
    environment.globals |= {"area": area, "bars": bars, "line": line}
    template = environment.from_string(folder.joinpath("dataset_page.html.j2").read_text("utf-8"))
    return template.render(d=figures, style=Markup(style), digest=digest)


def area(values: Sequence[int]) -> Markup:
    """Counts over time as a filled step line, from 0 to the largest."""
    top = max(values)
    step = _WIDTH / len(values)
    points = [f"{i * step:.1f},{_HEIGHT * (1 - v / top):.1f}" for i, v in enumerate(values)]
    ends = [f"{(i + 1) * step:.1f},{p.split(',')[1]}" for i, p in enumerate(points)]
    path = " L".join(p for pair in zip(points, ends, strict=True) for p in pair)
    return _svg(
        Markup('<path class="fill" d="M0,{} L{} L{},{} Z"/>').format(
            _HEIGHT, Markup(path), _WIDTH, _HEIGHT
        )
    )


def bars(values: Sequence[int]) -> Markup:
    """Counts side by side, from 0 to the largest."""
    top = max(values)
    step = _WIDTH / len(values)
    drawn = [
        Markup('<rect class="fill" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            (i + 0.08) * step, _HEIGHT * (1 - v / top), 0.84 * step, _HEIGHT * v / top
        )
        for i, v in enumerate(values)
    ]
    return _svg(Markup("").join(drawn))


def line(values: Sequence[float | None]) -> Markup:
    """A series over time, from its smallest to its largest value; ``None`` where it has none."""
    known = [v for v in values if v is not None]
    low, high = min(known), max(known)
    scale = 0.92 * _HEIGHT / (high - low or 1)
    step = _WIDTH / max(len(values) - 1, 1)
    points = [
        f"{i * step:.1f},{0.96 * _HEIGHT - (v - low) * scale:.1f}"
        for i, v in enumerate(values)
        if v is not None
    ]
    return _svg(Markup('<polyline class="line" points="{}"/>').format(" ".join(points)))


def _svg(content: Markup) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(_WIDTH, _HEIGHT, content)


def _printable(value: object) -> object:
    return escape_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _count(value: int) -> str:
    return f"{value:,}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _span(ns: int) -> str:
    return format_span(ns).replace(" ", "\N{NO-BREAK SPACE}")
