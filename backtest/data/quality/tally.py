"""Figures of a stream that are kept in bounded memory, batch by batch."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import Float32Array, Int32Array, Int64Array
from backtest.data.reading.matrices import nonfinite_cells

_BINS = 1024
_BUCKETS = 512


class Histogram:
    """Counts of whole numbers from 0 on, in 16 bins for each power of two; exact below 32.

    Args:
        groups: how many histograms to keep side by side.
    """

    def __init__(self, groups: int = 1) -> None:
        self.counts = np.zeros((groups, _BINS), dtype=np.int64)

    def add(self, values: Int64Array, group: Int32Array | int = 0) -> None:
        """Count values [n], which are not negative, in one group or in one each [n]."""
        shift = np.maximum(np.frexp(values.astype(np.float64))[1] - 5, 0)
        bins = 16 * shift + (values >> shift)
        flat = np.bincount(group * _BINS + bins, minlength=self.counts.size)
        self.counts += flat.reshape(self.counts.shape)

    def quantiles(self, at: tuple[float, ...], group: int | None = None) -> list[int] | None:
        """Values at quantiles, within 3 % (exact below 32); ``None`` if nothing was counted.

        Args:
            group: one group, or all of them together.
        """
        counts = self.counts.sum(axis=0) if group is None else self.counts[group]
        total = np.cumsum(counts)
        if not total[-1]:
            return None
        bins = np.searchsorted(total, np.ceil(np.array(at) * total[-1]).clip(1))
        return [low + (width - 1) // 2 for low, width in map(_bin, bins.tolist())]

    def octaves(self) -> list[tuple[int, int]]:
        """(lower bound, count) by power of two, from the first to the last that is not empty."""
        counts = self.counts.sum(axis=0)
        edges = [0, *range(1, 16)]
        exponent = np.array(
            [b.bit_length() for b in edges] + [b // 16 + 4 for b in range(16, _BINS)]
        )
        sums = np.bincount(exponent, counts).astype(np.int64)
        used = np.flatnonzero(sums)
        if not len(used):
            return []
        return [(0 if e == 0 else 1 << (e - 1), int(sums[e])) for e in range(used[0], used[-1] + 1)]


class Timeline:
    """Events and last values over time, in up to 512 buckets that widen as time goes on.

    Attributes:
        start: ts_event at which the first bucket begins, ns.
        width: of a bucket, ns.

    Args:
        lanes: series of last values to keep.
    """

    def __init__(self, lanes: int) -> None:
        self.start: int | None = None
        self.width = 1_000_000
        self._counts = np.zeros(_BUCKETS, dtype=np.int64)
        self._last = np.full((lanes, _BUCKETS), np.nan)
        self._used = 0

    def add(self, ts: Int64Array) -> Int64Array:
        """Count instants in order, and return their buckets [n]."""
        if self.start is None:
            self.start = int(ts[0])
        while (int(ts[-1]) - self.start) // self.width >= _BUCKETS:
            self._widen()
        buckets = (ts - self.start) // self.width
        self._counts += np.bincount(buckets, minlength=_BUCKETS)
        self._used = int(buckets[-1]) + 1
        return buckets

    def put(self, lane: Int32Array, bucket: Int64Array, value: NDArray[np.float64]) -> None:
        """Set last values [n]; of several in a bucket the last one stays."""
        self._last[lane, bucket] = value

    @property
    def counts(self) -> list[int]:
        """Events in each bucket."""
        return self._counts[: self._used].tolist()

    def series(self, lane: int) -> list[float | None]:
        """The last value in each bucket, ``None`` before the first; kept where none is new."""
        held: list[float | None] = []
        for value in self._last[lane, : self._used].tolist():
            held.append((held[-1] if held else None) if isnan(value) else value)
        return held

    def _widen(self) -> None:
        half = _BUCKETS // 2
        pairs = self._counts.reshape(half, 2)
        self._counts = np.concatenate([pairs.sum(axis=1), np.zeros(half, dtype=np.int64)])
        early, late = self._last[:, ::2], self._last[:, 1::2]
        joined = np.where(np.isnan(late), early, late)
        self._last = np.concatenate([joined, np.full_like(joined, np.nan)], axis=1)
        self.width *= 2


class Busiest:
    """The window with the most events; windows are aligned to multiples of their width.

    Attributes:
        width: ns.
        count: events in the busiest one.
        start: when it begins, ns.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.count = 0
        self.start = 0
        self._open: tuple[int, int] | None = None

    def add(self, ts: Int64Array) -> None:
        """Count instants in order."""
        window = ts // self.width
        edges = np.flatnonzero(np.concatenate([[True], window[1:] != window[:-1]]))
        counts = np.diff(np.append(edges, len(ts)))
        if self._open and self._open[0] == window[0]:
            counts[0] += self._open[1]
        best = int(np.argmax(counts))
        if counts[best] > self.count:
            self.count = int(counts[best])
            self.start = int(window[edges[best]]) * self.width
        self._open = int(window[-1]), int(counts[-1])


class Moments:
    """Moments of float32 columns; NaN and infinity are counted apart (Chan et al., 1979)."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        width = len(names)
        self._n, self._nan, self._inf, self._zero = np.zeros((4, width), dtype=np.int64)
        self._mean, self._m2 = np.zeros((2, width))
        self._low, self._high = np.full(width, np.inf), np.full(width, -np.inf)

    def add(self, matrix: Float32Array) -> None:
        """Count rows [n, F], n above 0."""
        finite = nonfinite_cells(matrix) is None
        # One contiguous column at a time stays in the processor's cache.
        for i, column in enumerate(np.ascontiguousarray(matrix.T)):
            values = column
            if not finite:
                values = column[np.isfinite(column)]
                nan = int(np.count_nonzero(np.isnan(column)))
                self._nan[i] += nan
                self._inf[i] += len(column) - len(values) - nan
            if len(values):
                self._add(i, values)

    def _add(self, i: int, values: Float32Array) -> None:
        self._zero[i] += len(values) - np.count_nonzero(values)
        self._low[i] = min(self._low[i], values.min())
        self._high[i] = max(self._high[i], values.max())
        wide = values.astype(np.float64)
        mean = wide.mean()
        wide -= mean
        known, total = self._n[i], self._n[i] + len(values)
        apart = mean - self._mean[i]
        square = np.square(wide, out=wide).sum()
        self._m2[i] += square + apart**2 * known * len(values) / total
        self._mean[i] += apart * len(values) / total
        self._n[i] = total

    def as_rows(self) -> list[dict[str, Any]]:
        """A row a column; moments are ``None`` where no value is finite."""
        rows = []
        for i, name in enumerate(self._names):
            n = int(self._n[i])
            moments = {
                "mean": float(self._mean[i]),
                "sd": float(np.sqrt(self._m2[i] / max(n, 1))),
                "min": float(self._low[i]),
                "max": float(self._high[i]),
            }
            known = moments if n else dict.fromkeys(moments, None)
            counts = {"nan": self._nan[i], "inf": self._inf[i], "zero": self._zero[i]}
            rows.append({"name": name, **known, **{k: int(v) for k, v in counts.items()}})
        return rows


def _bin(number: int) -> tuple[int, int]:
    """A histogram bin's lower bound and width."""
    if number < 16:
        return number, 1
    shift = number // 16 - 1
    return (number - 16 * shift) << shift, 1 << shift
