"""Batching policies: which waiting events ride together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from backtest.timing.latency import scaled_span


class Waiting:
    """The events in line, by arrival over all symbols and within each.

    Attributes:
        lines: waiting event numbers of each symbol, oldest first.
    """

    def __init__(self, received: Sequence[int], symbols: Sequence[int], scale: float) -> None:
        self._received = received
        self._symbols = symbols
        self._scale = scale
        self._arrivals: OrderedDict[int, None] = OrderedDict()
        self.lines: dict[int, deque[int]] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def __iter__(self) -> Iterator[int]:
        """Event numbers in order of arrival."""
        return iter(self._arrivals)

    @property
    def oldest(self) -> int:
        """Receipt of the event that has waited longest, ns."""
        return self._received[next(iter(self._arrivals))]

    def symbol(self, event: int) -> int:
        """The symbol of an event."""
        return self._symbols[event]

    def by_arrival(self, events: list[int]) -> list[int]:
        """The same events in order of arrival: by receipt, then bus order."""
        return sorted(events, key=lambda event: (self._received[event], event))

    def deadline(self, span: int) -> int:
        """When the event that has waited longest will have waited ``span`` (scaled), ns."""
        return self.oldest + scaled_span(span, self._scale)

    def add(self, event: int) -> None:
        """Put an event at the end of its line."""
        self._arrivals[event] = None
        self.lines.setdefault(self._symbols[event], deque()).append(event)

    def remove(self, events: Iterable[int]) -> None:
        """Take events out, wherever they stand."""
        for event in events:
            del self._arrivals[event]
            line = self.lines[self._symbols[event]]
            if line[0] == event:
                line.popleft()
            else:
                line.remove(event)


@dataclass(frozen=True, slots=True)
class BatchChoice:
    """A policy's choice: events to serve, in arrival order, and events to give up for them."""

    serve: list[int]
    conflate: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """What a policy does, in the terms that the compiled server knows.

    Attributes:
        takes: in order of arrival all that waits, or the oldest event of each symbol, or the newest
            of each, giving up the older ones of the symbols taken.
        most: events at most; ``None``: as many as may be served.
        wait_for: sent at once when so many wait,
        wait: or when the oldest has waited so long, unscaled ns (with ``arrival`` only).
    """

    takes: Literal["arrival", "oldest", "newest"]
    most: int | None = None
    wait_for: int = 1
    wait: int = 0


class BatchingPolicy(ABC):
    """Decides what rides together. It holds no state between calls."""

    def ready_at(self, waiting: Waiting) -> int:
        """When what now waits (never empty) may be sent, ns; by default, at once."""
        return waiting.oldest

    @abstractmethod
    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        """Choose from what waits (never empty): at least one and at most ``limit`` events."""

    def compiled(self) -> CompiledPolicy | None:
        """The same for the compiled server; ``None``: the policy runs in plain Python.

        Read only from the class that also defines ``select`` and ``ready_at``, so a subclass that
        changes one of them runs in plain Python unless it states its own rule.
        """
        return None
