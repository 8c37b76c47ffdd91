"""Statistics of a market that closes, worked out anew from run folders and the card, plainly."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import backtest
from backtest.comparison.comparison import compare
from backtest.comparison.drawdowns import RollingSharpe, rolling_sharpe
from backtest.comparison.fields import contests
from backtest.comparison.figures import not_annualised, sharpe
from backtest.comparison.intervals import total_difference
from backtest.comparison.profits import Profits, gains, profits
from backtest.core.arrays import Int64Array
from backtest.data.dataset import open_dataset
from backtest.errors import DataError
from backtest.market.calendar import MarketHours
from backtest.plugins.accountants.market import MarketAccountant
from backtest.report.tear_sheet import gains_by_day, gains_by_hour
from backtest.runs.folder import Run, open_run
from tests.new_york import ZONE, make_run, write_dataset

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
UNIT = 10**9


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("york") / "data")


@dataclass(frozen=True)
class Clockwork(MarketAccountant):
    """Buckets of one length by the clock, also where the market is closed, as they once were."""

    def bucket_ends(self, start: int, end: int, hours: MarketHours) -> Int64Array:
        assert self.bucket is not None
        return np.append(np.arange(start + self.bucket, end, self.bucket, dtype=np.int64), end)


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """In buckets by the clock: shorter than a night, some that span it, and with another sizing;
    then in buckets of open time: with a short one before each close, and all alike."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder, dataset, accountant="clockwork:bucket=50min", plugins=[Clockwork]),
        make_run(folder, dataset, accountant="clockwork:bucket=1500min", plugins=[Clockwork]),
        make_run(
            folder,
            dataset,
            accountant="clockwork:bucket=50min",
            plugins=[Clockwork],
            sizing="sign:lots=2",
        ),
        make_run(folder, dataset),
        make_run(folder, dataset, accountant="market"),
    ]


def sessions_of(run: Run) -> list[tuple[int, int]]:
    """The card's, whatever the run's folder says of them."""
    held = open_dataset(run.manifest["config"]["dataset"]).card.calendar.sessions
    assert held is not None
    return list(held)


def open_time(held: Iterable[tuple[int, int]], start: int, end: int) -> int:
    return sum(max(0, min(closes, end) - max(opens, start)) for opens, closes in held)


def observed(run: Run) -> list[tuple[int, int, float]]:
    """Of each bucket with open time: its last open instant, its open time, what was earned."""
    nets: dict[int, int] = defaultdict(int)
    stored = pq.read_table(run.folder / "equity.parquet")
    columns = stored["ts"].cast("int64").to_pylist(), stored["net"].to_pylist()
    for ts, net in zip(*columns, strict=True):
        nets[ts] += net
    timing = pq.read_table(run.folder / "timing.parquet")
    begin = timing["ts_event"].cast("int64").to_pylist()[0]
    held = sessions_of(run)
    found: list[tuple[int, int, int]] = []
    carried = before = 0
    for end in sorted(nets):
        carried += nets[end] - before
        before = nets[end]
        length = open_time(held, begin, end)
        if length:
            last = max(min(closes, end) for opens, closes in held if opens < end)
            found.append((last, length, carried))
            carried = 0
        begin = end
    last, length, gained = found[-1]
    found[-1] = last, length, gained + carried
    return [(last, length, gained / UNIT) for last, length, gained in found]


def plain_year(run: Run) -> float:
    """Open ns of a year: of the whole weeks from the first session on, no session over midnight."""
    lengths: dict[date, int] = defaultdict(int)
    for opens, closes in sessions_of(run):
        lengths[datetime.fromtimestamp(opens / 1e9, ZoneInfo(ZONE)).date()] += closes - opens
    first, last = min(lengths), max(lengths)
    weeks = ((last - first).days + 1) // 7
    within = sum(v for day, v in lengths.items() if (day - first).days < 7 * weeks)
    return within / weeks * 365.25 / 7


