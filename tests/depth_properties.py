"""What must hold on every market with depth, whoever replays it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from tests.depth_matching import DepthVenue
from tests.depth_orders import venue_of
from tests.depth_records import Depth, DepthRow
from tests.order_markets import OrderMarket, Simulate, random_market, random_messages
from tests.order_properties import CHECKS as OF_ALL
from tests.order_properties import Check, places_of, sign
from tests.order_records import Action, Fill, Message, Row

SAME = (
    "reports_and_fills_agree",
    "money_adds_up",
    "terms_are_what_they_say",
    "the_mirrored_market_trades_alike",
    "ids_are_names",
    "orders_that_never_fill_change_nothing",
    "models_bracket_each_other",
)
"""Properties that say nothing of depth and hold with it."""


NEW: Action = "new"
LATER: tuple[Action, ...] = ("replace", "replace", "cancel")


def resting_fills_take_what_was_printed_or_shown(market: OrderMarket, simulate: Simulate) -> None:
    """Makers' fills are within the prints and the increases of quotes, or within an execution."""
    if market.rules.model != "l3":
        OF_ALL["resting_fills_take_what_was_printed_or_shown"](market, simulate)
        return
    assert market.depth is not None
    filled: Counter[int] = Counter()
    for fill in market.run(simulate).fills:
        if fill.depth is not None:
            row = market.depth.rows[fill.depth]
            assert (row.symbol, row.ts, row.side) == (fill.symbol, fill.ts, sign(fill))
            assert row.action == "execute"
            assert sign(fill) * (fill.price_half_ticks - 2 * row.price) >= 0
            filled[fill.depth] += abs(fill.lots)
    if market.rules.through_fill == "volume":
        assert all(lots <= market.depth.rows[k].size for k, lots in filled.items())


def takers_take_what_is_displayed(market: OrderMarket, simulate: Simulate) -> None:
    """Own takers get of a level no more than it displays, until a row states another size."""
    taken: Counter[tuple[int, int, int, int]] = Counter()
    shown: dict[tuple[int, int, int, int], int] = {}
    result = market.run(simulate)
    for symbol in {row.symbol for row in market.rows}:
        fills = [f for f in result.fills if f.symbol == symbol and not f.maker]
        venue = venue_of(
            market.rows, symbol, market.rules, market.response_of_row, market.impact, market.depth
        )
        assert isinstance(venue, DepthVenue)
        since: dict[tuple[int, int], tuple[int, int]] = {}  # level → size, row that stated it
        rows = 0
        while fills:
            if venue.next_row_at() <= fills[0].t4:
                venue.handle_row()
                rows += 1
                kept = {at: of for at, of in since.items() if venue.levels.size.get(at) == of[0]}
                since = {at: (size, rows) for at, size in venue.levels.size.items()} | kept
                continue
            fill = fills.pop(0)
            price = (fill.price_half_ticks - sign(fill) * fill.impact_half_ticks) // 2
            size, row = since[-sign(fill), price]
            level = symbol, -sign(fill), price, row
            taken[level] += abs(fill.lots)
            shown[level] = size
    assert all(lots <= shown[level] for level, lots in taken.items())


def prices_may_be_shifted(market: OrderMarket, simulate: Simulate) -> None:
    """All prices 50 ticks up: the same fills 50 ticks up."""
    by = 50

    def up(price: int | None) -> int | None:
        return None if price is None else price + by

    rows = tuple(
        replace(r, bid=up(r.bid), ask=up(r.ask), trade_price=up(r.trade_price)) for r in market.rows
    )
    messages = tuple(replace(m, price=m.price + by) for m in market.messages)
    assert market.depth is not None
    there = replace(market, rows=rows, messages=messages, depth=market.depth.shifted(by))
    here = market.run(simulate)

    def bare(fill: Fill, back: int) -> Fill:
        at = fill.price_half_ticks - back
        return replace(fill, price_half_ticks=at, cash=0, fees=0)

    assert [bare(f, 2 * by) for f in there.run(simulate).fills] == [bare(f, 0) for f in here.fills]


def sizes_scale(market: OrderMarket, simulate: Simulate) -> None:
    """All sizes threefold: three times the lots, but where a power's floor comes between."""
    if market.rules.model.startswith("power"):
        return
    k = 3
    rows = tuple(
        replace(r, bid_size=k * r.bid_size, ask_size=k * r.ask_size, trade_size=k * r.trade_size)
        for r in market.rows
    )
    messages = tuple(replace(m, total=k * m.total) for m in market.messages)
    assert market.depth is not None
    there = replace(market, rows=rows, messages=messages, depth=market.depth.scaled(k))
    assert places_of(there.run(simulate).fills, 1) == places_of(market.run(simulate).fills, k)


def orders_of_the_market_have_any_names(market: OrderMarket, simulate: Simulate) -> None:
    """Ids of the market's orders renamed: all is the same."""
    assert market.depth is not None
    there = replace(market, depth=market.depth.renamed(lambda number: 7 - 3 * number))
    assert there.run(simulate).fills == market.run(simulate).fills


