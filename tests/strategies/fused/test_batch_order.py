"""Batches cut into chunks of runs."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.strategies.fused.batch_order import one_each, split_runs

pytestmark = pytest.mark.one_python


def test_neighbours_in_order() -> None:
    (chunk,) = split_runs(np.array([3, 1, 3, 2, 1, 3], dtype=np.int32), rows=8, turns=4)
    assert chunk.rows.tolist() == [1, 4, 3, 0, 2, 5]
    assert chunk.turn.tolist() == [0, 1, 0, 0, 1, 2]
    assert chunk.count.tolist() == [2, 0, 1, 3, 0, 0]
    assert chunk.turns == 3


@pytest.mark.parametrize(("rows", "turns"), [(1, 1), (4, 2), (7, 3), (64, 64)])
@pytest.mark.parametrize("seed", range(4))
def test_every_event_once_in_its_symbols_order(seed: int, rows: int, turns: int) -> None:
    symbol = np.random.default_rng(seed).integers(0, 6, 50).astype(np.int32)
    chunks = split_runs(symbol, rows=rows, turns=turns)
    served = np.concatenate([chunk.rows for chunk in chunks])
    assert sorted(served.tolist()) == list(range(50))
    for s in range(6):
        assert np.all(np.diff(served[symbol[served] == s]) > 0)
    for chunk in chunks:
        assert len(chunk.rows) <= rows
        assert chunk.turns <= turns
        own = symbol[chunk.rows]
        starts = np.flatnonzero(chunk.count)
        assert len(set(own[starts])) == len(starts), "two runs of one symbol in a chunk"
        assert chunk.count.sum() == len(own)


def test_different_symbols_stay_in_place() -> None:
    (sorted_chunk,) = split_runs(np.arange(5, dtype=np.int32), rows=8, turns=4)
    chunk = one_each(5)
    for name in ("rows", "turn", "count"):
        np.testing.assert_array_equal(getattr(chunk, name), getattr(sorted_chunk, name))
