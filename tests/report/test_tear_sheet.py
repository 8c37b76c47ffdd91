"""The tear sheet: every number is that of the run's tables, worked out plainly."""

from __future__ import annotations

import json
import re
import shutil
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from backtest.api import run
from backtest.comparison.comparison import compare
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.market.events import EventBatch
from backtest.plugins.manager import load_plugins
from backtest.plugins.report_sections import when
from backtest.report import trades
from backtest.report.page import render_report
from backtest.report.trades import trades_of
from backtest.runs import tables
from backtest.runs.folder import Run
from backtest.trading.capacity import COLUMNS, LEAST_FILLED, SIZES, CapacityFollower
from backtest.trading.layout import COSTS
from tests.new_york import ZONE, make_run, write_dataset
from tests.stored import charts, table, without_prices

UNIT = 10**9
SINGLE = [
    "Key figures", "Drawdowns", "Exposure and positions", "PnL by day, hour and symbol",
    "Round trips", "Largest fills", "Capacity",
]  # fmt: skip
SECTIONS = ("key-figures", "drawdowns", "exposure", "when-and-where", "round-trips",
            "largest-fills", "capacity")  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run over three days, with buckets of half an hour."""
    folder = tmp_path_factory.mktemp("tear")
    random = np.random.default_rng(3)
    n = 3000
    start = int(datetime(2024, 2, 27, 21, 30, tzinfo=UTC).timestamp()) * 10**9
    symbol = random.integers(0, 11, n).astype(np.int32)
    bid = 1000 + np.cumsum(random.integers(-2, 3, n))
    batch = EventBatch(
        symbol=symbol,
        ts_event=start + np.cumsum(random.integers(1, 170, n)) * 10**9,
        bid=bid,
        ask=bid + 1,
        bid_size=random.integers(1, 9, n),
        ask_size=random.integers(1, 9, n),
    )
    card = Card(name="days", symbols=tuple(f"S{k:02}" for k in range(11)))
    card = card.model_copy(update={"instruments": {}})
    write_canonical(folder / "days", card, [batch])
    text = (folder / "days" / "dataset.toml").read_text()
    terms = '\n[instruments.default]\ntick_size = "0.05"\nlot_size = "4"\nfee_rate = "0.00002"\n'
    (folder / "days" / "dataset.toml").write_text(text + terms)
    return run(
        runs=folder / "runs",
        dataset=str(folder / "days"),
        strategy="imbalance",
        sizing="proportional:gain=5",
        accountant="market:bucket=30min",
        latency={"service": "constant:1s", "entry": "constant:20ms"},
    )


class Tables(HTMLParser):
    """The cells of every table in a page, by its caption."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._into: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self._rows, self._caption = [], [""]
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._into = self._rows[-1]
        elif tag == "caption":
            self._into = self._caption

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "caption"):
            self._into = None
        elif tag == "table":
            self.tables[self._caption[0]] = self._rows

    def starting(self, caption: str) -> tuple[list[str], list[dict[str, str]]]:
        """Headers of the table whose caption begins so, and its rows by header."""
        (name,) = [name for name in self.tables if name.startswith(caption)]
        headers, *rows = self.tables[name]
        return headers, [dict(zip(headers, row, strict=True)) for row in rows]


def html(finished: Run, *sections: str) -> str:
    rendered = render_report(compare([finished]), load_plugins(entry_points=False), sections)
    assert rendered.failures == ()
    return rendered.html


@pytest.fixture(scope="module")
def page(finished: Run) -> str:
    return html(finished, *SECTIONS)


@pytest.fixture(scope="module")
def shown(page: str) -> Tables:
    return Tables(page)


def value(text: str) -> float:
    """The number that a cell begins with."""
    return float(text.replace(",", "").split(" ")[0])


def clock(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 10**9, UTC)


def curve(finished: Run) -> list[tuple[int, float]]:
    """When each bucket ended, and the net cumulated until then."""
    nets: dict[int, int] = defaultdict(int)
    for row in table(finished, "equity"):
        nets[row["ts"]] += row["net"]
    return [(ts, nets[ts] / UNIT) for ts in sorted(nets)]