@pytest.mark.parametrize("k", range(5))
def test_buckets_are_of_open_time(runs: list[Run], k: int) -> None:
    raw = profits(runs[k])
    found, expected = raw.while_open(), observed(runs[k])
    assert (len(expected) < len(raw.ends)) == (k < 3)
    assert found.ends.tolist() == [end for end, _, _ in expected]
    assert np.diff(found.net, prepend=0.0) == pytest.approx([g for _, _, g in expected])
    assert found.open_ns == raw.open_ns == sum(length for _, length, _ in expected)
    account = runs[k].metrics["account"]
    assert found.net[-1] == pytest.approx(account["net"] / UNIT)
    for end, _, _ in expected:
        assert any(opens < end <= closes for opens, closes in sessions_of(runs[k]))
    again = found.while_open()
    assert (again.ends.tolist(), again.net.tolist()) == (found.ends.tolist(), found.net.tolist())


@pytest.mark.parametrize("k", range(5))
def test_figures(runs: list[Run], k: int) -> None:
    buckets = observed(runs[k])
    gained = [g for _, _, g in buckets]
    periods = plain_year(runs[k]) / fmean(length for _, length, _ in buckets)
    row = compare([runs[k]]).rows[0]
    assert row["sharpe"] == pytest.approx(fmean(gained) / stdev(gained) * sqrt(periods), rel=1e-9)
    downside = sqrt(fmean(min(g, 0.0) ** 2 for g in gained))
    assert row["sortino"] == pytest.approx(fmean(gained) / downside * sqrt(periods), rel=1e-9)
    assert row["calmar"] == pytest.approx(fmean(gained) * periods / row["drawdown"], rel=1e-9)
    won, lost = [g for g in gained if g > 0], [g for g in gained if g < 0]
    assert row["hit_rate"] == pytest.approx(len(won) / (len(won) + len(lost)))
    assert row["profit_factor"] == pytest.approx(-sum(won) / sum(lost))
    assert row["drawdown"] == pytest.approx(runs[k].metrics["account"]["max_drawdown"] / UNIT)


