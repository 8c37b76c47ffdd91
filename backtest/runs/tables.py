"""The tables of a run folder as they are read back: columns, types and ranges that readers rely on.

Tables of other names, which accountants of plugins write, are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from backtest.errors import DataError
from backtest.trading.layout import COSTS

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_MOST_NS = 2**62
_LARGEST = 1e100
_REMEDY = "The file is damaged, or of another program: run it again with --no-reuse."

Kind: TypeAlias = str
"""``time``, ``whole``, ``number`` or ``text``; with ``?`` behind it where rows may lack it."""

COLUMNS: Mapping[str, Mapping[str, Kind]] = {
    "timing": {
        "ts_event": "time",
        "symbol": "text",
        "ts_received": "time",
        "ts_begun": "time?",
        "ts_ended": "time?",
        "status": "whole",
        "batch": "whole?",
    },
    "predictions": {"event": "whole", "forecast": "number"},
    "fills": {
        "event": "whole",
        "symbol": "text",
        "lots": "whole",
        **dict.fromkeys(("ts_event", "ts_received", "ts_ended", "ts_venue"), "time"),
    },
    "equity": {
        "ts": "time",
        "symbol": "text",
        **dict.fromkeys(("position", "net", "decision", *COSTS), "whole"),
    },
    "points": {"ts": "time", "symbol": "text", "points": "number"},
}
"""What readers ask for, by table."""

_ASCENDING = {"timing": "ts_event", "predictions": "event", "points": "ts"}


def read_table(path: Path, name: str, events: Callable[[], int]) -> pl.DataFrame:
    """A table of a run folder.

    Args:
        path: the file.
        name: of the table.
        events: how many events the run had, which the rows of some tables refer to.

    Raises:
        DataError: it cannot be read, or lacks what readers rely on.
    """
    import polars as pl
    import pyarrow.parquet as pq

    from backtest.data.parquet import check_decoded, check_sizes, mapped_errors

    with mapped_errors(str(path)):
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            check_sizes(file.metadata, str(path))
            check_decoded(file.metadata, str(path), file.metadata.num_columns)
            columns = _columns(name, file.schema_arrow.names)
            for column, kind in columns.items():
                _check_type(file.schema_arrow, column, kind, path)
            table = file.read()
        frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    if columns:
        _check_values(frame, columns, path)
        _check_rows(frame, name, events(), path)
    return frame


def _columns(name: str, present: list[str]) -> dict[str, Kind]:
    """What readers ask for of a table, a strategy's outputs among them."""
    outputs = [c for c in present if name == "predictions" and c.startswith("output_")]
    return {**COLUMNS.get(name, {}), **dict.fromkeys(outputs, "number")}


def _check_type(schema: pa.Schema, column: str, kind: Kind, path: Path) -> None:
    import pyarrow as pa

    places = schema.get_all_field_indices(column)
    if len(places) != 1:
        raise _refused(f"has {len(places)} columns {column!r}, not 1", path)
    found = schema.field(places[0]).type
    if pa.types.is_dictionary(found):
        found = found.value_type
    fits: dict[str, Callable[[Any], bool]] = {
        "time": lambda t: pa.types.is_timestamp(t) and t.unit == "ns",
        "whole": lambda t: pa.types.is_integer(t) and t != pa.uint64(),
        "number": pa.types.is_floating,
        "text": lambda t: pa.types.is_string(t) or pa.types.is_large_string(t),
    }
    if not fits[kind.removesuffix("?")](found):
        raise _refused(f"column {column!r} holds {found}", path)


def _check_values(frame: pl.DataFrame, columns: Mapping[str, Kind], path: Path) -> None:
    import polars as pl

    for column, kind in columns.items():
        values = frame[column]
        if not kind.endswith("?") and values.null_count():
            raise _refused(f"column {column!r} lacks {values.null_count()} values", path)
        if kind.startswith("time"):
            instants = values.cast(pl.Int64)
            if ((instants >= _MOST_NS) | (instants <= -_MOST_NS)).any():
                raise _refused(f"column {column!r} holds an instant beyond 2^62 ns", path)
        if kind == "number" and not (values.cast(pl.Float64).abs() <= _LARGEST).all():
            raise _refused(f"column {column!r} holds a number beyond 1e100", path)


def _check_rows(frame: pl.DataFrame, name: str, events: int, path: Path) -> None:
    import polars as pl

    if name in ("timing", "points") and len(frame) != max(events, 1):
        raise _refused(f"has {len(frame)} rows for {events} events", path)
    first = _ASCENDING.get(name)
    if first is not None and not frame[first].is_sorted():
        raise _refused(f"column {first!r} is not ascending", path)
    if "event" in frame.columns:
        least = -1 if name == "fills" else 0  # the fills that close positions belong to no event
        if not frame["event"].cast(pl.Int64).is_between(least, events - 1).all():
            raise _refused(f"column 'event' holds a number that none of {events} events has", path)


def _refused(problem: str, path: Path) -> DataError:
    return DataError(problem, place=str(path), remedy=_REMEDY)
