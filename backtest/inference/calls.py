"""The events of one window, and the calls in which pass 2 hands them to a strategy.

Where one call ends and the next begins follows from the events and the chunk size alone, or from
the simulated batches; never from files, reads, or where an earlier run stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.reading.bus import EventBus, read_events
from backtest.data.reading.decode import Nonfinite
from backtest.market.events import EventBatch, concatenate

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset

CHUNK = 8192
"""Events of the window in a chunk, of which those answered are handed to a strategy at once."""

WITHOUT_FEATURES = 1 << 16
"""The same for strategies that read no features."""


def chunk_size(features: bool) -> int:
    """Events of the window in a chunk."""
    return CHUNK if features else WITHOUT_FEATURES


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of one window, to be read again and again.

    Attributes:
        dataset: where they come from.
        start, end: the window, ns; ``None`` for the dataset's own.
        symbols: those wanted; ``None`` for all.
        count: events taken from its beginning.
        nonfinite: NaN and infinity among features are refused, or set to 0.
        events: the same events without features, where they have been read.
    """

    dataset: Dataset
    start: int | None
    end: int | None
    symbols: tuple[str, ...] | None
    count: int
    nonfinite: Nonfinite = "refuse"
    events: EventBatch | None = None

    def chunks(self, features: bool, first: int = 0) -> Iterator[EventBatch]:
        """Chunk after chunk from the one with number ``first`` on; only the last one is shorter."""
        size = chunk_size(features)
        if not features and self.events is not None:
            for start in range(first * size, self.count, size):
                yield self.events.select(slice(start, min(start + size, self.count)))
            return
        if first * size < self.count:
            yield from _of_size(size, self._read(features, first * size))

    def whole(self, features: bool) -> EventBatch:
        """All of them at once."""
        if not features and self.events is not None:
            return self.events
        events = read_events(
            self.dataset,
            start=self.start,
            end=self.end,
            symbols=self.symbols,
            features=features,
            nonfinite=self.nonfinite,
        )
        return events.select(slice(0, self.count))

    def _read(self, features: bool, first: int) -> Iterator[EventBatch]:
        """Batches from the event with number ``first`` on, as the bus hands them out."""
        start, passed_over = self.start, first
        if first and self.events is not None:
            start = int(self.events.ts_event[first])
            passed_over -= int(np.searchsorted(self.events.ts_event, start))
        left = self.count - first
        bus = EventBus(
            self.dataset,
            start=start,
            end=self.end,
            symbols=self.symbols,
            features=features,
            batch_rows=CHUNK,
            nonfinite=self.nonfinite,
        )
        for batch in bus:
            wanted = batch.select(slice(passed_over, passed_over + left))
            passed_over = max(passed_over - len(batch), 0)
            left -= len(wanted)
            yield wanted
            if not left:
                return


@dataclass(frozen=True, slots=True)
class Calls:
    """What each call of pass 2 hands to a strategy, by the call's number.

    Attributes:
        stream: ``n`` events.
        features: whether the strategy reads them.
        answered: which events reach the strategy, bool [n].
        batches: event numbers of each call, for a strategy whose answers depend on them;
            otherwise ``None``: a call is what is answered of a chunk, perhaps nothing.
    """

    stream: Stream
    features: bool
    answered: BoolArray
    batches: list[Int64Array] | None

    def __len__(self) -> int:
        if self.batches is not None:
            return len(self.batches)
        return len(range(0, len(self.answered), chunk_size(self.features)))

    def numbers(self, call: int) -> Int64Array:
        """Numbers of the events of a call, in the order in which the strategy gets them."""
        if self.batches is not None:
            return self.batches[call]
        size = chunk_size(self.features)
        return call * size + np.flatnonzero(self.answered[call * size : (call + 1) * size])

    def first_event(self, call: int) -> int:
        """Number of the first event that a call is about."""
        if self.batches is not None:
            return int(self.batches[call][0])
        return call * chunk_size(self.features)

    def read(self, first: int = 0) -> Iterator[tuple[Int64Array, EventBatch]]:
        """Event numbers and events of each call, from the one with number ``first`` on."""
        if self.batches is not None:
            events = self.stream.whole(self.features)
            for numbers in self.batches[first:]:
                yield numbers, events.select(numbers)
            return
        size = chunk_size(self.features)
        for call, chunk in enumerate(self.stream.chunks(self.features, first), first):
            numbers = self.numbers(call)
            whole = len(numbers) == len(chunk)
            yield numbers, chunk if whole else chunk.select(numbers - call * size)


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
