"""Runs the oracle's markets with resting orders through the engine's venue, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.errors import RunError
from backtest.market.depth import ACTIONS, CLEAR, LAST, SNAPSHOT, DepthBatch
from backtest.market.events import NO_PRICE
from backtest.market.instruments import MONEY_UNIT, Instrument
from backtest.market.window import Window
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.account_tables import figures
from backtest.trading.depth_window import DepthWindow
from backtest.trading.limits import Limits
from backtest.trading.order_list import OrderList
from backtest.trading.order_terms import FillRules, OrderTerms
from backtest.trading.order_venue import OrderVenue
from backtest.trading.orders import OrderRules as VenueRules
from backtest.trading.queue_models import Exact, Optimistic, Power, QueueModel, Through, Trades
from backtest.trading.quoting import KEEP, QuotingRule
from backtest.trading.sizing import SizingRule
from backtest.trading.standing import standing_figures
from backtest.trading.terms import ClosingQuotes, Terms
from tests.depth_records import Depth, DepthRow
from tests.oracle import NoClosingQuote, Rows
from tests.order_markets import Fees
from tests.order_oracle import ORDER_TERMS, Result, no_fee
from tests.order_records import Fill, Message, OrderRules, Report, Row
from tests.quote_oracle import Answer, DeskRules

MODELS: dict[str, QueueModel] = {
    "through": Through(),
    "trades": Trades(),
    "l3": Exact(),
    "optimistic": Optimistic(),
    **{f"power:{n}": Power(n) for n in range(1, 5)},
}

_SIDES = {1: "buy", -1: "sell", 0: ""}


def simulate_orders(
    rows: Sequence[Row],
    messages: Sequence[Message],
    rules: OrderRules,
    response_of_row: Sequence[int],
    *,
    impact: Fraction = Fraction(0),
    value: Sequence[int] | None = None,
    maker_fee: Any = no_fee,
    taker_fee: Any = no_fee,
    depth: Depth | None = None,
    chunk: int = 7,
    limits: Limits | None = None,
    breaches: list[Int64Array] | None = None,
) -> Result:
    """As ``tests.order_oracle.simulate_orders``; messages have one instant, that of sending.

    Args:
        chunk: rows given to the venue at once; about three times as many of depth.
        breaches: takes what limits did, int64 [n, BREACH_SIZE] each.
    """
    count = max((row.symbol for row in rows), default=0) + 1
    worth = [1] * count if value is None else [*value]
    listed = OrderList.of(
        {
            "ts_sent": [m.sent for m in messages],
            "symbol": [f"S{m.symbol}" for m in messages],
            "action": [m.action for m in messages],
            "id": [m.id for m in messages],
            "side": [_SIDES[m.side] for m in messages],
            "price": [m.price for m in messages],
            "total": [m.total for m in messages],
            "tif": [m.tif for m in messages],
            "post_only": [m.post_only for m in messages],
        },
        [f"S{s}" for s in range(count)],
        "orders",
    )
    order = np.argsort([m.sent for m in messages], kind="stable")
    spans = [[m.latency, m.latency, m.latency, m.response] for m in messages]
    latency = np.array(spans, dtype=np.int64).reshape(-1, 4)[order]
    orders = OrderTerms(
        fills=_fill_rules(rules), cancel=0, replace=0, listed=listed, listed_latency=latency
    )
    terms = _terms(
        rows, rules, response_of_row, impact, worth, (maker_fee, taker_fee), orders, limits=limits
    )  # fmt: skip
    return _run(terms, rows, [], depth, chunk, worth if value is not None else None, breaches)


@dataclass(frozen=True)
class _Wanted(QuotingRule):
    """Gives what the oracle's answers want, by the number of the event that predictions hold."""

    wanted: dict[int, Any]
    skew: Any
    requote_band: int
    resize_band: int
    min_interval: int
    post_only: str

    def quote(self, predictions: Any, quotes: Any) -> Int64Array:
        rows = [self.wanted[int(number)] for number in predictions[:, 0]]
        return np.array([[KEEP if n is None else n for n in row] for row in rows], dtype=np.int64)


