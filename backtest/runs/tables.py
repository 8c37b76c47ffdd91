"""The tables of a run folder as they are read back: columns, types and ranges that readers rely on.

Tables of other names, which accountants of plugins write, are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from backtest.errors import DataError
from backtest.runs.implied import completed, expressions, lacking
from backtest.trading.fill_table import INSTANTS, QUEUED
from backtest.trading.layout import COSTS

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

_MOST_NS = 2**62
_LARGEST = 1e100
_REMEDY = "The file is damaged, or of another program: run it again with --no-reuse."

Kind: TypeAlias = str
"""``time``, ``whole``, ``number``, ``opinion`` (a number, or NaN for none), ``flag`` or ``text``;
with ``?`` behind it where rows may lack it."""

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
    "predictions": {"event": "whole", "forecast": "opinion"},
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
    "orders": {
        **dict.fromkeys(("symbol", "report", "side"), "text"),
        **dict.fromkeys(("order", "event", "lots", "price_half_ticks"), "whole"),
        **dict.fromkeys(("ts_venue", "ts_known", *INSTANTS[:5]), "time"),
        "price": "number",
    },
    "breaches": {
        "ts": "time",
        **dict.fromkeys(("limit", "symbol", "side"), "text"),
        **dict.fromkeys(("order", "lots", "event"), "whole"),
    },
    "instruments": {
        "symbol": "text",
        **dict.fromkeys(("tick_size", "lot_size", "multiplier"), "number"),
    },
    "points": {"ts": "time", "points": "number"},
}
"""What readers ask for, by table."""

_LATER: Mapping[str, Mapping[str, Kind]] = {
    "fills": {
        **dict.fromkeys(("price_half_ticks", "displayed", "taken"), "whole"),
        **dict.fromkeys(("order", *COSTS), "whole"),
        "price": "number",
        "maker": "flag",
        "ts_arrived": "time",
        **dict.fromkeys(QUEUED, "whole?"),
    },
    "equity": {"mid": "number?", "mid_half_ticks": "whole?"},
    "points": {"symbol": "text"},
}
"""Columns that some runs lack: where no order rests, of earlier versions, of other accountants."""

OUTPUT = "output_"
"""What the names of the columns of a strategy's outputs begin with, in ``predictions``."""

_ASCENDING = {
    "timing": "ts_event",
    "predictions": "event",
    "points": "ts",
    "orders": "ts_venue",
    "breaches": "ts",
}


PIECE_ROWS = 1 << 16
"""Rows of a piece, at most."""


def read_table(path: Path, name: str, events: Callable[[], int]) -> pl.DataFrame:
    """A whole table of a run folder.

    Args:
        path: the file.
        name: of the table.
        events: how many events the run had, which the rows of some tables refer to.

    Raises:
        DataError: it cannot be read, or lacks what readers rely on.
    """
    import polars as pl

    with _opened(path) as file:
        present = file.schema_arrow.names
        missing = lacking(name, present)
        columns = {c: kind for c, kind in _columns(name, present).items() if c not in missing}
        checks = _Checks(path, name, columns, file.schema_arrow, events)
        frame = pl.from_arrow(file.read())
    assert isinstance(frame, pl.DataFrame)
    checks.add(frame)
    checks.finish()
    return frame.with_columns(expressions(missing))


def read_pieces(
    path: Path, name: str, chosen: Sequence[str], events: Callable[[], int]
) -> Iterator[pa.RecordBatch]:
    """Columns of a table in its order, at most ``PIECE_ROWS`` rows at once.

    A table without rows is one piece without any, which has the columns.

    Args:
        path, name, events: as for ``read_table``.
        chosen: the columns.

    Raises:
        DataError: while iterating, as ``read_table``, as far as the chosen columns tell.
    """
    import polars as pl
    import pyarrow as pa

    with _opened(path) as file:
        present = file.schema_arrow.names
        missing = lacking(name, present)
        held = dict.fromkeys(str(missing.get(c, c)) for c in chosen)
        wanted = [c for c in held if c in present or c in chosen]
        known = _columns(name, [c for c in present if c in wanted])
        columns = {c: known[c] for c in wanted if c in known}
        absent = [c for c in wanted if c not in present]
        if absent:
            raise _refused(f"it has no column {absent[0]!r}", path)
        checks = _Checks(path, name, columns, file.schema_arrow, events)
        for rows in file.iter_batches(PIECE_ROWS, columns=wanted):
            frame = pl.from_arrow(rows)
            assert isinstance(frame, pl.DataFrame)
            checks.add(frame)
            yield completed(rows, missing, chosen)
        if not file.metadata.num_rows:
            schema = pa.schema([file.schema_arrow.field(c) for c in wanted])
            yield completed(pa.RecordBatch.from_pylist([], schema), missing, chosen)
        checks.finish()


