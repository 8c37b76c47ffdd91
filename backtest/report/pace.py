"""A run's timing boiled down to what a page can show, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pyarrow as pa

from backtest.comparison.quantiles import p99_intervals
from backtest.core.arrays import BoolArray, Float64Array, Int64Array
from backtest.core.arrow import Codes, integers
from backtest.core.quantiles import Quantiles, bins_of
from backtest.runs.folder import Run
from backtest.timing.outcomes import Status
from backtest.trading.fill_table import CLOSING, INSTANTS, closing

BINS = 240
"""Time bins of everything that is shown over time."""

TAIL = np.unique(np.concatenate([np.linspace(0, 0.9, 19), 1 - np.logspace(-1, -5, 33)]))
"""Quantiles that a latency distribution is drawn from."""

_SIZE_MANTISSA, _SIZE_SHIFT = 7, 13
"""Bits kept of the service times of batches of one size, which are so told apart by 1 %, and bits
that number their bins."""

_CAUSES = ("queueing", "service", "sojourn")
_COLUMNS = ("ts_event", "symbol", "ts_received", "ts_begun", "ts_ended", "status", "batch")


@dataclass(frozen=True)
class Pace:
    """A run's timing over the window, in ``BINS`` equal spans of time, and its distributions.

    Attributes:
        times: end of each span, s since 1970, float64 [BINS].
        arrivals: events received in each, float64 [BINS].
        answered: share of the span's events that were answered; NaN where there were none.
        deepest: most events that waited at once within each.
        quantiles: latencies in ms at ``TAIL`` by cause: queueing, service, network, sojourn.
        p99: 95 % interval of the 99th percentile in ms by cause; ``None`` if events are too few.
        batches: by size, ascending: sizes [k], median and 99th percentile service ms [k], counts.
        extent: ts_event of the first and the last event, ns.
        events, symbols: how many there are.
        gap: median time between consecutive events, ns; ``None``: there is one event.
    """

    times: Float64Array
    arrivals: Float64Array
    answered: Float64Array
    deepest: Float64Array
    quantiles: dict[str, Float64Array]
    p99: dict[str, tuple[float, float] | None]
    batches: tuple[Int64Array, Float64Array, Float64Array, Int64Array]
    extent: tuple[int, int]
    events: int
    symbols: int
    gap: int | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """Consecutive rows of the table of timing; instants of unanswered events are 0."""

    event: Int64Array
    symbol: Int64Array
    received: Int64Array
    begun: Int64Array
    ended: Int64Array
    status: Int64Array
    batch: Int64Array

    @property
    def answered(self) -> BoolArray:
        """Which events were, bool [n]."""
        return self.status == Status.ANSWERED

    def delays(self) -> Iterator[tuple[str, Int64Array]]:
        """Each of ``_CAUSES`` with the delays of the answered events, ns."""
        answered = self.answered
        for cause, span in zip(
            _CAUSES,
            (self.begun - self.received, self.ended - self.begun, self.ended - self.received),
            strict=True,
        ):
            yield cause, span[answered]


def pace_of(run: Run) -> Pace:
    """Timing of a run.

    Raises:
        DataError: a table cannot be read.
    """
    first, last = run.extent("timing", "ts_event")
    edges = np.linspace(first, max(last, first + BINS), BINS + 1)
    arrivals, in_time = np.zeros(BINS), np.zeros(BINS)
    delays = {cause: Quantiles() for cause in _CAUSES}
    line, batches, gaps, codes = _Line(edges), _Batches(), Quantiles(), Codes()
    before: Int64Array = np.empty(0, dtype=np.int64)
    for rows in run.pieces("timing", _COLUMNS):
        piece = _piece(rows, codes)
        answered = piece.answered
        arrivals += np.histogram(piece.event, edges)[0]
        in_time += np.histogram(piece.event[answered], edges)[0]
        times = np.append(before, piece.event)
        gaps.add(times[1:] - times[:-1])
        before = piece.event[-1:]
        for cause, values in piece.delays():
            delays[cause].add(values)
        line.add(piece)
        batches.add(piece)
    share = np.full(BINS, np.nan)
    np.divide(in_time, arrivals, out=share, where=arrivals > 0)
    network = {"network": _milliseconds(_network(run))}
    median = gaps.at(np.array([0.5]))
    again = (
        each for rows in run.pieces("timing", _COLUMNS) for each in _piece(rows, codes).delays()
    )
    return Pace(
        edges[1:] / 1e9,
        arrivals,
        share,
        line.deepest(),
        {cause: _milliseconds(of) for cause, of in delays.items()} | network,
        p99_intervals(delays, again) | {"network": None},
        batches.by_size(),
        (first, last),
        int(arrivals.sum()),
        len(codes.names),
        None if median is None else int(median[0]),
    )


def _piece(rows: pa.RecordBatch, codes: Codes) -> _Piece:
    return _Piece(
        event=integers(rows["ts_event"]),
        symbol=codes(rows["symbol"]),
        received=integers(rows["ts_received"]),
        begun=integers(rows["ts_begun"]),
        ended=integers(rows["ts_ended"]),
        status=integers(rows["status"]),
        batch=integers(rows["batch"]),
    )


def _milliseconds(delays: Quantiles) -> Float64Array:
    found = delays.at(TAIL)
    return np.full(len(TAIL), np.nan) if found is None else found / 1e6


def _network(run: Run) -> Quantiles:
    """Feed and order entry latency: of every answer where entry is constant, else of the fills."""
    latency = run.manifest["config"]["latency"]
    found = Quantiles()
    constant = latency["entry"]["name"] == "constant"
    if constant or not run.has_table("fills"):
        entry = round(latency["entry"]["span"] * latency["scale"]) if constant else 0
        for rows in run.pieces("timing", ("ts_event", "ts_received", "status")):
            feed = integers(rows["ts_received"]) - integers(rows["ts_event"])
            found.add(feed[integers(rows["status"]) == Status.ANSWERED] + entry)
        return found
    for rows in run.pieces("fills", (*CLOSING, *INSTANTS)):
        event, received, _, ended, arrived, _ = (integers(rows[name]) for name in INSTANTS)
        found.add((received - event + arrived - ended)[~closing(rows)])
    return found


class _Line:
    """How many events waited: those received that have not been served, given up or dropped.

    No event is received before it happens, and none served before it is received. So what happens
    before the ``ts_event`` of the latest row is known, and only what comes later is kept.

    Args:
        edges: of the spans of time, ascending [BINS + 1].
    """

    def __init__(self, edges: Float64Array) -> None:
        self._edges = edges
        self._deepest = np.zeros(len(edges) - 1)
        self._depth = 0
        self._next_edge = 0
        self._times: Int64Array = np.empty(0, dtype=np.int64)
        self._changes: Int64Array = np.empty(0, dtype=np.int64)
        self._given_up: dict[int, int] = {}

    def add(self, piece: _Piece) -> None:
        """Count the next events."""
        waited = piece.status != Status.DROPPED
        left, count = self._leaving(piece, waited)
        self._times = np.concatenate([self._times, piece.received[waited], left])
        self._changes = np.concatenate(
            [self._changes, np.ones(int(waited.sum()), dtype=np.int64), -count]
        )
        self._settle(piece.event[-1])

    def deepest(self) -> Float64Array:
        """The most events that waited at once in each span, after the last piece."""
        self._settle(np.iinfo(np.int64).max)
        return self._deepest

    def _leaving(self, piece: _Piece, waited: BoolArray) -> tuple[Int64Array, Int64Array]:
        """When how many events leave, as far as the piece tells.

        An event that was given up leaves when its symbol is next served, or never.
        """
        order = np.argsort(piece.symbol, kind="stable")
        symbol, answered, stays = piece.symbol[order], piece.answered[order], waited[order]
        n = len(order)
        served = np.where(answered, np.arange(n), n)
        following = np.minimum.accumulate(served[::-1])[::-1]  # the next row that is served
        known = following < n
        known[known] = symbol[following[known]] == symbol[known]
        begun = piece.begun[order]
        firsts = np.flatnonzero(np.append(True, symbol[1:] != symbol[:-1]))
        times, counts = [begun[following[known & stays]]], [np.ones(int((known & stays).sum()))]
        for k in firsts[known[firsts]].tolist():
            earlier = self._given_up.pop(int(symbol[k]), 0)
            times.append(begun[following[k : k + 1]])
            counts.append(np.array([earlier]))
        for s, more in zip(*np.unique(symbol[~known & stays], return_counts=True), strict=True):
            self._given_up[int(s)] = self._given_up.get(int(s), 0) + int(more)
        return np.concatenate(times), np.concatenate(counts).astype(np.int64)

    def _settle(self, until: int) -> None:
        """Count what happened before ``until``."""
        # Who arrives and is served at the same instant waited for nothing: leave before counting.
        order = np.lexsort((self._changes, self._times))
        times, changes = self._times[order], self._changes[order]
        past = int(np.searchsorted(times, until, side="left"))
        self._times, self._changes = times[past:], changes[past:]
        times, depth = times[:past], self._depth + np.cumsum(changes[:past])
        last_bin = len(self._deepest) - 1
        span = np.clip(np.searchsorted(self._edges, times, side="right") - 1, 0, last_bin)
        np.maximum.at(self._deepest, span, depth)
        while self._next_edge <= last_bin and self._edges[self._next_edge] < until:
            at = int(np.searchsorted(times, self._edges[self._next_edge], side="right")) - 1
            standing = int(depth[at]) if at >= 0 else self._depth
            k = self._next_edge
            self._deepest[k] = max(self._deepest[k], standing)
            self._next_edge += 1
        self._depth = int(depth[-1]) if past else self._depth


@dataclass(slots=True)
class _Batches:
    """Service times of batches by their size; a batch may lie across pieces.

    Attributes:
        open_rows: batch, begin and service time of events whose batches may have more [3, n].
        found: by size, shifted, plus bin of the service time: how many, and the longest time, ns.
    """

    open_rows: Int64Array = field(default_factory=lambda: np.empty((3, 0), dtype=np.int64))
    found: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, piece: _Piece) -> None:
        """Count the batches of the next events."""
        new = np.array([piece.batch, piece.begun, piece.ended - piece.begun])[:, piece.answered]
        self.open_rows = np.hstack([self.open_rows, new])
        # Events yet to come are received, and so served, after this.
        closed = self.open_rows[1] < piece.event[-1]
        self._count(self.open_rows[:, closed])
        self.open_rows = self.open_rows[:, ~closed]

    def by_size(self) -> tuple[Int64Array, Float64Array, Float64Array, Int64Array]:
        """Sizes [k], median and 99th percentile of their service times in ms [k], and counts."""
        self._count(self.open_rows)
        kinds = sorted(self.found)
        sizes = sorted({kind >> _SIZE_SHIFT for kind in kinds})
        counts, medians, tails = [], [], []
        for _, group in groupby(kinds, lambda kind: kind >> _SIZE_SHIFT):
            of = [self.found[kind] for kind in group]
            below = np.cumsum([count for count, _ in of])
            ranks = np.maximum(np.ceil(np.array([0.5, 0.99]) * below[-1]), 1)
            median, tail = (of[k][1] / 1e6 for k in np.searchsorted(below, ranks))
            counts.append(int(below[-1]))
            medians.append(median)
            tails.append(tail)
        return (
            np.array(sizes, dtype=np.int64),
            np.array(medians),
            np.array(tails),
            np.array(counts, dtype=np.int64),
        )

    def _count(self, rows: Int64Array) -> None:
        if not rows.shape[1]:
            return
        _, first, sizes = np.unique(rows[0], return_index=True, return_counts=True)
        spans = rows[2, first]
        keys = (sizes << _SIZE_SHIFT) + bins_of(spans, _SIZE_MANTISSA)
        kinds, of, counts = np.unique(keys, return_inverse=True, return_counts=True)
        longest = np.zeros(len(kinds), dtype=np.int64)
        np.maximum.at(longest, of, spans)
        for kind, count, span in zip(
            kinds.tolist(), counts.tolist(), longest.tolist(), strict=True
        ):
            known, most = self.found.get(kind, (0, 0))
            self.found[kind] = known + count, max(most, span)
