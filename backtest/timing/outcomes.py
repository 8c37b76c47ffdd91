"""What became of each event, and when: pass 1's result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import Int64Array

_STRETCH = 1 << 16


class Status(IntEnum):
    """What became of an event. Only an answered one advances its symbol's state."""

    ANSWERED = 0
    DROPPED = 1
    """Its symbol's line was full when it arrived."""
    EXPIRED = 2
    """It had waited longer than ``max_age`` when a batch was sent."""
    CONFLATED = 3
    """A newer event of its symbol was served in its place."""
    UNFINISHED = 4
    """It was still waiting or in service, or not yet received, when the window ended."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Pass 1's result for ``n`` events in bus order.

    Attributes:
        received: receipt, int64 ns [n].
        begun, ended: when its service began and ended, int64 ns [n]; ``NO_TIME`` if unanswered.
        status: a ``Status``, uint8 [n].
        batch: number of its batch in order of dispatch, int64 [n]; -1 if unanswered.
    """

    received: Int64Array
    begun: Int64Array
    ended: Int64Array
    status: NDArray[np.uint8]
    batch: Int64Array

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which events have an answer, bool [n]."""
        return self.status == Status.ANSWERED

    def batches(self) -> Iterator[Int64Array]:
        """Event numbers of each batch that was answered, in order of dispatch, int64 [k] each."""
        events = np.flatnonzero(self.answered)
        events = events[np.lexsort((events, self.received[events], self.batch[events]))]
        cuts = np.flatnonzero(np.diff(self.batch[events])) + 1
        return iter(np.split(events, cuts) if len(events) else [])