def plain_trips(finished: Run) -> list[dict[str, Any]]:
    """Round trips of the stored fills, in lots and money, without instruments."""
    held: dict[str, dict[str, Any]] = {}
    ended = []
    for fill in table(finished, "fills"):
        lots, money, fee = fill["lots"], fill["cash"] + fill["fees"], fill["fees"]
        trip = held.get(fill["symbol"])
        if trip is not None and trip["lots"] * lots < 0 and abs(lots) > abs(trip["lots"]):
            share = abs(trip["lots"]) / abs(lots)
            part = round(money * share) - int(fee * share)
            ended.append(held.pop(fill["symbol"]) | {"exit": fill["ts_venue"]})
            ended[-1]["net"] += part
            lots += trip["lots"]
            money, fee = money - round(money * share), fee - int(fee * share)
            trip = None
        if trip is None:
            trip = held[fill["symbol"]] = {
                "symbol": fill["symbol"], "entry": fill["ts_venue"], "lots": 0, "net": 0,
                "side": "long" if lots > 0 else "short",
            }  # fmt: skip
        trip["lots"] += lots
        trip["net"] += money - fee
        if trip["lots"] == 0:
            ended.append(held.pop(fill["symbol"]) | {"exit": fill["ts_venue"]})
    assert not held
    return ended


def test_only_a_single_run_has_a_tear_sheet(finished: Run, finished_runs: Path) -> None:
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", html(finished))
    assert [title for title in titles if title in SINGLE] == SINGLE
    assert not {"Leaderboard", "Speed, accuracy and PnL"} & set(titles)
    runs = [Run(path) for path in sorted(finished_runs.glob("imbalance-*"))[:2]]
    both = render_report(compare(runs), load_plugins(entry_points=False)).html
    assert not set(re.findall(r"<h2[^>]*>([^<]*)</h2>", both)) & set(SINGLE)


def test_title_and_subtitle_say_which_run(finished: Run, page: str) -> None:
    assert "<h1>Tear sheet: imbalance on days</h1>" in page
    assert re.search(rf"Run {finished.id} from 2024-02-27 21:\d\d:\d\d to 2024-03-01 ", page)


def test_the_same_run_gives_the_same_bytes(finished: Run, page: str) -> None:
    assert html(Run(finished.folder), *SECTIONS) == page


def test_key_figures(finished: Run, shown: Tables, page: str) -> None:
    account = finished.metrics["account"]
    rows = shown.starting("Money, USD")[1] + shown.starting("Trading and speed")[1]
    found = {row["figure"]: row["value"] for row in rows}
    for name in ("net", "decision", "ideal", *COSTS):
        assert value(found.get(name, "0")) == pytest.approx(account[name] / UNIT, abs=0.005)
    fills, trips = table(finished, "fills"), plain_trips(finished)
    turnover = sum(abs(f["cash"] + f["fees"]) for f in fills)
    assert value(found["turnover"]) == pytest.approx(turnover / UNIT, abs=0.005)
    per = 1e4 * account["net"] / turnover
    assert value(found["net per notional traded, basis points"]) == pytest.approx(per, abs=0.005)
    assert value(found["fills"]) == len(fills)
    assert value(found["lots traded"]) == sum(abs(f["lots"]) for f in fills)
    assert value(found["round trips"]) == len(trips)
    won = 100 * sum(trip["net"] > 0 for trip in trips) / len(trips)
    assert value(found["round trips with a profit"]) == pytest.approx(won, abs=0.05)
    events = table(finished, "timing")
    days = (events[-1]["ts_event"] - events[0]["ts_event"]) / (86400 * 10**9)
    assert f"No Sharpe, Sortino and Calmar ratios: the window spans {days:.1f} days" in page
    assert "Sharpe" not in found


