"""A stretch of a dataset to train on: features and targets, each symbol's events in order.

The rows lie on disk, symbol by symbol, in a file that vanishes with the process, and are read piece
by piece: memory does not depend on the length of the stretch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backtest.core.arrays import Float32Array, Int32Array, Int64Array
from backtest.core.callbacks import ProgressCallback
from backtest.core.spool import Spool
from backtest.data.reading.bus import stream_labelled
from backtest.errors import UsageError
from backtest.market.instruments import Instrument

if TYPE_CHECKING:
    from backtest.data.reading.stream import Stream

_ROWS = 1 << 14
"""Rows that are read at once where the caller does not say."""

_TOGETHER = 256
"""Lanes that are walked together where the caller does not say how many there are to be."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """T successive events of each of B lanes; a lane holds consecutive events of one symbol.

    Attributes:
        features: float32 [T, B, F]; 0 past the end of a lane.
        targets: float32 [T, B, K]; 0 where they do not count.
        counts: float32 [T, B], 1 where an event's targets are to be learnt from, else 0: past the
            end of a lane, and where targets reach beyond the stretch (``purge``).
        ts_event: ns, int64 [T, B]; 0 past the end of a lane.
        symbol: index into ``TrainingData.symbols``, int32 [B].
        fresh: whether the lanes begin here, with the state of symbols never seen; else they go on.
    """

    features: Float32Array
    targets: Float32Array
    counts: Float32Array
    ts_event: Int64Array
    symbol: Int32Array
    fresh: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """Events of one symbol in the order of time whose targets are to be learnt from.

    Attributes:
        symbol: index into ``TrainingData.symbols``.
        ts_event: ns, int64 [n].
        features: float32 [n, F].
        targets: float32 [n, K].
    """

    symbol: int
    ts_event: Int64Array
    features: Float32Array
    targets: Float32Array


@dataclass(frozen=True)
class TrainingData:
    """What ``Strategy.fit`` is given.

    Attributes:
        symbols: the dataset's symbol table [S].
        instruments: one for each symbol [S].
        features, targets: names of the columns, in the order of F and of K.
        start, end: the stretch, half-open, ns.
        purge: ns; an event's targets are learnt from only if it lies at least so long before
            ``end``.
        seed: for whatever is drawn; the same seed and data give the same weights.
        device: a torch device name.
        progress: to be called with (done, total) now and then.
        spans: symbol, first row and the one after the last of each symbol, or of each session of a
            symbol where state is reset at breaks, int64 [G, 3].
    """

    symbols: tuple[str, ...]
    instruments: tuple[Instrument, ...]
    features: tuple[str, ...]
    targets: tuple[str, ...]
    start: int
    end: int
    purge: int
    seed: int
    device: str
    progress: ProgressCallback
    spans: Int64Array
    _values: Spool
    _instants: Spool

    def __len__(self) -> int:
        """Events of the stretch."""
        return int((self.spans[:, 2] - self.spans[:, 1]).sum())

    def sequences(
        self, lanes: int = 0, steps: int = 32, *, first: int | None = None
    ) -> Iterator[Chunk]:
        """Every event once, from the beginning of each lane to its end.

        At most twice as many lanes as asked for are walked together, then others, the longest
        first; no lane goes on over a break at which state is reset.

        Args:
            lanes: cut the symbols' events into about so many lanes of equal length; 0: a lane for
                each symbol, or for each of its sessions.
            steps: events of a lane in a chunk, T.
            first: the same of the first chunk, to have other cuts in each epoch.
        """
        cut = cut_lanes(self.spans[:, 2] - self.spans[:, 1], lanes)
        cut = cut[np.argsort(-cut[:, 2], kind="stable")]
        together = 2 * lanes or _TOGETHER
        for at in range(0, len(cut), together):
            of, skipped, length = cut[at : at + together].T
            symbol, begin = self.spans[of, 0], self.spans[of, 1] + skipped
            low, longest = 0, int(length.max())
            while low < longest:
                high = min(low + (first if low == 0 and first else steps), longest)
                left = np.clip(length - low, 0, high - low)
                yield self._chunk(symbol, begin + low, left, high - low, low == 0)
                low = high

    def rows(self, most: int = _ROWS) -> Iterator[Rows]:
        """Events whose targets count, symbol by symbol, at most ``most`` at a time."""
        width = len(self.features)
        for symbol, begin, end in self.spans.tolist():
            for low in range(begin, end, most):
                high = min(low + most, end)
                ts = self._ts(low, high)
                chosen = slice(int(np.searchsorted(ts, self.end - self.purge)))
                values = self._values.read(low, high)[chosen]
                if len(values):
                    yield Rows(symbol, ts[chosen], values[:, :width], values[:, width:])

    def table(self) -> tuple[Float32Array, Float32Array]:
        """All of these at once, in memory: features float32 [n, F] and targets float32 [n, K]."""
        width = len(self.features)
        parts = [np.hstack([rows.features, rows.targets]) for rows in self.rows()]
        empty = np.empty((0, self._values.width), dtype=np.float32)
        joined = np.concatenate(parts) if parts else empty
        return np.ascontiguousarray(joined[:, :width]), np.ascontiguousarray(joined[:, width:])

    def split(self, later: float) -> tuple[TrainingData, TrainingData]:
        """The stretch in two by time, to train on the first and stop early by the second.

        The first one is purged as well: none of its targets reaches into the second.

        Args:
            later: share of the time that the second one gets, between 0 and 1.

        Raises:
            UsageError: one of them has no event to learn from.
        """
        at = self.end - max(round((self.end - self.start) * later), 1)
        middle = np.array([self._at(b, e, at) for _, b, e in self.spans.tolist()], dtype=np.int64)
        symbol, begin, end = self.spans.T
        first = replace(self, end=at, spans=np.column_stack([symbol, begin, middle]))
        second = replace(self, start=at, spans=np.column_stack([symbol, middle, end]))
        for part in (first, second):
            if next(part.rows(), None) is None:
                raise UsageError(
                    f"{len(self)} events are too few for training and validation",
                    place="training",
                    remedy="Train on a longer stretch, or change validation or purge.",
                )
        return first, second

    def _chunk(
        self, symbol: Int64Array, begin: Int64Array, length: Int64Array, steps: int, fresh: bool
    ) -> Chunk:
        width = len(self.features)
        values = np.zeros((steps, len(begin), self._values.width), dtype=np.float32)
        instants = np.zeros((steps, len(begin)), dtype=np.int64)
        counts = np.zeros((steps, len(begin)), dtype=np.float32)
        for lane, (low, count) in enumerate(zip(begin.tolist(), length.tolist(), strict=True)):
            if count:
                values[:count, lane] = self._values.read(low, low + count)
                instants[:count, lane] = ts = self._ts(low, low + count)
                counts[: np.searchsorted(ts, self.end - self.purge), lane] = 1
        targets = values[:, :, width:] * counts[:, :, None]
        features = np.ascontiguousarray(values[:, :, :width])
        return Chunk(features, targets, counts, instants, symbol.astype(np.int32), fresh)

    def _ts(self, low: int, high: int) -> Int64Array:
        return self._instants.read(low, high).view(np.int64)[:, 0]

    def in_sessions(self, opens: Int64Array) -> TrainingData:
        """The same with spans that end where a session begins, at ns [n], ascending."""
        found = []
        for symbol, begin, end in self.spans.tolist():
            if begin == end:
                continue
            first, last = (int(self._ts(row, row + 1)[0]) for row in (begin, end - 1))
            inner = opens[(opens > first) & (opens <= last)].tolist()
            cuts = [begin, *(self._at(begin, end, at) for at in inner), end]
            found += [(symbol, low, high) for low, high in pairwise(cuts) if high > low]
        return replace(self, spans=np.array(found, dtype=np.int64).reshape(-1, 3))

    def _at(self, begin: int, end: int, at: int) -> int:
        """The first of a symbol's rows that lies at or after an instant, by bisection."""
        low, high = begin, end
        while high - low > _ROWS:
            middle = (low + high) // 2
            low, high = (middle, high) if self._ts(middle, middle + 1)[0] < at else (low, middle)
        return low + int(np.searchsorted(self._ts(low, high), at))


