"""Walk-forwards: folds that never see what they are tested on, and one result for all of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backtest
from backtest.cli import main
from backtest.comparison.comparison import compare
from backtest.comparison.figures import tear_sheet
from backtest.comparison.profits import profits
from backtest.comparison.run_selection import runs_of_sweep
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from backtest.errors import UsageError
from backtest.experiments.folds import Folds, cut_folds
from backtest.experiments.run_costs import Costs
from backtest.experiments.sweep import Sweep
from backtest.plugins.manager import load_plugins
from backtest.report.page import render_report
from backtest.report.seen_events import dataset_of, events_of
from backtest.runs.folder import Run, open_run
from tests.fitted_strategies import write_plugin

MS = 1_000_000
FOLDS = {"train": "150ms", "test": "100ms", "purge": "5ms", "embargo": "2ms"}

Walk = Callable[..., Sweep]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return write_plugin(tmp_path)


@pytest.fixture
def walk(small_dataset: Path, tmp_path: Path, plugin: Path) -> Walk:
    """Sweeps over the small dataset in folds."""

    def go(strategy: Any = "line", folds: dict[str, Any] | None = None, **more: Any) -> Sweep:
        table = {
            "dataset": str(small_dataset),
            "strategy": strategy,
            "latency": {"service": "affine:1ms,0.2ms"},
            "folds": FOLDS | (folds or {}),
            **more,
        }
        return backtest.sweep(
            table, runs=tmp_path / "runs", executor="inline", plugin_files=[plugin]
        )

    return go


def the_run(swept: Sweep) -> Run:
    """The only combination's run."""
    (point,) = swept.leaderboard()
    assert point.error is None
    return open_run(swept.runs / str(point.id))


def folds_of(swept: Sweep) -> list[Run]:
    return [open_run(swept.runs / str(point.id)) for point in swept.points]


def ns(table: pl.DataFrame, name: str) -> Any:
    return table[name].cast(pl.Int64).to_numpy()


SPAN = st.integers(1, 60)


@given(
    kind=st.sampled_from(["rolling", "expanding"]),
    train=SPAN,
    test=SPAN,
    apart=st.integers(0, 30),
    purge=st.integers(0, 40),
    embargo=st.integers(0, 40),
    warmup=st.integers(0, 90),
    length=st.integers(1, 600),
)
def test_no_fold_is_tested_on_what_any_part_of_it_has_seen(
    kind: Any, train: int, test: int, apart: int, purge: int, embargo: int, warmup: int,
    length: int,
) -> None:  # fmt: skip
    asked = Folds(
        kind=kind,
        train=train,
        test=test,
        step=test + apart,
        purge=purge,
        embargo=embargo,
        warmup=warmup,
    )
    if train + embargo >= length:
        with pytest.raises(UsageError, match="no room for a fold"):
            cut_folds(asked, 1000, 1000 + length)
        return
    folds = cut_folds(asked, 1000, 1000 + length)
    for k, fold in enumerate(folds):
        assert fold.number == k + 1
        assert fold.train[0] == 1000 + (k * (test + apart) if kind == "rolling" else 0)
        assert fold.train[1] == 1000 + k * (test + apart) + train
        assert fold.test[0] == fold.train[1] + embargo
        # The latest target that is learnt reaches at most to the beginning of the test.
        assert fold.train[1] - fold.purge + purge <= fold.test[0] or fold.purge == 0
        assert fold.train[1] - 1 - fold.purge + purge < fold.test[0]
        assert 1000 <= fold.warm <= fold.test[0] < fold.test[1] <= 1000 + length
        assert fold.test[1] - fold.test[0] == test or fold is folds[-1]
    for before, after in pairwise(folds):
        assert before.test[1] <= after.test[0]


