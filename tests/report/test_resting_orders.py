"""Reports on resting orders: every number is worked out once more from the run's tables."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from backtest.comparison.comparison import compare
from backtest.comparison.fields import fields
from backtest.comparison.verdict import verdict
from backtest.core.arrays import Int64Array
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, EventBatch
from backtest.plugins.manager import load_plugins
from backtest.report.exact import exact_product, exact_sum
from backtest.report.fill_markouts import HORIZONS_NS, FillMarkouts
from backtest.report.material import Material
from backtest.report.pace import TAIL, pace_of
from backtest.report.page import render_report
from backtest.report.picked_off import STAGES, stages_of
from backtest.report.resting import MAKER, TAKER, resting_of
from backtest.runs import tables
from backtest.runs.folder import Run, open_run
from backtest.trading.layout import COSTS
from tests.report.resting_runs import (
    SYMBOLS,
    WORTH,
    list_run,
    quoting_run,
    target_run,
    write_market,
)
from tests.report.test_tear_sheet import Tables
from tests.stored import charts, table

UNIT = 10**9
MESSAGES = ("cancelled", "replaced", "rejected", "late")
INSTANTS = ("ts_event", "ts_received", "ts_begun", "ts_ended", "ts_arrived")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_market(tmp_path_factory.mktemp("made") / "traded")


@pytest.fixture(scope="module")
def runs(market: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("resting")
    return {
        "quotes": quoting_run(folder / "runs", market),
        "list": list_run(folder / "runs", market, folder / "list.parquet"),
    }


@pytest.fixture(scope="module")
def events(market: Path) -> EventBatch:
    return read_events(open_dataset(market))


@pytest.fixture(params=[None, 64])
def small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is read as it is, and in pieces of a few rows."""
    if request.param:
        monkeypatch.setattr(tables, "PIECE_ROWS", request.param)
        monkeypatch.setattr("backtest.data.reading.bus.EventBus.__init__.__kwdefaults__", {
            "start": None, "end": None, "symbols": None, "features": True, "batch_rows": 50,
            "read_ahead": False, "nonfinite": "refuse",
        })  # fmt: skip


def material(run: Run) -> Material:
    return Material(compare([run]))


def is_closing(fill: dict[str, Any]) -> bool:
    return bool(fill["event"] == -1 and fill["order"] == -1)


def fills_of(run: Run, *, maker: bool) -> list[dict[str, Any]]:
    return [f for f in table(run, "fills") if f["maker"] == maker and not is_closing(f)]


class Mids:
    """Doubled mids of one symbol's quotes, which are all two-sided and at instants of their own."""

    def __init__(self, events: EventBatch, symbol: int) -> None:
        rows = np.flatnonzero(events.symbol == symbol)
        assert events.bid is not None
        assert events.ask is not None
        self._times, self._mids = events.ts_event[rows], (events.bid + events.ask)[rows]
        assert (np.diff(self._times) > 0).all()

    def at(self, time: int) -> int:
        return int(self._mids[np.searchsorted(self._times, time, side="right") - 1])

    def before(self, time: int) -> int:
        return self.at(time - 1)


@pytest.mark.parametrize("name", ["quotes", "list"])
@pytest.mark.usefixtures("small_pieces")
def test_markouts_are_exact(runs: dict[str, Run], events: EventBatch, name: str) -> None:
    run = runs[name]
    found, resting = material(run).fill_markouts, resting_of(run)
    assert found is not None
    assert resting is not None
    mids = [Mids(events, s) for s in range(2)]
    end = int(events.ts_event[-1])
    for kind, maker in ((MAKER, True), (TAKER, False)):
        fills = fills_of(run, maker=maker)
        assert len(fills) > 20
        filled = resting.filled[kind]
        money = filled.money
        assert (filled.fills, filled.lots) == (len(fills), sum(abs(f["lots"]) for f in fills))
        net = sum(f["decision"] - sum(f[c] for c in COSTS) for f in fills)
        assert money["net"] == net
        for h, horizon in enumerate(HORIZONS_NS.tolist()):
            adverse = hold = 0
            for f in fills:
                of, q = mids[SYMBOLS.index(f["symbol"])], f["lots"] * WORTH
                tf = f["ts_venue"]
                then = of.at(min(tf + horizon, end))
                adverse += q * ((of.before(tf) if maker else of.at(tf)) - then)
                hold += q * (of.at(end) - then)
            assert found.adverse[kind][h] == adverse
            assert money["moved"] + adverse == hold
            costs = (sum(f[c] for f in fills) for c in ("spread", "impact", "fees"))
            assert net == hold - adverse - sum(costs)
    assert resting.filled[TAKER].money["impact"] > 0


