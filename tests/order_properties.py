"""What must hold on every market of resting orders, whoever replays it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import fields, replace
from random import Random

from tests.oracle import is_crossed, is_two_sided
from tests.order_book import aggressors
from tests.order_markets import MODELS, OrderMarket, Simulate
from tests.order_mirror import mirrored
from tests.order_oracle import ORDER_TERMS, Result, markout
from tests.order_records import Fill, Message, OrderRules, Report, Row

Check = Callable[[OrderMarket, Simulate], None]

HORIZONS = (0, 1, 3, 1000)


def ordered(result: Result) -> list[Fill]:
    """Fills in an order that does not depend on which side an instant serves first."""
    return sorted(result.fills, key=lambda f: (f.symbol, f.ts, f.id, f.maker, f.t4, abs(f.lots)))


def resting_fills_take_what_was_printed_or_shown(market: OrderMarket, simulate: Simulate) -> None:
    """The makers' fills of an instant are within the prints and the increases of that side."""
    if market.rules.through_fill == "full" or market.rules.cross == "full":
        return
    most: Counter[tuple[int, int, int]] = Counter()  # (symbol, ts, side of the own orders) → lots
    before: dict[int, Row] = {}
    for row in market.rows:
        last = before.get(row.symbol)
        for aggressor in aggressors(row, last, market.rules.inside):
            most[row.symbol, row.ts, -aggressor] += row.trade_size
        for side in (1, -1):
            here = valid_touch(row, -side)
            there = None if last is None else valid_touch(last, -side)
            if here is None or market.rules.cross == "none":
                continue
            reached = there is not None and side * (there[0] - here[0]) <= 0
            shown_before = there[1] if there is not None and reached else 0
            most[row.symbol, row.ts, side] += max(0, here[1] - shown_before)
        before[row.symbol] = row
    filled: Counter[tuple[int, int, int]] = Counter()
    for fill in market.run(simulate).fills:
        if fill.maker:
            filled[fill.symbol, fill.ts, 1 if fill.lots > 0 else -1] += abs(fill.lots)
    assert all(lots <= most[where] for where, lots in filled.items())


def valid_touch(row: Row, side: int) -> tuple[int, int] | None:
    """(price, size) of the bid (+1) or the ask (-1)."""
    price, size = (row.bid, row.bid_size) if side > 0 else (row.ask, row.ask_size)
    return None if price is None or is_crossed(row.event()) else (price, size)


def reports_and_fills_agree(market: OrderMarket, simulate: Simulate) -> None:
    """An order is filled between its acceptance and its end only, at its price, up to its total."""
    result = market.run(simulate)
    unreported: dict[int, list[Fill]] = defaultdict(list)
    for fill in result.fills:
        unreported[fill.symbol].append(fill)
    known: dict[int, int] = {}
    orders: dict[tuple[int, int], tuple[int, int, int]] = {}  # open ones: price, total, filled
    for report in result.reports:
        key = (report.symbol, report.id)
        assert report.known >= max(report.ts, known.get(report.symbol, report.ts))
        known[report.symbol] = report.known
        assert report.ts <= market.rules.end
        if report.kind == "accepted":
            assert key not in orders
            orders[key] = (report.price, report.lots, 0)
        elif report.kind == "replaced":
            orders[key] = (report.price, report.lots, orders[key][2])
        elif report.kind in ("cancelled", "expired"):
            _, total, filled = orders.pop(key)
            assert report.lots == total - filled > 0
        elif report.kind == "filled":
            fill = unreported[report.symbol].pop(0)
            assert (fill.id, fill.ts, fill.maker) == (report.id, report.ts, report.maker)
            assert abs(fill.lots) == report.lots > 0
            price, total, filled = orders[key]
            if fill.maker:
                assert fill.price_half_ticks == 2 * price
                assert fill.ts > fill.t4
            else:
                better = 2 * price - (fill.price_half_ticks - sign(fill) * fill.impact_half_ticks)
                assert sign(fill) * better >= 0
                assert fill.ts == fill.t4
            assert fill.t0 <= fill.t1 <= fill.t2 <= fill.t3 <= fill.t4
            orders[key] = (price, total, filled + report.lots)
            assert orders[key][2] <= total
            if orders[key][2] == total:
                del orders[key]
    assert not orders, "what is open at the end expires"
    assert not any(unreported.values())


def sign(fill: Fill) -> int:
    """+1 for a buy."""
    return 1 if fill.lots > 0 else -1


