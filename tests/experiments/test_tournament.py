"""Market rounds: the same market for all, places over time, and teams that fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.cli import main
from backtest.errors import UsageError
from backtest.experiments.tournament import CHECKPOINTS, parse_tournament, play, standings
from backtest.plugins.manager import load_plugins
from backtest.report.tournament import tournament_page
from backtest.runs.engine import Engine

SLOW, FAST = "affine:1s", "affine:1ms,0.1ms"


def table(dataset: Path, **more: Any) -> dict[str, Any]:
    return {
        "dataset": str(dataset),
        "accountant": "challenge:error_scale=10,break_even=100ms",
        "round": [{"name": "early", "length": "200ms"}, {"name": "all"}],
        "team": [
            {"name": "slow", "strategy": "imbalance", "policy": "one", "service": SLOW},
            {"name": "fast", "strategy": "imbalance", "service": FAST},
        ],
        **more,
    }


def engine(runs: Path) -> Engine:
    return Engine(load_plugins(entry_points=False), runs)


def test_the_faster_team_wins_every_round(small_dataset: Path, tmp_path: Path) -> None:
    config = parse_tournament(table(small_dataset), place="test")
    started: list[str] = []
    early, whole = results = play(config, engine(tmp_path), on_start=started.append)
    assert started == ["early: slow", "early: fast", "all: slow", "all: fast"]
    assert early.teams == ("slow", "fast")
    assert early.scores.shape == (2, CHECKPOINTS)
    assert early.ranks[:, -1].tolist() == [2, 1]
    assert early.compared is not None
    assert whole.compared is not None
    assert early.compared.rows[0]["events"] < whole.compared.rows[0]["events"] == 600
    for result in results:
        assert result.compared is not None
        nets = [row["net_points"] for row in result.compared.rows]
        np.testing.assert_allclose(result.scores[:, -1], nets)
    first, second = standings(results, ["slow", "fast"])
    assert (first.team, second.team) == ("fast", "slow")
    assert first.total == pytest.approx(sum(float(r.scores[1][-1]) for r in results))
    html = tournament_page(results, [first, second])
    assert "fast wins with" in html
    assert html.count('<figure class="chart">') == 4


def test_equal_teams_share_a_place(small_dataset: Path, tmp_path: Path) -> None:
    twins = [{"name": n, "strategy": "imbalance", "service": FAST} for n in ("a", "</script>", "c")]
    config = parse_tournament(table(small_dataset, team=twins, round=[{"name": "r"}]), place="t")
    (result,) = play(config, engine(tmp_path))
    assert result.ranks[:, -1].tolist() == [1, 1, 1]
    html = tournament_page([result], standings([result], result.teams))
    # The page's own: its script, the names of the teams and two charts.
    assert html.count("</script>") == html.count("<script") == 4


def test_a_team_that_fails_is_reported_and_comes_last(small_dataset: Path, tmp_path: Path) -> None:
    teams = [
        {"name": "broken", "strategy": "imbalanse", "service": FAST},
        {"name": "slow", "strategy": "imbalance", "service": SLOW},
    ]
    config = parse_tournament(table(small_dataset, team=teams), place="test")
    results = play(config, engine(tmp_path))
    assert all("Did you mean" in dict(r.failed)["broken"] for r in results)
    placed = standings(results, ["broken", "slow"])
    assert [(s.team, s.finished) for s in placed] == [("slow", True), ("broken", False)]
    assert "failed" in tournament_page(results, placed)
    none = play(parse_tournament(table(small_dataset, team=teams[:1]), place="t"), engine(tmp_path))
    assert "No team finished" in tournament_page(none, standings(none, ["broken"]))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"team": []}, "team"),
        ({"tem": []}, "tem"),
        ({"team": [{"name": "a", "strategy": "x"}]}, "service"),
        ({"round": [{"name": "r", "length": "soon"}]}, "soon"),
        ({"round": [{"name": "r"}, {"name": "r"}]}, "two rounds are called 'r'"),
    ],
)
def test_mistakes(small_dataset: Path, more: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_tournament(table(small_dataset, **more), place="test")


def test_the_command(
    small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tournament", "--dataset", str(small_dataset), "--runs", str(tmp_path / "runs"),
             "--team", f"slow=imbalance/one/{SLOW}", "--length", "300ms",
             "--accountant", "market", "--html", str(tmp_path / "t.html")]  # fmt: skip

    def call(*more: str) -> int | str | None:
        with pytest.raises(SystemExit) as caught:
            main([*words, *more])
        return caught.value.code

    assert call("--team", f"fast=imbalance/all/{FAST}") == 0
    out = capsys.readouterr().out
    assert "round: USD so far" in out
    assert "Standings" in out
    assert (tmp_path / "t.html").exists()
    assert call("--team", f"\x1bbroken=nonsense/all/{FAST}", "--json") == 4
    captured = capsys.readouterr()
    output = json.loads(captured.out)
    assert output["rounds"][0]["failed"][0]["team"] == "\x1bbroken"
    assert next(s["team"] for s in output["standings"]) == "slow"
    assert "\x1b" not in captured.err
    assert call("--team", "x=y") == 2
