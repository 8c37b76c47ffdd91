"""Mapped instants: from numbers, text and timestamps to int64 ns UTC."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import Int64Array
from backtest.plugins.sources.mapped.mapping_tables import Times
from backtest.plugins.sources.shared.decimals import parse_decimals, step_of, to_grid

EARLIEST, LATEST = 631_152_000 * 10**9, 4_102_444_800 * 10**9
"""1990 and 2100: an instant outside of them is in another unit."""

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NS = 1_000_000_000
_EXACT = 2.0**53
_ZONED = r"(Z|[+-]\d\d:?\d\d)$"
_MEANT = {"refuse": "raise", "earlier": "earliest", "later": "latest"}


def joined(columns: Sequence[pa.Array]) -> pa.Array:
    """The text of several columns, with blanks between; null where any of them is."""
    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*(c.cast(pa.string()) for c in columns), " ")


def instants(column: pa.Array, time: Times) -> Int64Array:
    """Instants as int64 ns UTC, [n], of a column without nulls.

    Raises:
        ValueError: not what the mapping says, or a time that the zone's clocks skip, or repeat
            where it does not say which is meant.
    """
    column = _plain(column)
    if time.format is not None:
        local = _formatted(column, time.format)
    elif time.unit == "text":
        zoned = pc.match_substring_regex(column.cast(pa.string()), _ZONED)
        if pc.any(zoned).as_py() and not pc.all(zoned).as_py():
            ts = np.empty(len(column), dtype=np.int64)
            for mask in (zoned, pc.invert(zoned)):
                ts[mask.to_numpy(zero_copy_only=False)] = instants(column.filter(mask), time)
            return ts
        stamp = pa.timestamp("ns", "UTC" if pc.all(zoned).as_py() else None)
        local = column.cast(stamp)
    elif time.unit == "timestamp":
        if not pa.types.is_timestamp(column.type):
            raise ValueError(f"is {column.type}, not a timestamp")
        local = column.cast(pa.timestamp("ns", column.type.tz))
    else:
        local = _counted(column, time.unit)
    if local.type.tz is None:
        meant = _MEANT[time.repeated]
        local = pc.assume_timezone(local, time.zone, ambiguous=meant, nonexistent="raise")
    return local.view(pa.int64()).to_numpy()


def _plain(column: pa.Array) -> pa.Array:
    """Dictionaries decoded, and text of any width, decimals and dates as trimmed text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
        return column
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _formatted(column: pa.Array, written: str) -> pa.Array:
    """Timestamps in ns of text in some format, with a zone if the format has an offset."""
    import polars as pl

    text = pl.Series(column.cast(pa.string()).to_pylist(), dtype=pl.String)
    try:
        found = text.str.to_datetime(written, time_unit="ns", strict=False, ambiguous="raise")
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"cannot be read by the format {written!r}: {error}") from None
    wrong = found.is_null()
    if wrong.any():
        bad = text[int(wrong.arg_max() or 0)]
        raise ValueError(f"is {bad!r}, which is not written as {written!r}")
    return found.to_arrow()


def _counted(column: pa.Array, unit: str) -> pa.Array:
    """Timestamps in ns of numbers since 1970, without a zone."""
    if pa.types.is_integer(column.type):
        values, scale = column.cast(pa.int64()).to_numpy(), 0
    elif pa.types.is_string(column.type):
        values, scale = parse_decimals(column)
    else:
        values, scale = _whole(column, unit), 0
    per_second = _PER_SECOND[unit]
    largest = LATEST // _NS * per_second * 10**scale
    wrong = (values > largest) | (values < -largest)
    if wrong.any():
        raise ValueError(f"is {column[int(np.argmax(wrong))]}, which is not in {unit}")
    steps = to_grid(values, step_of(scale), Decimal(per_second) / _NS)
    return pa.array(steps).view(pa.timestamp("ns"))


def _whole(column: pa.Array, unit: str) -> Int64Array:
    """Whole numbers that float64 holds exactly, int64 [n].

    Raises:
        ValueError: one is not whole, or too large to be exact.
    """
    if not pa.types.is_floating(column.type):
        raise ValueError(f"is {column.type}, which does not hold {unit} exactly")
    floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    wrong = ~((np.abs(floats) < _EXACT) & (floats == np.rint(floats)))
    if wrong.any():
        bad = floats[int(np.argmax(wrong))]
        raise ValueError(f"is {bad}, a binary fraction, which does not hold {unit} exactly")
    found: Int64Array = floats.astype(np.int64)
    return found
