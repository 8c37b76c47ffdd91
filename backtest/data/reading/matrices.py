"""Features and targets as float32 matrices, a row for each event."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from backtest.core.arrays import BoolArray, Float32Array

ROWS = "\0features"
"""Name of the column that holds features row by row, as none in a file is called."""

_FLOAT32 = np.dtype(np.float32)

_BLOCK = 4096
"""Rows whose columns are put side by side at once: what they fill stays in cache."""


def nonfinite_cells(matrix: Float32Array) -> BoolArray | None:
    """Where a matrix [n, F] holds NaN or infinity, bool [n, F]; ``None`` if nowhere."""
    # A finite sum proves every cell finite, at a tenth of the cost of asking each one.
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.add.reduce(matrix, axis=None))
    if math.isfinite(total):
        return None
    bad: BoolArray = ~np.isfinite(matrix)
    return bad if bad.any() else None


def wide_matrix(
    batch: pa.RecordBatch,
    names: Sequence[str],
    *,
    compiled: bool = False,
) -> Float32Array:
    """Columns side by side, float32 [n, F] in C order; nulls become NaN.

    Args:
        batch: columns of numbers, ``n`` rows.
        names: the ``F`` columns wanted.
        compiled: put them there in a compiled loop, which is worth loading for many rows.
    """
    places = {name: k for k, name in enumerate(batch.schema.names)}
    columns = [batch.column(places[name]).to_numpy(zero_copy_only=False) for name in names]
    shape = batch.num_rows, len(names)
    # Arrow uses memory again where numpy would ask the system for fresh pages.
    buffer = pa.allocate_buffer(_FLOAT32.itemsize * shape[0] * shape[1])
    matrix: Float32Array = np.frombuffer(buffer, dtype=_FLOAT32).reshape(shape)
    if compiled:
        from backtest.data.reading.row_loops import interleave

        whole = [np.ascontiguousarray(column, dtype=_FLOAT32) for column in columns]
        addresses = [column.__array_interface__["data"][0] for column in whole]
        interleave(np.array(addresses, dtype=np.uint64), matrix)
        return matrix
    for first in range(0, shape[0], _BLOCK):
        rows = slice(first, first + _BLOCK)
        for k, column in enumerate(columns):
            matrix[rows, k] = column[rows]
    return matrix


def with_rows(batch: pa.RecordBatch, names: Sequence[str], matrix: Float32Array) -> pa.RecordBatch:
    """The batch with the matrix float32 [n, F] as its column ``ROWS`` in place of some columns."""
    left_out = set(names)
    kept = {
        field.name: column
        for field, column in zip(batch.schema, batch.columns, strict=True)
        if field.name not in left_out
    }
    cells = [None, pa.py_buffer(matrix)]
    kind = pa.binary(matrix.itemsize * matrix.shape[1])
    kept[ROWS] = pa.FixedSizeBinaryArray.from_buffers(kind, len(matrix), cells)
    return pa.RecordBatch.from_pydict(kept)


def packed_matrix(column: pa.Array, width: int) -> Float32Array:
    """A binary column as float32 [n, width] without a copy; null rows become NaN, in a copy."""
    cells = np.frombuffer(
        column.buffers()[1] or b"",
        dtype="<f4",
        count=len(column) * width,
        offset=column.offset * width * 4,
    )
    matrix: Float32Array = cells.reshape(len(column), width)
    if column.null_count:
        matrix = matrix.copy()
        matrix[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return matrix