def money_adds_up(market: OrderMarket, simulate: Simulate) -> None:
    """Both identities, exactly: by fill, by symbol and in total, at every horizon."""
    result = market.run(simulate)
    for symbol, terms in result.by_symbol.items():
        booked = [f for f in result.fills + result.closes if f.symbol == symbol]
        assert sum(f.lots for f in booked) == 0
        assert terms["net"] == sum(f.cash for f in booked)
        costs = sum(terms[name] for name in ORDER_TERMS if name != "decision")
        assert terms["net"] == terms["decision"] - costs
        for name in ORDER_TERMS:
            assert terms[name] == sum(getattr(f, name) for f in booked)
    for name, amount in result.total.items():
        assert amount == sum(terms[name] for terms in result.by_symbol.values())
    for fill in result.fills:
        history = result.histories[fill.symbol]
        closing = history.closing(market.rules.sessions, market.rules.end)
        assert closing is not None
        money = market.value[fill.symbol]
        marked = fill.cash + fill.lots * closing.mid * money
        costs = sum(getattr(fill, name) for name in ORDER_TERMS if name != "decision")
        assert marked == fill.decision - costs
        if not fill.maker:
            assert fill.rest == 0
            continue
        assert fill.impact == 0
        for horizon in HORIZONS:
            adverse, hold = markout(result, fill, horizon, market.rules, money)
            assert marked == hold - adverse - fill.spread - fill.fees


def terms_are_what_they_say(market: OrderMarket, simulate: Simulate) -> None:
    """Every term of every fill, from the rows alone."""

    def mid(symbol: int, rows: tuple[Row, ...]) -> int:
        last = [r for r in rows if r.symbol == symbol and is_two_sided(r.event())][-1]
        assert last.bid is not None
        assert last.ask is not None
        return last.bid + last.ask

    for fill in market.run(simulate).fills:
        symbol, q, money = fill.symbol, fill.lots, market.value[fill.symbol]

        def at(t: int, symbol: int = symbol) -> int:
            return mid(symbol, tuple(r for r in market.rows if r.ts <= t))

        before = at(fill.t4) if fill.row is None else mid(symbol, market.rows[: fill.row])
        touch = fill.price_half_ticks - sign(fill) * fill.impact_half_ticks
        assert fill.feed == q * (at(fill.t1) - at(fill.t0)) * money
        assert fill.queueing == q * (at(fill.t2) - at(fill.t1)) * money
        assert fill.service == q * (at(fill.t3) - at(fill.t2)) * money
        assert fill.entry == q * (at(fill.t4) - at(fill.t3)) * money
        assert fill.rest == q * (before - at(fill.t4)) * money
        assert fill.spread == q * (touch - before) * money
        assert fill.impact == abs(q) * fill.impact_half_ticks * money
        charge = (market.maker if fill.maker else market.taker)(symbol, q, fill.price_half_ticks)
        assert fill.fees == charge
        assert fill.cash == -q * fill.price_half_ticks * money - charge


def the_mirrored_market_trades_alike(market: OrderMarket, simulate: Simulate) -> None:
    """Mirrored fills and the same money."""
    here, there = market.run(simulate), market.run(mirrored(simulate))
    assert ordered(here) == ordered(there)
    assert here.by_symbol == there.by_symbol


def prices_may_be_shifted(market: OrderMarket, simulate: Simulate) -> None:
    """All prices 50 ticks up: the same fills 50 ticks up, and the same terms before fees."""
    by = 50

    def up(price: int | None) -> int | None:
        return None if price is None else price + by

    rows = tuple(
        replace(r, bid=up(r.bid), ask=up(r.ask), trade_price=up(r.trade_price)) for r in market.rows
    )
    messages = tuple(replace(m, price=m.price + by) for m in market.messages)
    here = market.run(simulate)
    there = replace(market, rows=rows, messages=messages).run(simulate)
    back = [
        replace(f, price_half_ticks=f.price_half_ticks - 2 * by, cash=0, fees=0)
        for f in there.fills
    ]
    assert back == [replace(f, cash=0, fees=0) for f in here.fills]
    for symbol, terms in here.by_symbol.items():
        moved = there.by_symbol[symbol]
        assert terms["net"] + terms["fees"] == moved["net"] + moved["fees"]


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
    here = market.run(simulate)
    there = replace(market, rows=rows, messages=messages).run(simulate)
    assert places_of(there.fills, 1) == places_of(here.fills, k)


