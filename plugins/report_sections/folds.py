"""The folds of walk-forwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from markupsafe import Markup

from backtest.core.times import parse_utc
from backtest.core.zones import clock_text
from backtest.report.html import amount, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection


class FoldsSection(ReportSection):
    """What each fold was trained and tested on, and what it earned."""

    title: ClassVar[str] = "Folds"
    place: ClassVar[int] = 45

    def render(self, material: Material) -> Markup | None:
        compared, zone = material.compared, material.zone
        rows = []
        for label, run in zip(material.names, compared.runs, strict=True):
            for fold in run.manifest.get("folds", ()):
                figures = fold["figures"]
                money = figures["net"] is not None
                rows.append(
                    (
                        label,
                        f"{fold['fold']}{'†' if fold['in_sample'] else ''}",
                        "–" if fold["train"] is None else _ends(fold["train"], zone),
                        _ends(fold["test"], zone),
                        percent(figures["response_rate"]),
                        amount(figures["net"] if money else figures["net_points"]),
                        amount(figures["drawdown"]),
                        amount(figures["sharpe"]),
                        fold["run"],
                    )
                )
        if not rows:
            return None
        headers = (
            "run", "fold", "trained on", "tested on", "answered", "net", "drawdown", "Sharpe ratio",
            "id",
        )  # fmt: skip
        note = (
            "Each fold was trained on its own past and tested on what came after it. The equity "
            "of the run joins the test stretches, and its figures are computed from that."
        )
        caption = f"Folds of each walk-forward, {zone}"
        shown = table(headers, rows, right=headers[4:8], caption=caption)
        return shown + paragraph(note, "note")


def _ends(window: Sequence[str], zone: str) -> str:
    return " – ".join(clock_text(parse_utc(instant), zone) for instant in window)