def simulate_quotes(
    rows: Sequence[Row],
    answers: Sequence[Answer],
    desk: DeskRules,
    rules: OrderRules,
    response_of_row: Sequence[int],
    entry: Sequence[int],
    cancel: Sequence[int],
    replacing: Sequence[int],
    response: Sequence[int],
    *,
    impact: Fraction = Fraction(0),
    value: Sequence[int] | None = None,
    maker_fee: Any = no_fee,
    taker_fee: Any = no_fee,
    depth: Depth | None = None,
    chunk: int = 7,
    limits: Limits | None = None,
    breaches: list[Int64Array] | None = None,
) -> Result:
    """As ``tests.quote_oracle.simulate_quotes``, where both kinds of response are the same."""
    assert [*response] == [*response_of_row]
    count = max((row.symbol for row in rows), default=0) + 1
    worth = [1] * count if value is None else [*value]

    def of(spans: Sequence[int]) -> Any:
        return lambda first, stop: np.array(spans[first:stop], dtype=np.int64)

    silent = (None, None, None, None)
    rule = _Wanted(
        {answer.event: answer.wanted or silent for answer in answers},
        desk.skew,
        desk.requote_band,
        desk.resize_band,
        desk.min_interval,
        desk.post_only,
    )
    orders = OrderTerms(
        fills=_fill_rules(rules), cancel=of(cancel), replace=of(replacing), quoting=rule
    )
    terms = _terms(
        rows, rules, response_of_row, impact, worth, (maker_fee, taker_fee), orders,
        entry=of(entry), limit=desk.position_limit, limits=limits,
    )  # fmt: skip
    return _run(terms, rows, answers, depth, chunk, worth if value is not None else None, breaches)


def _run(
    terms: Terms,
    rows: Sequence[Row],
    answers: Sequence[Answer],
    depth: Depth | None,
    chunk: int,
    worth: Sequence[int] | None,
    breaches: list[Int64Array] | None,
) -> Result:
    feed = None if depth is None else DepthFeed(depth, len(terms.symbols), 3 * chunk)
    venue = _venue(terms, feed)
    fills, log = _drive(venue, rows, answers, feed, chunk, breaches)
    result = _result(rows, fills, log, worth)
    note_standing(result, venue)
    if worth is not None:
        account = figures(terms, venue.books)
        for s in sorted({row.symbol for row in rows}):
            of = account["by_symbol"][f"S{s}"]
            result.by_symbol[s] = {name: of[name] for name in ("net", *ORDER_TERMS)}
        result.total = {name: account[name] for name in ("net", *ORDER_TERMS)}
    return result


