"""From mapped files to a dataset: which hold what, and their rows in one order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from backtest.core.text import suggestion_or_list
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Calendar, Card, Features, Targets
from backtest.data.reading.merge import SortedFile, stream
from backtest.data.schema import describe_difference
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import EventBatch
from backtest.plugins.sources.lanes import Beside
from backtest.plugins.sources.mapped_depth import DepthReader, is_depth
from backtest.plugins.sources.mapped_events import Reader
from backtest.plugins.sources.mapped_files import InputTable
from backtest.plugins.sources.mapping import read_mapping

_BATCH_ROWS = 65_536
_LANE_ROWS = 16_384


class MappingOptions(Protocol):
    """Parameters of ``MappedCsv`` and ``MappedParquet``, which import this module to ingest."""

    @property
    def mapping(self) -> Path: ...

    @property
    def unsorted(self) -> str: ...

    @property
    def nonfinite(self) -> Literal["refuse", "zero"]: ...


def ingest(source: MappingOptions, files: Sequence[InputTable], output: Any) -> IngestReport:
    """See ``MappedCsv``.

    Raises:
        DataError: a mapping or file that cannot be used, columns that differ between files, times
            out of range or order, numbers off their grid, NaN under ``refuse``.
    """
    mapping = read_mapping(source.mapping)
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
    symbols = sorted(set().union(*(reader.symbols() for reader in [*readers, *books])))
    if not symbols:
        raise DataError("there are no rows", place=files[0].place)
    price, size = mapping.price, mapping.size
    steps = {} if price is None else {"tick_size": price.tick_size}
    steps |= {} if size is None else {"lot_size": size.lot_size}
    card = Card(
        name=mapping.name,
        description=mapping.description,
        symbols=tuple(symbols),
        features=None if mapping.features is None else Features(columns=mapping.features.columns),
        targets=None if mapping.targets is None else Targets(columns=mapping.targets.columns),
        instruments={"default": mapping.instrument.model_copy(update=steps)},
        calendar=Calendar(zone=mapping.time.zone),
        notes={"mapping": _plain(mapping.model_dump(mode="json", exclude_none=True))},
    )
    sort = source.unsorted == "sort"
    with CanonicalWriter(output, card, nonfinite=source.nonfinite) as writer:
        beside = Beside(stream(_opened(books, symbols, sort), _BATCH_ROWS))
        for columns in stream(_opened(readers, symbols, sort), _BATCH_ROWS):
            targets: Any = columns.pop("targets", None)
            batch = EventBatch(**columns)
            writer.write(batch, targets, depth=beside.before(batch.ts_event))
        for rows in beside.rest():
            writer.write_depth(rows)
    repaired = sum((reader.repaired for reader in [*readers, *books]), Counter[str]())
    repaired["features that were null, NaN or infinite, set to 0"] = writer.replaced
    counted = {what: count for what, count in repaired.items() if count}
    read = sum(book.rows for book in books)
    depth = {"read": read, "written": writer.depth_rows, "quotes": 0} if books else {}
    return IngestReport(writer.rows + read, writer.rows, repaired=counted, depth=depth)


def _opened(readers: Sequence[Reader], symbols: list[str], sort: bool) -> list[SortedFile]:
    # Not by name, so that renamed files give the same dataset.
    ordered = sorted((r for r in readers if r.first is not None), key=Reader.order)
    return [
        SortedFile(i, reader.first, reader.chunks(symbols, sort), _LANE_ROWS)
        for i, reader in enumerate(ordered)
    ]


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
        found = {name: types[name] for name in columns}
        for name in set(floats):
            if found[name] and not found[name].startswith(("float", "double", "half", "int", "u")):
                raise DataError(f"column {name!r} is {found[name]}, not a number", place=file.place)
        difference = describe_difference(first, found) if first else ""
        if difference:
            raise DataError(
                f"its columns differ from those of {files[0].place}: {difference}",
                place=file.place,
            )
        first = found
