"""What no row of depth may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray, Int32Array
from backtest.data.prices import LIMIT
from backtest.errors import DataError
from backtest.market.depth import ACTIONS, BOTH, CLEAR, LAST, MOST_DISPLAYED, SNAPSHOT

_KNOWN = SNAPSHOT | CLEAR | LAST


@dataclass(frozen=True, slots=True)
class DepthFault:
    """Rows that break one rule.

    Attributes:
        column: the column that breaks it.
        rows: which do, bool [n].
        problem, remedy: in words.
    """

    column: str
    rows: BoolArray
    problem: str
    remedy: str

    def error(self, row: str, value: int, *, place: str) -> DataError:
        """What to raise for a row with that value."""
        return DataError(
            f"{row} has {value} in {self.column!r}: {self.problem}",
            place=place,
            remedy=self.remedy,
        )


def depth_faults(
    columns: Mapping[str, NDArray[Any]], symbol: Int32Array, signed: BoolArray | None
) -> Iterator[DepthFault]:
    """The rules that rows break, with the rows; none for sound rows.

    Args:
        columns: ``side``, ``price``, ``size`` and ``flags``, and ``action`` on L3, integers [n].
        symbol: ids, int32 [n].
        signed: which symbols' prices may be 0 or negative, bool [S]; ``None`` if no symbol's may.
    """
    side, price, size, flags = (columns[name] for name in ("side", "price", "size", "flags"))
    if not len(side):
        return
    yield from _flag_faults(side, flags)
    if size.min() < 0 or size.max() > MOST_DISPLAYED:
        yield DepthFault(
            "size",
            (size < 0) | (size > MOST_DISPLAYED),
            "a size is at least 0 and at most 2^42 lots",
            "Write the data with a coarser lot_size, or remove the row.",
        )
    if price.min() <= 0 or price.max() >= LIMIT:
        wrong = (price >= LIMIT) | (price <= -LIMIT)
        low = (price <= 0) & ((flags & CLEAR) == 0)
        wrong |= low if signed is None else low & ~signed[symbol]
        if wrong.any():
            yield DepthFault(
                "price",
                wrong,
                "no price of a level: above 0, unless the card sets signed_prices, and below 2^62",
                "Remove the row, or set signed_prices = true for the symbol.",
            )
    action = columns.get("action")
    if action is not None and (action.min() < 0 or action.max() >= len(ACTIONS)):
        codes = ", ".join(f"{code} {name}" for code, name in enumerate(ACTIONS))
        wrong = (action < 0) | (action >= len(ACTIONS))
        yield DepthFault("action", wrong, f"an action is one of {codes}", _TRANSLATE)


_TRANSLATE = "`backtest docs data` has the codes: translate those of the vendor."


def _flag_faults(side: NDArray[Any], flags: NDArray[Any]) -> Iterator[DepthFault]:
    if flags.max() > _KNOWN or flags.min() < 0:
        wrong = (flags > _KNOWN) | (flags < 0)
        problem = "flags are the sum of 1 snapshot, 2 clear, 4 last"
        yield DepthFault("flags", wrong, problem, _TRANSLATE)
    if flags.any():
        wrong = (flags & (SNAPSHOT | LAST)) == LAST
        if wrong.any():
            problem = "last (4) ends a snapshot, and stands with snapshot (1) alone"
            yield DepthFault("flags", wrong, problem, _TRANSLATE)
    if side.min() < -1 or side.max() > 1:
        wrong = (side < -1) | (side > 1)
        problem = "a side is 1 bid or -1 ask, or 0 both with clear"
        yield DepthFault("side", wrong, problem, _TRANSLATE)
    # Both sides at once are cleared, and nothing else.
    both = side == BOTH
    if both.any():
        wrong = both & ((flags & CLEAR) == 0)
        if wrong.any():
            problem = "0 means both sides, which only a row with clear (2) is about"
            yield DepthFault("side", wrong, problem, _TRANSLATE)


def first_fault(
    columns: Mapping[str, NDArray[Any]], symbol: Int32Array, signed: BoolArray | None
) -> tuple[DepthFault, int] | None:
    """The first rule that a row breaks, and the first row that does; ``None`` for sound rows."""
    for fault in depth_faults(columns, symbol, signed):
        return fault, int(np.argmax(fault.rows))
    return None


def no_sizes(place: str) -> DataError:
    """What to raise for depth beside events that have no quotes with sizes."""
    return DataError(
        "there is depth, but the events have no quotes with sizes",
        place=place,
        remedy="Write an event with bid, ask and their sizes whenever the touch or its size"
        " changes.",
    )


def no_sequence(place: str) -> DataError:
    """What to raise for depth whose order among the events is not known."""
    return DataError(
        "there is depth, but the events have no column seq that orders them among its rows",
        place=place,
        remedy="Write both with `backtest.data.canonical.CanonicalWriter`.",
    )