def note_standing(result: Result, venue: OrderVenue) -> None:
    """Add how orders stood to a result."""
    for symbol, side in ((s, side) for s in result.histories for side in (1, -1)):
        kept = np.zeros((1, 2, ol.STANDING_SIZE), dtype=np.int64)
        kept[0, 0] = venue._trading.standing[symbol, (1 - side) // 2]
        of = standing_figures(kept, 1, 1)["buy"]  # of an open time of 1 ns, shares are spans
        names = ("at", "behind", "better", "lot_ns")
        result.standing[symbol, side] = {name: of[name] for name in names}


def _fill_rules(rules: OrderRules) -> FillRules:
    return FillRules(
        queue=MODELS[rules.model],
        through_fill=rules.through_fill,
        cross=rules.cross,
        inside=rules.inside,
        pairing=rules.pairing,
        self_trade=rules.stp,
    )


def columns_of(rows: Sequence[Row]) -> dict[str, Any]:
    def price(value: int | None) -> int:
        return NO_PRICE if value is None else value

    return {
        "symbol": np.array([r.symbol for r in rows], dtype=np.int32),
        "ts_event": np.array([r.ts for r in rows], dtype=np.int64),
        "bid": np.array([price(r.bid) for r in rows], dtype=np.int64),
        "ask": np.array([price(r.ask) for r in rows], dtype=np.int64),
        "bid_size": np.array([r.bid_size for r in rows], dtype=np.int64),
        "ask_size": np.array([r.ask_size for r in rows], dtype=np.int64),
        "trade_price": np.array([price(r.trade_price) for r in rows], dtype=np.int64),
        "trade_size": np.array([r.trade_size for r in rows], dtype=np.int64),
        "aggressor": np.array([r.aggressor or 0 for r in rows], dtype=np.int8),
    }


def _instrument(worth: int, fees: tuple[Any, Any]) -> Instrument:
    rates: list[Decimal] = []
    for fee in fees:
        if isinstance(fee, Fees):
            rates += [
                Decimal(fee.rate.numerator) / fee.rate.denominator,
                fee.per_lot * MONEY_UNIT,
            ]
        else:
            rates += [Decimal(0), Decimal(0)]
    return Instrument(
        tick_size=2 * worth * MONEY_UNIT,
        maker_fee_rate=rates[0],
        maker_fee_per_lot=rates[1],
        fee_rate=rates[2],
        fee_per_lot=rates[3],
    )


class _Untargeted(SizingRule):
    def targets(self, forecast: Any, quotes: Any) -> Int64Array:
        raise AssertionError("nothing is sized")


def _terms(
    rows: Sequence[Row],
    rules: OrderRules,
    response: Sequence[int],
    impact: Fraction,
    worth: Sequence[int],
    fees: tuple[Any, Any],
    orders: OrderTerms,
    **others: Any,
) -> Terms:
    sessions = None if rules.sessions is None else [*rules.sessions]
    limit, band = others.pop("limit", None), others.pop("band", 0)
    venue_rules = VenueRules(limit, band, impact, sessions, rules.end)
    closing = ClosingQuotes(len(worth), venue_rules)
    columns = columns_of(rows)
    names = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    closing.look_back([columns[name] for name in names])
    given: dict[str, Any] = {
        "symbols": [f"S{s}" for s in range(len(worth))],
        "instruments": [_instrument(value, fees) for value in worth],
        "rules": venue_rules,
        "sizing": _Untargeted(),
        "entry": 0,
        "response": lambda first, stop: np.array(response[first:stop], dtype=np.int64),
        "warmup": 0,
        "ends": np.array([rules.end], dtype=np.int64),
        "closing": closing,
        "orders": orders,
    }
    return Terms(**{**given, **others})


class DepthFeed:
    """Gives rows of depth as late as may be, and a few at a time."""

    def __init__(self, depth: Depth, symbols: int, chunk: int) -> None:
        self.window = DepthWindow(symbols, orders=depth.orders, rows=4)
        self._rows, self._chunk, self._given = depth.rows, chunk, 0

    def feed(self, venue: OrderVenue, stop: int, *, last: bool) -> None:
        """Give all that lie before event ``stop`` - 1, or all."""
        rows = self._rows
        while self._given < len(rows) and (last or rows[self._given].follows < stop):
            piece = rows[self._given : self._given + self._chunk]
            self._given += len(piece)
            self.window.extend(batch_of(piece, orders=self.window.orders))
            venue.follow_depth()

    def release(self, venue: OrderVenue) -> None:
        """Give up what the venue has handled."""
        needs = venue.needs_depth
        self.window.release(self.window.stop if needs is None else needs)


def batch_of(rows: Sequence[DepthRow], *, orders: bool) -> DepthBatch:
    """Rows of the oracle as the engine takes them."""
    flags = [SNAPSHOT * r.snapshot + CLEAR * r.clear + LAST * r.last for r in rows]
    action = [0 if r.action is None else ACTIONS.index(r.action) for r in rows]
    return DepthBatch(
        symbol=np.array([r.symbol for r in rows], dtype=np.int32),
        ts_event=np.array([r.ts for r in rows], dtype=np.int64),
        follows=np.array([r.follows for r in rows], dtype=np.int64),
        side=np.array([r.side for r in rows], dtype=np.int8),
        price=np.array([r.price for r in rows], dtype=np.int64),
        size=np.array([r.size for r in rows], dtype=np.int64),
        flags=np.array(flags, dtype=np.uint8),
        order_id=np.array([r.order_id for r in rows], dtype=np.int64) if orders else None,
        action=np.array(action, dtype=np.int8) if orders else None,
    )


def _venue(terms: Terms, feed: DepthFeed | None) -> OrderVenue:
    columns = OrderVenue.COLUMNS | {"predictions": (np.float32, 4)}
    window = None if feed is None else feed.window
    with ExitStack() as small:  # so that everything has to grow
        for name in (
            "order_venue._ROWS",
            "order_venue._ENTRIES",
            "depth_books._LEVELS",
            "limits._ROWS",
        ):
            small.enter_context(patch(f"backtest.trading.{name}", 2))
        return OrderVenue(Window(columns, rows=4), terms, window)


def _drive(
    venue: OrderVenue,
    rows: Sequence[Row],
    answers: Sequence[Answer],
    feed: DepthFeed | None,
    chunk: int,
    breaches: list[Int64Array] | None,
) -> tuple[Int64Array, Int64Array]:
    """All fills [k, TRADED] and the whole log, of rows given as they come.

    Raises:
        NoClosingQuote: the venue refused a symbol that cannot be closed.
    """
    fills, log = [], []
    try:
        for _ in _pieces(venue, rows, answers, feed, chunk):
            fills.append(venue.take_fills().T)
            taken = venue.take_log()
            assert taken is not None
            log.append(taken)
            if breaches is not None:
                breaches.append(venue.take_breaches())
    except RunError as error:
        raise NoClosingQuote(str(error)) from None
    return np.concatenate(fills), np.concatenate(log)


def _pieces(
    venue: OrderVenue,
    rows: Sequence[Row],
    answers: Sequence[Answer],
    feed: DepthFeed | None,
    chunk: int,
) -> Iterator[None]:
    window, columns, count = venue._window, columns_of(rows), len(rows)
    waiting = sorted(answers, key=lambda answer: answer.t3)
    for first in range(0, count, chunk):
        stop = min(first + chunk, count)
        places = window.extend(stop - first)
        for name, column in columns.items():
            window[name][places] = column[first:stop]
        venue.follow(first, stop, last=stop == count)
        if feed is not None:
            feed.feed(venue, stop, last=stop == count)
        now = rows[stop - 1].ts
        _answer(venue, [answer for answer in waiting if answer.t3 < now])
        waiting = [answer for answer in waiting if answer.t3 >= now]
        settled = min([stop, *(answer.event for answer in waiting)])
        venue.settle(0, settled, np.zeros(settled, dtype=np.float32))
        venue.advance(now)
        yield
        window.release(venue.needs)
        if feed is not None:
            feed.release(venue)
    _answer(venue, [a for a in waiting if a.t3 <= venue.terms.rules.end])
    venue.settle(0, count, np.zeros(count, dtype=np.float32))
    venue.finish()
    yield


def _answer(venue: OrderVenue, answers: Sequence[Answer]) -> None:
    window = venue._window
    for answer in answers:
        row = answer.event - window.first
        window["received"][row], window["begun"][row] = answer.t1, answer.t2
        window["ended"][row], window["predictions"][row] = answer.t3, answer.event
    numbers = np.array([answer.event for answer in answers], dtype=np.int64)
    venue.answer(numbers, np.zeros(len(numbers), dtype=np.float32))


def _result(
    rows: Sequence[Row], fills: Int64Array, log: Int64Array, value: Sequence[int] | None
) -> Result:
    events = [row.event() for row in rows]
    result = Result({s: Rows(events, s) for s in sorted({row.symbol for row in rows})})
    for fill in fills.tolist():
        money: dict[str, int] = {}
        if value is not None:
            names = ("decision", "feed", "queueing", "service", "entry", "rest", "spread")
            places = (at.DECISION, at.FEED, at.QUEUEING, at.SERVICE, at.ENTRY, at.REST, at.SPREAD)
            money = {name: fill[place] for name, place in zip(names, places, strict=True)}
            money |= {"cash": fill[at.CASH], "impact": fill[at.IMPACT], "fees": fill[at.FEES]}
        closes = fill[at.ORDER] == -1
        if fill[at.MAKER] and fill[at.AHEAD] != ol.NOT_KNOWN:
            money |= {"ahead": fill[at.AHEAD], "printed": fill[at.PRINTED]}
        made = Fill(
            fill[at.SYMBOL],
            0 if closes else fill[at.ORDER],
            fill[at.FILLED],
            fill[at.LOTS],
            fill[at.PRICE],
            bool(fill[at.MAKER]),
            *fill[at.T0 : at.T4 + 1],
            **money,
        )
        (result.closes if closes else result.fills).append(made)
    for entry in log.tolist():
        kind = ol.REPORTS[entry[ol.L_KIND]]
        rested, kind = kind == "filled", "filled" if kind in ("took", "flattened") else kind
        silent = kind in ("rejected", "late")
        result.reports.append(
            Report(
                entry[ol.L_SYMBOL],
                entry[ol.L_TIME],
                entry[ol.L_KNOWN],
                entry[ol.L_ID],
                kind,  # type: ignore[arg-type]
                0 if silent else abs(entry[ol.L_LOTS]),
                0 if silent else entry[ol.L_PRICE],
                rested,
            )
        )
    result.fills.sort(key=lambda fill: fill.symbol)
    result.reports.sort(key=lambda report: report.symbol)
    return result
