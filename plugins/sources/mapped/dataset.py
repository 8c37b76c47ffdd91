"""From mapped files to a dataset: which hold what, and their rows in one order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from backtest.core.text import suggestion_or_list
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, Features, Targets
from backtest.data.reading.decode import Columns
from backtest.data.reading.merge import SortedFile, stream
from backtest.data.schema import describe_difference
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import EventBatch
from backtest.plugins.sources.mapped.depth import Beside, DepthReader, is_depth
from backtest.plugins.sources.mapped.events import Reader
from backtest.plugins.sources.mapped.files import InputTable
from backtest.plugins.sources.mapped.hours import calendar_of
from backtest.plugins.sources.mapped.instruments import instruments_of
from backtest.plugins.sources.mapped.mapping import Mapping

_BATCH_ROWS = 65_536
_LANE_ROWS = 16_384
_KINDS = (
    (r"u?int\d+", "a whole number"),
    (r"halffloat|float|double", "a number"),
    (r"decimal.*", "a decimal number"),
    (r"(large_)?string|string_view|dictionary<values=(large_)?string.*", "text"),
    (r"timestamp.*", "a timestamp"),
)
"""Types of which each file of an input may have its own width."""


class MappingOptions(Protocol):
    """Parameters of ``MappedCsv`` and ``MappedParquet``, which import this module to ingest."""

    @property
    def mapping(self) -> Path: ...

    @property
    def unsorted(self) -> str: ...

    @property
    def nonfinite(self) -> Literal["refuse", "zero"]: ...


def ingest(
    source: MappingOptions, mapping: Mapping, files: Sequence[InputTable], output: Path
) -> IngestReport:
    """See ``MappedCsv``.

    Raises:
        DataError: a mapping or file that cannot be used, columns that differ between files, times
            out of range or order, numbers off their grid, NaN under ``refuse``.
    """
    of_depth = [file for file in files if is_depth(file, mapping)]
    of_events = [file for file in files if not is_depth(file, mapping)]
    if mapping.depth is not None and not (of_depth and of_events):
        noun = "depth" if of_events else "events"
        raise DataError(
            f"there is no file of {noun}: the patterns {', '.join(map(repr, mapping.depth.files))}"
            " of [depth] tell them apart",
            place=files[0].place,
        )
    _check_columns(of_events, mapping.columns(), mapping.floats())
    _check_columns(of_depth, mapping.depth_columns(), ())
    readers = [Reader(file, mapping, source.nonfinite) for file in of_events]
    books = [DepthReader(file, mapping, source.nonfinite) for file in of_depth]
    every = [*readers, *books]
    symbols = sorted(set().union(*(reader.symbols() for reader in every)))
    if not symbols:
        raise DataError("there are no rows", place=files[0].place)
    instruments = instruments_of(mapping, symbols, source.mapping)
    card = Card(
        name=mapping.name,
        description=mapping.description,
        symbols=tuple(symbols),
        features=None if mapping.features is None else Features(columns=mapping.features.columns),
        targets=None if mapping.targets is None else Targets(columns=mapping.targets.columns),
        instruments=dict(instruments.tables),
        calendar=calendar_of(mapping, [r.first for r in every], [r.last for r in every]),
        notes={"mapping": _plain(mapping.model_dump(mode="json", exclude_none=True))},
    )

    def opened(some: Sequence[Reader]) -> Iterator[Columns]:
        # Not by name, so that renamed files give the same dataset.
        ordered = sorted((reader for reader in some if reader.first is not None), key=Reader.order)
        sort = source.unsorted == "sort"
        sorted_files = [
            SortedFile(i, reader.first, reader.chunks(symbols, instruments, sort), _LANE_ROWS)
            for i, reader in enumerate(ordered)
        ]
        return stream(sorted_files, _BATCH_ROWS)

    with CanonicalWriter(output, card, nonfinite=source.nonfinite) as writer:
        beside = Beside(opened(books))
        for columns in opened(readers):
            targets: Any = columns.pop("targets", None)
            batch = EventBatch(**columns)
            writer.write(batch, targets, depth=beside.before(batch.ts_event))
        for rows in beside.rest():
            writer.write_depth(rows)
    repaired = sum((reader.rows.repaired for reader in every), Counter[str]())
    repaired["features that were null, NaN or infinite, set to 0"] = writer.replaced
    counted = {what: count for what, count in repaired.items() if count}
    read = sum(book.read for book in books)
    depth = {"read": read, "written": writer.depth_rows, "quotes": 0} if books else {}
    return IngestReport(writer.rows + read, writer.rows, repaired=counted, depth=depth)


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    return {k: _plain(v) if isinstance(v, dict) else v for k, v in table.items() if v != {}}


def _check_columns(
    files: Sequence[InputTable], columns: Sequence[str], floats: Sequence[str]
) -> None:
    """Every file must have the columns, of the same types; their order is free."""
    first: dict[str, str] = {}
    for file in files:
        types = file.types()
        missing = [name for name in columns if name not in types]
        if missing:
            raise DataError(
                f"the file has no column {', '.join(map(repr, missing))}",
                place=file.place,
                remedy=suggestion_or_list(missing[0], sorted(types), "Its columns"),
            )
        found = {name: _kind(types[name]) for name in columns}
        for name in set(floats):
            if found[name] and not found[name].endswith("number"):
                raise DataError(f"column {name!r} is {types[name]}, not a number", place=file.place)
        difference = describe_difference(first, found) if first else ""
        if difference:
            raise DataError(
                f"its columns differ from those of {files[0].place}: {difference}",
                place=file.place,
            )
        first = found


def _kind(name: str) -> str:
    """What a column holds, by its type."""
    return next((kind for form, kind in _KINDS if re.fullmatch(form, name)), name)