@pytest.mark.parametrize("k", [3, 4])
def test_buckets_end_at_each_close(runs: list[Run], k: int) -> None:
    """Those of a given length begin anew at each opening; else each session is cut evenly."""
    run = runs[k]
    begin = pq.read_table(run.folder / "timing.parquet")["ts_event"].cast("int64").to_pylist()[0]
    expected = []
    for opens, closes in sessions_of(run):
        first = max(opens, begin)
        if k == 3:
            ends = [*range(first + 50 * MINUTE, closes, 50 * MINUTE), closes]
        else:
            cut = 15 if first == opens else 14  # the 500th of 34 sessions is 26.4 minutes
            ends = [first + (closes - first) * part // cut for part in range(1, cut + 1)]
        expected += ends
    last = pq.read_table(run.folder / "timing.parquet")["ts_event"].cast("int64").to_pylist()[-1]
    expected[-1] = last + 1
    stored = pq.read_table(run.folder / "equity.parquet")["ts"].cast("int64").to_pylist()
    assert sorted(set(stored)) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("k", range(5))
def test_exposure_is_weighted_by_open_time(runs: list[Run], k: int) -> None:
    run = runs[k]
    stored = pq.read_table(run.folder / "equity.parquet").to_pylist()
    worth = {row["symbol"]: 5_000_000 for row in stored}  # of a lot and half a tick of 0.01
    values: dict[int, int] = defaultdict(int)
    for row in stored:
        values[row["ts"].value] += (
            abs(row["position"] * (row["mid_half_ticks"] or 0)) * worth[row["symbol"]]
        )
    timing = pq.read_table(run.folder / "timing.parquet")
    edges = [timing["ts_event"].cast("int64").to_pylist()[0], *sorted(values)]
    held = sessions_of(run)
    spans = [open_time(held, a, b) for a, b in pairwise(edges)]
    # The table's last row is what is left after closing, which the last bucket counts before.
    del values[edges[-1]]
    partial = sum(values[end] * span for end, span in zip(edges[1:-1], spans[:-1], strict=True))
    found = run.metrics["account"]["exposure"] * sum(spans)
    assert found > 0
    assert partial - sum(spans) * len(worth) <= found
    assert found - partial < max(values.values()) * 2 * spans[-1] + sum(spans) * len(worth)


def test_points_are_in_buckets_of_open_time(runs: list[Run], tmp_path: Path, dataset: Path) -> None:
    """The points of the night belong to the next session's first bucket."""
    shutil.copytree(runs[3].folder, tmp_path / "points")
    times = np.sort(np.array(pq.read_table(runs[3].folder / "timing.parquet")["ts_event"]))
    points = np.random.default_rng(3).normal(size=len(times))
    table = pa.table({"ts": pa.array(times, pa.timestamp("ns", "UTC")), "points": points})
    pq.write_table(table, tmp_path / "points" / "points.parquet")
    metrics = json.loads((tmp_path / "points" / "metrics.json").read_text())
    metrics["account"] = {"net_points": float(points.sum())}
    (tmp_path / "points" / "metrics.json").write_text(json.dumps(metrics))
    found = profits(open_run(tmp_path / "points"))
    closes = [closes for _, closes in sessions_of(runs[3])][:-1]
    assert set(closes) <= set(found.ends.tolist())
    assert len(found.ends) == 14 + 15 * 33
    for end, net in zip(found.ends.tolist(), found.net.tolist(), strict=True):
        assert net == pytest.approx(points[times.astype(np.int64) < end].sum())
    assert found.net[-1] == pytest.approx(points.sum())


def test_short_buckets_bias_no_annualised_ratio() -> None:
    """Independent minutes with a Sharpe ratio of 2 a year, in hours with half an hour at the end
    of each session, come to the ratio of equal half hours, in which chance alone differs."""
    minutes, year = 390, 390 * 365.25 / 7 * 5
    random = np.random.default_rng(5)
    gained = random.normal(2 / np.sqrt(year), 1.0, (400, 100, minutes))
    held = np.array([[k * 24 * HOUR, k * 24 * HOUR + minutes * MINUTE] for k in range(100)])
    hours = MarketHours("UTC", held, minutes * MINUTE, round(year * MINUTE))
    ratios = []
    for length in (60, 30):
        ends = hours.bucket_ends(0, int(held[-1, 1]), length * MINUTE)
        cuts = [*range(0, minutes, length)]
        net = np.cumsum(np.add.reduceat(gained, cuts, axis=2).reshape(400, -1), axis=1)
        earned = [Profits(ends, one, "USD", hours) for one in net]
        assert len(ends) == 100 * len(cuts)
        ratios.append([sharpe(np.diff(one.net, prepend=0.0), one.periods) for one in earned])
    short, equal = (np.array(of, dtype=np.float64) for of in ratios)
    error = (short - equal).std() / np.sqrt(len(short))
    assert abs((short - equal).mean()) < 3 * error
    assert equal.mean() == pytest.approx(2, abs=4 * equal.std() / 20)


def test_contests_are_of_open_time(runs: list[Run]) -> None:
    compared = compare([runs[0], runs[2]])
    mine, other = ([g for _, _, g in observed(run)] for run in compared.runs)
    assert gains(list(compared.profits)) == pytest.approx(np.array([mine, other]))
    (contest,) = contests(compared, 0, [1])
    plain = total_difference(np.array(mine), np.array(other))
    assert contest.difference.buckets == len(mine)
    assert contest.difference.value == pytest.approx(plain.value)
    assert contest.difference.low == pytest.approx(plain.low)
    assert contest.difference.high == pytest.approx(plain.high)
    days = sum(length for _, length, _ in observed(runs[0])) / (6.5 * HOUR)
    assert contest.per == "a day"
    assert contest.rate == pytest.approx(1 / days)


def test_by_day_and_hour(runs: list[Run]) -> None:
    days: dict[int, float] = defaultdict(float)
    hours: dict[int, float] = defaultdict(float)
    for end, _, gained in observed(runs[0]):
        shown = datetime.fromtimestamp((end - 1) // 10**9, ZoneInfo(ZONE))
        days[(shown.date() - date(1970, 1, 1)).days] += gained
        hours[shown.hour] += gained
    earned = profits(runs[0])
    assert gains_by_day(earned) == pytest.approx(days)
    assert gains_by_hour(earned) == pytest.approx(hours)
    assert len(days) == 34
    assert sorted(hours) == [9, 10, 11, 12, 13, 14, 15]


def weekdays(count: int, buckets: int) -> Profits:
    """Random profits of a window of so many sessions, from a Monday on, in whole hours."""
    monday = 19_723 * 24  # 1 January 2024, in hours since 1970
    opens = np.array([monday + 24 * (k // 5 * 7 + k % 5) + 10 for k in range(count)]) * HOUR
    held = np.stack([opens, opens + 6 * HOUR], axis=1)
    ends = np.concatenate([opens + hour * HOUR for hour in range(1, 7)])
    ends = np.sort(np.append(ends, opens + 20 * HOUR))
    gained = np.random.default_rng(0).normal(1.0, 5.0, len(ends)) * (np.arange(len(ends)) % 7 < 6)
    hours = MarketHours.of_sessions("UTC", held)
    return Profits(ends[:buckets], np.cumsum(gained)[:buckets], "USD", hours)


def test_short_windows_are_counted_in_open_time() -> None:
    """Nineteen sessions last 25 days by the calendar, and are not enough."""
    reason = "the window spans 19.0 trading days, fewer than 20 trading days"
    assert not_annualised(weekdays(19, 1000)) == reason
    assert not_annualised(weekdays(20, 1000)) is None
    assert not_annualised(weekdays(1, 3)) == (
        "the window spans 180.0 minutes, fewer than 20 trading days"
    )


def test_the_rolling_ratio_is_of_open_time() -> None:
    assert rolling_sharpe(weekdays(39, 1000)) == (
        "the window spans 39 trading days, fewer than twice 20 trading days"
    )
    earned = weekdays(60, 1000)
    found = rolling_sharpe(earned)
    assert isinstance(found, RollingSharpe)
    assert found.days == 20
    kept = np.flatnonzero(np.arange(len(earned.ends)) % 7 < 6)
    gained = np.diff(earned.net[kept], prepend=0.0)
    assert len(found.ends) == len(gained) - 119
    for k, ratio in enumerate(found.ratio):
        window = gained[k : k + 120]
        expected = window.mean() / window.std(ddof=1) * sqrt(5 * 6 * 365.25 / 7)
        assert ratio == pytest.approx(expected, rel=1e-9)
        assert found.ends[k] == earned.ends[kept][k + 119]


def test_a_window_that_was_never_open_counts_whole() -> None:
    closed = MarketHours.of_sessions("UTC", np.array([[1000, 2000]]))
    earned = Profits(np.array([10, 20, 30]), np.array([1.0, 3.0, 2.0]), "USD", closed)
    found = earned.while_open()
    assert found.ends.tolist() == [10, 20, 30]
    assert found.net.tolist() == [1.0, 3.0, 2.0]
    assert (found.hours.always, found.open_ns) == (True, 30)


def manifest_with(run: Run, folder: Path, change: Any) -> Path:
    shutil.copytree(run.folder, folder)
    table = json.loads((folder / "manifest.json").read_text())
    change(table)
    (folder / "manifest.json").write_text(json.dumps(table))
    return folder


def test_older_runs_count_the_whole_window_in_utc(runs: list[Run], tmp_path: Path) -> None:
    old = open_run(manifest_with(runs[0], tmp_path / "old", lambda table: table.pop("calendar")))
    assert (old.hours.zone, old.hours.always) == ("UTC", True)
    raw = profits(old)
    assert raw.while_open() is raw
    assert raw.ends.tolist() == profits(runs[0]).ends.tolist()
    assert old.fills.collect_schema()["ts_venue"] == pl.Datetime("ns", "UTC")
    assert compare([old, runs[0]]).zone == "UTC"
    assert compare(runs).zone == ZONE


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("zone", "Mars", "calendar.zone: 'Mars' is not a time zone"),
        ("sessions", [[5, 1]], "calendar.sessions: are not in order"),
        ("sessions", [[1, 5], [4, 6]], "calendar.sessions: are not in order"),
        ("open_ns_a_day", 0, "calendar.open_ns_a_day"),
    ],
)
def test_a_calendar_that_makes_no_sense_is_refused(
    runs: list[Run], tmp_path: Path, key: str, value: Any, problem: str
) -> None:
    path = manifest_with(
        runs[0], tmp_path / "bad", lambda table: table["calendar"].update({key: value})
    )
    with pytest.raises(DataError, match=problem.replace(".", r"\.")):
        open_run(path)


def test_a_zone_determines_no_run(runs: list[Run], dataset: Path, tmp_path: Path) -> None:
    """The card without it, as ingest writes it, gives the same id and the same results."""
    plain = write_dataset(tmp_path / "data", zone=None)
    assert "zone" not in (plain / "dataset.toml").read_text()
    assert open_dataset(plain).data_hash() == open_dataset(dataset).data_hash()
    again = make_run(tmp_path / "runs", plain)
    assert (again.id, again.digest) == (runs[3].id, runs[3].digest)
    assert again.hours.zone == "UTC"
    text = (plain / "dataset.toml").read_text()
    (plain / "dataset.toml").write_text(text.replace("[calendar]", '[calendar]\nzone = "UTC"'))
    assert open_dataset(plain).data_hash() == open_dataset(dataset).data_hash()


def test_a_card_with_nothing_but_a_zone(tmp_path: Path) -> None:
    hashes = {
        open_dataset(write_dataset(tmp_path / str(zone), zone=zone, closes=False)).data_hash()
        for zone in (None, ZONE, "Asia/Tokyo")
    }
    assert len(hashes) == 1


def test_frames_have_the_clocks_of_the_zone(runs: list[Run]) -> None:
    run = runs[0]
    stored = pq.read_table(run.folder / "fills.parquet")
    found = run.fills.select("ts_event", "ts_venue").collect()
    for name in ("ts_event", "ts_venue"):
        instants = stored[name].cast("int64").to_pylist()
        assert found.schema[name] == pl.Datetime("ns", ZONE)
        assert found[name].cast(pl.Int64).to_list() == instants
        for shown, ns in zip(found[name], instants, strict=True):
            assert shown == datetime.fromtimestamp(ns // 1000 / 1e6, ZoneInfo(ZONE))
    assert run.equity.collect_schema()["ts"] == pl.Datetime("ns", ZONE)
    assert run.positions.collect_schema()["ts"] == pl.Datetime("ns", ZONE)
    trips = run.round_trips.collect()
    assert trips.schema["ts_entry"] == trips.schema["ts_exit"] == pl.Datetime("ns", ZONE)
    first = trips.sort("ts_entry")["ts_entry"].cast(pl.Int64)[0]
    assert first == stored["ts_venue"].cast("int64").to_pylist()[0]


def test_a_walk_forward_is_open_while_it_is_tested(dataset: Path, tmp_path: Path) -> None:
    """Folds with a gap of two days between them, each cut through a session."""
    swept = backtest.sweep(
        {
            "dataset": str(dataset),
            "strategy": "imbalance",
            "sizing": "proportional:gain=5",
            "accountant": "market:bucket=50min",
            "latency": {"service": "constant:1s"},
            "folds": {"train": "120h", "test": "200h", "step": "248h"},
        },
        runs=tmp_path / "runs",
        executor="inline",
    )
    (point,) = swept.leaderboard()
    whole = open_run(swept.runs / str(point.id))
    tests = [fold["test_ns"] for fold in whole.manifest["folds"]]
    assert len(tests) == 5
    expected = sum(open_time(sessions_of(whole), *test) for test in tests)
    earned = profits(whole)
    assert earned.open_ns == pytest.approx(expected, abs=HOUR)
    assert earned.hours.year_ns == pytest.approx(plain_year(whole), rel=1e-12)
    assert earned.hours.zone == ZONE
    folds = [profits(open_run(swept.runs / fold["run"])) for fold in whole.manifest["folds"]]
    assert len(earned.while_open().ends) == sum(len(fold.while_open().ends) for fold in folds)
