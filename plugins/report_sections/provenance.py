"""What was run, and on what data."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from markupsafe import Markup

from backtest.comparison.run_settings import settings, ticks
from backtest.core.zones import clock_text
from backtest.report.html import details, paragraph, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection
from backtest.runs.folder import Run

MANIFESTS = 100
"""Manifests that a report quotes, at most."""


class WhatWasRun(ReportSection):
    """The settings that differ between the runs, those they share, and every manifest."""

    title: ClassVar[str] = "What was run"
    place: ClassVar[int] = 130
    many: ClassVar[bool] = True

    def render(self, material: Material) -> Markup | None:
        compared = material.compared
        different = compared.differences()
        names = [name for name, _ in different]
        rows = [
            (material.names[k], compared.rows[k]["run"], *(_plain(v[k]) for _, v in different))
            for k in material.order
        ]
        shown = paragraph("Settings that differ between the runs:")
        shown += table(("run", "id", *names), rows, caption="Differences")
        first = settings(compared.runs[0])
        same = [(name, _plain(value)) for name, value in first.items() if name not in names]
        shown += details("Settings that all runs share", table(("setting", "value"), same))
        listed = material.order[:MANIFESTS]
        manifests = Markup("").join(
            details(
                f"{material.names[k]} ({compared.runs[k].id})",
                Markup("<pre>{}</pre>").format(
                    json.dumps(_quoted(compared.runs[k]), indent=1, ensure_ascii=False)
                ),
            )
            for k in listed
        )
        title = "Manifests"
        if len(listed) < len(compared.runs):
            title += f" of the best {len(listed)} runs; every run's folder holds its own"
        return shown + details(title, manifests)


class DataSummary(ReportSection):
    """The data that the runs saw."""

    title: ClassVar[str] = "Data"
    place: ClassVar[int] = 140

    def render(self, material: Material) -> Markup | None:
        seen: dict[str, tuple[Any, ...]] = {}
        for run, pace in zip(material.compared.runs, material.pace, strict=True):
            first, last = pace.extent
            seconds = max((last - first) / 1e9, 1e-9)
            row = (
                run.manifest["dataset"],
                clock_text(first, material.zone, 29),
                clock_text(last, material.zone, 29),
                f"{pace.events:,}",
                f"{pace.symbols:,}",
                f"{pace.events / seconds:,.1f}",
                f"{pace.arrivals.max() / seconds * len(pace.arrivals):,.1f}",
                "–" if pace.gap is None else f"{pace.gap / 1e6:.3g}",
                run.manifest["determined_by"]["data"][:12],
            )
            seen.setdefault(str(ticks(run)), row)
        headers = (
            "dataset", "first event", "last event", "events", "symbols", "events per second",
            "at the busiest", "median gap, ms", "SHA-256",
        )  # fmt: skip
        caption = f"Data seen; times in {material.zone}"
        return table(headers, [*seen.values()], right=headers[3:8], caption=caption)


def _quoted(run: Run) -> dict[str, Any]:
    """A run's manifest; of its sessions, of which there may be thousands, only their number."""
    calendar = run.manifest.get("calendar")
    if calendar is None or not calendar["sessions"]:
        return run.manifest
    return run.manifest | {"calendar": calendar | {"sessions": len(calendar["sessions"])}}


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    text = str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
