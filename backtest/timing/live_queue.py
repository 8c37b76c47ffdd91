"""The compiled server of a closed loop: it stops at each batch until its service time is said."""

from __future__ import annotations

from typing import Any

from backtest.core.arrays import Int32Array, Int64Array, writable
from backtest.core.room import Room
from backtest.timing.policies import Rule
from backtest.timing.server import InferenceServer
from backtest.timing.simulation import LONGEST, Queue


class LiveQueue(Queue):
    """A queue that is advanced batch by batch, with as little ado as Python allows.

    Args:
        server, rule, symbols_of, received, order, symbols, end, room: as for ``Queue``.
    """

    def __init__(
        self,
        server: InferenceServer,
        rule: Rule,
        symbols_of: Int32Array,
        received: Int64Array,
        order: Int64Array,
        *,
        symbols: int,
        end: int,
        room: Room,
    ) -> None:
        from backtest.core.addresses import places_of
        from backtest.timing import live_loops as live
        from backtest.timing import loops

        received, order = writable(received), writable(order)
        super().__init__(
            server, rule, symbols_of, received, order,
            symbols=symbols, end=end, room=room, live=True,
        )  # fmt: skip
        self._rules[loops.STOP] = len(received)
        self._step: Any = live.step_in_order if rule.takes == "arrival" else live.step_lines
        arrays = (self._state, self._rules, *self._columns, self._seen, self._rounds)
        self._arrays = arrays + self._results  # kept, since only their addresses are handed over
        self._places = places_of(self._arrays, int32=4, uint8=len(self._arrays) - 2)
        # Views that give and take Python's own numbers, at a quarter of what an array takes.
        self._now_state, self._now_rules = self._state.data, self._rules.data
        self._now, self._taken, self._row = loops.NOW, loops.TAKEN, loops.ROW
        self._span, self._dispatched = loops.SPAN, loops.DISPATCHED

    def step(self) -> bool:
        """Serve the last batch to its end, and go on until the next is sent; false at the end."""
        self._done = self._done or self._step(self._places) != self._dispatched
        return not self._done

    @property
    def now(self) -> int:
        """The clock, ns."""
        return self._now_state[self._now]

    @property
    def rows(self) -> slice | Int64Array:
        """Events of the batch that was sent: a slice where they follow each other without a gap."""
        first, count = self._now_state[self._row], self._now_state[self._taken]
        return self.taken[:count].copy() if first < 0 else slice(first, first + count)

    def serve(self, span: int) -> None:
        """Say how long that batch is served, scaled ns."""
        self._now_rules[self._span] = min(span, LONGEST)
