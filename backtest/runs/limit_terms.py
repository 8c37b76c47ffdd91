"""The limits of a run, from a configuration's lots and currency to what the venue counts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.core.zones import DAY_NS, midnight, to_clock
from backtest.errors import UsageError
from backtest.market.calendar import MarketHours
from backtest.market.instruments import Instrument
from backtest.runs.run_config import Limits as Asked
from backtest.trading.limits import Exposure, Limits

_MOST = 2**62


def limits_of(
    asked: Asked,
    symbols: Sequence[str],
    instruments: Sequence[Instrument],
    hours: MarketHours,
    start: int,
    end: int,
) -> Limits | None:
    """What the venue holds a run to; ``None``: nothing.

    Args:
        asked: of the configuration.
        symbols, instruments: of the dataset [S].
        hours: of the market, for the days.
        start, end: of the window, ns.

    Raises:
        UsageError: a symbol that is named is not one of the dataset's.
    """
    if asked == Asked():
        return None
    unit = next((i for i in instruments if i.tradable), Instrument()).unit

    def money(amount: float | None) -> int | None:
        return None if amount is None else min(int(Fraction(str(amount)) / Fraction(unit)), _MOST)

    groups = []
    if asked.gross is not None or asked.net is not None:
        every = np.ones(len(symbols), dtype=np.bool_)
        groups.append(Exposure("", every, money(asked.gross), money(asked.net)))
    for name, group in asked.groups.items():
        member = _members(group.symbols, symbols, f"limits.groups.{name}.symbols")
        groups.append(Exposure(name, member, money(group.gross), money(group.net)))
    by_symbol = asked.gross_by_symbol
    if isinstance(by_symbol, Mapping):
        worth: int | Mapping[str, int] | None = {k: money(v) or 0 for k, v in by_symbol.items()}
    else:
        worth = money(by_symbol)
    return Limits(
        position=_by_symbol(asked.position, symbols, "limits.position"),
        gross_by_symbol=_by_symbol(worth, symbols, "limits.gross_by_symbol"),
        groups=groups,
        orders_per_second=asked.orders_per_second,
        daily_loss=money(asked.daily_loss),
        drawdown=money(asked.drawdown),
        days=day_starts(hours, start, end),
    )


def _by_symbol(
    given: int | Mapping[str, int] | None, symbols: Sequence[str], place: str
) -> Int64Array | None:
    """A number for each symbol, int64 [S]; those that are not named have no limit."""
    if given is None:
        return None
    if isinstance(given, int):
        return np.full(len(symbols), min(given, _MOST), dtype=np.int64)
    _members([*given], symbols, place)
    return np.array([min(given.get(name, _MOST), _MOST) for name in symbols], dtype=np.int64)


def _members(named: Sequence[str], symbols: Sequence[str], place: str) -> BoolArray:
    """Which symbols are named, bool [S]."""
    unknown = [name for name in named if name not in symbols]
    if unknown:
        raise UsageError(
            f"the dataset has no symbol {unknown[0]!r}",
            place=place,
            remedy="`backtest data describe` lists its symbols.",
        )
    return np.array([name in named for name in symbols], dtype=np.bool_)


def day_starts(hours: MarketHours, start: int, end: int) -> Int64Array:
    """When trading days begin within a window, after its start, int64 ns [n].

    A day begins when the first session of a date opens, on the market's clocks, and within a
    session of more than 24 hours at each midnight; where the market never closes, at midnight.
    """
    zone, sessions = hours.zone, hours.sessions
    if sessions is None:
        return _midnights(start, end, zone)
    found: dict[int, int] = {}
    for opens, closes in sessions.tolist():
        begun = [opens]
        if closes - opens > DAY_NS:
            begun += _midnights(opens, closes, zone).tolist()
        for instant in begun:
            date = int(to_clock(np.array([instant], dtype=np.int64), zone)[0]) // DAY_NS
            found.setdefault(date, instant)
    return np.array([t for t in found.values() if start < t < end], dtype=np.int64)


def _midnights(start: int, end: int, zone: str) -> Int64Array:
    """Midnights between two instants, int64 ns [n]."""
    clocks = to_clock(np.array([start, end], dtype=np.int64), zone) // DAY_NS
    days = [midnight(day, zone) for day in range(int(clocks[0]), int(clocks[1]) + 1)]
    return np.array([t for t in days if start < t < end], dtype=np.int64)
