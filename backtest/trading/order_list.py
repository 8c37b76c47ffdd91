"""Order lists: messages to the venue that are replayed as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.errors import UsageError
from backtest.trading import order_layout as ol

ACTIONS = {"new": ol.NEW, "cancel": ol.CANCEL, "cancel_all": ol.CANCEL_ALL, "replace": ol.REPLACE}
SIDES = {"buy": 1, "sell": -1, "": 0}
TIMES_IN_FORCE = {"gtc": ol.GTC, "ioc": ol.IOC, "fok": ol.FOK}
POST_ONLY = {"no": ol.MAY_TAKE, "reject": ol.REJECT, "slide": ol.SLIDE}

_MOST_LOTS = 2**53
_MOST_PRICE = 2**60


@dataclass(frozen=True, slots=True)
class OrderList:
    """Messages in the order in which they are sent, columns [n].

    Attributes:
        sent: int64 ns, ascending.
        symbol: index into the symbol table, int64.
        action: of ``ACTIONS``, as ``order_layout`` numbers them.
        id: of the order, any int64, unique among the symbol's orders that work.
        side: +1 buy, -1 sell; of ``cancel_all`` 0 for both.
        price: int64 ticks.
        total: lots of the order, those that are filled included.
        tif, post_only: of ``TIMES_IN_FORCE`` and ``POST_ONLY``.
    """

    sent: Int64Array
    symbol: Int64Array
    action: Int64Array
    id: Int64Array
    side: Int64Array
    price: Int64Array
    total: Int64Array
    tif: Int64Array
    post_only: Int64Array

    def __len__(self) -> int:
        return len(self.sent)

    @classmethod
    def of(
        cls, columns: Mapping[str, Sequence[Any]], symbols: Sequence[str], place: str
    ) -> OrderList:
        """Messages from columns of names and numbers.

        Args:
            columns: ``ts_sent`` (int64 ns), ``symbol``, ``action`` and ``id``; where an action
                needs them ``side``, ``price`` (ticks) and ``total``; perhaps ``tif`` (``gtc``) and
                ``post_only`` (``no``).
            symbols: the symbol table.
            place: what errors name.

        Raises:
            UsageError: naming the first row that is no message.
        """
        count = len(columns["ts_sent"])
        blank: dict[str, Any] = {
            "side": "",
            "price": 0,
            "total": 0,
            "tif": "gtc",
            "post_only": "no",
        }
        coded: dict[str, Int64Array] = {"sent": _whole(columns["ts_sent"], "ts_sent", place)}
        numbers = {name: k for k, name in enumerate(symbols)}
        for name, codes in (
            ("symbol", numbers),
            ("action", ACTIONS),
            ("side", SIDES),
            ("tif", TIMES_IN_FORCE),
            ("post_only", POST_ONLY),
        ):
            coded[name] = _codes(columns.get(name) or [blank[name]] * count, codes, name, place)
        for name in ("id", "price", "total"):
            coded[name] = _whole(columns.get(name) or [blank.get(name, 0)] * count, name, place)
        found = cls(**coded)
        found._check(place)
        order = np.argsort(found.sent, kind="stable")
        return cls(**{name: column[order] for name, column in coded.items()})

    def _check(self, place: str) -> None:
        makes = (self.action == ol.NEW) | (self.action == ol.REPLACE)
        for wrong, problem in (
            ((self.action == ol.NEW) & (self.side == 0), "a new order needs a side, buy or sell"),
            (makes & (self.total < (self.action == ol.NEW)), "an order needs lots above 0"),
            (makes & (self.total > _MOST_LOTS), "an order has at most 2^53 lots"),
            (np.abs(self.price) > _MOST_PRICE, "a price is at most 2^60 ticks"),
        ):
            rows = np.flatnonzero(wrong)
            if len(rows):
                raise UsageError(f"row {rows[0]}: {problem}", place=place)


def _whole(values: Sequence[Any], name: str, place: str) -> Int64Array:
    column = np.asarray(values)
    if column.dtype.kind not in "iu":
        raise UsageError(f"{name} holds {column.dtype}, not whole numbers", place=place)
    return column.astype(np.int64)


def _codes(values: Sequence[str], codes: Mapping[str, int], name: str, place: str) -> Int64Array:
    found = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        if value not in codes:
            known = ", ".join(key for key in list(codes)[:8] if key)
            raise UsageError(
                f"row {row}: {name} is {value!r}, which is none of {known}", place=place
            )
        found[row] = codes[value]
    return found
