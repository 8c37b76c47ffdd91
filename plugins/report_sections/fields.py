"""Pieces that several sections share: a series for every run, and what each field has to say."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from backtest.comparison.fields import Field
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
    of_run: Callable[[int], tuple[Float64Array, Float64Array] | None],
    dash: int = 0,
    suffix: str = "",
    unit: str | None = None,
) -> list[Series]:
    """A series for each run for which ``of_run`` finds x and y, the best run first.

    Args:
        material: of the report.
        of_run: gives x and y of the run at a position.
        dash, suffix: of all of them, and of their names.
        unit: leaves out runs that are paid in another one.
    """
    return [
        Series(material.names[k] + suffix, k, *points, dash)
        for k in material.order
        if unit in (None, material.compared.rows[k]["unit"]) and (points := of_run(k)) is not None
    ]