def test_drawdowns(finished: Run, shown: Tables) -> None:
    points = curve(finished)
    found: list[tuple[float, int, int, int | None]] = []
    peak, at = 0.0, points[0][0] - 30 * 60 * 10**9
    low: tuple[int, float] | None = None
    for ts, net in points:
        if net >= peak:
            if low is not None:
                found.append((peak - low[1], at, low[0], ts))
            peak, at, low = net, ts, None
        elif low is None or net < low[1]:
            low = (ts, net)
    if low is not None:
        found.append((peak - low[1], at, low[0], None))
    found.sort(key=lambda d: -d[0])
    _, rows = shown.starting("The deepest drawdowns")
    assert len(rows) == min(len(found), 10) > 1
    for row, (depth, begin, bottom, recovery) in zip(rows, found, strict=False):
        assert value(row["depth, USD"]) == pytest.approx(-depth, abs=0.005)
        assert row["begin"] == f"{clock(begin):%Y-%m-%d %H:%M:%S}"
        assert row["bottom"] == f"{clock(bottom):%Y-%m-%d %H:%M:%S}"
        expected = "not recovered" if recovery is None else f"{clock(recovery):%Y-%m-%d %H:%M:%S}"
        assert row["recovery"] == expected


def test_exposure(finished: Run, page: str) -> None:
    gross: dict[int, float] = defaultdict(float)
    net: dict[int, float] = defaultdict(float)
    sizes: dict[str, float] = defaultdict(float)
    lines: dict[str, dict[int, float]] = defaultdict(dict)
    for row in table(finished, "equity"):
        held = row["position"] * (row["mid_half_ticks"] or 0) * 0.025 * 4
        gross[row["ts"]] += abs(held)
        net[row["ts"]] += held
        sizes[row["symbol"]] += abs(held)
        lines[row["symbol"]][row["ts"]] = held
    drawn = charts(page)
    both = drawn.pop("Value of all positions at the mid")
    for series, of in zip(both["series"], (gross, net), strict=True):
        times = [round(x * 1e9, -3) for x in both["xs"][series["x"]]]
        assert times == pytest.approx(sorted(of), abs=1000)
        assert series["y"] == pytest.approx([of[ts] for ts in sorted(of)], rel=1e-4, abs=1e-9)
    largest = sorted(sizes, key=lambda name: -sizes[name])[:8]
    positions = {n: c for n, c in drawn.items() if n.startswith("Position in ")}
    assert list(positions) == [f"Position in {name}" for name in largest]
    for name in largest:
        (series,) = positions[f"Position in {name}"]["series"]
        expected = [lines[name][ts] for ts in sorted(lines[name])]
        assert series["y"] == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert "the 8 largest of 11" in page


def test_by_day_and_hour(finished: Run, shown: Tables) -> None:
    for name, label in (("day", "%Y-%m-%d"), ("hour", "%H:00")):
        net: dict[str, float] = defaultdict(float)
        before = 0.0
        for ts, total in curve(finished):
            net[f"{clock(ts - 1):{label}}"] += total - before
            before = total
        counts: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0, 0.0])
        for trip in plain_trips(finished):
            of = counts[f"{clock(trip['exit']):{label}}"]
            of[0] += 1
            of[1] += trip["net"] / UNIT
        for fill in table(finished, "fills"):
            of = counts[f"{clock(fill['ts_venue']):{label}}"]
            of[2] += 1
            of[3] += abs(fill["cash"] + fill["fees"]) / UNIT
        _, rows = shown.starting(f"PnL by {name}")
        assert [row[name] for row in rows] == sorted({*net, *counts})
        for row in rows:
            figures = [row[c] for c in ("net", "round trips", "realised", "fills", "turnover")]
            expected = [net[row[name]], *counts[row[name]]]
            assert [value(text) for text in figures] == pytest.approx(expected, abs=0.0051)
        total = finished.metrics["account"]["net"] / UNIT
        for column in ("net", "realised"):
            assert sum(value(row[column]) for row in rows) == pytest.approx(total, abs=0.15)