def symbols_touch_no_other(market: OrderMarket, simulate: Simulate) -> None:
    """Each symbol by itself, and its messages at any place among those of the others."""
    assert market.depth is not None
    together = market.run(simulate)
    for symbol in {row.symbol for row in market.rows}:
        kept = [i for i, row in enumerate(market.rows) if row.symbol == symbol]
        alone = replace(
            market,
            rows=tuple(market.rows[i] for i in kept),
            messages=tuple(m for m in market.messages if m.symbol == symbol),
            response_of_row=tuple(market.response_of_row[i] for i in kept),
            depth=market.depth.of_symbol(symbol, kept),
        ).run(simulate)
        fills = [replace(f, row=None, depth=None) for f in together.fills if f.symbol == symbol]
        assert [replace(f, row=None, depth=None) for f in alone.fills] == fills
        assert alone.reports == [r for r in together.reports if r.symbol == symbol]
        assert alone.by_symbol[symbol] == together.by_symbol[symbol]
    shuffled = sorted(market.messages, key=lambda m: -m.symbol)
    assert replace(market, messages=tuple(shuffled)).run(simulate).fills == together.fills


CHECKS: dict[str, Check] = {name: OF_ALL[name] for name in SAME} | {
    check.__name__: check
    for check in (
        resting_fills_take_what_was_printed_or_shown,
        takers_take_what_is_displayed,
        prices_may_be_shifted,
        sizes_scale,
        orders_of_the_market_have_any_names,
        symbols_touch_no_other,
    )
}


def filled_by(market: OrderMarket, order: Message, model: str, simulate: Simulate) -> list[int]:
    """Lots of one order that are filled by each instant of a row."""
    rules = replace(market.rules, model=model)
    result = replace(market, messages=(order,), rules=rules).run(simulate)
    times = sorted({row.ts for row in market.rows})
    return [sum(abs(f.lots) for f in result.fills if f.ts <= t) for t in times]


def fixed_orders(rnd: Random, market: OrderMarket, n: int) -> list[Message]:
    """Single orders at, behind or better than the touch."""
    quoted = [row for row in market.rows if row.bid is not None and row.ask is not None]
    orders = []
    for _ in range(n):
        row = rnd.choice(quoted)
        side = rnd.choice((1, -1))
        touch = row.bid if side > 0 else row.ask
        assert touch is not None
        price = touch - side * rnd.choice((0, 0, 0, 1, 1, 2, -1))
        orders.append(Message(row.symbol, row.ts, "new", 1, side, price, rnd.choice((1, 3, 9, 40))))
    return orders


def repeated(rnd: Random) -> tuple[OrderMarket, OrderMarket]:
    """A market where no order rests behind the touch, and it with depth that repeats its quotes.

    Both sides of its quotes are there, with lots, and only move away from each other.
    """
    market = random_market(rnd)
    touch: dict[int, tuple[int, int]] = {}
    rows: list[Row] = []
    depth: list[DepthRow] = []
    for row in market.rows:
        bid, ask = touch.get(row.symbol, (100, 101))
        bid, ask = min(bid, row.bid or bid), max(ask, row.ask or ask)
        touch[row.symbol] = bid, ask
        sizes = max(1, row.bid_size), max(1, row.ask_size)
        rows.append(replace(row, bid=bid, ask=ask, bid_size=sizes[0], ask_size=sizes[1]))
        at = DepthRow(row.symbol, row.ts, len(rows), 1)
        told = [replace(at, price=bid, size=sizes[0])]
        told.append(replace(at, side=-1, price=ask, size=sizes[1]))
        depth += rnd.sample(told, rnd.randint(0, 2))
    messages: list[Message] = []
    sides: dict[tuple[int, int], int] = {}
    for sent in sorted(rnd.choice(rows).ts for _ in range(rnd.randint(1, 30))):
        symbol = rnd.choice(rows).symbol
        before = [row for row in rows if row.symbol == symbol and row.ts <= sent]
        known = [number for of, number in sides if of == symbol]
        number, action = len(sides) + 1, NEW
        if known and rnd.random() < 0.4:
            number, action = rnd.choice(known), rnd.choice(LATER)
        side = sides.setdefault((symbol, number), rnd.choice((1, -1)))
        here = before[-1] if before else Row(symbol, 0, 100, 101, 1, 1)
        at_touch = here.bid if side > 0 else here.ask
        assert at_touch is not None
        price = at_touch + side * rnd.choice((0, 0, 0, 1, 1, 2))
        message = random_messages(rnd, rows, 1)[0]
        messages.append(
            replace(
                message, symbol=symbol, sent=sent, action=action, id=number, side=side,
                price=price, instants=None,
            )
        )  # fmt: skip
    quiet = replace(market, rows=tuple(rows), messages=tuple(messages))
    return quiet, replace(quiet, depth=Depth(tuple(depth)))
