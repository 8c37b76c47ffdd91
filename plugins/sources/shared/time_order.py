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
    that one's time. Rows of several symbols wait until ``SLACK`` has passed since their time; what
    comes even later is moved to the time up to which rows were given out.

    Args:
        symbols: how many there are.
        alone: all rows are of one of them, so none has to wait.
        least: rows to collect before any are given out.

    Attributes:
        moved: rows of which the time was raised.
    """

    def __init__(self, symbols: int, *, alone: bool = False, least: int = 65_536) -> None:
        self.moved = 0
        self._alone = alone
        self._least = least
        self._last = np.full(symbols, NO_TIME, dtype=np.int64)
        self._given = int(NO_TIME)
        self._held: list[Columns] = []
        self._waiting = 0
        """Rows of the first of these, which is sorted."""
        self._new = 0
        """Rows of the others."""

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
        if self._alone:
            return rows
        self._held.append(rows)
        self._new += len(ts)
        # Many that wait are not sorted again for every few that come.
        if self._new < max(self._least, self._waiting // 4):
            return rows_of(rows, slice(0))
        whole = self._sorted()
        self._given = max(self._given, now - SLACK)
        due = int(np.searchsorted(whole["ts_event"], self._given))
        self._held = [rows_of(whole, slice(due, None))]
        self._waiting, self._new = len(whole["ts_event"]) - due, 0
        return rows_of(whole, slice(due))

    def rest(self) -> Columns | None:
        """Give out what waits; ``None`` if nothing does."""
        whole = self._sorted() if self._held else None
        self._held = []
        return whole

    def _sorted(self) -> Columns:
        whole = {
            name: np.concatenate([held[name] for held in self._held]) for name in self._held[0]
        }
        order = np.argsort(whole["ts_event"], kind="stable")
        return {name: values[order] for name, values in whole.items()}

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