def test_clocks_are_those_of_the_market(tmp_path: Path) -> None:
    """New York's, over the end of daylight saving time; the zone is named where they are shown."""
    finished = make_run(tmp_path / "runs", write_dataset(tmp_path / "data"))
    text = html(finished)
    shown = Tables(text)

    def local(ns: int) -> datetime:
        return datetime.fromtimestamp(ns // 10**9, ZoneInfo(ZONE))

    fills, trips = table(finished, "fills"), plain_trips(finished)
    for name, label in (("day", "%Y-%m-%d"), ("hour", "%H:00")):
        counts: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
        for fill in fills:
            counts[f"{local(fill['ts_venue']):{label}}"][0] += 1
        for trip in trips:
            of = counts[f"{local(trip['exit']):{label}}"]
            of[1], of[2] = of[1] + 1, of[2] + trip["net"] / UNIT
        _, rows = shown.starting(f"PnL by {name}, USD, {ZONE}")
        assert [row[name] for row in rows] == sorted(counts)
        for row in rows:
            found = [value(row[c]) for c in ("fills", "round trips", "realised")]
            assert found == pytest.approx(counts[row[name]], abs=0.0051)
        total = finished.metrics["account"]["net"] / UNIT
        assert sum(value(row["net"]) for row in rows) == pytest.approx(total, abs=0.3)
    ends = table(finished, "timing")[0]["ts_event"], table(finished, "equity")[-1]["ts"]
    first, last = (f"{local(ns):%Y-%m-%d %H:%M:%S}" for ns in ends)
    assert f"Run {finished.id} from {first} to {last} {ZONE}" in text
    order = sorted(range(len(fills)), key=lambda k: (-abs(fills[k]["cash"] + fills[k]["fees"]), k))
    _, rows = shown.starting("By notional")
    for row, fill in zip(rows, (fills[k] for k in order), strict=False):
        assert row["event"].startswith(f"{local(fill['ts_event']):%Y-%m-%d %H:%M:%S}")
    assert f"event: when it happened, {ZONE}" in text
    assert shown.starting(f"The deepest drawdowns, measured at the ends of time buckets, {ZONE}")
    _, (seen,) = shown.starting(f"Data seen; times in {ZONE}")
    assert seen["first event"].startswith(first)
    of_time = [data["x"] for data in charts(text).values() if data["x"]["kind"] == "time"]
    assert len(of_time) > 5
    assert {axis["zone"] for axis in of_time} == {ZONE}
    assert {axis["title"] for axis in of_time} == {f"time ({ZONE})"}
    assert "UTC" not in text.partition("What was run")[0].partition("<main")[2]


def test_a_long_run_is_shown_by_month(
    finished: Run, shown: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, days = shown.starting("PnL by day")
    monkeypatch.setattr(when, "MOST_DAYS", len(days) - 1)
    _, months = Tables(html(finished, "when-and-where")).starting("PnL by month")
    assert [row["month"] for row in months] == ["2024-02", "2024-03"]
    for row in months:
        of = [day for day in days if day["day"].startswith(row["month"])]
        for column in ("net", "round trips", "realised", "fills", "turnover"):
            total = sum(value(day[column]) for day in of)
            assert value(row[column]) == pytest.approx(total, abs=0.03)


def test_without_a_net_by_hour_there_is_no_column_of_it(
    finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(when, "gains_by_hour", lambda earned: None)
    text = html(finished, "when-and-where")
    headers, _ = Tables(text).starting("PnL by hour")
    assert headers == ["hour", "round trips", "realised", "fills", "turnover"]
    assert "longer than an hour" in text


def test_by_symbol(finished: Run, shown: Tables) -> None:
    trips, fills = plain_trips(finished), table(finished, "fills")
    _, rows = shown.starting("PnL by symbol")
    assert {row["symbol"] for row in rows} == {fill["symbol"] for fill in fills}
    for row in rows:
        mine = [fill for fill in fills if fill["symbol"] == row["symbol"]]
        ended = [trip for trip in trips if trip["symbol"] == row["symbol"]]
        assert value(row["net"]) == pytest.approx(sum(f["cash"] for f in mine) / UNIT, abs=0.005)
        for name in COSTS:
            total = -sum(f[name] for f in mine) / UNIT
            assert value(row.get(name, "0")) == pytest.approx(total, abs=0.005)
        assert (value(row["fills"]), value(row["round trips"])) == (len(mine), len(ended))
        won = 100 * sum(trip["net"] > 0 for trip in ended) / len(ended)
        assert value(row["won"]) == pytest.approx(won, abs=0.51)
    assert [value(row["net"]) for row in rows] == sorted(
        (value(row["net"]) for row in rows), reverse=True
    )


def test_round_trips(finished: Run, shown: Tables, page: str) -> None:
    _, rows = shown.starting("Round trips")
    figures = {row["figure"]: row for row in rows}
    for side in ("all", "long", "short"):
        trips = [t for t in plain_trips(finished) if side in ("all", t["side"])]
        nets = np.array([trip["net"] for trip in trips]) / UNIT
        held = np.array([trip["exit"] - trip["entry"] for trip in trips]) / 1e9
        expected = {
            "round trips": len(trips),
            "with a profit": 100 * np.mean(nets > 0),
            "net": nets.sum(),
            "mean net": nets.mean(),
            "median net": np.quantile(nets, 0.5, method="inverted_cdf"),
            "mean profit": nets[nets > 0].mean(),
            "mean loss": nets[nets < 0].mean(),
            "profit factor": -nets[nets > 0].sum() / nets[nets < 0].sum(),
            "best": nets.max(),
            "worst": nets.min(),
        }
        for name, number in expected.items():
            assert value(figures[name][side]) == pytest.approx(number, rel=0.01, abs=0.051), name
        for name, q in (("median holding time", 0.5), ("holding time, 90th percentile", 0.9)):
            amount, unit = figures[name][side].split(" ")
            seconds = value(amount) * {"s": 1, "min": 60, "h": 3600}[unit]
            exact = np.quantile(held, q, method="inverted_cdf")
            assert seconds == pytest.approx(exact, rel=0.01)
    for title in ("Net of a round trip", "Holding time of a round trip"):
        (series,) = charts(page)[title]["series"]
        assert sum(series["y"][:-1]) == len(plain_trips(finished))


def test_the_largest_fills(finished: Run, shown: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    fills = table(finished, "fills")
    order = sorted(range(len(fills)), key=lambda k: (-abs(fills[k]["cash"] + fills[k]["fees"]), k))
    _, rows = shown.starting(f"By notional, the 200 largest of {len(fills):,} fills")
    assert len(rows) == 200 < len(fills)
    for row, fill in zip(rows, (fills[k] for k in order), strict=False):
        assert row["event"].startswith(f"{clock(fill['ts_event']):%Y-%m-%d %H:%M:%S}")
        assert (row["symbol"], value(row["lots"])) == (fill["symbol"], fill["lots"])
        assert value(row["price"]) == pytest.approx(fill["price_half_ticks"] * 0.025)
        stages = {"receipt": "received", "begin": "begun", "end": "ended", "venue": "venue"}
        for header, column in stages.items():
            if fill["event"] < 0:
                assert row[f"{header}, ms"] == "–"
                continue
            ms = (fill[f"ts_{column}"] - fill["ts_event"]) / 1e6
            assert value(row[f"{header}, ms"]) == pytest.approx(ms, abs=0.0005)
        for name in ("decision", *COSTS):
            cell = row.get(name, "0")
            assert value(cell) == pytest.approx(fill[name] / UNIT, rel=0.01, abs=1e-9)
    # Cut in pieces of any length, they are the same.
    whole = trades_of(finished)
    monkeypatch.setattr(tables, "PIECE_ROWS", 37)
    pieces = trades_of(finished)
    assert whole is not None
    assert pieces is not None
    assert whole.largest == pieces.largest
    monkeypatch.setattr(trades, "MOST_FILLS", 3)
    few = trades_of(finished)
    assert few is not None
    assert few.largest == whole.largest[:3]


def test_capacity(finished: Run, shown: Tables, page: str) -> None:
    found, drawn = CapacityFollower(), charts(page)
    for piece in finished.pieces("fills", COLUMNS):
        found.add(piece)
    capacity = found.capacity()
    assert capacity is not None
    rows = shown.tables["PnL against size; money in USD"][1:]
    assert [row[0] for row in rows] == [f"{size:,} ×" for size in SIZES]
    assert rows[0][1] == f"{finished.metrics['account']['net'] / UNIT:,.2f}"
    assert rows[0][3] == "100.0 %"
    for k, (row, size) in enumerate(zip(rows, SIZES, strict=True)):
        share = value(row[3].removesuffix(" %"))
        assert share == pytest.approx(100 * capacity.traded[k], abs=0.05)
        net, point = capacity.net[k] / UNIT, drawn["PnL against size"]["series"][0]["y"][k]
        if capacity.traded[k] < LEAST_FILLED:
            assert (row[1], row[2], point) == ("–", "–", None)
        else:
            assert value(row[1]) == pytest.approx(net, abs=0.005)
            assert value(row[2]) == pytest.approx(net / size, abs=0.005)
            assert point == pytest.approx(net, rel=1e-4)


def test_an_old_run_has_no_capacity(finished: Run, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(finished.folder, old)
    fills = pq.read_table(old / "fills.parquet")
    pq.write_table(fills.drop_columns(["displayed", "taken"]), old / "fills.parquet")
    assert "Capacity" not in html(Run(old), "capacity", "round-trips")


def test_an_old_run_shows_lots_instead_of_values(finished: Run, tmp_path: Path) -> None:
    text = html(without_prices(finished, tmp_path), *SECTIONS)
    assert "values in currency are not known" in text
    drawn = charts(text)
    assert "Value of all positions at the mid" not in drawn
    name = next(name for name in drawn if name.startswith("Position in "))
    (series,) = drawn[name]["series"]
    lots = {
        row["ts"]: row["position"]
        for row in table(finished, "equity")
        if row["symbol"] == name.removeprefix("Position in ")
    }
    assert series["y"] == [lots[ts] for ts in sorted(lots)]
    assert drawn[name]["y"]["title"] == "lots"


def test_runs_without_trades_have_what_can_be_shown(small_dataset: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"dataset": str(small_dataset), "strategy": "imbalance"}
    paid = run(runs=tmp_path, accountant="challenge", latency={"service": "constant:1ms"}, **common)
    silent = run(runs=tmp_path, latency={"service": "constant:1h"}, undropped=False, **common)
    assert not pc.any(pc.is_valid(pq.read_table(silent.folder / "fills.parquet")["event"])).as_py()
    for finished, titles in ((paid, SINGLE[:2]), (silent, SINGLE[:1])):
        text = html(finished)
        found = re.findall(r"<h2[^>]*>([^<]*)</h2>", text)
        assert [title for title in found if title in SINGLE] == titles
        assert ">nan<" not in text.lower()


def test_an_account_of_another_kind_is_shown_as_far_as_it_goes(
    finished: Run, tmp_path: Path
) -> None:
    """An accountant of one's own need not give figures by symbol, or lots."""
    shutil.copytree(finished.folder, tmp_path / "own")
    metrics = json.loads((tmp_path / "own" / "metrics.json").read_text())
    for name in ("by_symbol", "lots_traded", "turnover", "exposure", *COSTS):
        del metrics["account"][name]
    (tmp_path / "own" / "metrics.json").write_text(json.dumps(metrics))
    shown = Tables(html(Run(tmp_path / "own"), *SECTIONS))
    figures = {row["figure"] for row in shown.starting("Trading and speed")[1]}
    assert {"fills", "round trips"} <= figures
    assert not {"lots traded", "turnover"} & figures
    assert not any(name.startswith("PnL by symbol") for name in shown.tables)
    assert shown.starting("PnL by day")[1]


def test_longer_histories_take_no_more_memory(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same fills again and again: each time all positions are closed in the end."""
    monkeypatch.setattr(tables, "PIECE_ROWS", 512)
    stored = pq.read_table(finished.folder / "fills.parquet")
    peaks, counts = [], []
    for times in (2, 40):
        folder = tmp_path / str(times)
        shutil.copytree(finished.folder, folder)
        pq.write_table(
            pa.concat_tables([stored] * times), folder / "fills.parquet", row_group_size=512
        )
        trades_of(Run(folder))  # what is compiled and imported stays
        tracemalloc.start()
        before, most = pa.total_allocated_bytes(), 0

        class Watched(Run):
            def pieces(self, *asked: Any) -> Iterator[pa.RecordBatch]:
                nonlocal most
                for piece in super().pieces(*asked):
                    most = max(most, pa.total_allocated_bytes() - before)  # noqa: B023
                    yield piece

        made = trades_of(Watched(folder))
        trips = Run(folder).round_trips.select(pl.len(), pl.col("net").sum())
        counts.append(trips.collect(engine="streaming").row(0))
        peaks.append(tracemalloc.get_traced_memory()[1] + most)
        tracemalloc.stop()
        assert made is not None
        assert made.fills == times * len(stored)
        assert counts[-1][0] == made.trips.count
    assert counts[1][0] == 20 * counts[0][0]
    assert peaks[1] - peaks[0] < 8 * 38 * len(stored) / 2  # not half a column of int64
