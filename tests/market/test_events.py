"""Event batches keep every column, whatever is done with their rows."""

from __future__ import annotations

import numpy as np

from backtest.market.events import COLUMNS, EventBatch, concatenate
from tests.data.made import quote_events
from tests.parquet_files import assert_same


def test_rows_are_taken_and_joined_with_all_their_columns() -> None:
    events = quote_events(50)
    assert [name for name in COLUMNS if getattr(events, name) is None] == ["features"]
    assert_same(concatenate([events.select(slice(0, 20)), events.select(slice(20, None))]), events)
    rows = np.array([3, 1, 40])
    taken = events.select(rows)
    for name in COLUMNS[:-1]:
        column = getattr(taken, name)
        assert column.tolist() == getattr(events, name)[rows].tolist(), name
        assert column.dtype == getattr(events, name).dtype, name
    assert taken.aggressor is not None
    assert taken.aggressor.dtype == np.int8


def test_nobody_can_write_to_read_only_columns() -> None:
    locked = quote_events(5).read_only()
    assert not any(getattr(locked, name).flags.writeable for name in COLUMNS[:-1])
    assert EventBatch(locked.symbol, locked.ts_event).read_only().aggressor is None
