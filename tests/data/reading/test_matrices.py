"""Columns side by side: the compiled loop, the plain one and pyarrow's values are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backtest.data.canonical import write_canonical
from backtest.data.dataset import open_dataset
from backtest.data.reading.buffer_pool import Space
from backtest.data.reading.bus import EventBus
from backtest.data.reading.matrices import ROWS, packed_matrix, wide_matrix, with_rows
from backtest.market.events import concatenate
from tests.parquet_files import assert_same, card_of, random_events


def columns_of(rows: int, width: int) -> pa.RecordBatch:
    """Random float32 columns ``f0``, ``f1``, ..."""
    draw = np.random.default_rng(rows * 100 + width)
    arrays = [pa.array(draw.standard_normal(rows, dtype=np.float32)) for _ in range(width)]
    return pa.RecordBatch.from_arrays(arrays, names=[f"f{k}" for k in range(width)])


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("width", [1, 3, 4, 5, 8, 79])
@pytest.mark.parametrize("rows", [0, 1, 63, 2047, 2048, 2049, 4097])
def test_rows_hold_what_the_columns_held(rows: int, width: int, compiled: bool) -> None:
    batch = columns_of(rows, width)
    matrix = wide_matrix(batch, batch.schema.names, compiled=compiled)
    assert matrix.dtype == np.float32
    assert matrix.shape == (rows, width)
    assert matrix.flags.c_contiguous
    for k in range(width):
        np.testing.assert_array_equal(matrix[:, k], batch.column(k).to_numpy())


@pytest.mark.parametrize("compiled", [True, False])
def test_columns_may_be_slices_with_nulls_and_of_other_types(compiled: bool) -> None:
    kinds: list[tuple[list[Any], pa.DataType]] = [
        ([9, 1.5, None, 3.5, 9], pa.float32()),
        ([9, 1, 2, 3, 9], pa.int64()),
        ([9, None, 0.25, 0.5, 9], pa.float64()),
        ([9, 1e300, -1e300, 0.5, 9], pa.float64()),
        ([9, float("nan"), float("inf"), -0.0, 9], pa.float32()),
    ]
    arrays = [pa.array(values, kind) for values, kind in kinds]
    batch = pa.RecordBatch.from_arrays(arrays, names=list("abcde")).slice(1, 3)
    with np.errstate(over="ignore"):
        matrix = wide_matrix(batch, list("ecabd"), compiled=compiled)
    nan, inf = np.nan, np.inf
    wanted = [[nan, nan, 1.5, 1, inf], [inf, 0.25, nan, 2, -inf], [-0.0, 0.5, 3.5, 3, 0.5]]
    np.testing.assert_array_equal(matrix, np.array(wanted, dtype=np.float32))
    assert np.signbit(matrix[2, 0])


def test_rows_take_the_place_of_their_columns_and_can_be_cut_and_chosen() -> None:
    batch = columns_of(5, 3).append_column("t", pa.array(range(5)))
    matrix = wide_matrix(batch, ["f2", "f0"])
    packed = with_rows(batch, ["f2", "f0"], matrix)
    assert packed.schema.names == ["f1", "t", ROWS]
    part = packed.slice(1, 4).filter(pa.array([True, False, True, True]))
    assert part.column("t").to_pylist() == [1, 3, 4]
    np.testing.assert_array_equal(packed_matrix(part.column(ROWS), 2), matrix[[1, 3, 4]])


def test_space_is_used_again_only_when_nobody_holds_it() -> None:
    space, kind = Space(), np.dtype(np.int64)
    held = space.flat(kind, 1000)
    held[:] = 7
    view = held[10:20].reshape(2, 5)
    del held
    other = space.flat(kind, 1000)
    other[:] = 8
    assert (view == 7).all()
    address = other.ctypes.data
    assert space.flat(np.dtype(np.int32), 1000).ctypes.data != address
    del other
    assert space.flat(kind, 1200).ctypes.data == address


@pytest.mark.parametrize("rows", [500, 25_000])  # in plain Python, and compiled
@pytest.mark.parametrize("ahead", [True, False])
def test_features_in_columns_come_row_by_row_for_chosen_symbols_and_times(
    tmp_path: Path, rows: int, ahead: bool
) -> None:
    events = random_events(rows, features=7)
    assert events.features is not None
    write_canonical(tmp_path / "d", card_of("wide", features=7), [events])
    start, end = (int(events.ts_event[k]) for k in (rows // 5, rows // 2))
    bus = EventBus(
        open_dataset(tmp_path / "d"), start=start, end=end, symbols=["C", "A"],
        features=["f6", "f1", "f0", "f4", "f2"], batch_rows=max(rows // 9, 60), read_ahead=ahead,
    )  # fmt: skip
    batches = list(bus)
    assert len(batches) > 1
    assert all(b.features is not None and b.features.flags.c_contiguous for b in batches)
    wanted = (events.ts_event >= start) & (events.ts_event < end) & (events.symbol != 1)
    assert_same(
        concatenate(batches),
        replace(events, features=events.features[:, [6, 1, 0, 4, 2]]).select(wanted),
    )
