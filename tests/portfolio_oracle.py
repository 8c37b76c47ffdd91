"""Portfolios apart from the engine: what a rule is told at each instant, and what it orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.order_matching import Venue
from tests.order_oracle import Fee, Result, no_fee, settle
from tests.order_records import Message, OrderRules, Row
from tests.unresolved import known_at

FAR = 10**9
"""A price at which an order takes whatever the touch is."""


@dataclass(frozen=True)
class Answer:
    """What was answered to an event, and when; ``None`` is no opinion."""

    event: int
    t1: int
    t2: int
    t3: int
    forecast: float | None


@dataclass(frozen=True)
class Told:
    """What a portfolio rule is told, by symbol; quotes are (bid, ask), ``None`` where none is."""

    now: int
    forecasts: tuple[float | None, ...]
    quotes: tuple[tuple[int, int] | None, ...]
    positions: tuple[int, ...]
    outstanding: tuple[int, ...]


Rebalance = Callable[[Told], Sequence[int | None]]
"""Targets in lots; ``None`` keeps a symbol as it is."""


def simulate_portfolio(
    rows: Sequence[Row],
    symbols: int,
    answers: Sequence[Answer],
    rebalance: Rebalance,
    rules: OrderRules,
    entry: Sequence[int],
    response: Sequence[int],
    *,
    limit: int | None = None,
    band: int = 0,
    impact: Fraction = Fraction(0),
    value: Sequence[int] | None = None,
    maker_fee: Fee = no_fee,
    taker_fee: Fee = no_fee,
) -> tuple[Result, list[Told]]:
    """Let a portfolio trade; ``entry`` and ``response`` are latencies by number of the event.

    Raises:
        NoClosingQuote: A symbol traded that has no two-sided quote inside a session.
    """
    venues = [Venue(rows, s, rules, response, impact) for s in range(symbols)]
    forecasts: list[float | None] = [None] * symbols
    quotes: list[tuple[int, int] | None] = [None] * symbols
    calls = []
    for now in sorted({answer.t3 for answer in answers if answer.t3 <= rules.end}):
        newest = {}
        for answer in sorted(answers, key=lambda answer: answer.event):
            if answer.t3 == now:
                newest[rows[answer.event].symbol] = answer
        telling = []
        for symbol, answer in newest.items():
            standing = quote_at(venues[symbol], answer.event)
            if answer.forecast is not None and standing is not None:
                forecasts[symbol], quotes[symbol] = answer.forecast, standing
                telling.append(answer)
        if not telling:
            continue
        held, under_way = [], []
        for venue in venues:
            venue.advance(now)
            sent = [message for _, message in venue.inbox]
            account = known_at(sent, venue.reports, len(sent), now)
            held.append(account.confirmed)
            under_way.append(account.unresolved(1) - account.unresolved(-1))
        told = Told(now, tuple(forecasts), tuple(quotes), tuple(held), tuple(under_way))
        calls.append(told)
        last = max(telling, key=lambda answer: answer.event)
        for symbol, target in enumerate(rebalance(told)):
            if target is None or quotes[symbol] is None:
                continue
            wanted = target if limit is None else min(max(target, -limit), limit)
            lots = wanted - held[symbol] - under_way[symbol]
            if abs(lots) <= band:
                continue
            own = [answer for answer in telling if rows[answer.event].symbol == symbol]
            origin = own[0] if own else last
            side = 1 if lots > 0 else -1
            venues[symbol].send(
                Message(
                    symbol, now, "new", len(venues[symbol].inbox) + 1, side, side * FAR,
                    abs(lots), "ioc", latency=entry[origin.event],
                    response=response[origin.event],
                    instants=(rows[origin.event].ts, origin.t1, origin.t2, now),
                )
            )  # fmt: skip
    for venue in venues:
        venue.finish()
    seen = {row.symbol for row in rows}
    traded = [venue for venue in venues if venue.symbol in seen]
    return settle(traded, rules, value, maker_fee, taker_fee), calls


def quote_at(venue: Venue, event: int) -> tuple[int, int] | None:
    """The last two-sided quote at an event."""
    found = [quote for quote in venue.history.quotes if quote.number <= event]
    return (found[-1].bid, found[-1].ask) if found else None
