"""The events of one window, read again and again by pass 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtest.bus import EventBus, read_events
from backtest.data.decode import Nonfinite
from backtest.events import EventBatch

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset

CHUNK = 8192
"""Events handed to a strategy at once, at most."""

WITHOUT_FEATURES = 1 << 16
"""The same for strategies that read no features."""


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

    def batches(self, features: bool) -> Iterator[tuple[int, EventBatch]]:
        """Batches of at most ``CHUNK`` events, each with the number of its first event."""
        first = 0
        if not features and self.events is not None:
            for first in range(0, self.count, WITHOUT_FEATURES):
                yield first, self.events.select(slice(first, first + WITHOUT_FEATURES))
            return
        bus = EventBus(
            self.dataset,
            start=self.start,
            end=self.end,
            symbols=self.symbols,
            features=features,
            batch_rows=CHUNK,
            nonfinite=self.nonfinite,
        )
        for batch in bus:
            if first >= self.count:
                return
            yield first, batch.select(slice(0, self.count - first))
            first += len(batch)

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
