"""The events of one window of a dataset, to be read again and again in pieces of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.core.compiled import writable
from backtest.core.interrupts import raise_if_interrupted
from backtest.data.reading.bus import EventBus, stream_targets, stream_times
from backtest.data.reading.decode import Nonfinite
from backtest.data.reading.depth import stream_depth
from backtest.errors import DataError, UsageError
from backtest.market.depth import DepthBatch
from backtest.market.events import EventBatch, concatenate
from backtest.market.quotes import UNLIMITED

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset

WITH_FEATURES = 8192
"""Events of a piece that is read with its features."""

WITHOUT_FEATURES = 1 << 15
"""The same for pieces without features."""

_SEARCHED = 1 << 17
"""Events that a search from the end of a window looks at first."""


def piece_size(features: bool) -> int:
    """Events of a piece."""
    return WITH_FEATURES if features else WITHOUT_FEATURES


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a stream reaches.

    Attributes:
        count: events in it.
        first, last: ts_event of the first and the last, ns.
    """

    count: int
    first: int
    last: int


@dataclass(frozen=True)
class Stream:
    """The events of one window.

    Attributes:
        dataset: where they come from.
        start, end: the half-open window of ts_event, ns; ``None`` for the dataset's own.
        symbols: those wanted; ``None`` for all.
        limit: events taken from its beginning at most; ``None``: all.
        nonfinite: NaN and infinity among features are refused, or set to 0.
    """

    dataset: Dataset
    start: int | None = None
    end: int | None = None
    symbols: tuple[str, ...] | None = None
    limit: int | None = None
    nonfinite: Nonfinite = "refuse"

    @cached_property
    def extent(self) -> Extent:
        """Its extent, read from footers alone if they are enough.

        Raises:
            UsageError: there is no event in it.
            DataError: the files cannot be read.
        """
        key, known = (self.start, self.end, self.symbols, self.limit), self.dataset.extents
        if key not in known:
            known[key] = self._extent()
        found: Extent = known[key]
        return found

    def _extent(self) -> Extent:
        if self.limit is None and (known := self._bus(features=False).extent()) is not None:
            return Extent(*known)
        count, first, last = 0, 0, 0
        for times in stream_times(self.dataset, **self._selection):
            some = times if self.limit is None else times[: self.limit - count]
            first = first if count else int(some[0])
            last = int(some[-1])
            count += len(some)
            if count == self.limit:
                break
        if not count:
            raise UsageError(
                "no event lies in the window",
                place=f"dataset {self.dataset.name!r}",
                remedy="`backtest data describe` shows the dataset's span.",
            )
        return Extent(count, first, last)

    @property
    def count(self) -> int:
        """How many events there are."""
        return self.extent.count

    def instant(self, number: int) -> int:
        """ts_event of the event with this number, ns; right after the last one if there is none."""
        if not number:
            return self.extent.first
        passed = 0
        if number < self.count:
            for times in stream_times(self.dataset, **self._selection):
                if passed + len(times) > number:
                    return int(times[number - passed])
                passed += len(times)
        return self.extent.last + 1

    def pieces(self, *, features: bool, first: int = 0) -> Iterator[EventBatch]:
        """Piece after piece from the one with number ``first`` on; only the last one is shorter.

        Raises:
            DataError: the files cannot be read, or their rows do not match their footers.
        """
        size = piece_size(features)
        start = first * size
        if start < self.count:
            for piece in _of_size(size, self._read(features, start)):
                raise_if_interrupted()
                yield piece

    def whole(self, *, features: bool) -> EventBatch:
        """All events at once."""
        return concatenate([*self._read(features, 0)])

    def targets(self) -> Iterator[Float32Array]:
        """True values row by row, float32 [n, T], in pieces of any size.

        Raises:
            DataError: as for ``pieces``, or a target is not finite.
        """
        left = self.count
        for targets in stream_targets(self.dataset, **self._selection):
            yield targets[:left]
            left -= len(targets)
            if left <= 0:
                return

    def depth(self) -> Iterator[DepthBatch]:
        """The rows of depth among its events, in bus order, in batches of any size.

        Raises:
            UsageError: the dataset has no depth (``Dataset.has_depth``).
            DataError: the files cannot be read, or hold what no row of depth may.
        """
        return stream_depth(self.dataset, **self._selection, limit=self.limit)

    def look_back(self, look: Callable[[Sequence[Any]], bool]) -> None:
        """Show the quotes from the last event to the first, until enough was seen.

        Args:
            look: given symbol int32, ts_event, bid, ask, bid_size and ask_size int64 of successive
                events, all [n], each time of those right before; true if that is enough.
        """
        for events in self._backward():
            columns = (events.symbol, events.ts_event, events.bid, events.ask)
            unlimited = np.full(len(events), UNLIMITED)
            sizes = [unlimited if s is None else s for s in (events.bid_size, events.ask_size)]
            if look([*map(writable, (*columns, *sizes))]):
                return

    def _backward(self) -> Iterator[EventBatch]:
        """Stretches of the window from the last one to the first, each in the order of time."""
        extent = self.extent
        if self.limit is not None:  # it is short, and ends in the middle of an instant perhaps
            yield self.whole(features=False)
            return
        stop = extent.last + 1
        # Spans are chosen by the mean density and grow where it is lower, up to a bound on memory.
        span = max((stop - extent.first) * _SEARCHED // extent.count, 1)
        longest = 8 * span
        while stop > extent.first:
            start = max(stop - span, extent.first)
            batches = [*self._bus(features=False, start=start, end=stop)]
            if batches:
                yield concatenate(batches)
            stop, span = start, min(2 * span, longest)

    @property
    def _selection(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "symbols": self.symbols}

    def _bus(self, *, features: bool, start: int | None = None, end: int | None = None) -> EventBus:
        return EventBus(
            self.dataset,
            start=self.start if start is None else start,
            end=self.end if end is None else end,
            symbols=self.symbols,
            features=features,
            batch_rows=piece_size(features),
            nonfinite=self.nonfinite,
        )

    def _read(self, features: bool, first: int) -> Iterator[EventBatch]:
        """Batches from the event with number ``first`` on, as the bus yields them."""
        # Reading can begin at an instant but not within one, so some events are skipped.
        start, passed_over = self._place(first)
        left, last = self.count - first, self.extent.last
        for batch in self._bus(features=features, start=start):
            wanted = batch.select(slice(passed_over, passed_over + left))
            passed_over = max(passed_over - len(batch), 0)
            left -= len(wanted)
            if len(wanted) and wanted.ts_event[-1] > last:
                break
            yield wanted
            if not left:
                return
        raise DataError(
            f"{self.count - left} of {self.count} rows were found up to {last}",
            place=self.dataset.name,
            remedy="The files' footers do not match their rows: write the dataset again.",
        )

    def _place(self, first: int) -> tuple[int | None, int]:
        """From which instant to read for the event ``first``, and how many events to pass over."""
        if not first:
            return self.start, 0
        passed = 0
        for times in stream_times(self.dataset, **self._selection):
            if passed + len(times) > first:
                instant = int(times[first - passed])
                at = int(np.searchsorted(times, instant))
                if at or not passed:
                    return instant, first - passed - at
                # The instant may have begun in the previous piece, so nothing is known about it.
                return self.start, first
            passed += len(times)
        return self.start, first


def _of_size(size: int, batches: Iterable[EventBatch]) -> Iterator[EventBatch]:
    """The same events, ``size`` at a time; only the last ones are fewer."""
    parts: list[EventBatch] = []
    held = 0
    for batch in batches:
        rest = batch
        while len(rest):
            part = rest.select(slice(0, size - held))
            rest = rest.select(slice(len(part), None))
            parts.append(part)
            held += len(part)
            if held == size:
                yield concatenate(parts)
                parts, held = [], 0
    if parts:
        yield concatenate(parts)
