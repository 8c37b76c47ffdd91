"""Batches split into rounds of distinct symbols, in order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtest.strategies.rounds import split_rounds, within_capacity

symbols = st.lists(st.integers(0, 6), min_size=1, max_size=40).map(
    lambda values: np.array(values, dtype=np.int32)
)


def test_an_example() -> None:
    rounds = split_rounds(np.array([4, 1, 4, 2, 4, 1], dtype=np.int32))
    assert rounds.symbols.tolist() == [4, 1, 2]
    assert rounds.sizes.tolist() == [3, 2, 1]
    assert rounds.rows.tolist() == [0, 1, 3, 2, 5, 4]


@given(symbols)
def test_rounds_hold_every_event_once_distinct_and_in_order(symbol: np.ndarray) -> None:
    rounds = split_rounds(symbol)
    assert sorted(rounds.rows.tolist()) == list(range(len(symbol)))
    assert rounds.sizes.sum() == len(symbol)
    assert (np.diff(rounds.sizes) <= 0).all()
    served: dict[int, list[int]] = {}
    for rows in np.split(rounds.rows, np.cumsum(rounds.sizes)[:-1]):
        # The round's symbols are a prefix of all symbols, in that order.
        assert symbol[rows].tolist() == rounds.symbols[: len(rows)].tolist()
        for row in rows.tolist():
            served.setdefault(int(symbol[row]), []).append(row)
    for s, own in served.items():
        assert own == np.flatnonzero(symbol == s).tolist()


@given(symbols, st.integers(1, 8))
def test_groups_respect_the_capacity_and_keep_symbols_whole(
    symbol: np.ndarray, capacity: int
) -> None:
    groups = within_capacity(symbol, capacity)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(symbol)))
    seen: set[int] = set()
    for rows in groups:
        assert rows.tolist() == sorted(rows.tolist())
        members = set(symbol[rows].tolist())
        assert 1 <= len(members) <= capacity
        assert not members & seen
        seen |= members
    assert len(groups) == -(-len(set(symbol.tolist())) // capacity)
