"""Runs side by side: one row of figures each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.comparison.conditions import Expression, MissingValue, parse_expression
from backtest.comparison.figures import FIGURES, tear_sheet
from backtest.comparison.profits import Profits, in_currency, profits
from backtest.comparison.run_selection import FailedRun
from backtest.comparison.run_settings import labels_of, settings, ticks
from backtest.core.notebook import notebook_html
from backtest.core.text import suggestion
from backtest.errors import UsageError
from backtest.runs.folder import Run
from backtest.trading.layout import COSTS

if TYPE_CHECKING:
    import polars as pl

_MONEY = ("net", "ideal", "missed", "silence", "liquidity", "decision", *COSTS)

ALIASES = {"net_pnl": "net", "points": "net_points", "accuracy": "correlation", "id": "run"}
"""Other names of fields in conditions and for sorting."""

FIELDS = (
    "run", "strategy", "class", "policy", "service_model", "scale", "seed", "dataset", "partial",
    "in_sample", "folds", "trials", "events", "response_rate", "p50_ms", "p99_ms", "max_ms",
    "correlation", "rmse", "net_points", "currency", *_MONEY, *FIGURES,
)  # fmt: skip
"""The fields of every row, in order."""

_TEXTS = ("run", "strategy", "class", "policy", "service_model", "dataset", "currency")


@dataclass(frozen=True)
class Comparison:
    """Figures of several runs, a row each, in the order given.

    Attributes:
        runs: what is compared.
        rows: flat figures by name: latencies in ms, money in the currency, rates as fractions;
            ``None`` where a run has no such figure.
        failed: runs of the same sweep that came to nothing.
    """

    runs: tuple[Run, ...]
    rows: tuple[dict[str, Any], ...]
    failed: tuple[FailedRun, ...] = ()

    @property
    def same_ticks(self) -> bool:
        """Whether all runs saw the same events, so that their figures can be set side by side."""
        return len({ticks(run) for run in self.runs}) == 1

    @cached_property
    def profits(self) -> tuple[Profits, ...]:
        """What each run earned over time."""
        return tuple(profits(run) for run in self.runs)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The shortest distinct names for the runs."""
        return labels_of(self.runs)

    def frame(self) -> pl.DataFrame:
        """The rows as a polars frame."""
        import polars as pl

        return pl.DataFrame(list(self.rows), infer_schema_length=None)

    def where(self, condition: str) -> Comparison:
        """The runs for which a condition holds, such as ``strategy == "batched" and scale <= 1``.

        Raises:
            UsageError: it is not a condition on the fields, or matches no run.
        """
        expression = self.condition(condition, place="--where")
        kept = [k for k, row in enumerate(self.rows) if _holds(expression, row)]
        if not kept:
            raise UsageError("matches no run", place=f"--where {condition!r}")
        return self._pick(kept)

    def sorted_by(self, field: str) -> Comparison:
        """The runs by a field, rising; ``-FIELD``: falling. Those without the figure come last.

        Raises:
            UsageError: there is no such field.
        """
        name = self.field(field.removeprefix("-"), place="--sort")
        known = [k for k, row in enumerate(self.rows) if row[name] is not None]
        unknown = [k for k, row in enumerate(self.rows) if row[name] is None]
        known.sort(key=lambda k: self.rows[k][name], reverse=field.startswith("-"))
        return self._pick(known + unknown)

    def grouped_by(self, field: str) -> list[dict[str, Any]]:
        """A row for each value of a field: ``runs``, and each figure's mean and ``_sd`` over them.

        ``_sd`` is the sample standard deviation; a figure that a run lacks is ``None``.

        Raises:
            UsageError: there is no such field.
        """
        name = self.field(field, place="--group")
        groups: dict[Any, list[dict[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault(row[name], []).append(row)
        return [{name: value, **_dispersion(rows, name)} for value, rows in groups.items()]

    def index(self, run: str) -> int:
        """The position of a run by its id, the beginning of it, its label or its strategy.

        Raises:
            UsageError: none or several are meant.
        """
        tests = (
            lambda k: self.rows[k]["run"] == run,
            lambda k: self.labels[k] == run,
            lambda k: self.rows[k]["strategy"] == run,
            lambda k: self.rows[k]["run"].startswith(run),
        )
        for test in tests:
            meant = [k for k in range(len(self.rows)) if test(k)]
            if len(meant) == 1:
                return meant[0]
            if meant:
                ids = ", ".join(self.rows[k]["run"] for k in meant)
                raise UsageError(
                    f"{run!r} matches several runs", place="--baseline", remedy=f"Name one: {ids}."
                )
        known = [row["run"] for row in self.rows]
        raise UsageError(
            f"none of the compared runs is called {run!r}",
            place="--baseline",
            remedy=suggestion(run, known) or f"Runs: {', '.join(known)}.",
        )

    def condition(self, text: str, *, place: str) -> Expression:
        """A condition on the fields of a row.

        Raises:
            UsageError: it is none.
        """
        return parse_expression(text, self.rows[0], place=place, aliases=ALIASES)

    def field(self, name: str, *, place: str) -> str:
        """The field of a name or alias.

        Raises:
            UsageError: there is none.
        """
        field = ALIASES.get(name, name)
        if field not in self.rows[0]:
            known = list(self.rows[0])
            raise UsageError(
                f"no field is called {name!r}",
                place=place,
                remedy=suggestion(name, known) or f"Fields: {', '.join(known)}.",
            )
        return field

    def differences(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Settings in which the runs differ, with each run's value, and nothing else."""
        tables = [settings(run) for run in self.runs]
        names = dict.fromkeys(name for table in tables for name in table)
        values = [(name, tuple(table.get(name) for table in tables)) for name in names]
        return [(name, of_all) for name, of_all in values if len(set(map(str, of_all))) > 1]

    def _pick(self, numbers: Sequence[int]) -> Comparison:
        return replace(
            self,
            runs=tuple(self.runs[k] for k in numbers),
            rows=tuple(self.rows[k] for k in numbers),
        )

    def _repr_html_(self) -> str | None:
        return notebook_html(self)


def compare(runs: Sequence[Run], failed: Sequence[FailedRun] = ()) -> Comparison:
    """Set runs side by side.

    Raises:
        DataError: a run's tables cannot be read.
        UsageError: there is none.
    """
    if not runs:
        raise UsageError("no run to compare", remedy="Name the folders of finished runs.")
    return Comparison(tuple(runs), tuple(_row(run) for run in runs), tuple(failed))


def _dispersion(rows: Sequence[dict[str, Any]], by: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"runs": len(rows)}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in _TEXTS or name in (by, "partial"):
            continue
        known = None if any(v is None for v in values) else np.array(values, dtype=float)
        figures[name] = None if known is None else float(known.mean())
        many = known is not None and len(known) > 1
        figures[f"{name}_sd"] = float(known.std(ddof=1)) if known is not None and many else None
    return figures


def _holds(expression: Expression, row: dict[str, Any]) -> bool:
    try:
        return expression.holds(row)
    except MissingValue:
        return False


def _row(run: Run) -> dict[str, Any]:
    manifest, metrics = run.manifest, run.metrics
    timing, account = metrics["timing"], metrics["account"]
    sojourn = timing["latency_ns"]["sojourn"]
    against = metrics["accuracy"]["reference"] or {}
    config = manifest["config"]
    row: dict[str, Any] = {
        "run": run.id,
        "strategy": manifest["labels"]["strategy"],
        "class": manifest["conformance"],
        "policy": manifest["labels"]["policy"],
        "service_model": manifest["labels"]["service"],
        "scale": config["latency"]["scale"],
        "seed": config["seed"],
        "dataset": manifest["dataset"],
        "partial": manifest["partial"],
        "in_sample": manifest["in_sample"],
        "folds": len(manifest["folds"]) if "folds" in manifest else None,
        "trials": sum(study["trials"] for study in manifest.get("studies", {}).values()) or None,
        "events": timing["events"],
        "response_rate": timing["response_rate"],
        **{f"{q}_ms": None if ns is None else ns / 1e6 for q, ns in sojourn.items()},
        "correlation": against.get("correlation"),
        "rmse": against.get("rmse"),
        "net_points": account.get("net_points"),
        "currency": account.get("currency"),
    }
    for name in _MONEY:
        row[name] = in_currency(run, account.get(name))
    figures = tear_sheet(run, profits(run))
    return row | {k: _finite(figures[k]) for k in FIGURES}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
