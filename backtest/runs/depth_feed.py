"""Rows of depth on their way to a run's venues, as far as the events have come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backtest.market.depth import DepthBatch
from backtest.trading.depth_window import DepthWindow
from backtest.trading.order_venue import OrderVenue


class DepthFeed:
    """Gives venues the rows that lie among the events that they have been given.

    Args:
        rows: of the run's stream, in bus order.
        window: where they lie until all venues have handled them.
        venues: all of the run.
    """

    def __init__(
        self, rows: Iterator[DepthBatch], window: DepthWindow, venues: Sequence[OrderVenue]
    ) -> None:
        self._rows = rows
        self._window = window
        self._venues = [venue for venue in venues if venue.needs_depth is not None]
        self._reached = 0 if self._venues else None

    def feed(self, stop: int, *, last: bool) -> None:
        """Give what lies before the latest of the events up to ``stop - 1``.

        Args:
            last: no event comes after them: all that is left.
        """
        while self._reached is not None and (last or self._reached < stop):
            batch = next(self._rows, None)
            if batch is None:
                self._reached = None
            elif len(batch):
                self._reached = int(batch.follows[-1])
                self._window.extend(batch)
                for venue in self._venues:
                    venue.follow_depth()

    def release(self) -> None:
        """Give up what all venues have handled."""
        needs = [venue.needs_depth for venue in self._venues]
        self._window.release(min((n for n in needs if n is not None), default=0))
