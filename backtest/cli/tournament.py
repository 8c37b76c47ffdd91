"""``backtest tournament``: market rounds in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli import completion
from backtest.cli.options import AsJson, DisabledPlugins, PluginPaths, RunsFolder
from backtest.cli.project import yield_to_file

if TYPE_CHECKING:
    from backtest.experiments.tournament import RoundResult, Standing


def tournament(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE.toml]",
            help="A file of teams and rounds.",
            is_eager=True,
            callback=yield_to_file,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="The dataset whose events all teams answer.", autocompletion=completion.datasets
        ),
    ] = None,
    team: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=STRATEGY/POLICY/SERVICE",
            help="A team: winner=batched/all/affine:35.8ms,0.5ms (repeatable).",
        ),
    ] = None,
    length: Annotated[
        str | None,
        typer.Option(help="Length of the only round: 30min (default: the whole dataset)."),
    ] = None,
    accountant: Annotated[
        str | None, typer.Option(help="How teams are paid: challenge (the default), market, ...")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the results as one HTML file.")
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option("--reuse/--no-reuse", help="Reuse finished runs and stored predictions."),
    ] = True,
    runs: RunsFolder = Path("runs/tournament"),
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
    as_json: AsJson = False,
) -> None:
    """Let strategies compete as teams in market rounds.

    All teams see the same events, each with its own latency, and the leaderboard ranks them by what
    they have earned so far. The exit code is 4 if a team failed.

    Example: backtest tournament --dataset sample --team one=eager/one/affine:35.8ms,0.5ms --team
    all=batched/all/affine:35.8ms,0.5ms
    """
    from backtest.cli.console import err, print_json
    from backtest.cli.progress import reporting
    from backtest.core.atomic import new_file
    from backtest.core.settings import read_table
    from backtest.experiments.tournament import parse_tournament, play, standings
    from backtest.plugins.manager import load_plugins
    from backtest.runs.engine import Engine

    table: dict[str, Any] = read_table(config) if config is not None else {}
    if dataset is not None:
        table["dataset"] = dataset
    if accountant is not None:
        table["accountant"] = accountant
    if length is not None:
        table["round"] = [{"name": "round", "length": length}]
    if team:
        table["team"] = [_team(text) for text in team]
    checked = parse_tournament(table, place=str(config) if config else "command line")
    plugins = load_plugins(plugin or (), disabled=no_plugin or ())
    with reporting(prefix="  ") as progress:
        results = play(
            checked,
            Engine(plugins, runs, reuse, progress),
            on_start=lambda text: err.print(text, soft_wrap=True),
        )
    placed = standings(results, [t.name for t in checked.team])
    if as_json:
        print_json(_as_data(results, placed))
    else:
        for result in results:
            _print_round(result)
        _print_standings(results, placed)
    if html is not None:
        from backtest.report.tournament import tournament_page

        with new_file(html) as aside:
            aside.write_text(tournament_page(results, placed), encoding="utf-8")
        err.print(f"Written to {html}", soft_wrap=True)
    if any(result.failed for result in results):
        raise typer.Exit(4)


def _team(text: str) -> dict[str, str]:
    from backtest.core.grammar import split
    from backtest.errors import UsageError

    name, _, rest = text.partition("=")
    parts = split(rest, "/", place="--team")
    # A path in the service model may have slashes of its own.
    service = "/".join(parts[2:])
    if not all((name, *parts[:2], service)):
        raise UsageError(
            f"{text!r} is not a team",
            place="--team",
            remedy="Write NAME=STRATEGY/POLICY/SERVICE, as in one=eager/one/affine:35.8ms,0.5ms.",
        )
    return {"name": name, "strategy": parts[0], "policy": parts[1], "service": service}


def _as_data(results: list[RoundResult], placed: list[Standing]) -> dict[str, Any]:
    return {
        "standings": [{"team": s.team, "scores": list(s.scores), "total": s.total} for s in placed],
        "rounds": [
            {
                "name": result.name,
                "ends": [int(end) for end in result.ends],
                "teams": [
                    {
                        "team": team,
                        "scores": scores.tolist(),
                        "ranks": ranks.tolist(),
                        "run": run.id,
                    }
                    for team, scores, ranks, run in zip(
                        result.teams, result.scores, result.ranks, _runs(result), strict=True
                    )
                ],
                "failed": [{"team": team, "error": error} for team, error in result.failed],
            }
            for result in results
        ],
    }


def _runs(result: RoundResult) -> tuple[Any, ...]:
    return () if result.compared is None else result.compared.runs


def _print_round(result: RoundResult) -> None:
    from backtest.cli.console import err, out
    from backtest.cli.tables import print_table
    from backtest.core.text import by_cause, first_of

    for error, teams in by_cause(result.failed).items():
        names = teams[0] if len(teams) == 1 else f"{len(teams):,} teams ({first_of(teams)})"
        err.print(f"{result.name}: {names} failed: {error}", soft_wrap=True)
    if not len(result.ends):
        return
    chosen = [2, 5, 8, 11]
    quarters = ["1/4", "1/2", "3/4", "end"]
    order = sorted(range(len(result.teams)), key=lambda k: -float(result.scores[k][-1]))
    assert result.compared is not None
    rows = []
    for k in order:
        row = result.compared.rows[k]
        rate = row["response_rate"]
        rows.append(
            (
                result.teams[k],
                row["class"] or "-",
                "-" if rate is None else f"{100 * rate:.1f} %",
                "-" if row["p99_ms"] is None else f"{row['p99_ms']:,.1f}",
                *(f"{result.scores[k][c]:,.2f} ({result.ranks[k][c]})" for c in chosen),
            )
        )
    numbers = ("answered", "p99 ms", *quarters)
    unit = result.profits[0].unit
    title = f"{result.name}: {unit} so far (rank)"
    print_table(("team", "class", *numbers), rows, title=title, right=numbers)
    out.print()


def _print_standings(results: list[RoundResult], placed: list[Standing]) -> None:
    from backtest.cli.tables import print_table

    names = [result.name for result in results]
    rows = [
        (
            k + 1 if s.finished else "-",
            s.team,
            *("failed" if score is None else f"{score:,.2f}" for score in s.scores),
            f"{s.total:,.2f}",
        )
        for k, s in enumerate(placed)
    ]
    print_table(
        ("place", "team", *names, "total"), rows, title="Standings", right=(*names, "total")
    )
