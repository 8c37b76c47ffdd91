"""What the limits of a single run held back, and when a switch ended its trading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.core.arrow import integers
from backtest.core.times import format_utc
from backtest.report.html import paragraph, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection
from backtest.runs.folder import Run


@dataclass
class Met:
    """How often a limit was met, lots that it held back, and when it was first and last, ns."""

    times: int = 0
    lots: int = 0
    first: int | None = None
    last: int | None = None


class LimitsSection(ReportSection):
    """Limits of a single run: how often each was met, and when."""

    title: ClassVar[str] = "Limits"
    place: ClassVar[int] = 52

    def render(self, material: Material) -> Markup | None:
        run = material.single
        if run is None or run.metrics.get("limits") is None:
            return None
        told = run.metrics["limits"]
        met = _met(run, [*told["breaches"]])
        rows = [
            (
                name, f"{of.times:,}", f"{of.lots:,}",
                *("–" if ns is None else format_utc(ns) for ns in (of.first, of.last)),
            )
            for name, of in met.items()
        ]  # fmt: skip
        numbers = ("times", "lots not sent")
        shown = table(("limit", *numbers, "first", "last"), rows, right=numbers, caption="Limits")
        switches = [name for name in ("daily_loss", "drawdown") if name in met and met[name].times]
        if switches:
            shown += paragraph(
                f"Trading was ended by {' and '.join(switches)}: positions were closed, and "
                f"{told['kept_out']:,} orders that came later were refused."
            )
        elif not any(of.times for of in met.values()):
            shown += paragraph("None was met.")
        return shown


def _met(run: Run, names: list[str]) -> dict[str, Met]:
    """What each limit that was set did."""
    found = {name: Met() for name in names}
    for piece in run.pieces("breaches", ("ts", "limit", "lots")):
        chosen = np.array(piece["limit"].to_pylist(), dtype=np.str_)
        times, lots = integers(piece["ts"]), integers(piece["lots"])
        for name, of in found.items():
            here = np.flatnonzero(chosen == name)
            if len(here):
                of.times += len(here)
                of.lots += int(lots[here].sum())
                of.first = int(times[here[0]]) if of.first is None else of.first
                of.last = int(times[here[-1]])
    return found
