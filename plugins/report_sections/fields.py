"""Sections that show the same for each field of runs: the main one open, the others folded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from backtest.comparison.verdict import Field
from backtest.core.arrays import Float64Array
from backtest.report.charts import Series
from backtest.report.html import details
from backtest.report.material import Material


def of_each_field(material: Material, render: Callable[[Field], Markup | None]) -> Markup | None:
    """What ``render`` makes of each field; ``None`` where it makes nothing of any."""
    found = [(field, shown) for field in material.fields if (shown := render(field)) is not None]
    if not found:
        return None
    (first, main), *rest = found
    title = (
        Markup('<p class="conditions">{}</p>').format(first.title) if first.title else Markup("")
    )
    if not rest:
        return title + main
    others = Markup("").join(Markup("<h3>{}</h3>{}").format(f.title, shown) for f, shown in rest)
    return title + main + details(f"Under other conditions ({len(rest)})", others)


def series_of(
    material: Material,
    field: Field,
    of_run: Callable[[int], tuple[Float64Array, Float64Array] | None],
) -> Sequence[Series]:
    """A series for each member of a field for which ``of_run`` finds x and y."""
    labels: dict[int, Any] = field.labels(material.compared)
    found = []
    for k in field.members:
        points = of_run(k)
        if points is not None:
            found.append(Series(labels[k], material.numbers[k], *points))
    return found
