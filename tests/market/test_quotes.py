"""The quotes that stand at an instant."""

from __future__ import annotations

import numpy as np

from backtest.market.events import NO_PRICE, EventBatch
from tests.standing_quotes import StandingQuotes


def test_the_last_valid_quote_stands_from_its_instant_on() -> None:
    rows = [
        (0, 10, 100, 102),
        (1, 10, 50, 50),
        (0, 20, NO_PRICE, 104),  # one-sided
        (0, 20, 103, 102),  # crossed
        (0, 30, 101, 104),
        (0, 30, 102, 104),  # the newest of its instant
    ]
    symbol, times, bid, ask = (np.array(column) for column in zip(*rows, strict=True))
    quotes = StandingQuotes(EventBatch(symbol.astype(np.int32), times, bid=bid, ask=ask), 3)
    assert quotes.mids(0, np.array([10, 29, 30, 99])).tolist() == [202, 202, 206, 206]
    assert quotes.mids(1, np.array([10, 30])).tolist() == [100, 100]
