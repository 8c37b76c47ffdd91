"""Runs side by side: choosing, sorting, grouping, and what differs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backtest.comparison.comparison import Comparison, compare
from backtest.comparison.fields import contests, fields
from backtest.comparison.figures import FIGURES
from backtest.comparison.run_selection import runs_at
from backtest.comparison.verdict import verdict
from backtest.errors import UsageError


@pytest.fixture(scope="module")
def compared(finished_runs: Path) -> Comparison:
    return compare(runs_at([finished_runs]))


def test_rows_hold_the_tear_sheet(compared: Comparison) -> None:
    for row, run in zip(compared.rows, compared.runs, strict=True):
        assert set(FIGURES) <= set(row)
        assert row["net"] == run.metrics["account"]["net"] / 1e9
        assert row["missed"] == pytest.approx(row["silence"] + row["liquidity"])
        assert row["silence"] == run.metrics["account"]["silence"] / 1e9
        assert row["drawdown"] == pytest.approx(run.metrics["account"]["max_drawdown"] / 1e9)
        fills = run.table("fills")
        traded = float((fills["cash"] + fills["fees"]).abs().sum()) / 1e9
        assert row["turnover"] == pytest.approx(traded)
        assert row["exposure"] > 0
    assert compared.frame().height == 5


def test_where_sort_and_group(compared: Comparison) -> None:
    full = compared.where('policy == "all" and not partial')
    assert sorted(row["scale"] for row in full.rows) == [0, 1, 4]
    falling = [row["scale"] for row in full.sorted_by("-scale").rows]
    assert falling == [4, 1, 0]
    nets = [row["net"] for row in compared.sorted_by("net_pnl").rows]
    assert nets == sorted(nets)
    (one, all_) = sorted(compared.grouped_by("policy"), key=lambda g: g["runs"])
    assert (one["policy"], one["runs"], one["net_sd"]) == ("one", 1, None)
    assert all_["runs"] == 4
    mean = sum(row["net"] for row in compared.rows if row["policy"] == "all") / 4
    assert all_["net"] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("method", "argument"), [("where", "scale > 99"), ("sorted_by", "nett"), ("grouped_by", "")]
)
def test_mistakes(compared: Comparison, method: str, argument: str) -> None:
    with pytest.raises(UsageError):
        getattr(compared, method)(argument)


def test_runs_by_name(compared: Comparison) -> None:
    run_id = compared.rows[3]["run"]
    assert compared.index(run_id) == 3
    assert compared.index(run_id[:-2]) == 3
    assert compared.index(compared.labels[3]) == 3
    with pytest.raises(UsageError, match="several"):
        compared.index("imbalance")
    with pytest.raises(UsageError, match="none of the compared runs"):
        compared.index("x")


def test_only_differences_are_shown(compared: Comparison) -> None:
    names = [name for name, _ in compared.differences()]
    assert names == ["policy", "latency.scale", "limit"]
    assert len(set(compared.labels)) == 5
    assert compare(compared.runs[:1]).differences() == []


def test_runs_on_other_ticks_are_not_contested(compared: Comparison) -> None:
    partial = next(k for k, row in enumerate(compared.rows) if row["partial"])
    assert contests(compared, partial, range(5)) == []
    others = {c.worse for c in contests(compared, (partial + 1) % 5, range(5))}
    assert len(others) == 3
    assert partial not in others


def test_fields_hold_what_differs_only_in_the_variant(compared: Comparison) -> None:
    main, *rest = fields(compared)
    assert {compared.rows[k]["policy"] for k in main.members} == {"one", "all"}
    assert {compared.rows[k]["scale"] for k in main.members} == {1}
    assert [len(f.members) for f in rest] == [1, 1, 1]
    names = list(main.labels(compared).values())
    assert sorted(names) == ["imbalance, all", "imbalance, one"]


def test_equal_fields_are_in_one_order_however_runs_are_given(compared: Comparison) -> None:
    turned = compare(compared.runs[::-1])
    for either in (compared, turned):
        slow = [max(either.rows[k]["p50_ms"] for k in f.members) for f in fields(either)]
        scale = [either.rows[f.members[0]]["scale"] for f in fields(either)]
        pairs = [(abs(s - 1), -p) for s, p in zip(scale, slow, strict=True)][1:]
        assert pairs == sorted(pairs)
    assert [f.title for f in fields(compared)] == [f.title for f in fields(turned)]


def test_the_verdict_names_a_winner_and_what_it_beats(compared: Comparison) -> None:
    main = fields(compared)[0]
    rows = [compared.rows[k] for k in main.members]
    assert rows[0]["net"] >= rows[1]["net"]
    text = " ".join(verdict(compared, main).lines())
    winner = main.labels(compared)[main.members[0]]
    assert winner in text
    (contest,) = main.contests
    lead = rows[0]["net"] - rows[1]["net"]
    assert contest.difference.value == pytest.approx(lead)
    sentence = contest.sentence(main.labels(compared))
    assert "chance" in sentence or "exactly" in sentence


def test_notebooks_show_tables(compared: Comparison) -> None:
    html = compared._repr_html_()
    assert html is not None
    assert "<table" in html
    of_run = compared.runs[0]._repr_html_() or ""
    assert compared.rows[0]["run"] in of_run
    for name in re.findall(r"run\.(\w+)(?:,|<)", of_run):
        assert getattr(compared.runs[0], name).collect().height > 0
    assert "run.round_trips" in of_run