def naive_stage(fill: dict[str, Any], reports: list[dict[str, Any]]) -> int:
    """Where the message was, of those that were on their way at a fill the first to arrive."""
    tf, key = fill["ts_venue"], (fill["symbol"], fill["order"])
    late = [
        r for r in reports
        if (r["symbol"], r["order"]) == key and r["report"] in MESSAGES
        and r["ts_event"] <= tf < r["ts_arrived"]
    ]  # fmt: skip
    if not late or not fill["maker"]:
        return 0
    first = min(late, key=lambda r: r["ts_arrived"])
    if first["ts_event"] == tf:
        return 1
    return 2 + sum(first[name] <= tf for name in INSTANTS[1:4])


@pytest.mark.parametrize("name", ["quotes", "list"])
@pytest.mark.usefixtures("small_pieces")
def test_fills_that_came_before_a_message(
    runs: dict[str, Run], events: EventBatch, name: str
) -> None:
    run = runs[name]
    fills, reports = table(run, "fills"), table(run, "orders")
    expected = [naive_stage(fill, reports) for fill in fills]
    assert stages_of(run).tolist() == expected
    seen = set(expected)
    assert seen == ({*range(len(STAGES) + 1)} if name == "quotes" else {0, 5})
    resting, found = resting_of(run), material(run).fill_markouts
    assert resting is not None
    assert found is not None
    mids = [Mids(events, s) for s in range(2)]
    end = int(events.ts_event[-1])
    for stage in range(1, len(STAGES) + 1):
        of = [f for f, k in zip(fills, expected, strict=True) if k == stage]
        assert resting.late[stage] == [len(of), sum(abs(f["lots"]) for f in of)]
        adverse = 0
        for f in of:
            mid, tf = mids[SYMBOLS.index(f["symbol"])], f["ts_venue"]
            adverse += f["lots"] * WORTH * (mid.before(tf) - mid.at(min(tf + UNIT, end)))
        assert found.late[stage] == adverse


def test_without_latency_no_message_is_late(market: Path, tmp_path: Path) -> None:
    run = quoting_run(tmp_path, market, latency={"service": "constant:0ms", "scale": 0})
    assert fills_of(run, maker=True)
    assert not stages_of(run).any()


