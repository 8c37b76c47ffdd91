"""How tables show the figures of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backtest.experiments.sweep import Point


def title(point: Point) -> str:
    """What distinguishes a run from the others in its sweep."""
    return ", ".join(f"{k} {v}" for k, v in point.settings.items()) or point.id or "the only run"


def figure(point: Point, name: str) -> str:
    """A figure as a table shows it."""
    value = point.figures.get(name)
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{100 * value:.1f} %" if name == "response_rate" else f"{value:,.3f}"
