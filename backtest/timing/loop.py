"""The arrays of the server's compiled loop: made, enlarged, and handed over by address."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market.window import Window
from backtest.timing import layout as at
from backtest.timing.arrivals import Arrivals, grown
from backtest.timing.service import Service


class Loop:
    """The compiled loop and what it works on.

    Args:
        arrivals, service, window: whose arrays it reads and writes.
        symbols: size of the symbol table.
        by_symbol: whether the policy takes one event of each symbol.

    Attributes:
        state, rules: int64, by the places that ``layout`` names.
        taken: numbers of the events of the latest batch, int64.
        answers: numbers of the events answered since the caller took them, int64.
        serve: the loop; it is given ``places`` and returns a code of ``layout``.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        service: Service,
        window: Window,
        symbols: int,
        *,
        by_symbol: bool,
    ) -> None:
        from backtest.core.addresses import places_of
        from backtest.timing.server_loops import serve_first, serve_lines

        self.serve = serve_lines if by_symbol else serve_first
        self._places_of = places_of
        self._arrivals, self._service, self._window = arrivals, service, window
        self._by_symbol = by_symbol
        self.state = np.zeros(at.STATE_SIZE, dtype=np.int64)
        self.state[at.CLOCK] = at.NO_TIME
        self.state[[at.LIST_HEAD, at.LIST_TAIL]] = -1
        self.rules = np.zeros(at.RULES_SIZE, dtype=np.int64)
        self.lengths, self.oldest, newest, before, after, self._seen = (
            np.zeros(symbols, dtype=np.int64) for _ in range(6)
        )
        self._list = newest, before, after
        self._heap = np.zeros(symbols + 1, dtype=np.int64)
        self._stamps = np.full(symbols, -1, dtype=np.int64)
        self._scale = np.array([service.scale], dtype=np.float64)
        self._link, self._rounds = (np.zeros(1, dtype=np.int64) for _ in range(2))
        self.taken, self.answers = (np.zeros(1, dtype=np.int64) for _ in range(2))

    def hand_over(self, events: int, oldest: int, *, last: bool) -> None:
        """Make room for all that may happen to the events that are here, and find the arrays anew:
        the window may have replaced its columns or moved its rows.

        Args:
            events: number after the newest event.
            oldest: the least position that waits or is still to arrive.
            last: whether no event comes any more.
        """
        arrivals, service, rules = self._arrivals, self._service, self.rules
        first = self._window.first
        count = events - first + 1
        self.answers = enlarged(self.answers, int(self.state[at.ANSWERS]) + count)
        self.taken, self._rounds = enlarged(self.taken, count), enlarged(self._rounds, count)
        if self._by_symbol:
            ahead = int(self.state[at.NEXT])
            self._link = grown(self._link, oldest, ahead, arrivals.placed - ahead)
        simple = service.is_simple(count)
        uncertain = rules[at.KIND] == at.ASKED or rules[at.MAX_AGE] >= 0 or not service.tabled
        for place, value in (
            (at.FIRST, first),
            (at.STOP, arrivals.placed),
            (at.EVENTS, events),
            (at.LAST, last),
            (at.PASSES, service.passes),
            (at.FIRST_DRAW, service.first),
            (at.PER_EVENT, service.per_event),
            (at.AWAITED, not service.tabled),
            (at.SIMPLE, simple),
            (at.FAST, simple and arrivals.in_bus_order and not uncertain),
        ):
            rules[place] = value
        self._find()

    def _find(self) -> None:
        """The addresses of all arrays, in the order that ``layout`` numbers them in."""
        base, sizes, quantiles = self._service.arrays
        received, begun, ended, batch, symbol, status = (
            self._window[name]
            for name in ("received", "begun", "ended", "batch", "symbol", "status")
        )
        self._arrays = (
            self.state, self.rules, received, begun, ended, batch, symbol, status,
            self._arrivals.order, self._link, self.lengths, self.oldest, *self._list, self._heap,
            self._stamps, self.taken, self.answers, base, sizes, self._seen, self._rounds,
            quantiles, self._scale,
        )  # fmt: skip
        self.places = self._places_of(
            self._arrays,  # kept, since only their addresses are handed over
            int32=[at.SYMBOL_ARRAY],
            uint8=[at.STATUS_ARRAY],
            float64=[at.QUANTILES_ARRAY, at.SCALE_ARRAY],
        )


def enlarged(array: Int64Array, count: int) -> Int64Array:
    """The array with room for ``count`` numbers."""
    if count <= len(array):
        return array
    larger = np.zeros(2 * count, dtype=np.int64)
    larger[: len(array)] = array
    return larger
