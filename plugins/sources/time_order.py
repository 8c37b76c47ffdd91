"""Rows in the order of their receipt, brought into the order of their events in bounded memory."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.reading.decode import Columns
from backtest.data.reading.merge import rows_of
from backtest.market.events import NO_TIME

SLACK = 1_000_000_000
"""How late a row may be and still find its place among those of other symbols, ns."""


class TimeOrder:
    """Brings rows that come nearly in order of ``ts_event`` into it, stably.

    The rows of a symbol keep their order: one that is earlier than the one before it is moved to
    that one's time. Rows of all symbols wait until ``SLACK`` has passed since their time; what
    comes even later is moved to the time up to which rows were given out.

    Args:
        symbols: how many there are.

    Attributes:
        moved: rows of which the time was raised.
    """

    def __init__(self, symbols: int) -> None:
        self.moved = 0
        self._last = np.full(symbols, NO_TIME, dtype=np.int64)
        self._given = int(NO_TIME)
        self._held: Columns | None = None

    def add(self, rows: Columns, now: int) -> Columns:
        """Take in rows, and give out those that are due.

        Args:
            rows: with ``ts_event``, ``ts_recv`` and ``symbol``.
            now: the clock when the last of them was received, ns.
        """
        ts = self._rising(rows["symbol"], np.maximum(rows["ts_event"], self._given))
        self.moved += int(np.count_nonzero(ts != rows["ts_event"]))
        recv = rows["ts_recv"]
        recv = np.where(recv != NO_TIME, np.maximum(recv, ts), recv)
        rows = rows | {"ts_event": ts, "ts_recv": recv}
        if self._held is not None:
            held = self._held
            rows = {name: np.concatenate([held[name], rows[name]]) for name in rows}
        order = np.argsort(rows["ts_event"], kind="stable")
        rows = {name: values[order] for name, values in rows.items()}
        self._given = max(self._given, now - SLACK)
        due = int(np.searchsorted(rows["ts_event"], self._given))
        self._held = rows_of(rows, slice(due, None))
        return rows_of(rows, slice(due))

    def rest(self) -> Columns | None:
        """Give out what waits; ``None`` if there was never anything."""
        rows, self._held = self._held, None
        return rows

    def _rising(self, symbol: Int64Array, ts: Int64Array) -> Int64Array:
        """The running maximum of each symbol's times, [n]."""
        if not len(ts):
            return ts
        order = np.argsort(symbol, kind="stable")
        grouped, values = symbol[order], ts[order]
        cuts = np.flatnonzero(np.append(True, grouped[1:] != grouped[:-1])[: len(grouped)])
        for low, high in zip(cuts, [*cuts[1:], len(grouped)], strict=True):
            s = grouped[low]
            values[low] = max(values[low], self._last[s])
            np.maximum.accumulate(values[low:high], out=values[low:high])
            self._last[s] = values[high - 1]
        result = np.empty_like(ts)
        result[order] = values
        return result
