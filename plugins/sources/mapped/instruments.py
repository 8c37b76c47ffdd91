"""Instruments of mapped symbols: a default, a file with a row a symbol, tables of the mapping."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from backtest.core.arrays import BoolArray, Int32Array
from backtest.core.text import suggested_path
from backtest.data.card import InstrumentTable
from backtest.data.model_errors import problems
from backtest.errors import DataError
from backtest.plugins.sources.mapped.mapping import Mapping

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Instruments:
    """What is known of every symbol of a dataset.

    Attributes:
        tables: as the card has them: ``default``, and those of symbols that differ.
        steps: by ``tick_size`` and ``lot_size``, each grid with the symbols on it, bool [S].
    """

    tables: MappingType[str, InstrumentTable]
    steps: MappingType[str, Sequence[tuple[Decimal, BoolArray]]]

    def grids(self, canonical: str, symbol: Int32Array) -> list[tuple[Decimal, BoolArray | None]]:
        """Each grid with its rows, bool [n]; ``None``: all rows.

        Args:
            canonical: name of a price or size.
            symbol: ids, int32 [n].
        """
        found = self.steps["lot_size" if canonical.endswith("size") else "tick_size"]
        if len(found) == 1:
            return [(found[0][0], None)]
        return [(step, rows[symbol]) for step, rows in found]


def instruments_of(mapping: Mapping, symbols: Sequence[str], place: Path) -> Instruments:
    """The instruments that a mapping states for the symbols of its files.

    Args:
        mapping: what is stated.
        symbols: of the dataset, in order.
        place: the mapping's file; ``instrument_file`` is relative to its folder.

    Raises:
        DataError: the file cannot be read or used; a symbol has no tick size or lot size, or no
            row of the input is of a symbol that the mapping names.
    """
    tables: dict[str, dict[str, Any]] = defaultdict(dict)
    if mapping.instrument_file is not None:
        file = place.parent / mapping.instrument_file
        for symbol, table in _rows(file).items():
            if symbol in symbols:
                tables[symbol] |= _fields(table)
    for symbol, table in mapping.instruments.items():
        if symbol not in symbols:
            raise DataError(
                f"[instruments] names {symbol!r}, of which the input has no row",
                place=str(place),
                remedy="Mend the name, or list what not every input holds in instrument_file.",
            )
        tables[symbol] |= _fields(table)
    default = _fields(mapping.instrument)
    if mapping.price is not None and mapping.price.tick_size is not None:
        default["tick_size"] = mapping.price.tick_size
    if mapping.size is not None and mapping.size.lot_size is not None:
        default["lot_size"] = mapping.size.lot_size
    steps: dict[str, list[tuple[Any, BoolArray]]] = {}
    for name, wanted in (("tick_size", mapping.price), ("lot_size", mapping.size)):
        own = [tables[s].get(name, default.get(name)) if s in tables else default.get(name)
               for s in symbols]  # fmt: skip
        if wanted is not None and None in own:
            key = "[price]" if name == "tick_size" else "[size]"
            raise DataError(
                f"{symbols[own.index(None)]!r} has no {name}",
                place=str(place),
                remedy=f"State it in {key}, in [instruments] or in the instrument_file.",
            )
        steps[name] = [
            (step, np.array([other == step for other in own])) for step in dict.fromkeys(own)
        ]
    made = {"default": default, **{s: tables[s] for s in symbols if s in tables}}
    return Instruments({s: InstrumentTable(**fields) for s, fields in made.items()}, steps)


def _fields(table: InstrumentTable) -> dict[str, Any]:
    return table.model_dump(mode="python", exclude_none=True, exclude_unset=True)


def _rows(file: Path) -> dict[str, InstrumentTable]:
    """The instruments of a CSV file with a header: ``symbol``, and fields of ``Instrument``."""
    place = str(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            names = reader.fieldnames or []
            rows = [*reader]
    except OSError as error:
        raise DataError(
            f"the instruments cannot be read: {error.strerror}",
            place=place,
            remedy=suggested_path(file) if isinstance(error, FileNotFoundError) else None,
        ) from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"the instruments are not CSV: {error}", place=place) from None
    if "symbol" not in names or len({*names}) < len(names):
        raise DataError(
            f"the header is {', '.join(map(repr, names))}; it needs each name once, and 'symbol'",
            place=place,
        )
    found: dict[str, InstrumentTable] = {}
    for number, row in enumerate(rows):
        symbol = row.pop("symbol")
        extra = row.pop(None, None)
        if extra is not None or None in row.values() or not symbol or symbol in found:
            raise DataError(
                f"row {number} has other cells than the header, or no symbol, or one that is there"
                " already",
                place=place,
            )
        given: dict[str, Any] = {
            name: _BOOLEANS.get(cell, cell) for name, cell in row.items() if cell
        }
        try:
            found[symbol] = InstrumentTable(**given)
        except ValidationError as error:
            text = "; ".join(problems(error, InstrumentTable, given))
            raise DataError(f"row {number}, {symbol!r}: {text}", place=place) from None
    return found
