"""What the sections of a report read: each run's tables boiled down to what a page can show.

A million events a run are read once, a run at a time, and dropped again; what is kept is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from backtest.comparison.comparison import Comparison
from backtest.comparison.verdict import Field, fields
from backtest.core.arrays import Float64Array, Int64Array
from backtest.errors import BacktestError
from backtest.inference.prediction_store import PredictionStore
from backtest.market.events import EventBatch, concatenate
from backtest.runs.folder import Run

BINS = 240
"""Time bins of everything that is shown over time."""

TAIL = np.unique(np.concatenate([np.linspace(0, 0.9, 19), 1 - np.logspace(-1, -5, 33)]))
"""Quantiles that a latency distribution is drawn from."""

HORIZONS_NS = np.concatenate([[0], np.logspace(6, 10.5, 28)]).astype(np.int64)
"""Where markouts are read: 1 ms to about 30 s after the fill."""


@dataclass(frozen=True)
class Pace:
    """A run's timing over the window, in ``BINS`` equal spans of time, and its distributions.

    Attributes:
        hours: end of each span in hours from the first event, float64 [BINS].
        arrivals: events received in each, float64 [BINS].
        answered: share of the span's events that were answered; NaN where there were none.
        deepest: most events that waited at once within each.
        quantiles: latencies in ms at ``TAIL`` by cause: queueing, service, network, sojourn.
        batches: by size, ascending: sizes [k], median and 99th percentile service ms [k], counts.
    """

    hours: Float64Array
    arrivals: Float64Array
    answered: Float64Array
    deepest: Float64Array
    quantiles: dict[str, Float64Array]
    batches: tuple[Int64Array, Float64Array, Float64Array, Int64Array]


@dataclass(frozen=True)
class Accuracy:
    """How far a run's answers are from those of the reference that answers every event.

    Attributes:
        outputs: root mean square error by output, in standard deviations of the reference.
        symbols: correlation of the forecasts by symbol.
        drift: the forecasts' root mean square error in each of ``BINS // 8`` spans of time, NaN
            where nothing was answered.
        hours: the spans' ends.
    """

    outputs: Float64Array
    symbols: dict[str, float | None]
    drift: Float64Array
    hours: Float64Array


@dataclass
class Material:
    """Everything a section may want to know of the runs.

    Attributes:
        compared: the runs, their rows and their profits.
        fields: the runs in fields of equal conditions.
    """

    compared: Comparison

    @cached_property
    def numbers(self) -> list[int]:
        """The colour of each run: runs of one strategy and policy share theirs."""
        variants: dict[tuple[str, str], int] = {}
        return [
            variants.setdefault((row["strategy"], row["policy"]), len(variants))
            for row in self.compared.rows
        ]

    @cached_property
    def fields(self) -> list[Field]:
        """The runs in fields of equal conditions, the main one first."""
        return fields(self.compared)

    @cached_property
    def pace(self) -> list[Pace]:
        """Timing of each run."""
        return [_pace(run) for run in self.compared.runs]

    @cached_property
    def accuracy(self) -> list[Accuracy | None]:
        """Accuracy of each run; ``None`` if its reference's predictions are not available."""
        return [_accuracy(run) for run in self.compared.runs]

    @cached_property
    def markouts(self) -> list[Float64Array | None]:
        """Mean markout of each run in half ticks at ``HORIZONS_NS``; ``None`` without quotes."""
        streams: dict[str, EventBatch | None] = {}
        return [_markouts(run, streams) for run in self.compared.runs]


