"""How close the answers came to the dataset's targets, and to those of the reference."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.run_settings import reference_of
from backtest.core.arrays import Float64Array
from backtest.plugins.report_sections.fields import series_of
from backtest.report.charts import Axis, Chart
from backtest.report.html import amount, details, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.sections import ReportSection


class AccuracySection(ReportSection):
    """Correlation and explained variance against the dataset's targets."""

    title: ClassVar[str] = "Accuracy against the targets"
    place: ClassVar[int] = 100

    def render(self, material: Material) -> Markup | None:
        shown = _against_targets(material)
        note = (
            "Over answered events only. IC: Pearson's correlation of answers with the target. R²: "
            "1 less the squared errors over the squared distances of the target from its mean; "
            "below 0, the mean would have been the better answer, as it is for answers in other "
            "units than the target's. A dash: an answer or a target that does not vary."
        )
        return None if shown is None else shown + paragraph(note, "note")


def _against_targets(material: Material) -> Markup | None:
    names, compared = material.names, material.compared
    known: list[tuple[int, dict[str, Any]]] = []
    for k in material.order:
        figures = compared.runs[k].metrics["accuracy"].get("targets") or {}
        if figures.get("by_target"):  # which runs of earlier versions lack
            known.append((k, figures["by_target"]))
    if not known:
        return None
    targets = dict.fromkeys(target for _, of in known for target in of)
    headers = ("run", "answered", *(f"{t}: {name}" for t in targets for name in ("IC", "R²")))
    forecasts, outputs = [], []
    for k, of in known:
        answered = percent(compared.rows[k]["response_rate"])
        by_target = [of.get(t, {"forecast": {}, "outputs": []}) for t in targets]
        forecasts.append((names[k], answered, *_cells([of["forecast"] for of in by_target])))
        for j in range(max((len(of["outputs"]) for of in by_target), default=0)):
            pairs = [of["outputs"][j] if j < len(of["outputs"]) else {} for of in by_target]
            outputs.append((f"{names[k]}: output {j}", answered, *_cells(pairs)))
    numbers = headers[1:]
    shown = table(
        headers, forecasts, right=numbers, caption="Forecast against each target",
        entries=[k for k, _ in known],
    )  # fmt: skip
    return shown + details("By output", table(headers, outputs, right=numbers))


def _cells(pairs: list[dict[str, float]]) -> list[str]:
    return [amount(pair.get(name), 4) for pair in pairs for name in ("ic", "r2")]


class AgreementSection(ReportSection):
    """Agreement with the reference that answers every event: by output, by symbol, over time."""

    title: ClassVar[str] = "Agreement with the reference"
    place: ClassVar[int] = 110

    def render(self, material: Material) -> Markup | None:
        if all(a is None for a in material.agreement):
            return None
        note = (
            "The reference answers every event. It is the strategy itself, or the one that it "
            "stands in for, and says nothing of whether either is right. Errors are root mean "
            "squares in standard deviations of the reference's output, over answered events only."
        )
        compared = material.compared
        known = [(k, a) for k in material.order if (a := material.agreement[k]) is not None]
        outputs = max(len(a.outputs) for _, a in known)
        headers = ("run", "reference", "answered", *(f"output {k}" for k in range(outputs)))
        by_output = [
            (
                material.names[k],
                reference_of(compared.runs[k]) or "itself",
                percent(compared.rows[k]["response_rate"]),
                *(f"{e:.3g}" for e in a.outputs),
                *("–" for _ in range(outputs - len(a.outputs))),
            )
            for k, a in known
        ]
        shown = table(
            headers, by_output, right=headers[2:], caption="Error by output",
            entries=[k for k, _ in known],
        )  # fmt: skip

        def drift(k: int) -> tuple[Float64Array, Float64Array] | None:
            found = material.agreement[k]
            if found is None or not np.isfinite(found.drift).any():
                return None
            return found.times, np.maximum(found.drift, 1e-9)

        shown += Chart(
            "Error over time",
            material.clock,
            Axis("standard deviations", kind="log"),
            series_of(material, drift),
            note="A rising curve means drift: state that went wrong once stays wrong. Values below "
            "1e-9 are drawn at 1e-9.",
        ).render()
        shown += details("Agreement by symbol", _by_symbol(material))
        return shown + paragraph(note, "note")


def _by_symbol(material: Material) -> Markup:
    """A column a symbol, so that many runs make a long table and not a wide one."""
    known = [(k, a) for k in material.order if (a := material.agreement[k]) is not None]
    symbols = sorted({s for _, a in known for s in a.symbols})
    rows = [
        (material.names[k], *(amount(a.symbols.get(symbol), 4) for symbol in symbols))
        for k, a in known
    ]
    return table(("run", *symbols), rows, right=symbols, caption="Correlation by symbol")
