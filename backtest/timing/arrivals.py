"""When events are received, and in which order: by receipt, then bus order."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.compiled import writable
from backtest.market.events import EventBatch
from backtest.market.window import Window
from backtest.timing.latency import LatencyModel, checked_spans, feed_spans, scaled
from backtest.timing.layout import LONGEST


class Arrivals:
    """The arrivals of a stream of events, as far as they are certain.

    Position ``p`` in the order of arrival is the event number ``p`` where the feed is equally late
    for all, so that arrivals keep bus order. Otherwise it is ``order[p & (len(order) - 1)]``.

    Args:
        feed: from ts_event to receipt.
        seed: of the feed's draws.
        scale: latency scale, above 0.
        window: holds the column ``received``.
        symbols: size of the symbol table.

    Attributes:
        order: event numbers by position, int64; of length 1 where arrivals keep bus order.
        placed: position after the last arrival that is certain.

    Raises:
        RunError: the feed gives what is no span.
    """

    def __init__(
        self, feed: LatencyModel, seed: int, scale: float, window: Window, symbols: int
    ) -> None:
        self._feed, self._seed, self._scale = feed, seed, scale
        self._window = window
        self._span: int | None = None
        if type(feed).feed is LatencyModel.feed and not feed.uses_draws:
            every = feed.spans(np.ones(1, dtype=np.int64), np.zeros(1))
            self._span = int(self._scaled(checked_spans(feed, every, 1))[0])
        self._latest = np.full(symbols, np.iinfo(np.int64).min, dtype=np.int64)
        self.order = np.zeros(1, dtype=np.int64)
        self._flights = np.zeros(1 << 10, dtype=np.int64)
        self._flying = 0
        self.placed = 0

    @property
    def in_bus_order(self) -> bool:
        """Whether position and number of an event are the same."""
        return self._span is not None

    def receive(self, events: EventBatch, rows: slice, oldest: int) -> None:
        """Fill ``received`` for new events of the window.

        Args:
            events: in bus order.
            rows: their rows.
            oldest: the least position that is still needed.
        """
        received = self._window["received"]
        if self._span is not None:
            np.add(events.ts_event, self._span, out=received[rows])
            self.placed += len(events)
            return
        from backtest.timing.arrival_loops import arrive, receive

        first = self._window.first
        number = first + rows.start
        spans = writable(self._scaled(feed_spans(self._feed, events, self._seed, number)))
        times = writable(events.ts_event)
        receive(writable(events.symbol), times, spans, self._latest, received[rows])
        self._grow(len(events), oldest)
        self._flying, self.placed = arrive(
            number, times, first, received, self._flights, self._flying, self.order, self.placed
        )

    def finish(self) -> None:
        """No event comes any more, so everything that is on its way is certain."""
        if self._flying:
            from backtest.timing.arrival_loops import arrive_all

            self.placed = arrive_all(
                self._window.first, self._window["received"], self._flights, self._flying,
                self.order, self.placed,
            )  # fmt: skip
            self._flying = 0

    def earliest(self, position: int) -> int | None:
        """The number of the first event that arrives at a position or later, if any is known."""
        if position < self.placed:
            return self.event(position)
        return int(self._flights[0]) if self._flying else None

    def event(self, position: int) -> int:
        """The event at a position."""
        if self.in_bus_order:
            return position
        return int(self.order[position & (len(self.order) - 1)])

    def _scaled(self, spans: Int64Array) -> Int64Array:
        if self._scale > 1:
            spans = np.minimum(spans, int(LONGEST / self._scale))
        return np.minimum(scaled(spans, self._scale), LONGEST)

    def _grow(self, count: int, oldest: int) -> None:
        """Make room for so many events on their way, and for all of them to arrive."""
        flying = self._flying + count
        if flying > len(self._flights):
            self._flights = np.resize(self._flights, 2 * flying)
        self.order = grown(self.order, oldest, self.placed, flying)


def grown(ring: Int64Array, first: int, stop: int, count: int) -> Int64Array:
    """The ring with room for ``count`` more; what lies at ``first`` to ``stop - 1`` is kept.

    A ring's length is a power of two; position ``p`` lies at ``p & (len(ring) - 1)``.
    """
    length = len(ring)
    while length < stop - first + count:
        length *= 2
    if length == len(ring):
        return ring
    larger = np.zeros(2 * length, dtype=np.int64)
    positions = np.arange(first, stop)
    larger[positions & (len(larger) - 1)] = ring[positions & (len(ring) - 1)]
    return larger