def _pace(run: Run) -> Pace:
    import polars as pl

    timing = run.table("timing")
    instants = timing.select(
        pl.col("ts_event", "ts_received", "ts_begun", "ts_ended").cast(pl.Int64), "batch", "status"
    )
    # An event that was given up left when its symbol was next served, or never.
    left = timing.select(
        pl.col("ts_begun").cast(pl.Int64).fill_null(strategy="backward").over("symbol")
    )
    event, received = instants["ts_event"].to_numpy(), instants["ts_received"].to_numpy()
    status = instants["status"].to_numpy()
    answered = status == 0
    begun, ended = (instants[c].fill_null(0).to_numpy() for c in ("ts_begun", "ts_ended"))
    edges = np.linspace(event[0], max(event[-1], event[0] + BINS), BINS + 1)
    arrivals = np.histogram(event, edges)[0].astype(float)
    in_time = np.histogram(event[answered], edges)[0]
    share = np.full(BINS, np.nan)
    np.divide(in_time, arrivals, out=share, where=arrivals > 0)
    delays = {
        "queueing": (begun - received)[answered],
        "service": (ended - begun)[answered],
        "network": _network(run, (received - event)[answered]),
        "sojourn": (ended - received)[answered],
    }
    waited = status != 1
    queue = _deepest(received[waited], left["ts_begun"].to_numpy()[waited], edges)
    return Pace(
        (edges[1:] - edges[0]) / 3.6e12,
        arrivals,
        share,
        queue,
        {
            name: np.quantile(values / 1e6, TAIL, method="inverted_cdf")
            if len(values)
            else np.full(len(TAIL), np.nan)
            for name, values in delays.items()
        },
        _batches(instants["batch"].to_numpy()[answered], (ended - begun)[answered]),
    )


def _network(run: Run, feed: Int64Array) -> Int64Array:
    """Feed plus order entry latency: of every answer where entry is constant, else of the fills."""
    import polars as pl

    latency = run.manifest["config"]["latency"]
    if latency["entry"]["name"] == "constant":
        return feed + round(latency["entry"]["span"] * latency["scale"])
    if not (run.folder / "fills.parquet").exists():
        return feed
    names = ("ts_event", "ts_received", "ts_ended", "ts_venue")
    fills = run.table("fills").filter(pl.col("event") >= 0)
    event, received, ended, venue = (fills[n].cast(pl.Int64).to_numpy() for n in names)
    return received - event + venue - ended


def _deepest(received: Int64Array, left: Any, edges: Float64Array) -> Float64Array:
    gone = np.sort(left[~np.isnan(left)]) if left.dtype.kind == "f" else np.sort(left)
    times = np.concatenate([received, gone])
    change = np.concatenate([np.ones(len(received)), -np.ones(len(gone))])
    # Who arrives and is served at the same instant waited for nothing: leave before counting.
    order = np.lexsort((change, times))
    times, depth = times[order], np.cumsum(change[order])
    span = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, BINS - 1)
    deepest = np.zeros(BINS)
    np.maximum.at(deepest, span, depth)
    last = np.searchsorted(times, edges[:-1], side="right") - 1
    standing = np.where(last >= 0, depth[np.maximum(last, 0)], 0)
    return np.maximum(deepest, standing)


def _batches(
    batch: Any, service: Int64Array
) -> tuple[Int64Array, Float64Array, Float64Array, Int64Array]:
    if not len(batch):
        none = np.empty(0, dtype=np.int64)
        return none, np.empty(0), np.empty(0), none
    _, first, sizes = np.unique(batch, return_index=True, return_counts=True)
    spans = service[first] / 1e6
    found = np.unique(sizes)
    by_size = [spans[sizes == size] for size in found]
    return (
        found,
        np.array([np.quantile(s, 0.5) for s in by_size]),
        np.array([np.quantile(s, 0.99) for s in by_size]),
        np.array([len(s) for s in by_size]),
    )