def column_names(path: Path) -> list[str]:
    """Names of a table's columns, those that are filled in as it is read among them.

    Raises:
        DataError: it cannot be read.
    """
    with _opened(path) as file:
        present = list(file.schema_arrow.names)
    return [*present, *lacking(path.stem, present)]


def first_and_last(path: Path, name: str, column: str) -> tuple[int, int]:
    """The first and the last value of a column of instants of a table called ``name``, ns.

    Raises:
        DataError: it cannot be read, lacks the column, or has no row.
    """
    with _opened(path) as file:
        _check_type(file.schema_arrow, column, "time", path)
        filled = [k for k in range(file.num_row_groups) if file.metadata.row_group(k).num_rows]
        if not filled:
            raise _refused("it holds no row", path)
        ends = [file.read_row_group(k, [column])[column] for k in (filled[0], filled[-1])]
        found = ends[0][0].cast("int64").as_py(), ends[1][-1].cast("int64").as_py()
    if any(value is None or abs(value) >= _MOST_NS for value in found):
        raise _refused(f"column {column!r} begins or ends with no instant within 2^62 ns", path)
    return found


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The file, whose sizes are within bounds; what is wrong with it in the block is its fault."""
    import pyarrow.parquet as pq

    from backtest.data.parquet import check_decoded, check_sizes, mapped_errors

    with (
        mapped_errors(str(path)),
        pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file,
    ):
        check_sizes(file.metadata, str(path))
        check_decoded(file.metadata, str(path), file.metadata.num_columns)
        yield file


class _Checks:
    """Looks at the rows of a table, piece by piece, for what readers rely on.

    Args:
        path: for messages.
        name: of the table.
        columns: those that are read.
        schema: of the file.
        events: how many events the run had.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        columns: Mapping[str, Kind],
        schema: pa.Schema,
        events: Callable[[], int],
    ) -> None:
        self._path, self._name, self._columns = path, name, columns
        for column, kind in columns.items():
            _check_type(schema, column, kind, path)
        self._events = events() if columns else 0
        self._rows = 0
        self._last: Any = None

    def add(self, frame: pl.DataFrame) -> None:
        """Look at the next rows."""
        if not self._columns or not len(frame):
            return
        _check_values(frame, self._columns, self._path)
        self._rows += len(frame)
        first = _ASCENDING.get(self._name)
        if first is not None and first in self._columns:
            values = frame[first]
            if not values.is_sorted() or (self._last is not None and values[0] < self._last):
                raise _refused(f"column {first!r} is not ascending", self._path)
            self._last = values[-1]
        if "event" in self._columns:
            _check_events(frame, self._name, self._events, self._path)

    def finish(self) -> None:
        """Look at what the rows came to."""
        whole = self._name in ("timing", "points")
        if whole and self._columns and self._rows != max(self._events, 1):
            raise _refused(f"it has {self._rows} rows for {self._events} events", self._path)


def _columns(name: str, present: list[str]) -> dict[str, Kind]:
    """What readers ask for of a table, a strategy's outputs among them."""
    outputs = [c for c in present if name == "predictions" and c.startswith(OUTPUT)]
    later = {c: kind for c, kind in _LATER.get(name, {}).items() if c in present}
    return {**COLUMNS.get(name, {}), **later, **dict.fromkeys(outputs, "opinion")}


def _check_type(schema: pa.Schema, column: str, kind: Kind, path: Path) -> None:
    import pyarrow as pa

    places = schema.get_all_field_indices(column)
    if len(places) != 1:
        raise _refused(f"it has {len(places)} columns {column!r}, not 1", path)
    found = schema.field(places[0]).type
    if pa.types.is_dictionary(found):
        found = found.value_type
    fits: dict[str, Callable[[Any], bool]] = {
        "time": lambda t: pa.types.is_timestamp(t) and t.unit == "ns",
        "whole": lambda t: pa.types.is_integer(t) and t != pa.uint64(),
        "number": pa.types.is_floating,
        "flag": pa.types.is_boolean,
        "opinion": pa.types.is_floating,
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
        if kind == "opinion":
            values = values.fill_nan(0.0)
        if values.dtype.is_float() and not (values.cast(pl.Float64).abs() <= _LARGEST).all():
            raise _refused(f"column {column!r} holds a number beyond 1e100", path)


def _check_events(frame: pl.DataFrame, name: str, events: int, path: Path) -> None:
    import polars as pl

    # Fills that close positions, and orders of a list, belong to no event.
    least = -1 if name in ("fills", "orders", "breaches") else 0
    if not frame["event"].cast(pl.Int64).is_between(least, events - 1).all():
        raise _refused(f"column 'event' holds a number that none of {events} events has", path)


def _refused(problem: str, path: Path) -> DataError:
    return DataError(problem, place=str(path), remedy=_REMEDY)
