"""Fills on their way back to a strategy that reacts to them."""

from __future__ import annotations

from heapq import heappop, heappush

from backtest.core.arrays import Int64Array
from backtest.trading import layout as at
from backtest.trading.orders import Confirmation

_COLUMNS = [at.SYMBOL, at.EVENT, at.LOTS, at.PRICE, at.T4, at.KNOWN]


class Confirmations:
    """Confirmations that have not arrived yet, by when they will."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int, int, Confirmation]] = []
        self._count = 0

    def add(self, fills: Int64Array) -> None:
        """Confirm some fills, int64 [k, FILL_SIZE]."""
        for row in fills[:, _COLUMNS].tolist():
            fill = Confirmation(*row)
            self._count += 1
            # The count keeps a symbol's fills in the order of its orders, however calls are cut.
            key = (fill.known, fill.arrived, fill.symbol, self._count)
            heappush(self._waiting, (*key, fill))

    def take(self, now: int) -> list[Confirmation]:
        """Those that arrive by ``now``, in order, which are then forgotten."""
        known = []
        while self._waiting and self._waiting[0][0] <= now:
            known.append(heappop(self._waiting)[-1])
        return known
