"""Every kind of part has a page with its contract, whose example works when pasted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from backtest.api import run
from backtest.cli.comparison_tables import print_comparison
from backtest.comparison.comparison import compare
from backtest.comparison.run_selection import runs_at
from backtest.core.parts import Kind
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.data.dataset import open_dataset
from backtest.data.features.derive import add_features
from backtest.data.reading.bus import read_events
from backtest.data.sources import ingest
from backtest.experiments.matrix import parse_matrix
from backtest.experiments.sweep import Sweep
from backtest.market.events import NO_PRICE, EventBatch
from backtest.plugins.manager import Plugins, load_plugins
from backtest.report.page import render_report
from backtest.runs.folder import Run
from backtest.timing.draws import Draws
from docs.generate import FOLDER
from tests.doc_pages import blocks

pytestmark = pytest.mark.one_python

PAGES = FOLDER / "parts"

Paste = Callable[..., Plugins]
Runner = Callable[..., Run]


def examples(kind: str) -> list[str]:
    """The Python of a page, block by block."""
    text = (PAGES / f"{kind}.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


@pytest.fixture
def paste(tmp_path: Path) -> Paste:
    """Loads an example of a page as a file of its own, beside the shipped plugins."""

    def load(kind: str, number: int = 0) -> Plugins:
        path = tmp_path / "pasted.py"
        path.write_text(examples(kind)[number])
        return load_plugins([path], entry_points=False)

    return load


@pytest.fixture
def backtest_with(small_dataset: Path, tmp_path: Path) -> Runner:
    """Runs ``imbalance`` on the small dataset, but for what is asked otherwise."""

    def go(plugins: Plugins, **settings: Any) -> Run:
        settings = {
            "dataset": str(small_dataset),
            "strategy": "imbalance",
            "latency": {"service": "constant:1ms"},
            **settings,
        }
        return run(plugins=plugins, runs=tmp_path / "runs", **settings)

    return go


def ns(table: pl.DataFrame, name: str) -> Any:
    return table[name].cast(pl.Int64).to_numpy()


def test_every_kind_of_part_has_a_page_that_is_linked() -> None:
    kinds = {kind.replace(" ", "-") for kind in get_args(Kind)}
    assert {path.stem for path in PAGES.glob("*.md")} == kinds
    linked = re.findall(r"\(parts/([\w-]+)\.md\)", (FOLDER / "plugins.md").read_text())
    assert set(linked) == kinds


def test_a_strategy_learns_of_its_fills(paste: Paste, backtest_with: Runner) -> None:
    plugins = paste("strategy")
    few, many = (backtest_with(plugins, strategy=f"cautious:{most}") for most in (3, 1000))
    assert few.manifest["loop"] == {"kind": "closed", "why": "the strategy reacts to its fills"}
    lots: list[list[int]] = []
    for done in (few, many):
        fills = done.table("fills").filter(pl.col("event") >= 0)
        lots.append(fills.group_by("symbol").agg(pl.col("lots").abs().sum())["lots"].to_list())
    # Orders that are on their way when the limit is reached are still filled; then it goes flat.
    assert all(3 <= traded < 10 for traded in lots[0])
    assert all(traded > 10 for traded in lots[1])
    predicted = few.table("predictions")["forecast"].to_numpy()
    assert np.abs(predicted[:20]).max() == 1
    assert np.abs(predicted[-200:]).max() == 0


def test_a_latency_model_decides_service_times(paste: Paste, backtest_with: Runner) -> None:
    plugins = paste("latency-model")
    done = backtest_with(plugins, latency={"service": "between:2ms,9ms"}, seed=3)
    timing = done.table("timing").filter(pl.col("status") == 0)
    timing = timing.unique("batch").sort("batch")
    drawn = Draws(3, "service").range(0, len(timing))
    wanted = 2_000_000 + np.rint(7_000_000 * drawn).astype(np.int64)
    assert len(timing) > 50
    assert (ns(timing, "ts_ended") - ns(timing, "ts_begun")).tolist() == wanted.tolist()
    # The table states the same as the model that is asked batch by batch.
    source = re.sub(r"    def table.*?\n\n\n", "\n\n", examples("latency-model")[0], flags=re.S)
    assert "SpanTable(" not in source
    other = Path(done.folder).parent / "untabled.py"
    other.write_text(source)
    again = backtest_with(
        load_plugins([other], entry_points=False),
        latency={"service": "between:2ms,9ms"},
        seed=3,
    )
    assert again.id != done.id
    assert again.digest == done.digest


def test_a_policy_decides_what_rides_together(paste: Paste, backtest_with: Runner) -> None:
    plugins = paste("batching-policy")
    latency = {"service": "constant:12ms"}
    of_each: dict[str, int] = {}
    digests: dict[str, str] = {}
    for policy in ("few-of-each:1", "few-of-each:2", "one-per-symbol", "all"):
        done = backtest_with(plugins, policy=policy, latency=latency)
        timing = done.table("timing").filter(pl.col("status") == 0)
        of_each[policy] = max(timing.group_by("batch", "symbol").len()["len"].to_list())
        digests[policy] = done.digest
    assert of_each["few-of-each:1"] == 1
    assert of_each["few-of-each:2"] == 2
    assert of_each["all"] > 2
    assert digests["few-of-each:1"] == digests["one-per-symbol"]


def test_a_sizing_rule_decides_positions(
    paste: Paste, backtest_with: Runner, small_dataset: Path
) -> None:
    plugins = paste("sizing-rule")
    done = backtest_with(plugins, sizing="share:of=2", latency={"service": "constant:0ns"})
    events = read_events(open_dataset(small_dataset))
    assert events.bid_size is not None
    assert events.ask_size is not None
    forecast = np.zeros(len(events), dtype=np.float32)
    forecast[done.table("predictions")["event"]] = done.table("predictions")["forecast"]
    hit = np.where(forecast > 0, events.ask_size, events.bid_size) // 2
    wanted = (hit * np.sign(forecast)).astype(int)
    fills = done.table("fills").filter(pl.col("event") >= 0)
    held = dict.fromkeys(["AAA", "BBB", "CCC"], 0)
    reached = 0
    for event, symbol, lots in fills.select("event", "symbol", "lots").rows():
        held[symbol] += lots
        reached += held[symbol] == wanted[event]
    assert len(fills) > 100
    # Whatever of an order is not displayed any more is cancelled.
    assert reached > 0.5 * len(fills)
    # The side that is hit is the smaller one, so it displays 7 lots at most.
    assert {abs(int(w)) for w in wanted} == {0, 1, 2, 3}


def test_a_quoting_rule_decides_quotes(
    paste: Paste, backtest_with: Runner, small_dataset: Path
) -> None:
    assert len(examples("quoting-rule")[0].splitlines()) < 40
    plugins = paste("quoting-rule")
    done = backtest_with(plugins, quoting="shy:thin=4,away=3,skew=0")
    events = read_events(open_dataset(small_dataset))
    assert events.bid is not None
    assert events.ask is not None
    assert events.bid_size is not None
    assert events.ask_size is not None
    wanted = {
        "buy": events.bid - 3 * (events.bid_size < 4),
        "sell": events.ask + 3 * (events.ask_size < 4),
    }
    placed = done.table("orders").filter(pl.col("report").is_in(["accepted", "replaced"]))
    asked = placed.select("side", "event", "price_half_ticks").rows()
    assert len(asked) > 300
    for side, event, half_ticks in asked:
        assert half_ticks == 2 * wanted[side][event]


def test_a_queue_model_chooses_a_rule(paste: Paste, backtest_with: Runner, tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    n = 600
    lots = np.where(random.random(n) < 0.2, random.integers(1, 9, n), 0)
    bid = 1000 + np.cumsum(random.choice([-1, 0, 1], n, p=[0.05, 0.9, 0.05]))
    sold = random.random(n) < 0.5
    traded = EventBatch(
        symbol=np.zeros(n, dtype=np.int32),
        ts_event=1_700_000_000_000_000_000 + np.arange(n) * 1_000_000,
        bid=bid,
        ask=bid + 1,
        bid_size=random.integers(1, 40, n),
        ask_size=random.integers(1, 40, n),
        trade_price=np.where(lots > 0, bid + ~sold, NO_PRICE),
        trade_size=lots,
        aggressor=np.where(lots > 0, 1 - 2 * sold, 0).astype(np.int8),
    )
    write_canonical(tmp_path / "traded", Card(name="traded", symbols=("A",)), [traded])
    plugins = paste("queue-model")

    def fills(queue: str) -> pl.DataFrame:
        options = {"quoting": "two-sided:lots=9", "fills": {"queue": queue}}
        done = backtest_with(plugins, dataset=str(tmp_path / "traded"), **options)
        return done.table("fills")

    crowded = fills("crowded")
    assert len(crowded) > 20
    assert crowded.equals(fills("power:4"))
    assert not crowded.equals(fills("power:1"))
    assert fills("crowded:n=1").equals(fills("power:1"))


def test_an_accountant_pays_points(
    paste: Paste, backtest_with: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins = paste("accountant")
    done = backtest_with(plugins, accountant="prompt:3ms", latency={"service": "constant:2ms"})
    timing = done.table("timing")
    answered = (timing["status"] == 0).to_numpy()
    took = (ns(timing, "ts_ended") - ns(timing, "ts_received"))[answered]
    prompt = int((took <= 3_000_000).sum())
    assert 0 < prompt < len(timing)
    assert done.metrics["account"] == {"net_points": 2.0 * prompt - len(timing)}
    assert done.table("points")["points"].sum() == 2.0 * prompt - len(timing)
    (row,) = compare([done]).rows
    assert row["net_points"] == 2.0 * prompt - len(timing)
    print_comparison(compare([done]))
    printed = capsys.readouterr().out
    assert f"{2 * prompt - len(timing):,.2f}" in printed
    assert "evaluator" not in printed  # which only the challenge's accountant has


def test_an_accountant_trades(paste: Paste, backtest_with: Runner) -> None:
    plugins = paste("accountant", 1)
    done = backtest_with(plugins, accountant="per-lot:most=2", sizing="sign:lots=9")
    like = backtest_with(plugins, accountant="market:position_limit=2", sizing="sign:lots=9")
    account = done.metrics["account"]
    assert done.table("fills").equals(like.table("fills"))
    assert max(map(abs, done.table("equity")["position"].to_list())) == 2
    assert account["net"] == like.metrics["account"]["net"]
    assert account["net_per_lot"] == account["net"] / account["lots_traded"]
    (row,) = compare([done]).rows
    assert row["net"] == account["net"] / 1e9


def test_a_source_writes_a_dataset(paste: Paste, tmp_path: Path) -> None:
    plugins = paste("source")
    (tmp_path / "quotes.txt").write_text("# mine\n10 B 99 101\n20 A 49 50\n30 B 98 100\n")
    source = plugins.create("source", "lines", place="test")
    report = ingest("lines", source, tmp_path / "quotes.txt", tmp_path / "out")
    assert report.as_dict() == {
        "read": 4,
        "written": 3,
        "refused": {"not four fields": 1},
        "repaired": {},
        "ignored": {},
    }
    dataset = open_dataset(tmp_path / "out")
    events = read_events(dataset)
    assert dataset.symbols == ("A", "B")
    assert events.bid is not None
    assert events.ask is not None
    assert list(zip(events.symbol, events.ts_event, events.bid, events.ask, strict=True)) == [
        (1, 10, 99, 101),
        (0, 20, 49, 50),
        (1, 30, 98, 100),
    ]


def test_a_feature_builder_makes_a_feature(
    paste: Paste, small_dataset: Path, tmp_path: Path
) -> None:
    plugins = paste("feature-builder")
    builder = plugins.create("feature builder", "direction:3", place="test")
    add_features(open_dataset(small_dataset), tmp_path / "wide", {"direction:3": builder})
    wide = open_dataset(tmp_path / "wide")
    assert wide.features == ("move", "noise", "direction_3")
    events = read_events(wide, features=True)
    assert events.features is not None
    assert events.bid is not None
    for symbol in range(3):
        rows = np.flatnonzero(events.symbol == symbol)
        moves = np.sign(np.diff(events.bid[rows]))  # the spread is always a tick
        wanted = np.convolve(moves, np.ones(3), "valid")
        assert events.features[rows[3:], 2].tolist() == wanted.tolist()
        assert not events.features[rows[:3], 2].any()


def test_an_executor_carries_out_jobs(paste: Paste, small_dataset: Path, tmp_path: Path) -> None:
    plugins = paste("executor")
    table = {
        "dataset": str(small_dataset),
        "strategy": ["imbalance", "imbalance:smoothing=0.5", "batched"],
        "latency": {"service": "constant:1ms"},
    }
    matrix = parse_matrix(table, plugins, name="test", place="test")
    swept = Sweep(matrix, tmp_path / "runs")
    log = tmp_path / "jobs.log"
    with swept.using(plugins.create("executor", f"logged:{log}", place="test")):
        swept.run()
    assert [point.state for point in swept.points] == ["done", "done", "failed"]
    lines = log.read_text().splitlines()
    assert lines[:2] == ["plan 0 done", "plan 1 done"]
    assert lines[2].startswith("plan 2 ")
    assert "features" in lines[2]
    assert sorted(line for line in lines if line.startswith("run")) == ["run 0 done", "run 1 done"]


def test_a_section_is_rendered(paste: Paste, finished_runs: Path) -> None:
    compared = compare(runs_at([finished_runs]))
    rendered = render_report(compared, paste("report-section"), ("slowest",))
    assert rendered.failures == ()
    for row in compared.rows:
        assert f"<td>{row['max_ms']:.3f}</td>" in rendered.html


def test_a_portfolio_is_as_long_as_short(paste: Paste, backtest_with: Runner) -> None:
    assert len(examples("sizing-rule")[1].splitlines()) < 40
    plugins = paste("sizing-rule", 1)
    done = backtest_with(plugins, sizing="neutral:gain=8", latency={"service": "constant:1ms"})
    assert done.manifest["loop"] == {"kind": "three passes"}
    fills = done.table("fills").filter(pl.col("event") >= 0)
    together = fills.group_by("ts_ended").agg(pl.col("symbol").n_unique().alias("symbols"))
    assert len(fills) > 100
    assert (together["symbols"] > 1).mean() > 0.3  # type: ignore[operator]


@pytest.mark.parametrize(("page", "file"), [("orders", "toucher.py"), ("strategies", "slices.py")])
def test_strategies_that_send_orders_are_short(page: str, file: str) -> None:
    (found,) = (b for b in blocks(f"docs/{page}.md") if file in b.marks.get("file", []))
    assert len(found.text.splitlines()) < 45
    code = [line for line in found.text.splitlines() if line.strip()]
    assert len(code) < 40
