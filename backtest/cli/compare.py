"""``backtest compare``: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.options import AsJson

if TYPE_CHECKING:
    from backtest.comparison import Comparison


def compare(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    as_json: AsJson = False,
) -> None:
    """Set finished runs side by side: speed, accuracy, money, and where the money went.

    Latencies are sojourn times: from the receipt of an event to its answer. Accuracy is the
    correlation of the answers with those of the undropped reference; the response rate stands
    beside it, since only answered events count.
    """
    from backtest.cli.console import print_json
    from backtest.comparison import compare as compare_runs
    from backtest.runs import open_run

    compared = compare_runs([open_run(path) for path in run])
    if as_json:
        print_json(list(compared.rows))
    else:
        print_comparison(compared)


def print_comparison(compared: Comparison) -> None:
    """The comparison as tables on stdout."""
    from backtest.accounting import COSTS
    from backtest.cli.console import err, out, print_table

    rows = compared.rows
    earned = "net PnL" if any(row["net"] is not None for row in rows) else "points"
    numbers = ("answered", "p50 ms", "p99 ms", "max ms", "accuracy", earned)
    speed = [
        (
            row["strategy"],
            row["class"] or "-",
            row["policy"],
            _service(row),
            _percent(row["response_rate"]),
            *(_number(row[f"{q}_ms"], 1) for q in ("p50", "p99", "max")),
            _number(row["correlation"], 3),
            _number(row["net"] if earned == "net PnL" else row["net_points"], 2),
        )
        for row in rows
    ]
    headers = ("strategy", "class", "policy", "service", *numbers)
    print_table(headers, speed, right=numbers)
    with_money = [row for row in rows if row["net"] is not None]
    if with_money:
        out.print()
        terms = ("ideal", "missed", "decision", *COSTS, "net")
        money = [
            (row["strategy"], row["policy"], _service(row), *(_number(row[t], 2) for t in terms))
            for row in with_money
        ]
        currency = with_money[0]["currency"]
        print_table(
            ("strategy", "policy", "service", *terms),
            money,
            title=f"Where the money went ({currency}): ideal - missed = decision; "
            "decision - costs = net",
            right=terms,
        )
    if earned == "points":
        out.print()
        _print_evaluator(compared)
    if any(row["partial"] for row in rows):
        err.print("Marked *: a partial run, limited to the first events of its window.")
    if not compared.same_ticks:
        err.print("These runs did not see the same events: their figures do not compare.")


def _print_evaluator(compared: Comparison) -> None:
    """What the challenge's own evaluator prints, a column for each run."""
    from backtest.cli.console import print_table

    columns = [_evaluator(run.metrics["account"]) for run in compared.runs]
    names = max(columns, key=len)
    rows = [(name, *(column.get(name, "-") for column in columns)) for name in names]
    headers = [f"{row['strategy']}, {row['policy']}" for row in compared.rows]
    print_table(("the challenge's evaluator", *headers), rows, right=headers)


def _evaluator(account: dict[str, Any]) -> dict[str, str]:
    if "total_requests" not in account:
        return {}
    lines = {
        "total requests": f"{account['total_requests']}",
        "total responses": f"{account['total_responses']}",
        "response rate": _percent(account["response_rate"]),
        "average latency (ms)": _number(account["average_latency_ms"], 3),
    }
    for what in ("max", "mean"):
        for k, error in enumerate(account[f"{what}_absolute_error"] or ()):
            lines[f"target {k}: {what} absolute error"] = f"{error:.6g}"
    return lines


def _service(row: dict[str, Any]) -> str:
    scale = "" if row["scale"] == 1 else f" x{row['scale']:g}"
    return f"{row['service_model']}{scale}{'*' if row['partial'] else ''}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