@contextmanager
def training_data(
    stream: Stream,
    folder: Path,
    *,
    end: int | None = None,
    purge: int = 0,
    seed: int = 0,
    device: str = "cpu",
    progress: ProgressCallback = lambda done, total: None,
) -> Iterator[TrainingData]:
    """The events of a stream, on disk symbol by symbol within the block.

    Args:
        stream: the stretch; it has no limit.
        folder: where the file lies.
        end: when the stretch ends, ns; ``None``: right after its last event.
        purge, seed, device, progress: see ``TrainingData``.

    Raises:
        UsageError: the dataset has no targets or features, or the stretch has no event.
        DataError: the dataset cannot be read, or the disk cannot hold the rows.
    """
    dataset, extent = stream.dataset, stream.extent
    for names, what in ((dataset.features, "features"), (dataset.targets, "targets")):
        if not names:
            raise UsageError(f"it has no {what} to train on", place=f"dataset {dataset.name!r}")
    counts = np.zeros(len(dataset.symbols), dtype=np.int64)
    for batch in stream.pieces(features=False):
        counts += np.bincount(batch.symbol, minlength=len(counts))
    stops = np.cumsum(counts)
    spans = np.column_stack([np.arange(len(counts)), stops - counts, stops])
    width = len(dataset.features) + len(dataset.targets)
    # An instant is kept as two float32, bit by bit.
    with Spool(folder, extent.count, width) as values, Spool(folder, extent.count, 2) as instants:
        _fill(stream, spans, values, instants)
        data = TrainingData(
            symbols=dataset.symbols,
            instruments=tuple(dataset.instruments),
            features=dataset.features,
            targets=dataset.targets,
            start=extent.first if stream.start is None else stream.start,
            end=extent.last + 1 if end is None else end,
            purge=purge,
            seed=seed,
            device=device,
            progress=progress,
            spans=spans,
            _values=values,
            _instants=instants,
        )
        sessions = dataset.sessions if dataset.session_breaks == "reset" else None
        yield data if sessions is None else data.in_sessions(sessions[:, 0])


