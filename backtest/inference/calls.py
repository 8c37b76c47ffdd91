"""The calls in which pass 2 hands a stream's events to a strategy.

Where one call ends and the next begins follows from the events and the piece size alone, or from
the simulated batches; never from files, reads, or where an earlier run stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.marks import Marks
from backtest.data.reading.stream import Stream, piece_size
from backtest.market.events import EventBatch


@dataclass(frozen=True, slots=True)
class Calls:
    """What each call of pass 2 hands to a strategy, by the call's number.

    Attributes:
        stream: ``n`` events.
        features: whether the strategy reads them.
        answered: which events reach the strategy, [n].
        batches: event numbers of each call, for a strategy whose answers depend on them;
            otherwise ``None``: a call is what is answered of a piece, perhaps nothing.
    """

    stream: Stream
    features: bool
    answered: Marks
    batches: Sequence[Int64Array] | None

    def __len__(self) -> int:
        if self.batches is not None:
            return len(self.batches)
        return len(range(0, len(self.answered), piece_size(self.features)))

    def numbers(self, call: int) -> Int64Array:
        """Numbers of the events of a call, in the order in which the strategy gets them."""
        if self.batches is not None:
            return self.batches[call]
        size = piece_size(self.features)
        return call * size + np.flatnonzero(self.answered[call * size : (call + 1) * size])

    def first_event(self, call: int) -> int:
        """Number of the first event that a call is about."""
        if self.batches is not None:
            return int(self.batches[call][0])
        return call * piece_size(self.features)

    def read(self, first: int = 0) -> Iterator[tuple[Int64Array, EventBatch]]:
        """Event numbers and events of each call, from the one with number ``first`` on."""
        if self.batches is not None:
            events = self.stream.whole(features=self.features)
            for numbers in self.batches[first:]:
                yield numbers, events.select(numbers)
            return
        size = piece_size(self.features)
        pieces = self.stream.pieces(features=self.features, first=first)
        for call, piece in enumerate(pieces, first):
            numbers = self.numbers(call)
            whole = len(numbers) == len(piece)
            yield numbers, piece if whole else piece.select(numbers - call * size)
