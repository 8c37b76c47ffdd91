"""Policies in plain Python: shown what waits, and held to what a policy may choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from backtest.errors import RunError
from backtest.market.window import Window
from backtest.timing.layout import EXPIRED, LONGEST
from backtest.timing.policies import BatchChoice, BatchingPolicy, Waiting


class Chooser:
    """A policy and the waiting line that it sees.

    Args:
        policy: decides what rides together.
        window: holds the columns ``received``, ``symbol`` and ``status``.
        scale: latency scale, by which the policy's own waits are multiplied.
        limit: events in a batch at most; ``LONGEST``: any number.
    """

    def __init__(self, policy: BatchingPolicy, window: Window, scale: float, limit: int) -> None:
        self._policy = policy
        self._window = window
        self._limit = limit
        self._waiting = Waiting(_ByNumber(window, "received"), _ByNumber(window, "symbol"), scale)

    def arrive(self, events: Iterable[int]) -> None:
        """Put events into line, in order of arrival."""
        for event in events:
            self._waiting.add(event)

    def forget_expired(self) -> None:
        """Take out of line what has expired; to be done before the window gives up its rows."""
        status, first = self._window["status"], self._window.first
        expired = []
        for event in self._waiting:  # from the oldest on, so the first that still waits ends it
            if status[event - first] != EXPIRED:
                break
            expired.append(event)
        self._waiting.remove(expired)

    def ready_at(self) -> int:
        """When what waits may be sent, ns.

        Raises:
            RunError: the policy named no instant.
        """
        ready = self._policy.ready_at(self._waiting)
        if not isinstance(ready, int | np.integer):
            raise self._no_choice(f"ready_at gave {ready!r}, not whole ns")
        return max(min(int(ready), LONGEST), -LONGEST)

    def choose(self) -> BatchChoice:
        """What the policy chooses; it waits no longer.

        Raises:
            RunError: it chose what it may not.
        """
        waiting = self._waiting
        limit = len(waiting) if self._limit == LONGEST else self._limit
        chosen = self._policy.select(waiting, limit)
        if not isinstance(chosen, BatchChoice):
            raise self._no_choice(f"it gave a {type(chosen).__name__}, not a BatchChoice")
        if not 1 <= len(chosen.serve) <= limit:
            raise self._no_choice(
                f"it chose {len(chosen.serve)} events where 1 to {limit} may be served"
            )
        try:
            waiting.remove(chosen.conflate)
            waiting.remove(chosen.serve)
        except KeyError as error:
            raise self._no_choice(
                f"it chose event {error}, which does not wait, or chose it twice"
            ) from None
        return chosen

    def _no_choice(self, problem: str) -> RunError:
        return RunError(problem, place=f"batching policy {type(self._policy).__name__}")


class _ByNumber(Sequence[int]):
    """A column of a window, by the number of the event."""

    def __init__(self, window: Window, name: str) -> None:
        self._window, self._name = window, name

    def __getitem__(self, event: Any) -> Any:
        return int(self._window[self._name][event - self._window.first])

    def __len__(self) -> int:
        return self._window.stop
