"""Reports and comparisons read long tables piece by piece, and find the same in any pieces."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from backtest.api import run
from backtest.comparison.comparison import compare
from backtest.comparison.profits import profits
from backtest.comparison.quantiles import quantile_interval
from backtest.core.arrays import Float64Array
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from backtest.plugins.manager import load_plugins
from backtest.report.agreement import agreement_of
from backtest.report.markouts import HORIZONS_NS, Markouts
from backtest.report.pace import TAIL, pace_of
from backtest.report.page import render_report
from backtest.report.seen_events import follow
from backtest.runs import tables
from backtest.runs.folder import Run
from tests.standing_quotes import StandingQuotes

SETTINGS: dict[str, dict[str, Any]] = {
    "batches": {"policy": "at-most:4", "latency": {"service": "affine:3ms,0.5ms"}},
    "drawn": {
        "policy": "all",
        "latency": {
            "service": "exponential:2ms", "entry": "exponential:1ms", "feed": "exponential:4ms",
        },
    },
    "conflating": {"policy": "newest-per-symbol", "latency": {"service": "constant:5ms"}},
    "losing": {
        "policy": "one",
        "latency": {"service": "constant:3ms"},
        "server": {"line_limit": 4, "max_age": 9_000_000},
    },
    "limited": {"policy": "all", "latency": {"service": "constant:1ms"}, "limit": 333},
    "points": {"accountant": "challenge", "latency": {"service": "constant:1ms"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    path = tmp_path_factory.mktemp("runs")
    common = {"runs": path, "dataset": str(small_dataset), "strategy": "imbalance"}
    return {name: run(**common, **of) for name, of in SETTINGS.items()}  # type: ignore[arg-type]


@pytest.fixture(params=[1, 7, 1 << 16])
def piece_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(tables, "PIECE_ROWS", request.param)
    return int(request.param)


@pytest.mark.usefixtures("piece_rows")
@pytest.mark.parametrize("name", SETTINGS)
def test_pace_is_that_of_the_whole_table(runs: dict[str, Run], name: str) -> None:
    found, timing = pace_of(runs[name]), runs[name].table("timing")
    event, received, begun, ended = (
        timing[c].cast(pl.Int64).fill_null(0).to_numpy()
        for c in ("ts_event", "ts_received", "ts_begun", "ts_ended")
    )
    answered = (timing["status"] == 0).to_numpy()
    assert found.events == len(timing)
    assert found.extent == (event[0], event[-1])
    assert found.symbols == timing["symbol"].n_unique()
    assert found.arrivals.sum() == len(timing)
    for cause, delays in (
        ("queueing", begun - received), ("service", ended - begun), ("sojourn", ended - received),
    ):  # fmt: skip
        right = np.quantile(delays[answered] / 1e6, TAIL, method="inverted_cdf")
        np.testing.assert_allclose(found.quantiles[cause], right, rtol=1 / 4096)
        ends, plain = found.p99[cause], quantile_interval(delays[answered], 0.99)
        assert (ends is None) == (plain is None)
        if ends is not None and plain is not None:
            np.testing.assert_allclose(ends, np.array(plain) / 1e6, rtol=1 / 4096)
    of_batch = timing.filter(pl.col("status") == 0).group_by("batch").len()["len"].to_numpy()
    sizes, counts = np.unique(of_batch, return_counts=True)
    assert (found.batches[0].tolist(), found.batches[3].tolist()) == (
        sizes.tolist(), counts.tolist(),
    )  # fmt: skip
    np.testing.assert_array_equal(found.deepest, _deepest(timing, found.times))


def _deepest(timing: pl.DataFrame, times: Float64Array) -> Float64Array:
    """The longest line in each span, counted event by event."""
    changes: list[tuple[int, int]] = []
    served_next: dict[str, int] = {}
    first, last = (timing["ts_event"].cast(pl.Int64)[k] for k in (0, -1))
    for row in (
        timing.with_columns(pl.col("^ts_.*$").cast(pl.Int64)).reverse().iter_rows(named=True)
    ):
        if row["status"] == 0:
            served_next[row["symbol"]] = row["ts_begun"]
        if row["status"] != 1:
            changes.append((row["ts_received"], 1))
            if row["symbol"] in served_next:
                changes.append((served_next[row["symbol"]], -1))
    edges = np.linspace(first, max(last, first + len(times)), len(times) + 1)
    deepest, depth, standing = np.zeros(len(times)), 0, np.zeros(len(times))
    for time, change in sorted(changes):  # who leaves at an instant does so first
        depth += change
        span = max(k for k in range(len(times)) if k == 0 or edges[k] <= time)
        deepest[span] = max(deepest[span], depth)
        standing[[k for k in range(len(times)) if time <= edges[k]]] = depth
    return np.maximum(deepest, standing)


@pytest.mark.usefixtures("piece_rows")
@pytest.mark.parametrize("name", SETTINGS)
def test_agreement_is_that_of_the_whole_table(runs: dict[str, Run], name: str) -> None:
    found = agreement_of(runs[name])
    assert found is not None
    # The strategy has no memory, so it answers as if no event had been dropped.
    np.testing.assert_allclose(found.outputs, 0, atol=1e-12)
    assert [value for value in found.symbols.values() if value is not None] == pytest.approx(
        [1.0] * 3
    )
    assert np.nanmax(found.drift) == pytest.approx(0, abs=1e-12)


@pytest.mark.usefixtures("piece_rows")
def test_markouts_are_those_of_all_quotes_at_once(
    runs: dict[str, Run], small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest.data.reading.bus.EventBus.__init__.__kwdefaults__", {
        "start": None, "end": None, "symbols": None, "features": True, "batch_rows": 50,
        "read_ahead": False, "nonfinite": "refuse",
    })  # fmt: skip
    dataset = open_dataset(small_dataset)
    names = list(runs)
    followed = follow([runs[name] for name in names], [Markouts])
    for name, followers in zip(names, followed, strict=True):
        if name == "points":
            assert followers is None
            continue
        assert followers is not None
        (markouts,) = followers
        assert isinstance(markouts, Markouts)
        found = markouts.mean()
        events = read_events(dataset).select(slice(0, SETTINGS[name].get("limit")))
        quotes = StandingQuotes(events, 3)
        total, lots = np.zeros(len(HORIZONS_NS)), 0
        for row in runs[name].table("fills").iter_rows(named=True):
            if row["event"] < 0:
                continue
            symbol = int(events.symbol[row["event"]])
            at = pl.Series([row["ts_venue"]]).cast(pl.Datetime("ns")).cast(pl.Int64)[0]
            mids = quotes.mids(symbol, at + HORIZONS_NS)
            total += row["lots"] * (mids - mids[0])
            lots += abs(row["lots"])
        assert found is not None
        assert lots > 0
        np.testing.assert_allclose(found, total / lots, rtol=1e-12)


@pytest.mark.usefixtures("piece_rows")
def test_profits_are_those_of_the_whole_table(runs: dict[str, Run]) -> None:
    equity = runs["batches"].table("equity")
    right = equity.group_by("ts").agg(pl.col("net").sum()).sort("ts")["net"].to_numpy() / 1e9
    found = profits(runs["batches"])
    np.testing.assert_allclose(found.net, right, rtol=1e-12, atol=1e-12)
    points = profits(runs["points"])
    account = runs["points"].metrics["account"]
    assert points.net[-1] == pytest.approx(account["net_points"])
    assert len(points.ends) <= 500


@pytest.fixture
def no_whole_tables(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Refuses to read a table whole, and collects how many rows were read at once."""
    lengths: list[int] = []
    iterate = pq.ParquetFile.iter_batches

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        for batch in iterate(self, *arguments, **options):
            lengths.append(batch.num_rows)
            yield batch

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a whole table is read")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    monkeypatch.setattr(pq.ParquetFile, "read", refused)
    monkeypatch.setattr(pq, "read_table", refused)
    monkeypatch.setattr(pl, "read_parquet", refused)
    monkeypatch.setattr(Run, "table", refused)
    return lengths