def places_of(fills: list[Fill], k: int) -> list[tuple[int, int, int, int, int]]:
    """What a fill is but for its money, the lots k-fold."""
    return [(f.symbol, f.id, f.ts, k * f.lots, f.price_half_ticks) for f in fills]


def ids_are_names(market: OrderMarket, simulate: Simulate) -> None:
    """Ids renamed, in another order: the same fills under the other names."""

    def renamed(number: int) -> int:
        return 1000 - 7 * number

    messages = tuple(replace(m, id=renamed(m.id)) for m in market.messages)
    here, there = market.run(simulate), replace(market, messages=messages).run(simulate)
    assert [replace(f, id=renamed(f.id)) for f in here.fills] == there.fills
    assert [replace(r, id=renamed(r.id)) for r in here.reports] == there.reports
    assert here.total == there.total


def symbols_touch_no_other(market: OrderMarket, simulate: Simulate) -> None:
    """Each symbol by itself, and its rows and messages at any place among those of the others."""
    together = market.run(simulate)
    for symbol in {row.symbol for row in market.rows}:
        kept = [i for i, row in enumerate(market.rows) if row.symbol == symbol]
        alone = replace(
            market,
            rows=tuple(market.rows[i] for i in kept),
            messages=tuple(m for m in market.messages if m.symbol == symbol),
            response_of_row=tuple(market.response_of_row[i] for i in kept),
        ).run(simulate)
        fills = [replace(f, row=None) for f in together.fills if f.symbol == symbol]
        assert [replace(f, row=None) for f in alone.fills] == fills
        assert alone.reports == [r for r in together.reports if r.symbol == symbol]
        assert alone.by_symbol[symbol] == together.by_symbol[symbol]
    shuffled = sorted(market.messages, key=lambda m: -m.symbol)
    assert replace(market, messages=tuple(shuffled)).run(simulate).fills == together.fills


def orders_that_never_fill_change_nothing(market: OrderMarket, simulate: Simulate) -> None:
    """Buys far below and sells far above the market, beside what is there.

    Without "cancel all", which would find and report them.
    """
    calm = tuple(m for m in market.messages if m.action != "cancel_all")
    market = replace(market, messages=calm)
    far = []
    for i, message in enumerate(market.messages):
        side = 1 if i % 2 else -1
        order = Message(
            message.symbol, message.sent, "new", 900 + i, side, 101 - side * 50, 4,
            post_only="reject",
        )  # fmt: skip
        far += [order, message]
    here = market.run(simulate)
    there = replace(market, messages=tuple(far)).run(simulate)
    assert there.fills == here.fills
    assert there.total == here.total
    assert [told(r) for r in there.reports if r.id < 900] == [told(r) for r in here.reports]


def told(report: Report) -> tuple[object, ...]:
    """A report without the number of its message."""
    values = {column.name: getattr(report, column.name) for column in fields(report)}
    del values["number"]
    return tuple(values.values())


def models_bracket_each_other(market: OrderMarket, simulate: Simulate) -> None:
    """One fixed order: filled by any time, through ≤ trades ≤ power:n ≤ optimistic."""
    quoted = [(r.symbol, r.ts, r.bid) for r in market.rows if is_two_sided(r.event())]
    rnd = Random(len(market.rows))
    for symbol, ts, bid in quoted[:12:4]:
        assert bid is not None
        side = rnd.choice((1, -1))
        price = bid + (side < 0) - side * rnd.choice((-1, 0, 0, 1))
        order = Message(symbol, ts, "new", 1, side, price, rnd.choice((3, 9, 40)))
        filled: dict[str, list[int]] = {}
        for model in MODELS:
            rules: OrderRules = replace(market.rules, model=model)
            run = replace(market, messages=(order,), rules=rules).run(simulate)
            times = sorted({row.ts for row in market.rows})
            filled[model] = [sum(abs(f.lots) for f in run.fills if f.ts <= t) for t in times]
        for lower, upper in (
            ("through", "trades"),
            *(("trades", f"power:{n}") for n in (1, 2, 3, 4)),
            *((f"power:{n}", "optimistic") for n in (1, 2, 3, 4)),
        ):
            assert all(a <= b for a, b in zip(filled[lower], filled[upper], strict=True))


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        resting_fills_take_what_was_printed_or_shown,
        reports_and_fills_agree,
        money_adds_up,
        terms_are_what_they_say,
        the_mirrored_market_trades_alike,
        prices_may_be_shifted,
        sizes_scale,
        ids_are_names,
        symbols_touch_no_other,
        orders_that_never_fill_change_nothing,
        models_bracket_each_other,
    )
}