@pytest.mark.parametrize("name", ["quotes", "list"])
def test_lots_quoted_and_filled(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    resting = resting_of(run)
    assert resting is not None
    totals: dict[Any, int] = {}
    waits = []
    counted: dict[str, list[int]] = {kind: [0, 0] for kind in resting.reports}
    for report in table(run, "orders"):
        counted[report["report"]][0] += 1
        counted[report["report"]][1] += report["lots"]
        if report["report"] in ("accepted", "replaced"):
            totals[report["symbol"], report["order"]] = report["lots"]
    filled = sum(abs(f["lots"]) for maker in (True, False) for f in fills_of(run, maker=maker))
    assert {k: [v["reports"], v["lots"]] for k, v in resting.reports.items()} == counted
    if name == "list":
        # A replacement to fewer lots than are filled withdraws what is left: it is not a size.
        assert counted["replaced"][0] > 10
    assert resting.quoted == sum(totals.values())
    assert resting.fill_ratio == filled / sum(totals.values())
    waits = sorted(f["ts_venue"] - f["ts_arrived"] for f in fills_of(run, maker=True))
    median = resting.waits.at(np.array([0.5]))
    assert median is not None
    assert median[0] == pytest.approx(waits[(len(waits) + 1) // 2 - 1], rel=1 / 4096)


@pytest.mark.parametrize("name", ["quotes", "list"])
@pytest.mark.usefixtures("small_pieces")
def test_participation(runs: dict[str, Run], events: EventBatch, name: str) -> None:
    own: dict[Any, int] = {}
    for f in fills_of(runs[name], maker=True):
        key = (f["symbol"], f["ts_venue"] // (60 * UNIT), f["price_half_ticks"])
        own[key] = own.get(key, 0) + abs(f["lots"])
    assert events.trade_price is not None
    assert events.trade_size is not None
    expected = {s: [0, 0] for s in SYMBOLS}
    for (symbol, _, _), lots in own.items():
        expected[symbol][0] += lots
    for k in np.flatnonzero(events.trade_price != NO_PRICE).tolist():
        symbol = SYMBOLS[events.symbol[k]]
        if (symbol, int(events.ts_event[k]) // (60 * UNIT), 2 * int(events.trade_price[k])) in own:
            expected[symbol][1] += int(events.trade_size[k])
    found = material(runs[name]).fill_markouts
    assert found is not None
    assert found.participation == {s: tuple(pair) for s, pair in expected.items()}


def html(run: Run, *sections: str) -> str:
    rendered = render_report(compare([run]), load_plugins(entry_points=False), sections)
    assert rendered.failures == ()
    return rendered.html


def text(value: float) -> str:
    return f"{value:,.2f}"


def test_the_section(runs: dict[str, Run], market: Path, tmp_path: Path) -> None:
    run = runs["quotes"]
    page = html(run, "resting-orders")
    shown, made = Tables(page), material(run)
    resting, markouts = made.resting, made.fill_markouts
    assert resting is not None
    assert markouts is not None
    _, rows = shown.starting("The run under other queue models")
    models = ("through", "trades", "optimistic")
    assert [row["queue model"] for row in rows] == ["through", "trades (chosen)", "optimistic"]
    for row, queue in zip(rows, models, strict=True):
        account = quoting_run(tmp_path, market, fills={"queue": queue}).metrics["account"]
        assert row["net, USD"] == text(account["net"] / UNIT)
        assert row["fills"] == f"{account['fills']:,}"
        assert row["lots"] == f"{account['lots_traded']:,}"
    _, rows = shown.starting("Reports of the venue")
    assert {row["report"]: int(row["reports"].replace(",", "")) for row in rows} == {
        kind: of["reports"] for kind, of in resting.reports.items()
    }
    _, rows = shown.starting("From what was held to net")
    assert [row["fills, time after them"] for row in rows] == [
        f"{kind}, {after}" for kind in ("maker", "taker")
        for after in ("100 ms", "1 s", "10 s", "1 min")
    ]  # fmt: skip
    for row in rows:
        parts = [float(row[c].replace(",", "")) for c in ("hold", "adverse", "spread", "impact",
                                                          "fees")]  # fmt: skip
        assert sum(parts) == pytest.approx(float(row["net"].replace(",", "")), abs=0.03)
    assert rows[1]["adverse"] == text(-markouts.adverse[MAKER][3] / UNIT)
    drawn = charts(page)["What the market moved against fills"]
    assert [s["name"] for s in drawn["series"]] == ["maker fills", "taker fills"]
    assert drawn["series"][0]["y"] == pytest.approx(
        [a / UNIT for a in markouts.adverse[MAKER]], rel=1e-3, abs=1e-6
    )
    _, rows = shown.starting("Picked off in flight")
    assert [row["stage"] for row in rows] == [*STAGES, "all"]
    assert [row["fills"] for row in rows[:-1]] == [f"{of[0]:,}" for of in resting.late[1:]]
    # About a third of what was traded at its prices was filled by own orders.
    assert "cannot be believed of so many lots" in page


def test_where_the_money_went_begins_where_there_is_an_ideal(
    runs: dict[str, Run], market: Path, tmp_path: Path
) -> None:
    page = html(runs["quotes"], "attribution")
    assert "From decision to net" in page
    assert "decision: what the fills earned" in page
    assert "ideal" not in Tables(page).starting("From decision to net")[0]
    assert "From ideal to net" in html(target_run(tmp_path, market), "attribution")


@pytest.mark.parametrize("name", ["quotes", "list"])
@pytest.mark.usefixtures("small_pieces")
def test_quotes_against_the_touch(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    standing, shown = run.metrics["orders"]["standing"], Tables(html(run, "resting-orders"))
    _, rows = shown.starting("Quotes against the touch")
    assert [row["side"] for row in rows] == ["bid", "ask", "both"]
    for row, side in zip(rows, ("buy", "sell", "total"), strict=True):
        of = standing[side]
        assert sum(of[c] for c in ("at", "behind", "better", "none")) == pytest.approx(1)
        assert min(of["at"], of["none"]) > 0
        for share in ("at", "behind", "better", "none"):
            assert row[share] == f"{100 * of[share]:.1f} %"
        assert row["lot hours"] == text(of["lot_ns"] / 3.6e12)


@pytest.mark.parametrize("name", ["quotes", "list"])
@pytest.mark.usefixtures("small_pieces")
def test_queues_of_the_fills(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    page = html(run, "resting-orders")
    makers = [fill for fill in fills_of(run, maker=True) if fill["ahead"] is not None]
    assert len(makers) > 10
    _, rows = Tables(page).starting("Queues of the fills")
    for row, q in zip(rows, (0.1, 0.5, 0.9, 0.99), strict=True):
        for column in ("ahead", "printed"):
            lots = sorted(fill[column] for fill in makers)
            assert row[column] == f"{lots[max(math.ceil(q * len(lots)), 1) - 1]:,}"
    first = sum(fill["ahead"] == 0 for fill in makers)
    assert f"Nobody was ahead of {first:,} of them" in page


def test_what_earlier_runs_did_not_note_is_left_out(runs: dict[str, Run], tmp_path: Path) -> None:
    old = Run(shutil.copytree(runs["quotes"].folder, tmp_path / "run"))
    metrics = json.loads((old.folder / "metrics.json").read_text())
    del metrics["orders"]["standing"]
    (old.folder / "metrics.json").write_text(json.dumps(metrics))
    path = old.folder / "fills.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["ahead", "printed"]), path)
    page = html(Run(old.folder), "resting-orders")
    assert "Quotes against the touch" not in page
    assert "Queues of the fills" not in page
    assert "Reports of the venue" in page


def test_how_long_the_queue_is_decides(runs: dict[str, Run], tmp_path: Path) -> None:
    shutil.copytree(runs["quotes"].folder, tmp_path / "run")
    file = tmp_path / "run" / "metrics.json"
    metrics = json.loads(file.read_text())
    for least, decides in ((-(10**9), True), (10**9, False)):
        metrics["account"]["net"] = 2 * 10**9
        metrics["orders"]["bracket"]["through"]["net"] = least
        metrics["orders"]["bracket"]["optimistic"]["net"] = 3 * 10**9
        file.write_text(json.dumps(metrics))
        changed = Run(tmp_path / "run")
        page = html(changed, "resting-orders")
        assert ("a profit is not shown yet" in page) == decides
        compared = compare([changed])
        line = verdict(compared, fields(compared)[0]).queue
        assert line is not None
        assert ("depends on the queue" in line) == decides
        assert (compared.rows[0]["net_through"], compared.rows[0]["net_optimistic"]) == (
            least / 10**9, 3.0,
        )  # fmt: skip


def test_comparisons_show_the_range_of_the_best(
    runs: dict[str, Run], market: Path, tmp_path: Path
) -> None:
    target = target_run(tmp_path, market)
    other = quoting_run(tmp_path, market, quoting="two-sided:away=1")
    compared = compare([runs["quotes"], target, other])
    (field,) = fields(compared)
    assert len(field.members) == 3
    assert compared.rows[1]["net_through"] is None
    assert compared.rows[0]["net_through"] == pytest.approx(
        runs["quotes"].metrics["orders"]["bracket"]["through"]["net"] / UNIT
    )
    best = compared.rows[field.members[0]]
    found = verdict(compared, field)
    assert best["net_optimistic"] is not None
    assert found.queue in found.lines()
    assert f"{best['net_through']:,.2f} USD if they fill only" in str(found.queue)
    assert f"{best['net_optimistic']:,.2f} if nobody is ahead" in str(found.queue)
    page = render_report(compared, load_plugins(entry_points=False), ("verdict",)).html
    assert page.count("if nobody is ahead (optimistic)") == 1
    alone = compare([target])
    assert verdict(alone, fields(alone)[0]).queue is None
    # Under another queue model a run is in a field of its own.
    optimistic = quoting_run(tmp_path, market, fills={"queue": "optimistic"})
    assert len(fields(compare([runs["quotes"], optimistic, other]))) == 2
    assert html(target, "resting-orders", "capacity").count("<h2") == 1  # the capacity


def test_capacity_is_of_orders_that_take(runs: dict[str, Run]) -> None:
    assert material(runs["quotes"]).capacity is None
    assert "depends on the queue" in html(runs["quotes"], "capacity")


def test_the_frame_of_orders(runs: dict[str, Run]) -> None:
    run = runs["quotes"]
    frame = run.orders.collect()
    assert frame.schema["ts_known"] == pl.Datetime("ns", "UTC")
    assert {frame.schema[c] for c in ("symbol", "report", "side")} == {pl.String}
    found = frame.with_columns(pl.col(pl.Datetime).cast(pl.Int64)).to_dicts()
    assert found == table(run, "orders")
    assert all(row["price"] == row["price_half_ticks"] / 200 for row in found)
    filled = frame.filter(pl.col("report").is_in(["filled", "took"]))
    assert (
        filled["lots"].sum()
        == run.fills.filter(pl.col("order") >= 0)
        .select(pl.col("lots").abs().sum())
        .collect()
        .item()
    )


def test_the_network_ends_at_the_venue(market: Path, tmp_path: Path) -> None:
    """The time that an order rested is no latency."""
    latency = {"service": "constant:5ms", "feed": "constant:7ms", "entry": "exponential:10ms"}
    run = quoting_run(tmp_path, market, latency=latency)
    network = pace_of(run).quantiles["network"]
    assert len(network) == len(TAIL)
    assert 7 <= network.min() <= network.max() < 200


def test_tables_with_and_without_what_only_resting_orders_have(
    market: Path, tmp_path: Path
) -> None:
    """Where no order rests, tables read the same, whether they say so on each row or not."""
    run = target_run(tmp_path, market)
    old = Run(shutil.copytree(run.folder, tmp_path / "old"))
    fills = pq.read_table(run.folder / "fills.parquet")
    count = len(fills)
    said = {
        "order": pa.repeat(pa.scalar(-1, pa.int64()), count),
        "maker": pa.repeat(pa.scalar(False), count),
        "ts_arrived": fills["ts_venue"],
        "rest": pa.repeat(pa.scalar(0, pa.int64()), count),
    }
    assert count > 10
    assert not set(said) & set(fills.column_names)
    for name, values in said.items():
        fills = fills.append_column(name, values)
    pq.write_table(fills, old.folder / "fills.parquet")
    path = old.folder / "equity.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["rest"]), path)
    for frame in ("fills", "equity", "positions"):
        now, then = (getattr(r, frame).collect() for r in (run, old))
        assert then.select(now.columns).equals(now)
    for name in ("fills", "equity"):
        now = run.table(name)
        assert old.table(name).select(now.columns).equals(now)
    sections = ("largest-fills", "capacity", "markouts", "latency", "when-and-where", "attribution")
    assert html(old, *sections).replace("old", "") == html(run, *sections).replace("old", "")
    with pytest.raises(DataError, match="its orders do not rest"):
        _ = old.orders


def changed(run: Run, folder: Path, name: str, column: str, values: pa.Array) -> Run:
    copy = Run(shutil.copytree(run.folder, folder))
    path = copy.folder / f"{name}.parquet"
    stored = pq.read_table(path)
    at = stored.column_names.index(column)
    pq.write_table(stored.set_column(at, column, values), path)
    return copy


def damages(run: Run) -> Iterator[tuple[str, str, pa.Array, str]]:
    """Table, column, what it holds instead, and the problem."""
    orders, fills = (pq.read_table(run.folder / f"{n}.parquet") for n in ("orders", "fills"))
    yield "orders", "ts_venue", orders["ts_venue"].combine_chunks()[::-1], "is not ascending"
    yield "orders", "lots", orders["lots"].cast(pa.float64()), "holds double"
    yield "orders", "event", pc.add(orders["event"], 10**6), "none of"
    yield "orders", "report", pa.nulls(len(orders), pa.string()), "lacks"
    yield "fills", "maker", fills["lots"], "holds int64"
    yield "fills", "spread", pc.add(fills["spread"], 1), "do not fit together"
    yield "fills", "lots", pc.multiply(fills["lots"], 0), "of no lots"


def test_damaged_tables_are_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    for k, (name, column, values, problem) in enumerate(damages(runs["quotes"])):
        run = changed(runs["quotes"], tmp_path / f"{k}", name, column, values)
        with pytest.raises(DataError, match=problem):
            _ = run.table(name), material(run).fill_markouts


def test_damaged_figures_are_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    copy = shutil.copytree(runs["quotes"].folder, tmp_path / "run")
    metrics = json.loads((copy / "metrics.json").read_text())
    del metrics["orders"]["bracket"]["through"]
    (copy / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(DataError, match=r"orders\.bracket\.through"):
        open_run(copy)


def test_without_the_dataset_the_rest_is_shown(
    runs: dict[str, Run], market: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(runs["quotes"].folder, tmp_path / "run")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["config"]["dataset"] = str(tmp_path / "gone")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    page = html(Run(copy), "resting-orders")
    assert "No markouts" in page
    _, rows = Tables(page).starting("Picked off in flight")
    assert {row["adverse"] for row in rows} == {"–"}


def test_sums_of_any_size() -> None:
    random = np.random.default_rng(1)
    values: Int64Array = random.integers(-(2**62), 2**62, 1000)
    assert exact_sum(values) == sum(values.tolist())
    factors: Int64Array = random.integers(-(2**40), 2**40, 1000)
    for a in (values, values >> 30, values >> 50):
        expected = sum(x * y for x, y in zip(a.tolist(), factors.tolist(), strict=True))
        assert exact_product(a, factors) == expected


def test_followers_are_of_the_run(runs: dict[str, Run]) -> None:
    assert isinstance(material(runs["quotes"]).fill_markouts, FillMarkouts)
    assert Material(compare([*runs.values()])).fill_markouts is None