def test_no_table_is_read_whole(
    runs: dict[str, Run], no_whole_tables: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PIECE_ROWS", 64)
    compared = compare([*runs.values()])
    assert compared._repr_html_() is not None
    rendered = render_report(compared, load_plugins(entry_points=False))
    assert rendered.failures == ()
    assert "Markouts" in rendered.html
    of_runs = [n for n in no_whole_tables if n <= 64]
    assert len(of_runs) > 6 * 600 / 64


def test_the_bytes_of_a_report_do_not_depend_on_the_pieces(
    runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def html(rows: int) -> str:
        monkeypatch.setattr(tables, "PIECE_ROWS", rows)
        return render_report(
            compare([runs["batches"], runs["drawn"]]),
            load_plugins(entry_points=False),
            ("latency", "load", "service-time", "data"),
        ).html

    assert html(50) == html(1 << 16)


def test_memory_does_not_grow_with_the_tables(
    runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's tables many times over take no more to read than once."""
    monkeypatch.setattr(tables, "PIECE_ROWS", 512)

    def peak(times: int) -> int:
        made = tmp_path / f"{times}"
        shutil.copytree(runs["batches"].folder, made)
        for name in ("timing", "fills"):
            table = pq.read_table(made / f"{name}.parquet")
            span = 10**9 * 3
            with pq.ParquetWriter(made / f"{name}.parquet", table.schema) as writer:
                for k in range(times):
                    writer.write_table(_later(table, k * span, k * table.num_rows))
        metrics = json.loads((made / "metrics.json").read_text())
        metrics["timing"]["events"] *= times
        (made / "metrics.json").write_text(json.dumps(metrics))
        del table
        one = Run(made)
        pace_of(one)
        tracemalloc.start()
        pace_of(one)
        follow([one], [Markouts])
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(100) - peak(2) < 600 * 98 * 8  # not even one column of 8 bytes


def _later(table: Any, ns: int, batches: int) -> Any:
    """A table's rows some time later, in batches of other numbers."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        if name.startswith("ts_"):
            column = pc.add(column.cast("int64"), ns).cast(column.type)
        elif name == "batch":
            column = pc.add(column, batches)
        columns[name] = column
    return pa.table(columns, schema=table.schema)
