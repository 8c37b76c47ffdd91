"""Runs side by side: one row of figures each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.comparison.conditions import Expression, MissingValue, parse_expression
from backtest.comparison.figures import FIGURES, not_annualised, tear_sheet
from backtest.comparison.profits import Profits, profits
from backtest.comparison.quantiles import sojourn_interval
from backtest.comparison.rows import BOUNDS, MONEY, facts
from backtest.comparison.run_selection import FailedRun
from backtest.comparison.run_settings import labels_of, settings, shared_zone, short_ids, ticks
from backtest.core.notebook import notebook_html
from backtest.core.text import suggestion, suggestion_or_list
from backtest.errors import UsageError
from backtest.runs.folder import Run

if TYPE_CHECKING:
    import polars as pl

_IN_UNIT = (*MONEY, *BOUNDS, "net_points", "drawdown", "turnover", "exposure")
"""Amounts in the unit that a run is paid in."""

ALIASES = {"net_pnl": "net", "points": "net_points", "correlation": "agreement", "id": "run"}
"""Other names of fields in conditions and for sorting."""

FIELDS = (
    "run", "strategy", "class", "policy", "service_model", "scale", "feed_model", "entry_model",
    "cancel_model", "replace_model", "response_model", "sizing", "quoting", "queue", "accountant",
    "warmup", "seed", "dataset", "partial", "in_sample", "folds", "trials", "events",
    "response_rate", "conflated_rate", "lost_rate", "sojourn_growth", "p50_ms", "p99_ms", "max_ms",
    "agreement", "rmse", "ic", "r2", "net_points", "currency", "unit", *MONEY, *BOUNDS, *FIGURES,
    "not_annualised",
)  # fmt: skip
"""The fields of every row, in order."""

_TEXTS = (
    "run", "strategy", "class", "policy", "service_model", "feed_model", "entry_model",
    "cancel_model", "replace_model", "response_model", "sizing", "quoting", "queue", "accountant",
    "dataset", "currency", "unit", "not_annualised",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Figures of several runs, a row each, in the order given.

    Attributes:
        runs: what is compared.
        rows: flat figures by name: latencies in ms, money in the currency, rates as fractions;
            ``None`` where a run has no such figure.
        profits: what each run earned over time.
        failed: runs of the same sweep that came to nothing.
        trials: all finished runs of the sweep, also those that are not compared.
    """

    runs: tuple[Run, ...]
    rows: tuple[dict[str, Any], ...]
    profits: tuple[Profits, ...]
    failed: tuple[FailedRun, ...] = ()
    trials: tuple[Run, ...] = ()

    @property
    def same_ticks(self) -> bool:
        """Whether all runs saw the same events, so that their figures can be set side by side."""
        return len({ticks(run) for run in self.runs}) == 1

    @property
    def units(self) -> tuple[str, ...]:
        """The units that its runs are paid in, each once; their amounts are not comparable."""
        return tuple(dict.fromkeys(earned.unit for earned in self.profits))

    @property
    def zone(self) -> str:
        """The zone of the clocks of all runs' markets; UTC where they differ."""
        return shared_zone(self.runs)

    @cached_property
    def trial_profits(self) -> dict[str, Profits]:
        """What each trial earned over time, by run id."""
        known = {run.id: earned for run, earned in zip(self.runs, self.profits, strict=True)}
        return {run.id: known.get(run.id) or profits(run) for run in self.trials}

    @cached_property
    def p99_intervals(self) -> tuple[tuple[float, float] | None, ...]:
        """95 % interval of each run's p99 sojourn time, ms, read from its table of timing; ``None``
        where its events are too few."""
        return tuple(map(sojourn_interval, self.runs))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The shortest distinct names for the runs."""
        return labels_of(self.runs)

    @cached_property
    def short_ids(self) -> tuple[str, ...]:
        """The ends of the runs' ids, as short as tells them apart."""
        return short_ids(self.runs)

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
            known = [str(row[name]) for name in _TEXTS for row in self.rows]
            near = (suggestion(text, known) for text in expression.texts if text not in known)
            raise UsageError(
                f"{condition!r} matches none of the {len(self.rows)} runs",
                place="--where",
                remedy=next(filter(None, near), "`backtest compare --json` shows their fields."),
            )
        return self._pick(kept)

    def sorted_by(self, field: str) -> Comparison:
        """The runs by a field, rising; ``-FIELD``: falling. Those without the figure come last.

        Amounts are compared within their unit only.

        Raises:
            UsageError: there is no such field.
        """
        name = self.field(field.removeprefix("-"), place="--sort")
        known = [k for k, row in enumerate(self.rows) if row[name] is not None]
        unknown = [k for k, row in enumerate(self.rows) if row[name] is None]
        known.sort(key=lambda k: self.rows[k][name], reverse=field.startswith("-"))
        if name in _IN_UNIT:
            known.sort(key=lambda k: self.units.index(self.rows[k]["unit"]))
        return self._pick(known + unknown)

    def grouped_by(self, field: str) -> list[dict[str, Any]]:
        """A row for each value of a field: ``runs``, their ``unit``, and each figure's mean and
        ``_sd`` over them.

        ``_sd`` is the sample standard deviation; a figure that a run lacks is ``None``. Where runs
        are paid in different units, the unit and all amounts are ``None``.

        Raises:
            UsageError: there is no such field.
        """
        name = self.field(field, place="--group")
        groups: dict[Any, list[dict[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault(row[name], []).append(row)
        return [{name: value, **_dispersion(rows, name)} for value, rows in groups.items()]

    def index(self, run: str) -> int:
        """The position of a run by its id, either end of it, its label or its strategy.

        Raises:
            UsageError: none or several are meant.
        """
        tests = (
            lambda k: self.rows[k]["run"] == run,
            lambda k: self.labels[k] == run,
            lambda k: self.rows[k]["strategy"] == run,
            lambda k: self.rows[k]["run"].startswith(run),
            lambda k: self.short_ids[k] == run,
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
        known = [row[name] for name in ("strategy", "run") for row in self.rows]
        raise UsageError(
            f"none of the compared runs is called {run!r}",
            place="--baseline",
            remedy=suggestion_or_list(run, list(dict.fromkeys(known)), "Runs"),
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
            known = [*self.rows[0], *ALIASES]
            raise UsageError(
                f"no field is called {name!r}",
                place=place,
                remedy=suggestion_or_list(name, known, "Fields"),
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
            profits=tuple(self.profits[k] for k in numbers),
        )

    def _repr_html_(self) -> str | None:
        return notebook_html(self)


def compare(
    runs: Sequence[Run], failed: Sequence[FailedRun] = (), trials: Sequence[Run] = ()
) -> Comparison:
    """Set runs side by side, with what failed and what else was tried in their sweep.

    Raises:
        DataError: a run's tables cannot be read.
        UsageError: there is none.
    """
    if not runs:
        raise UsageError("no run to compare", remedy="Name the folders of finished runs.")
    earned = tuple(profits(run) for run in runs)
    rows = tuple(map(_row, runs, earned))
    return Comparison(tuple(runs), rows, earned, tuple(failed), tuple(trials))


def _dispersion(rows: Sequence[dict[str, Any]], by: str) -> dict[str, Any]:
    units = {row["unit"] for row in rows}
    figures: dict[str, Any] = {"runs": len(rows), "unit": units.pop() if len(units) == 1 else None}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in _TEXTS or name in (by, "partial"):
            continue
        if figures["unit"] is None and name in _IN_UNIT:
            values = [None]
        known = None if any(v is None for v in values) else np.array(values, dtype=float)
        figures[name] = figures[f"{name}_sd"] = None
        if known is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                figures[name] = _finite(float(known.mean()))
                deviation = float(known.std(ddof=1)) if len(known) > 1 else None
            figures[f"{name}_sd"] = _finite(deviation)
    return figures


def _holds(expression: Expression, row: dict[str, Any]) -> bool:
    try:
        return expression.holds(row)
    except MissingValue:
        return False


def amounts_apart(row: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """A row to measure another against: without its amounts where the two units differ."""
    if row["unit"] == base["unit"]:
        return base
    return base | dict.fromkeys(_IN_UNIT)


def _row(run: Run, earned: Profits) -> dict[str, Any]:
    figures = tear_sheet(run, earned)
    rest = {k: _finite(figures[k]) for k in FIGURES} | {"not_annualised": not_annualised(earned)}
    return facts(run) | rest


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
