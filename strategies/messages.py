"""Messages to the venue: new orders, cancels and replacements, as columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.core.text import suggestion_or_list
from backtest.errors import RunError
from backtest.market.order_codes import ACTIONS, MOST_LOTS, MOST_PRICE, POST_ONLY, TIMES_IN_FORCE

_NEW, _CANCEL, _CANCEL_ALL, _REPLACE = ACTIONS.values()
_UNNUMBERED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Messages in the order in which they are sent, columns of int64 [n] that cannot be written to.

    Make them with ``new``, ``cancel``, ``cancel_all`` and ``replace``, whose arguments are whole
    numbers or arrays of them, and put them together with ``+`` or ``join``.

    Attributes:
        action: of ``backtest.market.order_codes.ACTIONS``.
        symbol: index into the session's symbols.
        id: of the order, unique among the symbol's orders that work; -1: a new order is given the
            id after the symbol's greatest.
        side: +1 buy, -1 sell; of ``cancel_all`` 0 for both, of cancels and replacements 0.
        price: ticks.
        total: lots of the order, those that are filled included.
        tif, post_only: of ``TIMES_IN_FORCE`` and ``POST_ONLY``.

    Raises:
        RunError: naming the first row that is no message, counted from 0.
    """

    action: Int64Array
    symbol: Int64Array
    id: Int64Array
    side: Int64Array
    price: Int64Array
    total: Int64Array
    tif: Int64Array
    post_only: Int64Array

    def __post_init__(self) -> None:
        columns = {f.name: _whole(f.name, getattr(self, f.name)) for f in fields(self)}
        lengths = {column.size for column in columns.values() if column.ndim}
        if len(lengths - {1}) > 1:
            forms = ", ".join(f"{n} {c.size}" for n, c in columns.items() if c.ndim)
            raise RunError(
                f"columns of different lengths: {forms}",
                place="messages",
                remedy="Give each argument as one number or as an array of the same length.",
            )
        count = min(lengths) if 0 in lengths else max(lengths, default=1)
        for name, column in columns.items():
            own = np.empty(count, dtype=np.int64)
            own[:] = column
            own.flags.writeable = False
            object.__setattr__(self, name, own)
        if count:
            self._check()

    def __len__(self) -> int:
        return len(self.action)

    def __add__(self, other: Messages) -> Messages:
        return Messages.join([self, other])

    @classmethod
    def new(
        cls,
        symbol: Any,
        side: Any,
        price: Any,
        total: Any,
        *,
        id: Any = None,
        tif: str = "gtc",
        post_only: str = "no",
    ) -> Messages:
        """New orders.

        Args:
            symbol: index into the session's symbols.
            side: +1 buy, -1 sell.
            price: ticks.
            total: lots, 1 or more.
            id: 0 or more; by default each gets the id after its symbol's greatest.
            tif: ``gtc``, ``ioc`` or ``fok``.
            post_only: what becomes of one that would take: ``no`` (it does), ``reject`` or
                ``slide`` (one tick off the touch).
        """
        given = _as(_UNNUMBERED) if id is None else _positive("id", id)
        force, post = _code("tif", tif, TIMES_IN_FORCE), _code("post_only", post_only, POST_ONLY)
        return cls(_as(_NEW), symbol, given, side, price, total, _as(force), _as(post))

    @classmethod
    def cancel(cls, symbol: Any, id: Any) -> Messages:
        """Withdraw orders by symbol and id."""
        return cls(_as(_CANCEL), symbol, id, _as(0), _as(0), _as(0), _as(0), _as(0))

    @classmethod
    def cancel_all(cls, symbol: Any, side: Any = 0) -> Messages:
        """Withdraw all orders of symbols, or those of one side: +1 buys, -1 sells, 0 both."""
        return cls(_as(_CANCEL_ALL), symbol, _as(0), side, _as(0), _as(0), _as(0), _as(0))

    @classmethod
    def replace(cls, symbol: Any, id: Any, price: Any, total: Any) -> Messages:
        """Set the price and total of orders; a total counts the lots that are filled already."""
        return cls(_as(_REPLACE), symbol, id, _as(0), price, total, _as(0), _as(0))

    @classmethod
    def none(cls) -> Messages:
        """No messages."""
        return cls(*[np.empty(0, dtype=np.int64)] * len(fields(cls)))

    @classmethod
    def join(cls, parts: Iterable[Messages]) -> Messages:
        """All messages of some, in order."""
        some = [*parts]
        if not some:
            return cls.none()
        return cls(*(np.concatenate([getattr(p, f.name) for p in some]) for f in fields(cls)))

    def check_symbols(self, tradable: BoolArray) -> None:
        """Refuse messages for other symbols than those that trade, bool [S].

        Raises:
            RunError: naming the first.
        """
        count = len(tradable)
        self._refuse(
            (self.symbol < 0) | (self.symbol >= count),
            "symbol", f"Symbols are indices into the session's {count}.",
        )  # fmt: skip
        self._refuse(
            ~tradable[self.symbol], "symbol", "The dataset card says that it does not trade."
        )

    def _check(self) -> None:
        new = self.action == _NEW
        makes = new | (self.action == _REPLACE)
        numbered = self.id >= np.where(new, _UNNUMBERED, 0)
        sided = np.where(new, np.abs(self.side) == 1, np.abs(self.side) <= 1)
        lots = (self.total >= np.where(new, 1, 0)) & (self.total <= MOST_LOTS)
        for name, wrong, remedy in (
            (
                "action",
                (self.action < _NEW) | (self.action > _REPLACE),
                "Make messages with new, cancel, cancel_all and replace.",
            ),
            ("symbol", self.symbol < 0, "It is an index into the session's symbols."),
            ("id", ~numbered, "Ids are 0 or more."),
            ("side", ~sided, "It is +1 to buy and -1 to sell; 0 for both where all are cancelled."),
            ("price", makes & (np.abs(self.price) > MOST_PRICE), "It is a whole number of ticks."),
            ("total", makes & ~lots, "A new order has 1 to 2^53 lots, a replacement 0 to 2^53."),
            ("tif", (self.tif < 0) | (self.tif >= len(TIMES_IN_FORCE)), "Use gtc, ioc or fok."),
            (
                "post_only",
                (self.post_only < 0) | (self.post_only >= len(POST_ONLY)),
                "Use no, reject or slide.",
            ),
        ):
            self._refuse(wrong, name, remedy)

    def _refuse(self, wrong: BoolArray, name: str, remedy: str) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            raise RunError(
                f"row {row}: {name} is {getattr(self, name)[row]:,}",
                place="messages",
                remedy=remedy,
            )


def _as(code: int) -> Int64Array:
    return np.array(code, dtype=np.int64)


def _whole(name: str, values: Any) -> Any:
    """Values as whole numbers, of no or one dimension."""
    found = np.asarray(values)
    if not found.size:
        return found.astype(np.int64)
    if found.dtype.kind not in "iu" or found.ndim > 1:
        raise RunError(
            f"{name} is {found.dtype} {list(found.shape)}, not whole numbers [n]",
            place="messages",
            remedy="Prices are ticks and totals lots, as int64.",
        )
    return found


def _positive(name: str, values: Any) -> Any:
    found = _whole(name, values)
    if (found < 0).any():
        row = int(np.atleast_1d(found < 0).argmax())
        raise RunError(
            f"row {row}: {name} is {np.atleast_1d(found)[row]:,}",
            place="messages",
            remedy="Ids are 0 or more; leave it out to have orders numbered.",
        )
    return found


def _code(name: str, word: str, codes: dict[str, int]) -> int:
    if word not in codes:
        raise RunError(
            f"{name} is {word!r}", place="messages", remedy=suggestion_or_list(word, [*codes])
        )
    return codes[word]
