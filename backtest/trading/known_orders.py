"""Orders as a trader knows them: what reports have told, and nothing else."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market.events import locked
from backtest.strategies.desk import Reports, WorkingOrders
from backtest.trading import order_layout as ol

_COLUMNS = (
    ol.R_KNOWN,
    ol.H_SYMBOL,
    ol.R_KIND,
    ol.R_ID,
    ol.R_SIDE,
    ol.R_LOTS,
    ol.R_PRICE,
    ol.R_TOTAL,
)
"""In the order of the columns of ``Reports``."""


def reports_of(heard: Int64Array) -> Reports:
    """Reports that were heard, int64 [n, REPORT_SIZE], as a strategy is given them."""
    columns = [np.ascontiguousarray(heard[:, place]) for place in _COLUMNS]
    columns[5] = np.abs(columns[5])
    return Reports(*map(locked, columns))


class KnownOrders:
    """The orders that work, as far as reports have told."""

    def __init__(self) -> None:
        self._orders: dict[tuple[int, int], list[int]] = {}
        self._working: WorkingOrders | None = None

    def hear(self, heard: Int64Array) -> None:
        """Take note of reports, int64 [n, REPORT_SIZE], in order."""
        if len(heard):
            self._working = None
        for symbol, _, kind, number, side, lots, price, total, *_ in heard.tolist():
            key = symbol, number
            if kind == ol.ACCEPTED:
                self._orders[key] = [side, price, total, 0]
            elif kind == ol.REPLACED:
                self._orders[key][1:3] = price, total
            elif kind in (ol.FILLED, ol.TOOK):
                order = self._orders[key]
                order[3] += abs(lots)
                if order[3] == order[2]:
                    del self._orders[key]
            elif kind in (ol.CANCELLED, ol.EXPIRED):
                del self._orders[key]

    @property
    def working(self) -> WorkingOrders:
        """By symbol, then id."""
        if self._working is None:
            rows = [[*key, *order] for key, order in sorted(self._orders.items())]
            table = np.array(rows, dtype=np.int64).reshape(-1, len(fields(WorkingOrders)))
            columns = (np.ascontiguousarray(column) for column in table.T)
            self._working = WorkingOrders(*map(locked, columns))
        return self._working
