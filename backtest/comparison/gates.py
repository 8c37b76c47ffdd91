"""Runs measured against a baseline, and conditions that fail a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backtest.comparison.comparison import Comparison, amounts_apart
from backtest.comparison.conditions import Expression, MissingValue
from backtest.comparison.fields import contests
from backtest.comparison.rows import earned
from backtest.core.text import first_of
from backtest.errors import GateError, UsageError


def measured(compared: Comparison, baseline: int | None) -> list[dict[str, Any]]:
    """The rows with the interval of their p99, and what each gained over a baseline, if any.

    Raises:
        DataError: a run's table of timing cannot be read.
    """
    whole = [
        row | dict(zip(("p99_ms_low", "p99_ms_high"), interval or (None, None), strict=True))
        for row, interval in zip(compared.rows, compared.p99_intervals, strict=True)
    ]
    if baseline is None:
        return whole
    against = {c.worse: c for c in contests(compared, baseline, range(len(compared.rows)))}
    base = compared.rows[baseline]
    rows = []
    for k, row in enumerate(whole):
        contest = against.get(k)
        mine, theirs = earned(row), earned(amounts_apart(row, base))
        figures: dict[str, Any] = {
            "net_difference": None if mine is None or theirs is None else mine - theirs,
            "net_ratio": _ratio(mine, theirs),
            "p99_ms_ratio": _ratio(row["p99_ms"], base["p99_ms"]),
            "net_difference_low": None,
            "net_difference_high": None,
            "net_difference_p": None,
        }
        if contest is not None and contest.difference.low is not None:
            # The contest is the baseline's lead; a row shows its own.
            figures["net_difference_low"] = -contest.difference.high  # type: ignore[operator]
            figures["net_difference_high"] = -contest.difference.low
            figures["net_difference_p"] = contest.p
        rows.append(row | figures)
    return rows


def parse_gates(
    compared: Comparison, texts: Sequence[str], baseline: int | None
) -> list[Expression]:
    """The conditions of ``--fail-if``.

    Raises:
        UsageError: one is not a valid condition, or refers to a baseline although there is none.
    """
    gates = [compared.condition(text, place="--fail-if") for text in texts]
    if baseline is None and any(gate.uses_baseline for gate in gates):
        raise UsageError(
            "it refers to a baseline, but there is none",
            place="--fail-if",
            remedy="Name one with --baseline RUN.",
        )
    return gates


def judge(compared: Comparison, gates: Sequence[Expression], baseline: int | None) -> None:
    """Fail if a condition holds for a run, or cannot be judged: a gate never passes unseen.

    Raises:
        GateError: naming the conditions and the runs.
    """
    base = None if baseline is None else compared.rows[baseline]
    hits = []
    for gate in gates:
        holding, unknown = [], []
        for k, row in enumerate(compared.rows):
            if gate.uses_baseline and k == baseline:
                continue
            try:
                if gate.holds(row, base and amounts_apart(row, base)):
                    holding.append(row["run"])
            except MissingValue:
                unknown.append(row["run"])
        if holding:
            hits.append(f"{gate.text} holds for {first_of(holding)}")
        if unknown:
            hits.append(
                f"{gate.text} cannot be judged for {first_of(unknown)}: a figure is missing"
            )
    if gates and compared.failed:
        hits.append(f"{len(compared.failed):,} runs of the sweep came to nothing")
    if hits:
        raise GateError("; ".join(hits), place="--fail-if")


def _ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b
