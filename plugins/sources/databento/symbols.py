"""Which symbol a DBN record is of, and what the definitions say of its instrument."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.errors import DataError
from backtest.plugins.sources.databento.files import (
    DEFINITION,
    MAPPING,
    NO_DBN_PRICE,
    DbnFile,
    Records,
)

Identity: TypeAlias = tuple[str, int]
"""A name, and the number of the publisher."""

NANO = Decimal("1e-9")
"""The unit of prices."""

_NO_INT32 = 2**31 - 1
_SPREADS = "SMT"
"""Classes whose prices may be 0 or negative: spreads of futures, of options, of both."""

_CONTINUOUS = ("continuous",)


@dataclass
class Definitions:
    """What definitions say, by raw symbol."""

    ticks: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    multipliers: dict[str, set[Fraction]] = field(default_factory=lambda: defaultdict(set))
    currencies: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    spreads: set[str] = field(default_factory=set)
    raw: dict[int, str] = field(default_factory=dict)
    """The raw symbol of an instrument's number."""

    def add(self, records: Records) -> None:
        """Take in records of definitions."""
        for row in records.data:
            name = _text(row["raw_symbol"])
            self.raw[int(row["instrument_id"])] = name
            step, worth = int(row["min_price_increment"]), int(row["min_price_increment_amount"])
            known = 0 < step < NO_DBN_PRICE
            if known:
                self.ticks[name].add(step)
            contract = int(row["contract_multiplier"])
            if known and 0 < worth < NO_DBN_PRICE:
                # A tick's worth in money over the tick: 12.50 USD over 0.25 points is 50.
                self.multipliers[name].add(Fraction(worth, step))
            elif 0 < contract < _NO_INT32:
                self.multipliers[name].add(Fraction(contract))
            if currency := _text(row["currency"]):
                self.currencies[name].add(currency)
            if row["instrument_class"].decode(errors="replace") in _SPREADS:
                self.spreads.add(name)


@dataclass
class Names:
    """The identities of one file's records.

    Args:
        file: its metadata map numbers of instruments to names, by day.
        definitions: name what the metadata does not.
    """

    file: DbnFile
    definitions: Definitions
    identities: list[Identity] = field(default_factory=list)
    _codes: dict[Identity, int] = field(default_factory=dict)
    _intervals: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    _learned: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        v_in, v_out = self.file.metadata.stype_in, self.file.metadata.stype_out
        found: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for name, intervals in self.file.metadata.mappings.items():
            for interval in intervals:
                symbol = interval["symbol"]
                if not symbol:
                    continue
                number, text = symbol, name
                if str(v_in) == "instrument_id":
                    number, text = name, symbol
                if not number.isdecimal():
                    raise DataError(
                        f"the symbol mappings lead from {v_in} to {v_out}, not to instrument ids",
                        place=self.file.place,
                        remedy="Ask for stype_out=instrument_id, which is the default.",
                    )
                if str(v_in) in _CONTINUOUS:
                    text = self.definitions.raw.get(int(number), f"{text}.{number}")
                found[int(number)].append((_midnight(interval["start_date"]), text))
        self._intervals = {number: _merged(some) for number, some in found.items()}
        self._separate_parents()

    def _separate_parents(self) -> None:
        """One name for several instruments on one day, as parents give, is told apart by number."""
        days: dict[tuple[str, int], set[int]] = defaultdict(set)
        for number, some in self._intervals.items():
            for start, name in some:
                days[name, start].add(number)
        shared = {name for (name, _), numbers in days.items() if len(numbers) > 1}
        raw = self.definitions.raw
        self._intervals = {
            number: [
                (start, raw.get(number, f"{name}.{number}") if name in shared else name)
                for start, name in some
            ]
            for number, some in self._intervals.items()
        }

    def learn(self, records: Records) -> None:
        """Take in what a live recording says of numbers from here on."""
        if records.rtype != MAPPING:
            return
        for row in records.data:
            names = _text(row["stype_out_symbol"]), _text(row["stype_in_symbol"])
            name = names[1] if not names[0] or names[0].isdecimal() else names[0]
            if name:
                self._learned[int(row["instrument_id"])] = name

    def of(self, records: Records, ts: Int64Array) -> Int64Array:
        """The place in ``identities`` of each record, [n], by its receipt."""
        # The publisher beside the instrument, in one number.
        keys = records.data["instrument_id"].astype(np.int64) << 16
        keys |= records.data["publisher_id"]
        distinct, inverse = np.unique(keys, return_inverse=True)
        names = [self._names_of(key >> 16) for key in distinct.tolist()]
        publishers = (distinct & 0xFFFF).tolist()
        first = [self._code((some[0][1], p)) for some, p in zip(names, publishers, strict=True)]
        codes: Int64Array = np.array(first, dtype=np.int64)[inverse]
        for k, some in enumerate(names):
            if len(some) > 1:
                rows = np.flatnonzero(inverse == k)
                places = [self._code((name, publishers[k])) for _, name in some]
                starts = np.array([start for start, _ in some], dtype=np.int64)
                at = np.searchsorted(starts, ts[rows], side="right") - 1
                codes[rows] = np.array(places, dtype=np.int64)[np.maximum(at, 0)]
        return codes

    def _names_of(self, number: int) -> list[tuple[int, str]]:
        """An instrument's names, with the instant from which each holds, ns."""
        if number in self._intervals:
            return self._intervals[number]
        raw = self.definitions.raw.get(number, str(number))
        return [(0, self._learned.get(number) or raw)]

    def _code(self, identity: Identity) -> int:
        if identity not in self._codes:
            self._codes[identity] = len(self.identities)
            self.identities.append(identity)
        return self._codes[identity]


def read_definitions(files: Iterable[DbnFile]) -> Definitions:
    """Everything that definitions say, of whatever files have some."""
    definitions = Definitions()
    for file in files:
        for records in file.records():
            if records.rtype == DEFINITION:
                definitions.add(records)
    return definitions


def symbol_names(identities: Iterable[Identity]) -> dict[Identity, str]:
    """The symbol of each identity: its name, with the publisher's number if there are several."""
    found = sorted(set(identities))
    several = len({publisher for _, publisher in found}) > 1
    return {(name, number): f"{name}.{number}" if several else name for name, number in found}


def _merged(intervals: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The same in order of time, without those that repeat the name before."""
    found = sorted(intervals)
    return [at for k, at in enumerate(found) if not k or at[1] != found[k - 1][1]]


def _midnight(day: date) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(start.timestamp()) * 1_000_000_000


def _text(cell: Any) -> str:
    return bytes(cell).rstrip(b"\0 ").decode(errors="replace")