def _fill(stream: Stream, spans: Int64Array, values: Spool, instants: Spool) -> None:
    """Write every event to its symbol's rows."""
    place = spans[:, 1].copy()
    for events, targets in stream_labelled(
        stream.dataset, stream.start, stream.end, stream.symbols, nonfinite=stream.nonfinite
    ):
        assert events.features is not None
        order = np.argsort(events.symbol, kind="stable")
        both = np.hstack([events.features, targets])[order]
        ts = np.ascontiguousarray(events.ts_event[order]).view(np.float32).reshape(-1, 2)
        found, first = np.unique(events.symbol[order], return_index=True)
        for symbol, low, high in zip(found, first, [*first[1:], len(order)], strict=True):
            values.write(int(place[symbol]), both[low:high])
            instants.write(int(place[symbol]), ts[low:high])
            place[symbol] += high - low


def cut_lanes(counts: Int64Array, lanes: int) -> Int64Array:
    """Lanes of consecutive events: of what, its first event, events; int64 [L, 3].

    Args:
        counts: events of each symbol, or of whatever else no lane may go beyond, [S].
        lanes: about how many there are to be, of equal length; 0: one for each symbol.
    """
    longest = -(-int(counts.sum()) // lanes) if lanes else int(counts.max(initial=1))
    found = [
        (symbol, low, min(longest, count - low))
        for symbol, count in enumerate(counts.tolist())
        for low in range(0, count, max(longest, 1))
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 3)
