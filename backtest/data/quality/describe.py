"""What a dataset holds, in figures that one pass over it gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.times import format_utc
from backtest.data.dataset import Dataset
from backtest.data.quality.duplicates import Duplicates
from backtest.data.quality.rules import in_sessions
from backtest.data.quality.tally import Busiest, Histogram, Moments, Timeline
from backtest.data.reading.bus import stream_all
from backtest.data.reading.depth import stream_depth
from backtest.errors import DataError
from backtest.market.depth import ACTIONS, CLEAR, LAST, SNAPSHOT, DepthBatch
from backtest.market.events import ABSENT, NO_PRICE, NO_TIME, EventBatch

_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
_NAMES = ("p01", "p25", "p50", "p75", "p99")
_WINDOWS = (1_000_000, 100_000_000, 1_000_000_000)
_LARGEST = 5
_PICTURED = 24


def describe(dataset: Dataset) -> dict[str, Any]:
    """Figures of a dataset, as plain values; ``docs/data.md`` explains them.

    Every event and row of depth is read once, in order. Memory: some batches of 65,536 events and
    about 20 KiB a symbol.

    Raises:
        DataError: there are no events, or the bus refuses them; NaN and infinity are counted.
    """
    tally = _Tally(dataset)
    for batch, targets in stream_all(dataset, nonfinite="keep", absent=tally.absent):
        if len(batch):
            tally.add(batch, targets)
    if dataset.has_depth:
        for rows in stream_depth(dataset):
            tally.add_depth(rows)
    if not tally.rows:
        raise DataError("the dataset has no events to describe", place=dataset.location)
    return tally.figures()


class _Tally:
    def __init__(self, dataset: Dataset) -> None:
        symbols = len(dataset.symbols)
        self.rows = 0
        self.absent: Counter[str] = Counter()
        self._dataset = dataset
        self._first = self._last = NO_TIME
        self._symbol_rows, self._quoted, self._trades = np.zeros((3, symbols), dtype=np.int64)
        self._seen_first, self._seen_last = np.full((2, symbols), NO_TIME, dtype=np.int64)
        self._longest = np.zeros(symbols, dtype=np.int64)
        self._gaps = Histogram()
        self._largest: list[tuple[int, int]] = []
        self._busiest = [Busiest(width) for width in _WINDOWS]
        self._timeline = Timeline(min(symbols, _PICTURED))
        self._spread = Histogram(symbols)
        self._crossed = self._locked = self._one_sided = 0
        self._bought = self._sold = 0
        self._recorded = self._early = 0
        self._earliest: int | None = None
        self._latency = Histogram()
        self._together = self._identical = 0
        self._duplicates = Duplicates()
        self._features = Moments(dataset.features)
        self._targets = Moments(dataset.targets)
        self._depth = _DepthTally(symbols)
        sessions = dataset.sessions
        self._in_session = None if sessions is None else np.zeros(len(sessions), dtype=np.int64)

    def add(self, batch: EventBatch, targets: Float32Array | None) -> None:
        ts, symbol = batch.ts_event, batch.symbol
        self._add_times(ts)
        self._add_symbols(batch)
        if batch.bid is not None:
            self._add_quotes(batch, self._timeline.add(ts))
        else:
            self._timeline.add(ts)
        if batch.trade_price is not None:
            traded = batch.trade_price != NO_PRICE
            self._trades += np.bincount(symbol[traded], minlength=len(self._trades))
        if batch.aggressor is not None:
            self._bought += int(np.count_nonzero(batch.aggressor == 1))
            self._sold += int(np.count_nonzero(batch.aggressor == -1))
        if batch.ts_recv is not None:
            self._add_latency(ts, batch.ts_recv)
        columns = {name: getattr(batch, name) for name in ("symbol", "ts_event", *ABSENT)}
        columns |= {"features": batch.features, "targets": targets}
        marked = self._duplicates.mark({k: v for k, v in columns.items() if v is not None})
        self._identical += int(np.count_nonzero(marked))
        if batch.features is not None:
            self._features.add(batch.features)
        if targets is not None:
            self._targets.add(targets)
        self.rows += len(batch)

    def add_depth(self, rows: DepthBatch) -> None:
        self._depth.add(rows)

    def _add_times(self, ts: Int64Array) -> None:
        before = int(ts[0]) if self._first == NO_TIME else self._last
        gaps = np.diff(ts, prepend=before)[int(self._first == NO_TIME) :]
        if len(gaps):
            self._gaps.add(gaps)
            ends = np.arange(len(ts) - len(gaps), len(ts))
            widest = np.argsort(-gaps, kind="stable")[:_LARGEST]
            found = [(int(gaps[i]), int(ts[ends[i]] - gaps[i])) for i in widest]
            self._largest = sorted([*self._largest, *found], key=lambda g: -g[0])[:_LARGEST]
        if self._first == NO_TIME:
            self._first = int(ts[0])
        self._last = int(ts[-1])
        for busiest in self._busiest:
            busiest.add(ts)
        sessions = self._dataset.sessions
        if sessions is not None and self._in_session is not None:
            inside = ts[in_sessions(ts, sessions)]
            numbers = np.searchsorted(sessions[:, 0], inside, side="right") - 1
            self._in_session += np.bincount(numbers, minlength=len(sessions))

    def _add_symbols(self, batch: EventBatch) -> None:
        order = np.argsort(batch.symbol, kind="stable")
        symbol, ts = batch.symbol[order], batch.ts_event[order]
        starts = np.flatnonzero(np.concatenate([[True], symbol[1:] != symbol[:-1]]))
        own = symbol[starts]
        before = np.concatenate([[NO_TIME], ts[:-1]])
        before[starts] = np.where(self._seen_last[own] == NO_TIME, ts[starts], self._seen_last[own])
        gaps = ts - before
        self._longest[own] = np.maximum(self._longest[own], np.maximum.reduceat(gaps, starts))
        # The first event of all has no gap, which the 0 put in its place must not count as.
        new = own[self._seen_first[own] == NO_TIME]
        self._together += int(np.count_nonzero(gaps == 0)) - len(new)
        fresh = starts[self._seen_first[own] == NO_TIME]
        self._seen_first[new] = ts[fresh]
        self._seen_last[own] = ts[np.append(starts[1:], len(ts)) - 1]
        self._symbol_rows += np.bincount(symbol, minlength=len(self._symbol_rows))

    def _add_quotes(self, batch: EventBatch, buckets: Int64Array) -> None:
        assert batch.bid is not None
        assert batch.ask is not None
        bid, ask = batch.bid, batch.ask
        both = (bid != NO_PRICE) & (ask != NO_PRICE)
        self._one_sided += int(np.count_nonzero((bid != NO_PRICE) ^ (ask != NO_PRICE)))
        self._crossed += int(np.count_nonzero(both & (bid > ask)))
        self._locked += int(np.count_nonzero(both & (bid == ask)))
        rows = np.flatnonzero(both & (bid <= ask))
        symbol = batch.symbol[rows]
        self._quoted += np.bincount(symbol, minlength=len(self._quoted))
        self._spread.add(ask[rows] - bid[rows], symbol)
        shown = rows[symbol < _PICTURED]
        self._timeline.put(batch.symbol[shown], buckets[shown], (bid[shown] + ask[shown]) / 2)

    def _add_latency(self, ts: Int64Array, recv: Int64Array) -> None:
        known = recv != NO_TIME
        span = recv[known] - ts[known]
        if len(span):
            low = int(span.min())
            self._earliest = low if self._earliest is None else min(low, self._earliest)
        self._recorded += len(span)
        self._early += int(np.count_nonzero(span < 0))
        self._latency.add(span[span >= 0])

    def figures(self) -> dict[str, Any]:
        dataset, timeline = self._dataset, self._timeline
        span = open_ns = self._last - self._first
        if dataset.sessions is not None:
            inside = dataset.sessions.clip(self._first, self._last)
            open_ns = int((inside[:, 1] - inside[:, 0]).sum())
        return {
            "name": dataset.name,
            "location": dataset.location,
            "files": len(dataset.all_files),
            "columns": sorted(dataset.layout.core),
            "rows": self.rows,
            "first": format_utc(self._first),
            "last": format_utc(self._last),
            "span_ns": span,
            "open_ns": open_ns,
            "events_per_s": self.rows / open_ns * 1e9 if open_ns else None,
            "busiest": [
                {"window_ns": b.width, "events": b.count, "at": format_utc(b.start)}
                for b in self._busiest
            ],
            "gaps_ns": _quantiles(self._gaps),
            "gap_octaves": self._gaps.octaves(),
            "largest_gaps": [
                {"gap_ns": gap, "after": format_utc(after)} for gap, after in self._largest
            ],
            "same_instant_and_symbol": self._together,
            "identical": self._identical,
            "quotes": self._quotes() if dataset.has_quotes else None,
            "trades": self._trade_counts() if dataset.layout.has("trade_price") else None,
            "feed_latency_ns": self._feed_latency(),
            "depth": self._depth.figures(dataset) if dataset.has_depth else None,
            "sessions": self._sessions(),
            "symbols": self._symbols(),
            "features": self._features.as_rows(),
            "targets": self._targets.as_rows(),
            "timeline": {
                "start": format_utc(self._first),
                "bucket_ns": timeline.width,
                "events": timeline.counts,
            },
        }

    def _quotes(self) -> dict[str, Any]:
        return {
            "valid": int(self._quoted.sum()),
            "crossed": self._crossed,
            "locked": self._locked,
            "one_sided": self._one_sided,
            "spread_ticks": _quantiles(self._spread),
            "no_prices": dict(self.absent),
        }

    def _trade_counts(self) -> dict[str, int]:
        count = int(self._trades.sum())
        known = {"buyer": self._bought, "seller": self._sold}
        return {"count": count, **known, "unknown": count - self._bought - self._sold}

    def _feed_latency(self) -> dict[str, Any] | None:
        if not self._dataset.layout.has("ts_recv"):
            return None
        return {
            "recorded": self._recorded,
            "negative": self._early,
            "least": self._earliest,
            "not_negative": _quantiles(self._latency),
        }

    def _sessions(self) -> dict[str, Any] | None:
        if self._in_session is None:
            return None
        inside = int(self._in_session.sum())
        return {
            "sessions": len(self._in_session),
            "empty": int(np.count_nonzero(self._in_session == 0)),
            "events_inside": inside,
            "events_outside": self.rows - inside,
        }

    def _symbols(self) -> list[dict[str, Any]]:
        rows = []
        for i, symbol in enumerate(self._dataset.symbols):
            seen = bool(self._symbol_rows[i])
            spread = self._spread.quantiles((0.5, 0.99), i)
            rows.append(
                {
                    "symbol": symbol,
                    "rows": int(self._symbol_rows[i]),
                    "first": format_utc(int(self._seen_first[i])) if seen else None,
                    "last": format_utc(int(self._seen_last[i])) if seen else None,
                    "longest_gap_ns": int(self._longest[i]),
                    "valid_quotes": int(self._quoted[i]),
                    "trades": int(self._trades[i]),
                    "depth_rows": int(self._depth.rows[i]),
                    "spread_ticks_p50": spread[0] if spread else None,
                    "spread_ticks_p99": spread[1] if spread else None,
                    "mid_ticks": self._timeline.series(i) if i < _PICTURED else None,
                }
            )
        return rows


class _DepthTally:
    def __init__(self, symbols: int) -> None:
        self.rows = np.zeros(symbols, dtype=np.int64)
        self._flags: Counter[str] = Counter()
        self._actions = np.zeros(len(ACTIONS), dtype=np.int64)

    def add(self, rows: DepthBatch) -> None:
        self.rows += np.bincount(rows.symbol, minlength=len(self.rows))
        cleared = (rows.flags & CLEAR) > 0
        self._flags["clears"] += int(np.count_nonzero(cleared))
        self._flags["snapshots"] += int(np.count_nonzero(rows.flags & LAST))
        self._flags["restated"] += int(np.count_nonzero(rows.flags & SNAPSHOT))
        if rows.action is not None:
            self._actions += np.bincount(rows.action[~cleared], minlength=len(ACTIONS))

    def figures(self, dataset: Dataset) -> dict[str, Any]:
        names = ("clears", "snapshots", "restated")
        actions = dict(zip(ACTIONS, self._actions.tolist(), strict=True))
        return {
            "rows": int(self.rows.sum()),
            "files": len(dataset.depth_files),
            "of": "orders" if dataset.depth_orders else "levels",
            **{name: self._flags[name] for name in names},
            "actions": actions if dataset.depth_orders else None,
        }


def _quantiles(histogram: Histogram) -> dict[str, int] | None:
    found = histogram.quantiles(_QUANTILES)
    return None if found is None else dict(zip(_NAMES, found, strict=True))