def _accuracy(run: Run) -> Accuracy | None:
    import polars as pl

    notes = run.manifest["predictions"]
    # A strategy without a reference of its own is judged by its own undropped answers.
    note = notes.get("reference") or notes.get("undropped") or notes["answers"]
    store = PredictionStore(run.folder.parent / "predictions")
    try:
        pieces = None
        if note["key"] is not None:
            pieces = store.get(str(note["key"]), run.metrics["timing"]["events"])
        reference = None if pieces is None else np.concatenate([*pieces])
    except BacktestError:
        reference = None
    if reference is None or not run.manifest["config"].get("undropped"):
        return None
    answers = run.table("predictions")
    events = answers["event"].to_numpy()
    outputs = [c for c in answers.columns if c.startswith("output_")]
    mine = answers.select(outputs).to_numpy().astype(np.float64)
    if len(reference) <= int(events.max(initial=-1)) or reference.shape[1] != mine.shape[1]:
        return None
    theirs = reference[events].astype(np.float64)
    spread = reference.std(axis=0, dtype=np.float64)
    error = (
        np.sqrt(np.mean((mine - theirs) ** 2, axis=0))
        if len(events)
        else np.full(len(spread), np.nan)
    )
    timing = run.table("timing")
    of_event = timing["ts_event"].cast(pl.Int64).to_numpy()
    count = BINS // 8
    edges = np.linspace(of_event[0], max(of_event[-1], of_event[0] + count), count + 1)
    span = np.clip(np.searchsorted(edges, of_event[events], side="right") - 1, 0, count - 1)
    squares = ((mine - theirs) / np.where(spread > 0, spread, 1)) ** 2
    total = np.bincount(span, weights=squares.mean(axis=1), minlength=count)
    counts = np.bincount(span, minlength=count)
    drift = np.full(count, np.nan)
    np.divide(total, counts, out=drift, where=counts > 0)
    return Accuracy(
        np.divide(error, spread, out=np.full(len(spread), np.nan), where=spread > 0),
        _by_symbol(timing["symbol"].cast(pl.String).to_numpy()[events], mine, theirs),
        np.sqrt(drift),
        (edges[1:] - edges[0]) / 3.6e12,
    )


def _by_symbol(symbols: Any, mine: Float64Array, theirs: Float64Array) -> dict[str, float | None]:
    from backtest.inference.accuracy import correlation

    return {
        str(s): correlation(mine[symbols == s].mean(axis=1), theirs[symbols == s].mean(axis=1))
        for s in np.unique(symbols.astype(str))
    }


def _markouts(run: Run, streams: dict[str, EventBatch | None]) -> Float64Array | None:
    from backtest.comparison.run_settings import ticks
    from backtest.market.quotes import StandingQuotes

    if "fills" not in {path.stem for path in run.folder.glob("*.parquet")}:
        return None
    key = str(ticks(run))
    if key not in streams:
        streams[key] = _events(run)
    events = streams[key]
    if events is None:
        return None
    import polars as pl

    fills = run.table("fills").filter(pl.col("event") >= 0)
    if not len(fills):
        return None
    quotes = StandingQuotes(events, int(events.symbol.max()) + 1)
    symbol = events.symbol[fills["event"].to_numpy()]
    lots, venue = fills["lots"].to_numpy(), fills["ts_venue"].cast(pl.Int64).to_numpy()
    total = np.zeros(len(HORIZONS_NS))
    for s in np.unique(symbol):
        of = symbol == s
        start = quotes.mids(int(s), venue[of])
        for k, horizon in enumerate(HORIZONS_NS):
            total[k] += float(lots[of] @ (quotes.mids(int(s), venue[of] + horizon) - start))
    return total / np.abs(lots).sum()


def _events(run: Run) -> EventBatch | None:
    """The quotes that a run saw, if its dataset is still there and unchanged."""
    from backtest.data.dataset import open_dataset
    from backtest.data.reading.bus import read_events

    config = run.manifest["config"]
    source, window = str(config["dataset"]), config["window"]
    folds = [fold["test_ns"] for fold in run.manifest.get("folds", ())]
    try:
        dataset = open_dataset(Path(source) if Path(source).is_dir() else source)
        if dataset.data_hash() != run.manifest["determined_by"]["data"]:
            return None
        # Of a walk-forward, events are numbered through its test stretches alone.
        parts = [
            read_events(dataset, start=start, end=end, symbols=config["symbols"]).select(
                slice(0, config["limit"])
            )
            for start, end in folds or [(window["start"], window["end"])]
        ]
        return concatenate(parts)
    except BacktestError:
        return None
