"""The limits that a venue holds an account to, in lots and whole units of money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll

_ROWS = 1 << 8
"""Breaches that there is room for at the beginning."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a group of symbols may have at stake.

    Attributes:
        name: of the group; empty: the whole account.
        member: which symbols are in it, bool [S].
        gross, net: most money, longs and shorts added and set off; ``None``: any amount.
    """

    name: str
    member: BoolArray
    gross: int | None = None
    net: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may do; ``None`` and an empty sequence: anything.

    Attributes:
        position: most lots of each symbol, long or short, int64 [S].
        gross_by_symbol: most money at stake in each symbol, int64 [S].
        groups: what symbols may have at stake together.
        orders_per_second: most messages within a second.
        daily_loss: money lost since the start of a day at which trading ends until the next.
        drawdown: money below the highest equity at which trading ends.
        days: when days start, int64 ns [n], ascending.
    """

    position: Int64Array | None = None
    gross_by_symbol: Int64Array | None = None
    groups: Sequence[Exposure] = ()
    orders_per_second: int | None = None
    daily_loss: int | None = None
    drawdown: int | None = None
    days: Int64Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def switches(self) -> bool:
        """Whether losses end trading."""
        return self.daily_loss is not None or self.drawdown is not None

    @property
    def names(self) -> list[str]:
        """Of each limit, by the number that breaches have."""
        found = [*ll.NAMES]
        for group in self.groups:
            found += [f"groups.{group.name}.{what}" if group.name else what for what in _AT_STAKE]
        return found

    @property
    def set(self) -> list[bool]:
        """Which of these are."""
        own = (
            self.position, self.gross_by_symbol, self.orders_per_second, self.daily_loss,
            self.drawdown,
        )  # fmt: skip
        groups = [most is not None for group in self.groups for most in (group.gross, group.net)]
        return [*(limit is not None for limit in own), *groups]


_AT_STAKE = ("gross", "net")


def guard_of(limits: Limits | None, instruments: Int64Array, symbol: Any) -> Any:
    """The arrays that the compiled loops go by, before anything has happened.

    Args:
        instruments: int64 [S, TERM_SIZE].
        symbol: the window's column.
    """
    from backtest.trading.limit_loops import Guard

    given = Limits() if limits is None else limits
    symbols = len(instruments)
    state = np.zeros(ll.STATE_SIZE, dtype=np.int64)
    state[[ll.MOST_LOST, ll.MOST_BELOW]] = ll.NO_LIMIT
    state[ll.EARLIEST] = at.LATEST
    caps = np.full((symbols, ll.CAP_SIZE), ll.NO_LIMIT, dtype=np.int64)
    caps[:, ll.CAP_LOTS] = at.MOST_LOTS
    for place, cap in ((ll.CAP_LOTS, given.position), (ll.CAP_GROSS, given.gross_by_symbol)):
        if cap is not None:
            caps[:, place] = np.minimum(cap, caps[:, place])
    bounds = np.full((len(given.groups), 2), ll.NO_LIMIT, dtype=np.int64)
    member = np.zeros((len(given.groups), symbols), dtype=np.bool_)
    for g, group in enumerate(given.groups):
        member[g] = group.member
        for k, most in enumerate((group.gross, group.net)):
            bounds[g, k] = ll.NO_LIMIT if most is None else min(most, ll.NO_LIMIT)
    for place, amount in ((ll.MOST_LOST, given.daily_loss), (ll.MOST_BELOW, given.drawdown)):
        if amount is not None:
            state[place] = min(amount, ll.NO_LIMIT)
    state[ll.A_SECOND] = given.orders_per_second or 0
    state[ll.MONEY] = given.gross_by_symbol is not None or len(bounds) > 0
    state[ll.TOGETHER] = len(bounds) > 0
    state[ll.SWITCHES] = given.switches
    return Guard(
        state=state,
        reach=np.zeros((symbols, 2), dtype=np.int64),
        mids=np.full(symbols, at.NO_PRICE, dtype=np.int64),
        worth=np.ascontiguousarray(instruments[:, at.WORTH]),
        caps=caps,
        bounds=bounds,
        member=member,
        ring=np.full(max(int(state[ll.A_SECOND]), 1), at.NO_TIME, dtype=np.int64),
        days=np.ascontiguousarray(given.days),
        held=np.zeros(symbols, dtype=np.int64),
        breaches=np.zeros((_ROWS, ll.BREACH_SIZE), dtype=np.int64),
        symbol=symbol,
    )


class LimitKeeper:
    """Keeps what limits go by while a run trades, and what they did.

    Args:
        limits: ``None``: there are none.
        instruments: int64 [S, TERM_SIZE].
        window: holds the events.

    Attributes:
        guard: the arrays of the compiled loops.
        switches: whether the market has to be followed row by row.
    """

    def __init__(self, limits: Limits | None, instruments: Int64Array, window: Window) -> None:
        self._limits, self._window = limits, window
        self.guard: Any = guard_of(limits, instruments, window["symbol"])
        self.switches = bool(self.guard.state[ll.SWITCHES])
        self._follows = self.switches or bool(self.guard.state[ll.MONEY])
        self._met: list[int] = [0] * (0 if limits is None else len(limits.names))

    @property
    def given(self) -> Any:
        """What the loops are given: ``None`` without limits, so that they are compiled without."""
        return None if self._limits is None else self.guard

    def oldest(self, settled: int) -> int:
        """The oldest event that is not settled, or whose row was not looked at."""
        return min(settled, int(self.guard.state[ll.ROW])) if self._follows else settled

    def follow_rows(self) -> None:
        """Take note of the rows that the window has now."""
        if self._follows:
            self.guard = self.guard._replace(symbol=self._window["symbol"])
            self.guard.state[ll.STOP] = self._window.stop

    def pass_rows(self, limit: int) -> None:
        """Pass rows before an instant, of which only the mids matter."""
        if self._follows and not self.switches and limit > at.NO_TIME:
            from backtest.trading.limit_loops import pass_rows

            window = self._window
            pass_rows(limit - 1, window.first, window["ts_event"], window["mid"], self.guard)

    def reserve(self) -> None:
        """Make room for the breaches of one step more."""
        while self.guard.state[ll.BREACHES] + 2 > len(self.guard.breaches):
            breaches = self.guard.breaches
            self.guard = self.guard._replace(breaches=np.concatenate([breaches, breaches]))

    def take(self) -> Int64Array:
        """What limits did since this was last asked, in order, int64 [n, BREACH_SIZE]."""
        state = self.guard.state
        taken: Int64Array = self.guard.breaches[: state[ll.BREACHES]].copy()
        state[ll.BREACHES] = 0
        for limit in taken[:, ll.B_LIMIT].tolist():
            self._met[limit] += 1
        return taken

    def figures(self) -> dict[str, Any]:
        """How often each limit that is set was met."""
        assert self._limits is not None
        counted = zip(self._limits.names, self._met, self._limits.set, strict=True)
        return {"breaches": {name: count for name, count, is_set in counted if is_set}}
