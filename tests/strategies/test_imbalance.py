"""The quote rule, by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from backtest.errors import UsageError
from backtest.market.events import NO_PRICE, EventBatch
from backtest.strategies.base import Session
from backtest.strategies.imbalance import _COMPILED_FROM, Imbalance


def events(rows: list[tuple[int, int, int, int, int]]) -> EventBatch:
    """Rows of symbol, bid, ask, bid size, ask size."""
    symbol, bid, ask, bid_size, ask_size = (np.array(c) for c in zip(*rows, strict=True))
    return EventBatch(
        symbol=symbol.astype(np.int32),
        ts_event=np.arange(len(rows)),
        bid=bid,
        ask=ask,
        bid_size=bid_size,
        ask_size=ask_size,
    )


def predict(rule: Imbalance, batch: EventBatch) -> list[float]:
    rule.bind(Session(("A", "B")))
    answers = rule.predict(batch)
    assert answers.dtype == np.float32
    assert answers.shape == (len(batch), 1)
    found: list[float] = answers[:, 0].tolist()
    return found


def test_more_bid_than_offered_is_positive() -> None:
    batch = events([(0, 9, 10, 30, 10), (1, 9, 10, 10, 30), (0, 9, 10, 5, 5)])
    assert predict(Imbalance(), batch) == [0.5, -0.5, 0.0]


def test_smoothing_averages_a_symbols_own_events() -> None:
    batch = events([(0, 9, 10, 4, 0), (1, 9, 10, 0, 4), (0, 9, 10, 0, 4), (0, 9, 10, 4, 0)])
    assert predict(Imbalance(0.25), batch) == [1.0, -1.0, 0.5, 0.625]


def test_without_a_usable_quote_the_last_answer_is_kept() -> None:
    batch = events(
        [
            (0, NO_PRICE, 10, 4, 1),
            (0, 9, 10, 3, 1),
            (0, 9, NO_PRICE, 1, 9),
            (0, 11, 10, 1, 9),
            (0, 9, 10, 0, 0),
        ]
    )
    assert predict(Imbalance(), batch) == [0.0, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("smoothing", [1.0, 0.3])
def test_not_a_bit_depends_on_how_events_are_grouped(smoothing: float) -> None:
    random = np.random.default_rng(0)
    count = 2 * _COMPILED_FROM + 10
    sizes = random.integers(0, 9, (2, count))
    batch = EventBatch(
        symbol=random.integers(0, 3, count).astype(np.int32),
        ts_event=np.arange(count),
        bid=random.integers(9, 12, count),
        ask=np.full(count, 11),
        bid_size=sizes[0],
        ask_size=sizes[1],
    )
    rule = Imbalance(smoothing)
    assert rule.bitwise_invariant
    found = []
    for cuts in ([], [1, 7], [_COMPILED_FROM - 1], [5, _COMPILED_FROM + 5, count - 1]):
        rule.bind(Session(("A", "B", "C")))
        parts = [batch.select(slice(*ends)) for ends in pairwise([0, *cuts, count])]
        found.append(np.concatenate([rule.predict(part) for part in parts]).tobytes())
    assert len(set(found)) == 1


def test_an_empty_call_is_legal() -> None:
    assert predict(Imbalance(), events([(0, 9, 10, 1, 1)]).select(slice(0, 0))) == []


def test_a_dataset_without_sizes_is_refused() -> None:
    rule = Imbalance()
    rule.bind(Session(("A",)))
    with pytest.raises(UsageError, match="sizes"):
        rule.predict(replace(events([(0, 9, 10, 1, 1)]), bid_size=None))


@pytest.mark.parametrize("smoothing", [0.0, -1.0, 1.5])
def test_smoothing_outside_its_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing"):
        Imbalance(smoothing)
