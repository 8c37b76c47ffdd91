"""LOBSTER's pairs of CSV files: which there are, and what their names say."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import NoReturn

from backtest.core.zones import time_zone
from backtest.errors import DataError
from backtest.plugins.sources.shared.inputs import PACKINGS, input_files
from backtest.plugins.sources.shared.packed import Packed, unpacked

_NAME = re.compile(
    r"(?P<symbol>.+)_(?P<day>\d{4}-\d\d-\d\d)_(?P<start>\d{1,9})_(?P<end>\d{1,9})"
    r"_(?P<kind>message|orderbook)_(?P<levels>\d{1,4})\.csv",
    re.IGNORECASE,
)
_NS = 1_000_000_000
_MS_PER_DAY = 86_400_000
_FIRST, _LAST = date(1990, 1, 1), date(2100, 1, 1)


@dataclass(frozen=True)
class LobsterFile:
    """One symbol's messages of one day, and the book after each.

    Attributes:
        messages, book: the two files.
        symbol, day: by their names.
        start, end: ms after midnight between which rows lie, by their names.
        levels: of the book.
        midnight: at which the day begins, int64 ns UTC.
    """

    messages: Packed
    book: Packed
    symbol: str
    day: date
    start: int
    end: int
    levels: int
    midnight: int

    def refuse(self, row: int, problem: str, *, book: bool = False) -> NoReturn:
        """Raise for a row, which counts from 0."""
        raise DataError(
            f"row {row} {problem}",
            place=self.book.place if book else self.messages.place,
            remedy="Fetch both files again, or leave them out with --ignore PATTERN.",
        )


def lobster_files(
    input: Path, ignore: Sequence[str], zone: str
) -> tuple[list[LobsterFile], dict[str, int]]:
    """The pairs of an input, by symbol and day, and how many files are ignored, by reason.

    Raises:
        DataError: there are none, others are there, a name does not tell what a file holds, one of
            a pair is missing, or two pairs are of the same time.
    """
    found = input_files(input, (".csv", *PACKINGS, ".zip"), ignore, noun=".csv files")
    ignored = Counter(found.ignored)
    pairs: dict[tuple[str, str, int, int, int], dict[str, Packed]] = {}
    for path in _with_others(input, found.paths):
        for packed in unpacked(path, (".csv",), ignore, ignored):
            match = _named(packed)
            start, end, levels = (int(match[name]) for name in ("start", "end", "levels"))
            key = match["symbol"].upper(), match["day"], start, end, levels
            kind = match["kind"].lower()
            other = pairs.setdefault(key, {}).setdefault(kind, packed)
            if other is not packed:
                raise DataError(f"the same file as {other.place}, by its name", place=packed.place)
    files = [_pair(key, pair, zone) for key, pair in sorted(pairs.items())]
    for before, file in itertools.pairwise(files):
        if (before.symbol, before.day) == (file.symbol, file.day) and file.start < before.end:
            raise DataError(
                f"it is of the same symbol and time as {before.messages.place}",
                place=file.messages.place,
                remedy="They would count twice: leave one pair out with --ignore PATTERN.",
            )
    return files, dict(ignored)


def _with_others(input: Path, paths: Sequence[Path]) -> list[Path]:
    """The paths; of a single file also the other one of its pair."""
    if input.is_dir() or not (match := _NAME.match(input.name)):
        return [*paths]
    other = {"message": "orderbook", "orderbook": "message"}[match["kind"].lower()]
    start, end = match.span("kind")
    beside = input.with_name(input.name[:start] + other + input.name[end:])
    return [*paths, beside] if beside.is_file() else [*paths]


def _named(packed: Packed) -> re.Match[str]:
    name = (packed.member or packed.path.name).rsplit("/", 1)[-1]
    match = _NAME.match(name)
    day = None
    if match is not None:
        try:
            day = date.fromisoformat(match["day"])
        except ValueError:
            match = None
    if match is None or day is None or not _FIRST <= day <= _LAST:
        raise DataError(
            "its name does not show what it contains",
            place=packed.place,
            remedy="Names are NAME_YYYY-MM-DD_START_END_message_N.csv and …_orderbook_N.csv, as"
            " LOBSTER gives them.",
        )
    return match


def _pair(key: tuple[str, str, int, int, int], pair: dict[str, Packed], zone: str) -> LobsterFile:
    symbol, day, start, end, levels = key
    if len(pair) < 2:
        (there,) = pair.values()
        missing = "orderbook" if "message" in pair else "message"
        raise DataError(
            f"the {missing} file that belongs to it is not there",
            place=there.place,
            remedy="Both are needed: the book gives the quotes, the messages the trades and times.",
        )
    if not levels or not start < end <= _MS_PER_DAY:
        raise DataError(
            "its name states no level, or a time that does not lie in a day",
            place=pair["message"].place,
        )
    try:
        midnight = datetime.combine(date.fromisoformat(day), time(0), time_zone(zone))
    except ValueError as error:
        raise DataError(str(error)) from None
    return LobsterFile(
        pair["message"],
        pair["orderbook"],
        symbol,
        midnight.date(),
        start,
        end,
        levels,
        int(midnight.timestamp()) * _NS,
    )