@pytest.mark.parametrize(
    ("folds", "problem"),
    [
        ({"step": "50ms"}, "step is shorter than test"),
        ({"train": "1h"}, "no room for a fold"),
        ({"train": "0ns"}, "folds.train"),
        ({"kind": "growing"}, "folds.kind"),
        ({"tests": 3}, "folds.tests"),
    ],
)
def test_folds_that_cannot_be_are_refused(walk: Walk, folds: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        walk(folds=folds)


def test_a_missing_length_and_a_training_besides_are_refused(walk: Walk) -> None:
    with pytest.raises(UsageError, match=r"folds\.train: missing"):
        backtest.sweep({"dataset": "sample", "strategy": "imbalance", "folds": {"test": "1s"},
                        "latency": {"service": "constant:1ms"}})  # fmt: skip
    with pytest.raises(UsageError, match="the folds say what to train on"):
        walk(training={"end": 1_700_000_000_500_000_000})


@pytest.mark.parametrize("warmup", ["0ns", "40ms"])
@pytest.mark.parametrize("kind", ["rolling", "expanding"])
@pytest.mark.parametrize("strategy", ["line", "net:epochs=2,lanes=4,chunk=8"])
def test_folds_are_trained_on_their_past_and_tested_after_it(
    walk: Walk, small_dataset: Path, kind: str, warmup: str, strategy: str
) -> None:
    swept = walk(strategy, {"kind": kind, "warmup": warmup})
    whole, folds = the_run(swept), folds_of(swept)
    assert len(folds) == 5
    ts = read_events(open_dataset(small_dataset)).ts_event
    seen = []
    for listed, run in zip(whole.manifest["folds"], folds, strict=True):
        begin, end = listed["test_ns"]
        assert listed["run"] == run.id
        assert run.manifest["in_sample"] is listed["in_sample"] is False
        training = run.manifest["training"]
        assert training["end_ns"] + 2 * MS == begin
        assert training["purge_ns"] == 3 * MS
        assert (training["start_ns"] == ts[0]) == (kind == "expanding" or listed["fold"] == 1)
        fills = run.table("fills").filter(pl.col("event") >= 0)
        assert len(fills)
        assert ns(fills, "ts_event").min() >= begin
        first = ns(run.table("timing"), "ts_event").min()
        assert (first < begin) == (warmup != "0ns")
        seen.append(ts[(ts >= begin) & (ts < end)])
    assert whole.manifest["in_sample"] is False
    # Every event of the test stretches is in the joint run once, and no other.
    assert np.array_equal(ns(whole.table("timing"), "ts_event"), np.concatenate(seen))
    assert whole.metrics["timing"]["events"] == sum(map(len, seen))


def test_the_joint_run_goes_on_from_fold_to_fold(walk: Walk) -> None:
    swept = walk(folds={"warmup": "40ms"})
    whole, folds = the_run(swept), folds_of(swept)
    account = whole.metrics["account"]
    for name in ("net", "decision", "ideal", "fees", "spread", "fills", "turnover", "closing"):
        assert account[name] == sum(run.metrics["account"][name] for run in folds), name
        for symbol in ("AAA", "BBB", "CCC"):
            of_each = [run.metrics["account"]["by_symbol"][symbol][name] for run in folds]
            assert account["by_symbol"][symbol][name] == sum(of_each)
    assert account["net"] == account["decision"] - sum(
        account[c] for c in ("feed", "queueing", "service", "entry", "spread", "impact", "fees")
    )
    # Each fold's curve, lifted by what was earned before.
    earned = profits(whole)
    ends, nets, lifted = [], [], 0.0
    for listed, run in zip(whole.manifest["folds"], folds, strict=True):
        own = profits(run)
        late = own.ends > listed["test_ns"][0]
        ends.append(own.ends[late])
        nets.append(own.net[late] + lifted)
        lifted += own.net[-1]
    assert np.array_equal(earned.ends, np.concatenate(ends))
    np.testing.assert_allclose(earned.net, np.concatenate(nets), atol=1e-9)
    (row,) = compare([whole]).rows
    assert row["net"] == pytest.approx(lifted)
    assert row["folds"] == 5
    figures = tear_sheet(whole, earned)
    assert row["sharpe"] == figures["sharpe"]
    curve = np.append(0.0, earned.net)
    fallen = (np.maximum.accumulate(curve) - curve).max()
    assert row["drawdown"] == pytest.approx(fallen)
    assert account["max_drawdown"] == pytest.approx(fallen * 1e9)
    assert len(set(np.diff(earned.ends)[:100])) == 1


def test_events_and_batches_of_the_joint_run_are_numbered_through(
    walk: Walk, small_dataset: Path
) -> None:
    # Between the test stretches lie events that are in none.
    swept = walk(folds={"step": "130ms", "warmup": "40ms"}, policy="at-most:3")
    whole = the_run(swept)
    timing, fills = whole.table("timing"), whole.table("fills").filter(pl.col("event") >= 0)
    events = fills["event"].to_numpy()
    assert np.array_equal(ns(timing, "ts_event")[events], ns(fills, "ts_event"))
    symbols = timing["symbol"].cast(pl.String).to_numpy()
    assert np.array_equal(symbols[events], fills["symbol"].cast(pl.String).to_numpy())
    answered = np.flatnonzero(timing["status"].to_numpy() == 0)
    assert np.array_equal(whole.table("predictions")["event"].to_numpy(), answered)
    batch = timing["batch"].drop_nulls().to_numpy()
    assert set(batch) == set(range(whole.metrics["timing"]["batches"]))
    dataset = dataset_of(whole)
    assert dataset is not None
    seen = np.concatenate([events.ts_event for events in events_of(whole, dataset)])
    assert np.array_equal(seen, ns(timing, "ts_event"))


def test_a_single_fold_is_its_run(walk: Walk) -> None:
    swept = walk(folds={"test": "10s"})
    whole, (fold,) = the_run(swept), folds_of(swept)
    assert whole.metrics["timing"] == fold.metrics["timing"]
    assert whole.metrics["account"] == fold.metrics["account"]
    for name in ("timing", "predictions", "fills"):
        assert whole.table(name).equals(fold.table(name)), name
    assert profits(whole).net.tolist() == profits(fold).net.tolist()


def test_points_are_joined_as_well(walk: Walk) -> None:
    swept = walk(accountant="challenge", folds={"warmup": "40ms"})
    whole, folds = the_run(swept), folds_of(swept)
    account = whole.metrics["account"]
    points = whole.table("points")["points"].to_numpy()
    assert len(points) == account["total_requests"] == whole.metrics["timing"]["events"]
    assert account["net_points"] == pytest.approx(points.sum())
    answered = account["total_responses"]
    assert answered == sum(run.metrics["account"]["total_responses"] for run in folds)
    means = [
        run.metrics["account"]["average_latency_ms"] * run.metrics["account"]["total_responses"]
        for run in folds
    ]
    assert account["average_latency_ms"] == pytest.approx(sum(means) / answered)
    assert account["max_absolute_error"] == [
        max(run.metrics["account"]["max_absolute_error"][0] for run in folds)
    ]


def test_a_rule_is_tested_on_the_same_stretches_without_training(walk: Walk) -> None:
    swept = walk(["imbalance", "line"], accountant="market:no_trade_band=1000")
    assert [point.state for point in swept.leaderboard()] == ["done", "done"]
    by_name = {
        str(point.config.strategy["name"]): open_run(swept.runs / str(point.id))  # type: ignore[index]
        for point in swept.leaderboard()
    }
    rule, line = by_name["imbalance"], by_name["line"]
    assert rule.manifest["in_sample"] is None
    assert {fold["train"] for fold in rule.manifest["folds"]} == {None}
    assert compare([rule, line]).same_ticks
    # Nothing is traded, and still there is an end of every bucket.
    assert rule.metrics["account"]["net"] == 0
    assert not compare([rule, walk_window(swept, rule)]).same_ticks


def walk_window(swept: Sweep, whole: Run) -> Run:
    """A plain run over the time that the test stretches span."""
    window = whole.manifest["config"]["window"]
    return backtest.run(
        runs=swept.runs,
        dataset=whole.manifest["config"]["dataset"],
        strategy="imbalance",
        latency={"service": "affine:1ms,0.2ms"},
        window=window,
    )


def test_a_stretch_without_events_is_left_out_and_noted(
    walk: Walk, small_dataset: Path, tmp_path: Path
) -> None:
    from backtest.data.canonical import write_canonical
    from backtest.data.reading.bus import read_targets

    whole = open_dataset(small_dataset)
    events, targets = read_events(whole, features=True), read_targets(whole)
    begin = int(events.ts_event[0])
    kept = (events.ts_event < begin + 252 * MS) | (events.ts_event >= begin + 352 * MS)
    write_canonical(
        tmp_path / "gap", whole.card, [(events.select(np.flatnonzero(kept)), targets[kept])]
    )
    swept = walk(dataset=str(tmp_path / "gap"))
    assert "Fold 2 is left out: there is nothing to test on." in swept.matrix.notes
    assert [fold["fold"] for fold in the_run(swept).manifest["folds"]] == [1, 3, 4, 5]


def test_a_repeated_walk_forward_trains_and_runs_nothing(walk: Walk, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = walk(f"line:log={log}", policy=["one", "all"])
    assert log.read_text() == "fit\n" * 5  # once a fold, for both policies
    again = walk(f"line:log={log}", policy=["one", "all"])
    assert log.read_text() == "fit\n" * 5
    assert [p.id for p in again.leaderboard()] == [p.id for p in first.leaderboard()]
    assert again.frame().equals(first.frame())


def test_the_sweeps_file_lists_combinations_with_their_folds(walk: Walk) -> None:
    swept = walk(["line", "bad:raise"])
    table = json.loads(swept.file.read_text())
    by_state = {entry["state"]: entry for entry in table["runs"]}
    assert set(by_state) == {"done", "failed"}
    assert len(by_state["done"]["folds"]) == 5
    assert by_state["failed"]["error"] == "fold 1 is failed"
    assert "no luck" in by_state["failed"]["folds"][0]["error"]
    done, failed = runs_of_sweep(swept.runs, table["id"])
    assert [run.id for run in done] == [by_state["done"]["id"]]
    assert len(failed) == 1


def test_the_command_line_lists_the_folds(
    small_dataset: Path, tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "walk.toml"
    path.write_text(
        f"""
        dataset = '{small_dataset}'
        strategy = ["line", "imbalance"]
        [latency]
        service = "affine:1ms,0.2ms"
        [folds]
        train = "150ms"
        test = "100ms"
        """
    )
    words = ["--runs", tmp_path / "runs", "--executor", "inline", "--plugin", plugin]
    texts = {}
    for more in (["--dry-run"], [], ["--json"]):
        with pytest.raises(SystemExit) as left:
            main(["sweep", *map(str, [path, *words, *more])])
        assert left.value.code == 0
        said = capsys.readouterr()
        texts[tuple(more)] = said.out
        untimed = "could not be timed: line on cpu: it cannot answer before it is trained"
        assert (untimed in said.err) == (more == ["--dry-run"])
        # A dry run trains nothing.
        assert (tmp_path / "runs" / "weights").exists() == (more != ["--dry-run"])
    assert "10: 0 finished, 10 to do" in texts["--dry-run",]
    assert "The folds that each run joins" in texts[()]
    rows = json.loads(texts["--json",])["runs"]
    assert len(rows) == 2
    with pytest.raises(SystemExit):
        main(["compare", "--sweep", "walk", "--runs", str(tmp_path / "runs")])
    shown = capsys.readouterr().out
    assert shown.count("2023-11-14") == 10
    html = render_report(
        compare([open_run(tmp_path / "runs" / row["run"]) for row in rows]),
        load_plugins([plugin], entry_points=False),
        (),
    ).html
    assert "Folds of each walk-forward" in html


def test_training_is_not_taken_for_what_every_run_costs(walk: Walk, tmp_path: Path) -> None:
    swept = walk("line:wait=0.3")
    trained = [run.manifest["training"]["seconds"] for run in folds_of(swept)]
    assert min(trained) > 0.3
    costs = Costs()
    for run in folds_of(swept):
        costs.observe(run.manifest, run.metrics)
    wall = sum(run.manifest["seconds"] for run in folds_of(swept))
    assert costs.seconds(sum(r.metrics["timing"]["events"] for r in folds_of(swept)), ()) < (
        wall - sum(trained) + 1e-6
    )


def test_a_damaged_fold_is_not_joined(walk: Walk) -> None:
    swept = walk("line")
    shutil.rmtree(the_run(swept).folder)
    path = folds_of(swept)[1].folder / "fills.parquet"
    fills = pq.read_table(path)
    events = pc.add(fills["event"], 10**9)
    pq.write_table(fills.set_column(fills.schema.get_field_index("event"), "event", events), path)
    (entry,) = json.loads(walk("line").file.read_text())["runs"]
    assert entry["state"] == "failed"
    assert "fills.parquet" in entry["error"]


def test_a_fold_that_trades_nothing_is_joined(walk: Walk) -> None:
    swept = walk("line", sizing="sign:threshold=1e30")
    run = the_run(swept)
    assert run.table("fills").is_empty()
    assert [len(piece) for piece in run.pieces("fills", ["event", "lots"])] == [0]


def test_variants_of_the_ensemble_are_trained_once_for_each_fold(
    small_dataset: Path, tmp_path: Path
) -> None:
    weights = "weights=random:0:32x1,epochs=1,lanes=4"
    done = backtest.sweep(
        {
            "dataset": str(small_dataset),
            "strategy": [f"batched:{weights}", f"stateless:{weights}"],
            "latency": {"service": "constant:1ms"},
            "folds": {"train": "150ms", "test": "150ms"},
        },
        runs=tmp_path,
        executor="inline",
    )
    assert all(point.error is None for point in done.points)
    assert len(list((tmp_path / "weights").glob("*.safetensors"))) == 3
