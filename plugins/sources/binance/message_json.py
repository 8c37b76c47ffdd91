"""Messages of a recorded Binance stream as Arrow columns, and what is wrong with its lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from backtest.core.arrays import Int64Array
from backtest.errors import DataError
from backtest.market.events import NO_TIME
from backtest.plugins.sources.shared.decimals import parse_decimals
from backtest.plugins.sources.shared.packed import Packed
from backtest.plugins.sources.shared.rows import first_failure

Lines: TypeAlias = list[tuple[int, bytes, bytes]]
"""Number in the file, from 1, the recorder's time, and all of the line."""

_FAULTS = (pa.ArrowException, ValueError)
_SECONDS = (631_152_000, 4_102_444_800)
"""1990 and 2100: a time outside them was written in another unit."""


def parse(file: Packed, found: Lines, schema: pa.Schema) -> pa.Table:
    """The messages of some lines, one a row; fields that the schema has not are left out.

    Raises:
        DataError: a line that is not JSON, or not as the schema says; it names the line.
    """
    try:
        return _parsed(found, schema)
    except _FAULTS:
        row, error = first_failure(found, lambda some: _parsed(some, schema), _FAULTS)
        number, ns, line = found[row]
        try:
            json.loads(line[len(ns) + 1 :])
        except (ValueError, RecursionError):
            raise bad_line(file, number, "is not JSON, or not whole") from None
        raise bad_line(file, number, f"is not as expected: {error!s:.200}") from None


def _parsed(found: Lines, schema: pa.Schema) -> pa.Table:
    body = b"\n".join(line[len(ns) + 1 :] for _, ns, line in found)
    table = pj.read_json(
        pa.BufferReader(body),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(body) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    if len(table) != len(found):
        raise pa.ArrowInvalid(f"{len(found)} lines hold {len(table)} messages")
    str(body, "utf-8")  # which pyarrow does not check
    return table


def column(table: pa.Table, name: str) -> pa.Array:
    """One column in one piece."""
    data = table.column(name).combine_chunks()
    return data.chunk(0) if isinstance(data, pa.ChunkedArray) else data


def receipts(file: Packed, found: Lines) -> tuple[Int64Array, Int64Array]:
    """Numbers of the lines, and the recorder's times, ns, int64 [n].

    Raises:
        DataError: a time outside 1990 to 2100.
    """
    line = np.array([number for number, _, _ in found], dtype=np.int64)
    recv = np.array([ns for _, ns, _ in found], dtype="S19").astype(np.int64)
    _check_unit(file, line, recv, 1_000_000_000, "recorder's time is not in nanoseconds")
    return line, recv


def venue_times(file: Packed, line: Int64Array, times: pa.Array, unit: str) -> Int64Array:
    """The venue's times, int64 ns [n]; ``NO_TIME`` where there is none.

    Raises:
        DataError: a time outside 1990 to 2100.
    """
    per_second = {"ms": 1_000, "us": 1_000_000}[unit]
    known = times.is_valid().to_numpy(zero_copy_only=False)
    values = times.fill_null(0).to_numpy()
    problem = f"venue's time is not in {unit}"
    _check_unit(file, line[known], values[known], per_second, problem)
    return np.where(known, values * (1_000_000_000 // per_second), NO_TIME)


def numbers(file: Packed, line: Int64Array, columns: Sequence[pa.Array]) -> tuple[Int64Array, int]:
    """Decimal text as whole numbers of 10^-scale, int64 [columns, n], and that scale.

    Args:
        line: the number of the line of each row, int64 [n].
        columns: text [n] each.

    Raises:
        DataError: text that is no number, or has too many digits; it names the line.
    """
    if not len(line):
        return np.empty((len(columns), 0), dtype=np.int64), 0
    try:
        values, scale = parse_decimals(pa.concat_arrays(columns))
    except ValueError:
        found = []
        for text in columns:
            with suppress(ValueError):
                parse_decimals(text)
                continue
            found.append(first_failure(text, parse_decimals, (ValueError,)))
        if not found:  # each column by itself fits
            problem = "and those after it have too many digits"
            raise bad_line(file, int(line[0]), problem) from None
        row, error = min(found, key=lambda item: item[0])
        problem = f"has a number that is wrong: {error}"
        raise bad_line(file, int(line[row]), problem) from None
    return values.reshape(len(columns), -1), scale


def refuse_missing(file: Packed, line: Int64Array, data: Any, names: Sequence[str]) -> None:
    """Refuse messages without a field.

    Raises:
        DataError: there is one; it names the line.
    """
    for name in names:
        if data[name].null_count:
            row = pc.index(data[name].is_null(), True).as_py()
            raise bad_line(file, int(line[row]), f"has no {name!r}")


def _check_unit(
    file: Packed, line: Int64Array, times: Int64Array, per_second: int, problem: str
) -> None:
    wrong = (times < _SECONDS[0] * per_second) | (times > _SECONDS[1] * per_second)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"line {line[i]} has the time {times[i]}: the {problem}",
            place=file.place,
            remedy="Units are stated, never guessed: time_unit is ms, or us for streams that were"
            " asked for microseconds.",
        )


def bad_line(file: Packed, number: int, problem: str) -> DataError:
    """What to raise for a line."""
    return DataError(
        f"line {number} {problem}",
        place=file.place,
        remedy="A line is the recorder's time in ns, a space, and a message of a combined stream.",
    )
