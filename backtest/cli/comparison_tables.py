"""Finished runs side by side, as tables and sentences on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backtest.cli.console import err, out
from backtest.cli.folds import print_folds
from backtest.cli.tables import print_table

if TYPE_CHECKING:
    from backtest.comparison.comparison import Comparison

_RISKS = {"sharpe": ("Sharpe", 2), "drawdown": ("drawdown", 2), "turnover": ("turnover", 2)}
"""Figures of risk with their headers and decimals."""

_ACCURACIES = {"agreement": "agreement", "ic": "IC", "r2": "R²"}
"""Headers of the figures that compare answers with the reference's, and with targets."""

_ALWAYS = ("strategy", "policy", "latency.service")
"""Settings that have columns of their own."""


def print_comparison(compared: Comparison, *, ids: bool = False) -> None:
    """The comparison as tables on stdout.

    Args:
        compared: it.
        ids: whether the short ids of the runs and the intervals of their p99 are shown.
    """
    rows = compared.rows
    _print_speed(compared, ids)
    for unit in compared.units:
        _print_money(compared, unit, ids)
    _print_evaluator(compared)
    print_folds(compared.runs, compared.labels)
    if any(row["partial"] for row in rows):
        err.print("*: partial run, limited to the first events of its window.")
    if any(row["in_sample"] for row in rows):
        err.print("†: in-sample run, on events that the strategy's weights were trained on.")
    if not compared.same_ticks:
        err.print("These runs did not see the same events, so their figures are not comparable.")


def print_contests(compared: Comparison, baseline: int | None) -> None:
    """Who beats whom, in sentences: each against the baseline, or the best against the others."""
    from backtest.comparison.fields import contests, fields
    from backtest.comparison.trials import trials_behind

    if baseline is not None:
        names = dict(enumerate(compared.labels))
        found = contests(compared, baseline, range(len(compared.rows)))
        lines = [contest.sentence(names) for contest in found]
    else:
        lines = []
        for field in fields(compared):
            names = field.labels(compared)
            given = f"[{field.title}] " if field.title else ""
            lines += [given + contest.sentence(names) for contest in field.contests]
            trials = trials_behind(compared, field.members[0])
            if trials is not None:
                lines.append(given + trials.sentence(names[field.members[0]]))
    if lines:
        out.print()
    for line in lines:
        out.print(line, soft_wrap=True)


def print_differences(compared: Comparison) -> None:
    """The settings that differ, a row a run."""
    differing = compared.differences()
    headers, rows = difference_rows(compared)
    numbers = [name for name, values in differing if all(map(_is_number, values))]
    print_table(headers, rows, right=numbers)


