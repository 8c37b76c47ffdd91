"""Small random markets with a quoting desk, its answers and its latencies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random

from hypothesis import strategies as st

from tests.order_markets import OrderMarket, random_market
from tests.order_oracle import Result
from tests.quote_oracle import SILENT, Answer, DeskRules, simulate_quotes


@dataclass(frozen=True)
class QuoteMarket:
    """A market whose messages come from a desk; latencies by number of the event."""

    market: OrderMarket
    answers: tuple[Answer, ...]
    desk: DeskRules
    entry: tuple[int, ...]
    cancel: tuple[int, ...]
    replacing: tuple[int, ...]
    response: tuple[int, ...]

    def run(self, simulate: Callable[..., Result] = simulate_quotes) -> Result:
        """Quote; raises as ``OrderMarket.run``."""
        market = self.market
        return simulate(
            [*market.rows],
            [*self.answers],
            self.desk,
            market.rules,
            [*market.response_of_row],
            [*self.entry],
            [*self.cancel],
            [*self.replacing],
            [*self.response],
            impact=market.impact,
            value=[*market.value],
            maker_fee=market.maker,
            taker_fee=market.taker,
            **({} if market.depth is None else {"depth": market.depth}),
        )


def random_quotes(rnd: Random) -> QuoteMarket:
    """A market and a desk, an answer to most of its rows."""
    market = replace(random_market(rnd), messages=())
    answers = []
    ready: dict[int, int] = {}
    for i, row in enumerate(market.rows):
        if rnd.random() < 0.2:
            continue
        t1 = row.ts + rnd.choice((0, 0, 1))
        t2 = max(t1 + rnd.choice((0, 0, 2)), ready.get(row.symbol, 0))
        t3 = ready[row.symbol] = t2 + rnd.choice((0, 1, 3))
        wanted = None
        if rnd.random() < 0.95:
            bid, ask = rnd.choice((0, 1, 1, 2, 3, -1)), rnd.choice((0, 1, 1, 2, 3, -1))
            lots = rnd.choice((0, 1, 3, 3, 5, SILENT)), rnd.choice((0, 1, 3, 3, 5, SILENT))
            wanted = (rnd.choice((bid, bid, bid, SILENT)), lots[0], ask, lots[1])
        answers.append(Answer(i, row.ts, t1, t2, t3, wanted))
    n = len(market.rows)
    limits = (None, 4, 8)
    return QuoteMarket(
        market=market,
        answers=tuple(answers),
        desk=DeskRules(
            skew=Fraction(rnd.choice((0, 1, 1, 5)), rnd.choice((2, 3))),
            position_limit=rnd.choice(limits),
            requote_band=rnd.choice((0, 0, 1)),
            resize_band=rnd.choice((0, 0, 2)),
            min_interval=rnd.choice((0, 0, 3)),
            post_only=rnd.choice(("no", "reject", "slide")),
        ),
        entry=tuple(rnd.choice((0, 1, 3)) for _ in range(n)),
        cancel=tuple(rnd.choice((0, 1, 3)) for _ in range(n)),
        replacing=tuple(rnd.choice((0, 1, 3)) for _ in range(n)),
        response=tuple(rnd.choice((0, 1, 3)) for _ in range(n)),
    )


def quote_markets() -> st.SearchStrategy[QuoteMarket]:
    """Quoting markets, drawn and shrunk by hypothesis."""
    return st.builds(random_quotes, st.randoms(use_true_random=False))
