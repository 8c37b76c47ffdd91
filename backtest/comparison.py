"""Runs side by side: one row of figures each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backtest.accounting import COSTS
from backtest.errors import UsageError
from backtest.runs import Run

if TYPE_CHECKING:
    import polars as pl

_MONEY = ("net", "ideal", "missed", "decision", *COSTS)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of several runs, a row each, in the order given.

    Attributes:
        runs: what is compared.
        rows: flat figures by name: latencies in ms, money in the currency, rates as fractions;
            ``None`` where a run has no such figure.
    """

    runs: tuple[Run, ...]
    rows: tuple[dict[str, Any], ...]

    @property
    def same_ticks(self) -> bool:
        """Whether all runs saw the same events, so that their figures can be set side by side."""
        seen = {
            (run.manifest["determined_by"]["data"], str(run.manifest["config"]["window"]),
             run.manifest["config"]["limit"])
            for run in self.runs
        }  # fmt: skip
        return len(seen) == 1

    def frame(self) -> pl.DataFrame:
        """The rows as a polars frame."""
        import polars as pl

        return pl.DataFrame(list(self.rows), infer_schema_length=None)


def compare(runs: Sequence[Run]) -> Comparison:
    """Set runs side by side.

    Raises:
        UsageError: there is none.
    """
    if not runs:
        raise UsageError("no run to compare", remedy="Name the folders of finished runs.")
    return Comparison(tuple(runs), tuple(_row(run) for run in runs))


def _row(run: Run) -> dict[str, Any]:
    manifest, metrics = run.manifest, run.metrics
    timing, account = metrics["timing"], metrics["account"]
    sojourn = timing["latency_ns"]["sojourn"]
    against = metrics["accuracy"]["reference"] or {}
    row: dict[str, Any] = {
        "run": run.id,
        "strategy": manifest["labels"]["strategy"],
        "class": manifest["conformance"],
        "policy": manifest["labels"]["policy"],
        "service_model": manifest["labels"]["service"],
        "scale": manifest["config"]["latency"]["scale"],
        "partial": manifest["partial"],
        "events": timing["events"],
        "response_rate": timing["response_rate"],
        **{f"{q}_ms": None if ns is None else ns / 1e6 for q, ns in sojourn.items()},
        "correlation": against.get("correlation"),
        "rmse": against.get("rmse"),
        "net_points": account.get("net_points"),
        "currency": account.get("currency"),
    }
    for name in _MONEY:
        money = account.get(name)
        row[name] = None if money is None else money / 1e9
    return row
