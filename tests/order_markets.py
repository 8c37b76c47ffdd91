"""Small random markets for resting orders, made so that things collide.

Few prices and few instants; prints before, with and after the fall of the size that they explain;
withdrawn, locked and crossed quotes; messages near the touch that reuse ids and cross on their way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from random import Random
from typing import Any, Protocol

from hypothesis import strategies as st

from tests.depth_records import Depth
from tests.oracle import is_two_sided
from tests.order_oracle import Fee, Result
from tests.order_records import Action, Message, OrderRules, PostOnly, Row, Tif

MODELS = ("through", "trades", "power:1", "power:2", "power:3", "power:4", "optimistic")


class Simulate(Protocol):
    """What ``simulate_orders`` of the oracle is, and what takes its place."""

    def __call__(
        self,
        rows: list[Row],
        messages: list[Message],
        rules: OrderRules,
        response_of_row: list[int],
        *,
        impact: Fraction = ...,
        value: list[int] | None = ...,
        maker_fee: Fee = ...,
        taker_fee: Fee = ...,
    ) -> Result: ...


@dataclass(frozen=True)
class Fees:
    """Signed rates of the notional and money a lot; each fill is rounded up."""

    rate: Fraction
    per_lot: int
    value: tuple[int, ...]

    def __call__(self, symbol: int, lots: int, half_ticks: int) -> int:
        """Money of one fill."""
        notional = abs(lots * half_ticks) * self.value[symbol]
        return ceil(self.rate * notional + self.per_lot * abs(lots))


@dataclass(frozen=True)
class OrderMarket:
    """Rows of up to two symbols, messages, and all that determines the fills."""

    rows: tuple[Row, ...]
    messages: tuple[Message, ...]
    rules: OrderRules
    response_of_row: tuple[int, ...]
    impact: Fraction
    value: tuple[int, ...]
    maker: Fees
    taker: Fees
    depth: Depth | None = None

    def run(self, simulate: Simulate) -> Result:
        """Replay the messages.

        Raises:
            NoClosingQuote: A symbol traded that has no two-sided quote inside a session.
        """
        with_depth: dict[str, Any] = {} if self.depth is None else {"depth": self.depth}
        return simulate(
            [*self.rows],
            [*self.messages],
            self.rules,
            [*self.response_of_row],
            impact=self.impact,
            value=[*self.value],
            maker_fee=self.maker,
            taker_fee=self.taker,
            **with_depth,
        )


def random_rows(rnd: Random, symbols: int, n: int) -> list[Row]:
    """Rows in bus order; sizes mostly fall by what is printed, in the same row or in another."""
    rows: list[Row] = []
    ts = rnd.randint(0, 3)
    last = {s: Row(s, 0, 100, 101 + rnd.randint(0, 1), 6, 6) for s in range(symbols)}
    owed: dict[int, tuple[int, int, int]] = {}  # a print that follows its quote: price, lots, side
    for _ in range(n):
        symbol = rnd.randrange(symbols)
        row = replace(last[symbol], ts=ts, trade_price=None, trade_size=0, aggressor=None)
        what = rnd.random()
        if symbol in owed:
            price, lots, side = owed.pop(symbol)
            row = with_print(rnd, row, price, lots, side)
        elif what < 0.45:
            row = print_at_touch(rnd, row, owed)
        elif what < 0.5:
            price = rnd.randint(97, 104)
            row = with_print(rnd, row, price, rnd.randint(0, 9), rnd.choice((-1, 0, 1)))
        elif what < 0.7:
            size = rnd.choice((1, 2, 3, 5, 8, 9, 0))
            row = replace(row, bid_size=size) if rnd.random() < 0.5 else replace(row, ask_size=size)
        elif what < 0.93:
            row = moved(rnd, row)
            note_jump(rnd, last[symbol], row, owed)
        else:
            row = broken(rnd, row)
        rows.append(row)
        last[symbol] = row if is_two_sided(row.event()) else moved(rnd, row)
        ts += rnd.choice((0, 0, 0, 1, 1, 2, 4))
    return rows


def with_print(rnd: Random, row: Row, price: int, lots: int, side: int) -> Row:
    """The row with a print, at times without a word of who started it."""
    named = rnd.choice((side, side, 0, None))
    return replace(row, trade_price=price, trade_size=lots, aggressor=named)


def print_at_touch(rnd: Random, row: Row, owed: dict[int, tuple[int, int, int]]) -> Row:
    """A print at the touch: its quote falls at once, has fallen (print follows), or falls later."""
    side = rnd.choice((-1, 1))
    price, size = (row.bid, row.bid_size) if side < 0 else (row.ask, row.ask_size)
    if price is None:
        return row
    lots = rnd.randint(1, 9)
    left = max(0, size - lots)
    fallen = replace(row, bid_size=left) if side < 0 else replace(row, ask_size=left)
    if left == 0 and rnd.random() < 0.7:
        gone = price + side
        fallen = replace(fallen, bid=gone, bid_size=5) if side < 0 else fallen
        fallen = replace(fallen, ask=gone, ask_size=5) if side > 0 else fallen
    order = rnd.random()
    if order < 0.4:
        return with_print(rnd, fallen, price, lots, side)
    if order < 0.7:
        owed[row.symbol] = (price, lots, side)
        return fallen
    return with_print(rnd, row, price, lots, side)


def moved(rnd: Random, row: Row) -> Row:
    """A new quote near the last one; one side at times stays as it was."""
    centre = row.bid if row.bid is not None else 100
    bid = min(103, max(98, centre + rnd.choice((-2, -1, -1, 0, 0, 1, 1, 2))))
    ask = bid + rnd.choice((1, 1, 1, 2, 2, 3, 0))
    sizes = rnd.choice((1, 2, 4, 6, 9)), rnd.choice((1, 2, 4, 6, 9))
    if row.ask is not None and bid <= row.ask and rnd.random() < 0.4:
        return replace(row, bid=bid, bid_size=sizes[0])
    return replace(row, bid=bid, ask=ask, bid_size=sizes[0], ask_size=sizes[1])


def note_jump(rnd: Random, before: Row, row: Row, owed: dict[int, tuple[int, int, int]]) -> None:
    """Where a touch jumped past a price, a print there may follow."""
    assert before.bid is not None
    assert before.ask is not None
    assert row.bid is not None
    assert row.ask is not None
    if rnd.random() < 0.6:
        if row.bid < before.bid - 1:
            owed[row.symbol] = (before.bid - 1, rnd.randint(1, 9), -1)
        elif row.ask > before.ask + 1:
            owed[row.symbol] = (before.ask + 1, rnd.randint(1, 9), 1)


def broken(rnd: Random, row: Row) -> Row:
    """A side withdrawn, both withdrawn, or a crossed quote."""
    how = rnd.randrange(4)
    if how == 0:
        return replace(row, bid=None, bid_size=0)
    if how == 1:
        return replace(row, ask=None, ask_size=0)
    if how == 2:
        return replace(row, bid=None, ask=None, bid_size=0, ask_size=0)
    return replace(row, bid=102, ask=101)


def random_messages(rnd: Random, rows: list[Row], n: int) -> list[Message]:
    """Messages in order of sending, mostly about few ids and near the touch."""
    sent = sorted(rnd.choice(rows).ts + rnd.choice((-2, 0, 0, 0, 1, 2)) for _ in range(n))
    actions: tuple[Action, ...] = ("new",) * 9 + ("replace",) * 5 + ("cancel",) * 2
    tifs: tuple[Tif, ...] = ("gtc",) * 8 + ("ioc", "fok")
    choices: tuple[PostOnly, ...] = ("no", "no", "no", "reject", "slide")
    known: dict[tuple[int, int], int] = {}  # (symbol, id) → the price sent last
    messages = []
    for t in sent:
        symbol = rnd.choice(rows).symbol
        before = [r for r in rows if r.symbol == symbol and r.ts <= t and r.bid is not None]
        centre = before[-1].bid if before and before[-1].bid is not None else 100
        side = rnd.choice((-1, 1))
        action = rnd.choice(actions) if rnd.random() < 0.98 else "cancel_all"
        ids = sorted(n for s, n in known if s == symbol)
        number = len(ids) + 1
        if ids and (action != "new" or rnd.random() < 0.15):
            number = rnd.choice(ids[-4:])
        near = centre if side > 0 else centre + 1
        price = near - side * rnd.choice((-2, -1, 0, 0, 0, 0, 1, 1, 2))
        if action == "replace":
            price = known.get((symbol, number), price) + rnd.choice((0, 0, 0, -1, 1))
        if action != "cancel_all":
            known[symbol, number] = price
        earlier = sorted(max(t - rnd.randint(0, 6), rows[0].ts) for _ in range(3))
        quoted = [r.ts for r in rows if r.symbol == symbol and is_two_sided(r.event())]
        timed = bool(quoted) and quoted[0] <= earlier[0] and rnd.random() < 0.5
        messages.append(
            Message(
                symbol,
                t,
                action,
                number if action != "cancel_all" else 0,
                side if action != "cancel_all" else rnd.choice((0, 1, -1)),
                price,
                rnd.choice((1, 2, 3, 5, 8)),
                rnd.choice(tifs),
                rnd.choice(choices),
                rnd.choice((0, 0, 1, 2, 5)),
                rnd.choice((0, 0, 1, 3)),
                (earlier[0], earlier[1], earlier[2], t) if timed else None,
            )
        )
    return messages


def random_rules(rnd: Random, rows: list[Row]) -> OrderRules:
    """Any combination of the venue's parameters."""
    last = rows[-1].ts
    sessions: tuple[tuple[int, int], ...] | None = None
    if rnd.random() < 0.4:
        a = rnd.randint(0, 3)
        b = a + rnd.randint(1, max(1, last))
        sessions = ((a, b), (b + rnd.randint(0, 3), last + 9))
    return OrderRules(
        model=rnd.choice(MODELS),
        through_fill=rnd.choice(("volume", "volume", "volume", "full")),
        cross=rnd.choice(("displayed", "displayed", "displayed", "none", "full")),
        inside=rnd.choice(("none", "both")),
        pairing=rnd.choice((0, 0, 1, 4)),
        stp=rnd.choice(("cancel-resting", "cancel-resting", "reject")),
        sessions=sessions,
        end=last + rnd.choice((5, 5, 0, -3)),
    )


def random_market(rnd: Random) -> OrderMarket:
    """A market and a list of messages."""
    symbols = rnd.choice((1, 1, 2))
    rows = random_rows(rnd, symbols, rnd.randint(5, 60))
    value = (1, 25)[:symbols]
    rates = [Fraction(rnd.choice((-2, 0, 1, 3)), 10_000) for _ in range(2)]
    return OrderMarket(
        rows=tuple(rows),
        messages=tuple(random_messages(rnd, rows, rnd.randint(1, 30))),
        rules=random_rules(rnd, rows),
        response_of_row=tuple(rnd.choice((0, 0, 1, 3)) for _ in rows),
        impact=Fraction(rnd.choice((0, 0, 1, 3)), 4),
        value=value,
        maker=Fees(rates[0], rnd.choice((-1, 0, 2)), value),
        taker=Fees(rates[1], rnd.choice((0, 1)), value),
    )


def order_markets() -> st.SearchStrategy[OrderMarket]:
    """Markets with messages, drawn and shrunk by hypothesis."""
    return st.builds(random_market, st.randoms(use_true_random=False))
