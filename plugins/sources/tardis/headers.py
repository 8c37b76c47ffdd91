"""Tardis' data types, by the headers and names of files."""

from __future__ import annotations

import re

from backtest.errors import DataError
from backtest.plugins.sources.mapped.files import CsvFile

COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
QUOTE = ("bid_price", "ask_price", "bid_amount", "ask_amount")
_TRADE = ("id", "side", "price", "amount")
_LEVELS = ("is_snapshot", "side", "price", "amount")
_SNAPSHOT = ("bids[0].price", "asks[0].price", "bids[0].amount", "asks[0].amount")
_DERIVATIVE = ("funding_rate", "mark_price")
_HEADERS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("strike_price", *QUOTE), ("options_chain",)),
    (_LEVELS, ("incremental_book_L2",)),
    (_SNAPSHOT, ("book_snapshot",)),
    (QUOTE, ("quotes", "book_ticker")),
    (_TRADE, ("trades", "liquidations")),
    (_DERIVATIVE, ("derivative_ticker",)),
)
"""Columns by which a header is known, and the data types that have it; the first one by default."""

_TYPES = tuple(name for _, kinds in _HEADERS for name in kinds)
_NAMED = re.compile(rf"(?:^|[_/])({'|'.join(_TYPES)})(?:_[0-9]+)?(?=[_/.]|$)")
_LISTED = ", ".join(name + ("_N" if name == "book_snapshot" else "") for name in _TYPES)


def columns_of(kind: str, levels: int) -> tuple[str, ...]:
    """The columns of a data type that are read besides ``COMMON``; ``levels`` of a snapshot."""
    if kind in ("quotes", "book_ticker"):
        return QUOTE
    if kind == "trades":
        return _TRADE[1:]
    if kind == "book_snapshot":
        return level_columns(levels, "price") + level_columns(levels, "amount")
    return _LEVELS if kind == "incremental_book_L2" else ()


def level_columns(levels: int, what: str) -> tuple[str, ...]:
    """Columns of a snapshot: the bids' price or amount from the best, then the asks'."""
    return tuple(f"{side}[{k}].{what}" for side in ("bids", "asks") for k in range(levels))


def data_type(csv: CsvFile, label: str) -> str:
    """The data type, by the header, and by the name where two share a header."""
    names = [*csv.types()]
    named = _NAMED.findall(label)
    for columns, kinds in _HEADERS:
        if {*COMMON, *columns} <= {*names}:
            if named and named[-1] not in kinds:
                raise DataError(
                    f"its name says {named[-1]}, but its columns are those of {kinds[0]}",
                    place=csv.place,
                    remedy="A file that was renamed would be read wrongly: restore its name.",
                )
            return named[-1] if named else kinds[0]
    raise DataError(
        f"its columns, {', '.join(names[:8])}{', …' if len(names) > 8 else ''}, are not those of a"
        f" data type of Tardis: {_LISTED}",
        place=csv.place,
        remedy="The first line must be the header that the files are downloaded with.",
    )


def levels_of(csv: CsvFile, depth: bool) -> int:
    """How many levels of a snapshot to read: all that the header has, or one."""
    names = {*csv.types()}
    levels = 1
    while depth and {*level_columns(levels + 1, "price")} <= names:
        levels += 1
    missing = {*level_columns(levels, "price"), *level_columns(levels, "amount")} - names
    if missing:
        raise DataError(f"the file has no column {sorted(missing)[0]!r}", place=csv.place)
    return levels