def difference_rows(compared: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headers and cells of the settings that differ, a row a run, the run's short id first."""
    differing = compared.differences()
    columns = list(zip(*(values for _, values in differing), strict=True)) or [()] * len(
        compared.rows
    )
    rows = [
        [run, *map(as_text, of_run)]
        for run, of_run in zip(compared.short_ids, columns, strict=True)
    ]
    return ["run", *(name for name, _ in differing)], rows


def print_groups(rows: Sequence[dict[str, Any]], by: str) -> None:
    """Means and standard deviations of the figures that all runs of a group have."""
    names = [n for n in ("net", "net_points", "response_rate", "p50_ms", "p99_ms", "agreement",
                         "ic")
             if n in rows[0] and any(row[n] is not None for row in rows)]  # fmt: skip
    cells = []
    for row in rows:
        figures = []
        for name in names:
            deviation = row[f"{name}_sd"]
            spread = "" if deviation is None else f" ± {_number(deviation, 3)}"
            figures.append(_number(row[name], 3) + spread)
        cells.append((as_text(row[by]), row["runs"], as_text(row["unit"]), *figures))
    print_table(
        (by, "runs", "unit", *names),
        cells,
        title="Mean ± standard deviation; amounts of several units have none",
        right=("runs", *names),
    )


def as_text(value: Any) -> str:
    """A setting or figure of unknown kind, as a cell."""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _print_speed(compared: Comparison, ids: bool) -> None:
    """What each run is, how fast and right its answers were, and what it earned at what risk."""
    from backtest.comparison.rows import earned
    from backtest.comparison.run_settings import chosen, told_apart

    factors = [
        (name, values)
        for name, values in compared.differences()
        if chosen(name) and name not in _ALWAYS and told_apart(name, values)
    ]
    intervals = compared.p99_intervals if ids else ()
    units = compared.units
    risks, accuracies = (
        [name for name in of if any(row[name] is not None for row in compared.rows)]
        for of in (_RISKS, _ACCURACIES)
    )
    titles = [_ACCURACIES[name] for name in accuracies]
    tail = ("p99 ms", *(("p99 ms, 95 %",) if any(intervals) else ()))
    numbers = ("answered", "p50 ms", *tail, "max ms", *titles, _earned_title(units))
    right = (*numbers, *(_RISKS[name][0] for name in risks))
    cells = []
    for k, row in enumerate(compared.rows):
        cells.append(
            (
                *((compared.short_ids[k],) if ids else ()),
                _strategy(row),
                row["class"] or "-",
                row["policy"],
                _service(row, scaled="latency.scale" in dict(factors)),
                *(as_text(values[k]) for _, values in factors),
                _percent(row["response_rate"]),
                _number(row["p50_ms"], 1),
                _number(row["p99_ms"], 1),
                *((_ends(intervals[k]),) if any(intervals) else ()),
                _number(row["max_ms"], 1),
                *(_number(row[name], 3) for name in accuracies),
                _number(earned(row), 2) + (f" {row['unit']}" if len(units) > 1 else ""),
                *(_number(row[name], _RISKS[name][1]) for name in risks),
            )
        )
    headers = [*(("run",) if ids else ()), "strategy", "class", "policy", "service"]
    print_table(
        [*headers, *_names([name for name, _ in factors], right), *right], cells, right=right
    )


def _earned_title(units: Sequence[str]) -> str:
    """The header of what runs earned; where their units differ, each amount states its own."""
    if len(units) > 1:
        return "net"
    return units[0] if units[0] == "points" else f"net {units[0]}".rstrip()


def _print_money(compared: Comparison, unit: str, ids: bool) -> None:
    """From the ideal profit to the net one, for the runs that were paid in money of one unit."""
    from backtest.trading.layout import COSTS

    with_money = [
        k for k, row in enumerate(compared.rows) if row["unit"] == unit and row["net"] is not None
    ]
    if not with_money:
        return
    rested = any(compared.rows[k]["rest"] for k in with_money)
    costs = [cost for cost in COSTS if cost != "rest" or rested]
    terms = ("ideal", "missed", "decision", *costs, "net")
    cells = []
    for k in with_money:
        row = compared.rows[k]
        of_run = (compared.short_ids[k],) if ids else ()
        figures = (_number(row[term], 2) for term in terms)
        cells.append((*of_run, _strategy(row), row["policy"], *figures))
    out.print()
    print_table(
        (*(("run",) if ids else ()), "strategy", "policy", *terms),
        cells,
        title=f"Where the money went ({unit}): ideal - missed = decision; decision - costs = net",
        right=terms,
    )


def _print_evaluator(compared: Comparison) -> None:
    """What the challenge's own evaluator prints, a column a run; nothing of other accountants."""
    columns = [_evaluator(run.metrics["account"]) for run in compared.runs]
    names = max(columns, key=len)
    if not names:
        return
    out.print()
    rows = [(name, *(column.get(name, "-") for column in columns)) for name in names]
    print_table(("the challenge's evaluator", *compared.labels), rows, right=compared.labels)


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


def _names(keys: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Headers for dotted keys: their last part, where no other column is called that."""
    last = [key.rpartition(".")[2] for key in keys]
    reserved = {"run", "strategy", "class", "policy", "service", *taken}
    return [
        key if last.count(short) > 1 or short in reserved else short
        for key, short in zip(keys, last, strict=True)
    ]


def _strategy(row: dict[str, Any]) -> str:
    return f"{row['strategy']}{'†' if row['in_sample'] else ''}"


def _service(row: dict[str, Any], *, scaled: bool) -> str:
    """The service model, with the scale of latencies unless that has a column, and marks."""
    scale = "" if scaled or row["scale"] == 1 else f" x{row['scale']:g}"
    return f"{row['service_model']}{scale}{'*' if row['partial'] else ''}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _ends(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else " to ".join(_number(end, 1) for end in interval)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
