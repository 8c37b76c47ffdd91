"""Runs and comparisons as shown in a notebook."""

from __future__ import annotations

from typing import Any

from backtest.comparison.comparison import Comparison, compare
from backtest.comparison.fields import fields
from backtest.comparison.rows import earned
from backtest.comparison.verdict import verdict
from backtest.core.notebook import notebook_html
from backtest.report.html import amount, bullets, paragraph, percent, table
from backtest.runs.folder import Run


@notebook_html.register
def run_html(run: Run) -> str:
    """A run's figures and the names of its tables and frames."""
    row = compare([run]).rows[0]
    shown = {name: value for name, value in row.items() if value is not None}
    facts = table(("figure", "value"), [(name, _text(value)) for name, value in shown.items()])
    names = ", ".join(sorted(path.stem for path in run.folder.glob("*.parquet")))
    notes = paragraph(f"Tables, read with run.table(name): {names}")
    if run.has_table("fills"):
        notes += paragraph(
            "Lazy frames, in currency: run.fills, run.equity, run.positions, run.round_trips"
        )
    return str(facts + notes)


@notebook_html.register
def comparison_html(compared: Comparison) -> str:
    """The main figures of each run, and the verdict on each field of equal conditions."""
    headers = (
        "run", "class", "answered", "p50 ms", "p99 ms", "agreement", "IC", "net", "unit"
    )  # fmt: skip
    rows = [
        (
            label,
            row["class"] or "–",
            percent(row["response_rate"]),
            amount(row["p50_ms"], 1),
            amount(row["p99_ms"], 1),
            amount(row["agreement"], 3),
            amount(row["ic"], 3),
            amount(earned(row)),
            row["unit"],
        )
        for label, row in zip(compared.labels, compared.rows, strict=True)
    ]
    html = table(headers, rows, right=headers[2:8])
    for field in fields(compared):
        html += paragraph(field.title) + bullets(verdict(compared, field).lines())
    return str(html)


def _text(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
