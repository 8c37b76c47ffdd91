"""How the folds of a walk-forward are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backtest.runs.folder import Run


def print_folds(runs: Sequence[Run], labels: Sequence[str]) -> None:
    """A table of the folds of each run that has some, on stdout."""
    from backtest.cli.console import out
    from backtest.cli.tables import print_table
    from backtest.comparison.run_settings import shared_zone
    from backtest.core.zones import clock_text

    listed = [
        (label, fold)
        for run, label in zip(runs, labels, strict=True)
        for fold in run.manifest.get("folds", ())
    ]
    if not listed:
        return
    zone = shared_zone(runs)
    money = any(fold["figures"]["net"] is not None for _, fold in listed)
    earned = "net" if money else "net_points"
    numbers = ("answered", "net PnL" if money else "points")
    rows = [
        (
            label,
            f"{fold['fold']}{'†' if fold['in_sample'] else ''}",
            clock_text(fold["test_ns"][0], zone),
            _percent(fold["figures"]["response_rate"]),
            _number(fold["figures"][earned]),
        )
        for label, fold in listed
    ]
    out.print()
    headers = ("run", "fold", f"tested from ({zone})", *numbers)
    print_table(headers, rows, title="The folds that each run joins", right=numbers)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
