"""The prevailing quote, looked up plainly: for each symbol, the last valid one at an instant.

Valid means two-sided and not crossed. A quote stands from its ``ts_event`` on, whether or not its
event is answered.
"""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market.events import EventBatch


class StandingQuotes:
    """The mids of all valid quotes of some events, found by symbol and instant."""

    def __init__(self, events: EventBatch, symbols: int) -> None:
        valid = np.flatnonzero(events.valid_quote())
        some = events.select(valid)
        if some.bid is None or some.ask is None:
            mids = np.empty(0, dtype=np.int64)
        else:
            mids = some.bid + some.ask
        of = [some.symbol == s for s in range(symbols)]
        self._times = [some.ts_event[rows] for rows in of]
        self._mids = [mids[rows] for rows in of]

    def mids(self, symbol: int, times: Int64Array) -> Int64Array:
        """M(s, t): bid + ask at ``times`` (ns), half ticks; a quote must stand at each.

        Quotes that were set at that instant stand already.
        """
        before = np.searchsorted(self._times[symbol], times, side="right")
        return self._mids[symbol][before - 1]
