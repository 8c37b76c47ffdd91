"""Random limits, tight enough that small markets run into them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.limits_oracle import Group, LimitRules
from tests.order_markets import OrderMarket
from tests.quote_markets import QuoteMarket

PRICE = 200
"""Half ticks that a lot of the small markets costs, about."""


def random_limits(rnd: Random, value: tuple[int, ...], last: int) -> LimitRules:
    """Any combination of limits, with days a few ns long; ``value`` is that of a half-tick-lot."""
    symbols = range(len(value))
    lot = PRICE * max(value)

    def maybe(low: int, high: int) -> int | None:
        return rnd.randint(low, high) if rnd.random() < 0.4 else None

    groups = [Group("", frozenset(symbols), maybe(lot, 9 * lot), maybe(lot, 6 * lot))]
    if rnd.random() < 0.3:
        some = frozenset(s for s in symbols if rnd.random() < 0.7)
        groups.append(Group("some", some, maybe(lot // 9, 6 * lot), maybe(0, 4 * lot)))
    kept = tuple(g for g in groups if g.gross is not None or g.net is not None)
    by_symbol = rnd.random() < 0.3
    loss = rnd.choice((None, None, *(max(value) * n for n in (1, 3, 8, 20))))
    fall = rnd.choice((None, None, *(max(value) * n for n in (2, 5, 12, 30))))
    return LimitRules(
        position={s: rnd.randint(1, 9) for s in symbols if rnd.random() < 0.4},
        gross_by_symbol={s: rnd.randint(lot // 9, 5 * lot) for s in symbols} if by_symbol else {},
        groups=kept,
        orders_per_second=rnd.choice((None, None, 1, 3, 8)),
        daily_loss=loss,
        drawdown=fall,
        days=tuple(range(rnd.randint(1, 9), last + 30, rnd.choice((7, 13, 40)))),
    )


def slowed(market: OrderMarket, by: int) -> OrderMarket:
    """The market with all times and spans so many times as long."""
    rules = market.rules
    sessions = rules.sessions
    if sessions is not None:
        sessions = tuple((opens * by, closes * by) for opens, closes in sessions)
    return replace(
        market,
        rows=tuple(replace(row, ts=row.ts * by) for row in market.rows),
        messages=tuple(
            replace(m, sent=m.sent * by, latency=m.latency * by, response=m.response * by)
            for m in market.messages
        ),
        rules=replace(
            rules, pairing=rules.pairing * by, end=rules.end * by, sessions=sessions
        ),
        response_of_row=tuple(span * by for span in market.response_of_row),
    )  # fmt: skip


def slowed_quotes(market: QuoteMarket, by: int) -> QuoteMarket:
    """The same of a market with a desk."""
    spans = ("entry", "cancel", "replacing", "response")
    return replace(
        market,
        market=slowed(market.market, by),
        answers=tuple(
            replace(a, t0=a.t0 * by, t1=a.t1 * by, t2=a.t2 * by, t3=a.t3 * by)
            for a in market.answers
        ),
        desk=replace(market.desk, min_interval=market.desk.min_interval * by),
        **{name: tuple(span * by for span in getattr(market, name)) for name in spans},
    )


def slowed_limits(rules: LimitRules, by: int) -> LimitRules:
    """Limits with days so many times as long."""
    return replace(rules, days=tuple(day * by for day in rules.days))
