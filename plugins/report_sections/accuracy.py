"""How close the answers came to the dataset's targets, and to those of the reference."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.run_settings import reference_of
from backtest.comparison.verdict import Field
from backtest.core.arrays import Float64Array
from backtest.plugins.report_sections.fields import of_each_field, series_of
from backtest.report.charts import Chart
from backtest.report.html import amount, details, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.scales import Axis
from backtest.report.sections import ReportSection


class AccuracySection(ReportSection):
    """Correlation and explained variance against the dataset's targets."""

    title: ClassVar[str] = "Accuracy against the targets"
    place: ClassVar[int] = 100

    def render(self, material: Material) -> Markup | None:
        shown = of_each_field(material, lambda field: _against_targets(material, field))
        note = (
            "Over answered events only. IC: Pearson's correlation of answers with the target. R²: "
            "1 less the squared errors over the squared distances of the target from its mean; "
            "below 0, the mean would have been the better answer, as it is for answers in other "
            "units than the target's. A dash: an answer or a target that does not vary."
        )
        return None if shown is None else shown + paragraph(note, "note")


def _against_targets(material: Material, field: Field) -> Markup | None:
    labels, compared = field.labels(material.compared), material.compared
    known: list[tuple[int, dict[str, Any]]] = []
    for k in field.members:
        figures = compared.runs[k].metrics["accuracy"].get("targets") or {}
        if "by_target" in figures:  # which runs of earlier versions lack
            known.append((k, figures["by_target"]))
    if not known:
        return None
    targets = dict.fromkeys(target for _, of in known for target in of)
    headers = ("run", "answered", *(f"{t}: {name}" for t in targets for name in ("IC", "R²")))
    forecasts, outputs = [], []
    for k, of in known:
        answered = percent(compared.rows[k]["response_rate"])
        by_target = [of.get(t, {"forecast": {}, "outputs": []}) for t in targets]
        forecasts.append((labels[k], answered, *_cells([of["forecast"] for of in by_target])))
        for j in range(max(len(of["outputs"]) for of in by_target)):
            pairs = [of["outputs"][j] if of["outputs"] else {} for of in by_target]
            outputs.append((f"{labels[k]}: output {j}", answered, *_cells(pairs)))
    numbers = headers[1:]
    shown = table(headers, forecasts, right=numbers, caption="Forecast against each target")
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
        shown = of_each_field(material, lambda field: _of_field(material, field))
        return None if shown is None else shown + paragraph(note, "note")


def _of_field(material: Material, field: Field) -> Markup | None:
    labels, compared = field.labels(material.compared), material.compared
    known = [(k, a) for k in field.members if (a := material.agreement[k]) is not None]
    if not known:
        return None
    outputs = max(len(a.outputs) for _, a in known)
    headers = ("run", "reference", "answered", *(f"output {k}" for k in range(outputs)))
    by_output = [
        (
            labels[k],
            reference_of(compared.runs[k]) or "itself",
            percent(compared.rows[k]["response_rate"]),
            *(f"{e:.3g}" for e in a.outputs),
            *("–" for _ in range(outputs - len(a.outputs))),
        )
        for k, a in known
    ]
    shown = table(headers, by_output, right=headers[2:], caption="Error by output")

    def drift(k: int) -> tuple[Float64Array, Float64Array] | None:
        found = material.agreement[k]
        if found is None or not np.isfinite(found.drift).any():
            return None
        return found.hours * 60, np.maximum(found.drift, 1e-9)

    chart = Chart(
        "Error over time",
        Axis("minutes into the window"),
        Axis("standard deviations", log=True),
        [*series_of(material, field, drift)],
        note="A rising curve means drift: state that went wrong once stays wrong. Values below "
        "1e-9 are drawn at 1e-9.",
        height=240,
    )
    symbols = sorted({s for _, a in known for s in a.symbols})
    names = [labels[k] for k, _ in known]
    by_symbol = [
        (symbol, *(amount(a.symbols.get(symbol), 4) for _, a in known)) for symbol in symbols
    ]
    folded = table(("symbol", *names), by_symbol, right=names, caption="Correlation by symbol")
    return shown + chart.render() + details("Agreement by symbol", folded)
