"""``backtest compare``: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.choosing import Baseline, RunFolders, Sort, Sweep, Where, chosen
from backtest.cli.folds import print_folds
from backtest.cli.options import AsJson, DisabledPlugins, PluginPaths, RunsFolder

if TYPE_CHECKING:
    from backtest.comparison.comparison import Comparison


def compare(
    run: RunFolders = None,
    sweep: Sweep = None,
    runs: RunsFolder = Path("runs"),
    where: Where = None,
    sort: Sort = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="One row per value of a field, with means and standard deviations.",
        ),
    ] = None,
    baseline: Baseline = None,
    differences: Annotated[
        bool,
        typer.Option("--differences", help="Show only the settings that differ between the runs."),
    ] = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Exit with code 5 if any run matches: 'net_pnl < 0.95 * baseline' (repeatable).",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a report as one HTML file.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV to stdout.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a Markdown table to stdout.")
    ] = False,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
) -> None:
    """Compare the speed, accuracy and profit of finished runs.

    Latencies are sojourn times, from the receipt of an event to its answer. Accuracy is the
    correlation of the answers with those of a reference that answers every event; only answered
    events count, so the response rate is shown next to it. Differences are paired by time on the
    same ticks, with 95% confidence intervals from a block bootstrap and Holm's correction for
    multiple comparisons.

    Example: backtest compare runs --where 'scale == 1' --baseline eager --sort -net
    """
    from backtest.cli.console import print_json, print_table
    from backtest.comparison.gates import judge, measured, parse_gates

    _one_of(json=as_json, csv=as_csv, markdown=as_markdown)
    compared = chosen(run, sweep, runs, where, sort)
    champion = None if baseline is None else compared.index(baseline)
    gates = parse_gates(compared, fail_if or (), champion)
    rows: list[dict[str, Any]] = (
        compared.grouped_by(group) if group is not None else measured(compared, champion)
    )
    if differences:
        rows = [
            {"setting": name} | dict(zip(compared.labels, values, strict=True))
            for name, values in compared.differences()
        ]
    if as_json:
        print_json(rows)
    elif as_csv or as_markdown:
        _print_text(rows, as_csv)
    elif differences:
        shown = [[_text(v) for v in row.values()] for row in rows]
        print_table(("setting", *compared.labels), shown)
    elif group is not None:
        _print_groups(rows, compared.field(group, place="--group"))
    else:
        print_comparison(compared)
        print_contests(compared, champion)
    _print_failed(compared)
    if html is not None:
        from backtest.cli.report import write

        write(compared, html, plugin, no_plugin, sections=())
    judge(compared, gates, champion)


def print_comparison(compared: Comparison) -> None:
    """The comparison as tables on stdout."""
    from backtest.cli.console import err, out, print_table
    from backtest.trading.layout import COSTS

    rows = compared.rows
    earned = "net PnL" if any(row["net"] is not None for row in rows) else "points"
    numbers = ("answered", "p50 ms", "p99 ms", "max ms", "accuracy", earned)
    speed = [
        (
            _strategy(row),
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
            (_strategy(row), row["policy"], _service(row), *(_number(row[t], 2) for t in terms))
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
    from backtest.cli.console import escape_text, out
    from backtest.comparison.verdict import contests, fields

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
    if lines:
        out.print()
    for line in lines:
        out.print(escape_text(line), soft_wrap=True)


def _print_groups(rows: list[dict[str, Any]], by: str) -> None:
    from backtest.cli.console import print_table

    names = [n for n in ("net", "net_points", "response_rate", "p50_ms", "p99_ms", "correlation")
             if n in rows[0] and any(row[n] is not None for row in rows)]  # fmt: skip
    cells = []
    for row in rows:
        figures = []
        for name in names:
            deviation = row[f"{name}_sd"]
            spread = "" if deviation is None else f" ± {_number(deviation, 3)}"
            figures.append(_number(row[name], 3) + spread)
        cells.append((_text(row[by]), row["runs"], *figures))
    print_table(
        (by, "runs", *names), cells, title="Mean ± standard deviation", right=("runs", *names)
    )


def _print_text(rows: list[dict[str, Any]], as_csv: bool) -> None:
    import sys

    from backtest.cli.formats import to_csv, to_markdown

    if not rows:
        return
    cells = [[_text(v) for v in row.values()] for row in rows]
    sys.stdout.write(to_csv(rows) if as_csv else to_markdown(list(rows[0]), cells))


def _print_failed(compared: Comparison) -> None:
    from backtest.cli.console import err, escape_text

    for failed in compared.failed:
        line = f"Not compared: {failed.id} ({failed.state}): {failed.error}"
        err.print(escape_text(line), soft_wrap=True)


def _one_of(**formats: bool) -> None:
    from backtest.errors import UsageError

    given = [f"--{name}" for name, on in formats.items() if on]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} cannot be combined")


def _print_evaluator(compared: Comparison) -> None:
    """What the challenge's own evaluator prints, a column a run; nothing of other accountants."""
    from backtest.cli.console import out, print_table

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


def _strategy(row: dict[str, Any]) -> str:
    return f"{row['strategy']}{'†' if row['in_sample'] else ''}"


def _service(row: dict[str, Any]) -> str:
    scale = "" if row["scale"] == 1 else f" x{row['scale']:g}"
    return f"{row['service_model']}{scale}{'*' if row['partial'] else ''}"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
