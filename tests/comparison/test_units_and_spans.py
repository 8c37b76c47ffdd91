"""A run's figures are its own: its span of time, its unit and its name, whatever is beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backtest.cli import main
from backtest.comparison.comparison import Comparison, compare
from backtest.comparison.fields import contests, fields
from backtest.comparison.gates import judge, measured, parse_gates
from backtest.comparison.run_selection import runs_at
from backtest.comparison.verdict import verdict
from backtest.errors import GateError
from backtest.plugins.manager import load_plugins
from backtest.report.page import render_report
from backtest.runs.folder import Run
from tests.changed_runs import changed, stretched
from tests.stored import charts

KRW = "metrics__account__currency"


@pytest.fixture(scope="module")
def pair(finished_runs: Path) -> tuple[Run, Run]:
    """Two runs of one field, on the same ticks."""
    found = compare(runs_at([finished_runs])).where("not partial and scale == 1").runs
    assert len(found) == 2
    return found[0], found[1]


@pytest.fixture
def foreign(pair: tuple[Run, Run], tmp_path: Path) -> Comparison:
    """A pair of runs that are paid in USD, and a pair that is paid in KRW."""
    won = [changed(run, tmp_path / f"won-{k}", **{KRW: "KRW"}) for k, run in enumerate(pair)]
    return compare([won[0], *pair, won[1]])


def shown(compared: Comparison, *sections: str) -> str:
    rendered = render_report(compared, load_plugins(entry_points=False), sections)
    assert rendered.failures == ()
    return rendered.html


def test_a_contest_is_by_its_own_span(pair: tuple[Run, Run], tmp_path: Path) -> None:
    alone = compare(pair)
    short = [c.sentence(dict(enumerate("ab"))) for c in contests(alone, 0, [1])]
    long = [stretched(changed(run, tmp_path / f"long-{k}"), hours=26) for k, run in enumerate(pair)]
    beside = compare([*pair, *long])
    assert [c.sentence(dict(enumerate("ab"))) for c in contests(beside, 0, range(4))] == short
    per = {c.per for field in fields(beside) for c in field.contests}
    assert per == {contests(alone, 0, [1])[0].per, "a day"}


def test_a_contest_is_in_the_buckets_of_its_two_runs(pair: tuple[Run, Run], tmp_path: Path) -> None:
    data = pair[0].manifest["determined_by"]["data"]
    finer = changed(pair[0], tmp_path / "finer", data=data)
    third = stretched(finer, hours=2)
    (alone,) = contests(compare(pair), 0, [1])
    beside = contests(compare([*pair, third]), 0, [1, 2])
    assert beside[0].difference == alone.difference


def test_units_are_never_compared(foreign: Comparison) -> None:
    assert set(foreign.units) == {"KRW", "USD"}
    for field in fields(foreign):
        assert len({foreign.rows[k]["unit"] for k in field.members}) == 1
        text = " ".join(verdict(foreign, field).lines())
        unit = foreign.rows[field.members[0]]["unit"]
        assert f" {unit}" in text
        assert ({"KRW", "USD"} - {unit}).pop() not in text
    rows = measured(foreign, 0)
    assert [row["net_difference"] is None for row in rows] == [False, True, True, False]
    assert [row["net_ratio"] is None for row in rows] == [False, True, True, False]
    (group,) = [g for g in foreign.grouped_by("policy") if g["policy"] == "all"]
    assert (group["runs"], group["unit"], group["net"], group["drawdown"]) == (2, None, None, None)
    assert group["p50_ms"] is not None
    (won,) = [g for g in foreign.grouped_by("currency") if g["currency"] == "KRW"]
    assert won["net"] is not None


def test_amounts_are_sorted_within_their_unit(foreign: Comparison) -> None:
    for by, falling in (("net", False), ("-drawdown", True)):
        rows = foreign.sorted_by(by).rows
        assert [row["unit"] for row in rows] == ["KRW", "KRW", "USD", "USD"]
        for pair in (rows[:2], rows[2:]):
            amounts = [row[by.removeprefix("-")] for row in pair]
            assert amounts == sorted(amounts, reverse=falling)


def test_a_gate_does_not_judge_one_currency_by_another(foreign: Comparison) -> None:
    gates = parse_gates(foreign, ["net < baseline - 1e12"], 0)
    with pytest.raises(GateError, match="cannot be judged for") as caught:
        judge(foreign, gates, 0)
    unknown = str(caught.value).partition("cannot be judged for ")[2]
    assert unknown.count("imbalance-") == 2
    judge(foreign, parse_gates(foreign, ["p99_ms > 1000 * baseline"], 0), 0)


def test_tables_name_one_currency_each(
    foreign: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["compare", *(str(run.folder) for run in foreign.runs)])
    out = capsys.readouterr().out
    head = out.splitlines()[0]
    assert "USD" not in head
    assert "KRW" not in head
    for row in foreign.rows:
        assert f"{row['net']:,.2f} {row['unit']}" in out
    titles = re.findall(r"Where the money went \((\w+)\)", out)
    assert sorted(titles) == ["KRW", "USD"]


def test_report_sections_name_one_currency_each(foreign: Comparison) -> None:
    text = shown(foreign, "leaderboard", "equity", "frontier")
    captions = re.findall(r"<caption>([^<]*)</caption>", text)
    assert sorted(captions) == [f"Runs ranked by what they earned, in {u}" for u in ("KRW", "USD")]
    assert text.count(">net KRW<") >= 1
    for unit in ("KRW", "USD"):
        (chart,) = [c for t, c in charts(text).items() if t.startswith(f"Net {unit} against")]
        assert len(chart["series"]) == 2
        assert f"Cumulative net {unit}" in text
    one = shown(compare(foreign.runs[1:3]), "leaderboard")
    assert "KRW" not in one


def test_latency_scale_has_a_chart_for_each_currency(finished_runs: Path, tmp_path: Path) -> None:
    usd = compare(runs_at([finished_runs])).where('policy == "all" and not partial').runs
    won = [
        changed(run, tmp_path / f"won-{k}", data="won", **{KRW: "KRW"}) for k, run in enumerate(usd)
    ]
    text = shown(compare([*usd, *won]), "latency-scale")
    titles = re.findall(r"<figcaption>(Net \w+ against latency scale)</figcaption>", text)
    assert sorted(titles) == [f"Net {u} against latency scale" for u in ("KRW", "USD")]
    lines = re.findall(r'<th scope="row">([^<]*)</th>', text)
    assert len(lines) == len(set(lines)) == 2


def test_equity_begins_with_its_own_window(pair: tuple[Run, Run], tmp_path: Path) -> None:
    later = [
        stretched(changed(run, tmp_path / f"later-{k}"), hours=1, later=500)
        for k, run in enumerate(pair)
    ]
    text = shown(compare([*pair, *later]), "equity")
    equity = next(chart for title, chart in charts(text).items() if "Cumulative" in title)
    begun = {s["entry"]: equity["xs"][s["x"]][0] for s in equity["series"]}
    assert begun == {
        k: pytest.approx(profits.ends[0] / 1e9)
        for k, profits in enumerate(compare([*pair, *later]).profits)
    }
    assert len(set(begun.values())) > 1


def test_labels_know_settings_that_only_some_runs_have(
    pair: tuple[Run, Run], tmp_path: Path
) -> None:
    made = [changed(pair[0], tmp_path / f"run-{k}", config__extra={"depth": k}) for k in (5, 6)]
    for k, run in enumerate(made):
        assert compare([pair[0], *made]).labels[k + 1].endswith(f", {5 + k}"), run
