"""Runs the closed loops of ``loop_oracle`` through the engine's server, strategy and venue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np

from backtest.core.arrays import Float32Array, Float64Array, Int64Array
from backtest.errors import RunError
from backtest.inference.bound_strategy import BoundStrategy
from backtest.market.events import NO_TIME, EventBatch
from backtest.market.order_codes import ACTIONS, POST_ONLY, REPORTS, TIMES_IN_FORCE
from backtest.market.window import Window
from backtest.plugins.policies import All, AtMost
from backtest.runs import replay as replays
from backtest.runs.closed_loop import LiveStrategy, Rows, loop_columns
from backtest.runs.replay import EVENT_COLUMNS, Replay
from backtest.runs.settling import Settling, answer_columns, event_columns
from backtest.runs.trader import Trader
from backtest.strategies.base import Session, Strategy
from backtest.strategies.desk import Desk, Reports
from backtest.strategies.messages import Messages
from backtest.timing.latency import LatencyModel
from backtest.timing.outcomes import Status
from backtest.timing.server_rules import ServerRules
from backtest.trading.account_tables import figures
from backtest.trading.desk_venue import DeskVenue
from backtest.trading.order_terms import OrderTerms
from backtest.trading.terms import Terms
from tests.chain import Pieces
from tests.loop_oracle import Decide, Looped, Server, View
from tests.market_server import OracleFeed
from tests.oracle import NoClosingQuote
from tests.order_engine import _fill_rules, _result, _terms, columns_of, note_standing
from tests.order_oracle import ORDER_TERMS, no_fee
from tests.order_records import OrderRules, Row


@dataclass
class Told(Strategy):
    """Keeps what it is told, and sends what a rule makes of it."""

    decide_by: Decide

    needs_features: ClassVar[bool] = False
    stateful: ClassVar[bool] = False

    def bind(self, session: Session) -> None:
        self.views: list[View] = []
        self.calls: list[str] = []
        self._reports: tuple[Any, ...] = ()

    def predict(self, batch: EventBatch) -> Float32Array:
        self.calls.append("predict")
        return np.zeros((len(batch), 1), dtype=np.float32)

    def on_reports(self, reports: Reports) -> None:
        self.calls.append("on_reports")
        assert len(reports)
        columns = (reports.known, reports.symbol, reports.kind, reports.id)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self._reports = tuple((known, s, REPORTS[kind], n) for known, s, kind, n in rows)

    def decide(self, now: int, batch: EventBatch, desk: Desk) -> Messages | None:
        self.calls.append("decide")
        view = View(
            now,
            tuple(zip(batch.symbol.tolist(), batch.ts_event.tolist(), strict=True)),
            self._reports,
            tuple(desk.position.tolist()),
            tuple(map(tuple, desk.unresolved.tolist())),
            _working(desk),
            _quotes(desk),
        )
        self._reports = ()
        self.views.append(view)
        wishes = self.decide_by(view)
        if not wishes:
            return None
        return Messages(
            action=_array([ACTIONS[w.action] for w in wishes]),
            symbol=_array([w.symbol for w in wishes]),
            id=_array([w.id for w in wishes]),
            side=_array([w.side for w in wishes]),
            price=_array([w.price for w in wishes]),
            total=_array([w.total for w in wishes]),
            tif=_array([TIMES_IN_FORCE[w.tif] for w in wishes]),
            post_only=_array([POST_ONLY[w.post_only] for w in wishes]),
        )


def _array(values: list[int]) -> Int64Array:
    return np.array(values, dtype=np.int64)


def _working(desk: Desk) -> tuple[Any, ...]:
    of = desk.working
    columns = (of.symbol, of.id, of.side, of.price, of.total, of.filled)
    return tuple(zip(*(column.tolist() for column in columns), strict=True))


def _quotes(desk: Desk) -> tuple[Any, ...]:
    quotes = desk.quotes
    assert quotes.symbol.tolist() == [*range(len(desk.position))]
    found: list[Any] = []
    for k, ts in enumerate(quotes.ts_event.tolist()):
        bid, ask = (None if p == NO_TIME else int(p) for p in (quotes.bid[k], quotes.ask[k]))
        sizes = int(quotes.bid_size[k]), int(quotes.ask_size[k])
        found.append(None if ts == NO_TIME else (ts, bid, ask, *sizes))
    return tuple(found)


def _bound(decide: Decide, symbols: int) -> tuple[Told, BoundStrategy]:
    session = Session(tuple(f"S{s}" for s in range(symbols)))
    strategy = Told(decide)
    strategy.bind(session)
    return strategy, BoundStrategy(strategy, {"name": "told"}, {}, session)


class Kept(DeskVenue):
    """Keeps the fills and reports that it gives."""

    def __init__(self, window: Window, terms: Terms) -> None:
        super().__init__(window, terms)
        self.fills: list[Int64Array] = []
        self.log: list[Int64Array] = []

    def take_fills(self) -> Int64Array:
        taken = super().take_fills()
        self.fills.append(taken.T)
        return taken

    def take_log(self) -> Int64Array:
        taken = super().take_log()
        assert taken is not None
        self.log.append(taken)
        return taken


@dataclass(frozen=True)
class Affine(LatencyModel):
    """Service times of the oracle's server."""

    base: int
    per_event: int

    uses_draws: ClassVar[bool] = False

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return self.base + self.per_event * sizes


class _Account:
    """An accountant that keeps none."""

    def add(self, settled: Any) -> None:
        pass


class _Sink:
    def write(self, name: str, rows: Any) -> None:
        pass


def simulate_loop(
    rows: Sequence[Row],
    symbols: int,
    server: Server,
    decide: Decide,
    rules: OrderRules,
    latency: dict[Any, Sequence[int]],
    *,
    impact: Fraction = Fraction(0),
    value: Sequence[int] | None = None,
    maker_fee: Any = no_fee,
    taker_fee: Any = no_fee,
    chunk: int = 7,
    scale: float = 1.0,
) -> Looped:
    """As ``tests.loop_oracle.simulate_loop``.

    Args:
        chunk: events that are read at once.
        scale: of the server's latencies; those of messages are given scaled.
    """

    def of(name: str) -> Any:
        return lambda first, stop: np.array(latency[name][first:stop], dtype=np.int64)

    worth = [1] * symbols if value is None else [*value]
    orders = OrderTerms(
        fills=_fill_rules(rules), cancel=of("cancel"), replace=of("replace"), decided=True
    )
    terms = _terms(
        rows, rules, latency["response"], impact, worth, (maker_fee, taker_fee), orders,
        entry=of("entry"), warmup=server.warmup,
    )  # fmt: skip
    strategy, bound = _bound(decide, symbols)
    policy = All() if server.most is None else AtMost(server.most)
    service = Affine(server.base, server.per_event)
    server_rules = ServerRules(policy, service, line_limit=server.line, scale=scale)
    events = EventBatch(**columns_of(rows))
    stream: Any = Pieces(events, chunk)
    present = [name for name in EVENT_COLUMNS if getattr(events, name) is not None]
    columns = {**answer_columns(1, 0, None), **event_columns(quotes=True), **DeskVenue.COLUMNS}
    small = (patch(f"backtest.trading.order_venue.{name}", 2) for name in ("_ROWS", "_ENTRIES"))
    with (
        patch.object(replays, "Window", partial(Window, rows=4)),
        patch("backtest.trading.desk_venue._REPORTS", 2),
        next(small),
        next(small),
    ):
        replay = Replay(
            stream, server_rules, OracleFeed(server.feed), symbols=symbols, end=rules.end,
            columns=columns | loop_columns(bound, present), live=True,
        )  # fmt: skip
        venue = Kept(replay.window, terms)
    account: Any = _Account()
    answered: list[int] = []

    def write(settled: Any) -> None:
        numbers = np.arange(settled.first, settled.first + len(settled))
        answered.extend(numbers[settled.timing.status == Status.ANSWERED].tolist())

    settling = Settling(
        replay, bound, None, None, warmup=server.warmup, settlement=account, venue=venue,
        sink=_Sink(), write=write,
    )  # fmt: skip

    def predicted(at: Rows, predictions: Float32Array) -> None:
        replay.window["forecast"][at] = predictions[:, 0]

    trader = settling.trader = Trader(
        bound, replay.server, replay.window, venue, settling.heard, warmup=server.warmup,
        end=rules.end, timer=server.timer, start=server.start,
    )  # fmt: skip
    replay.live = LiveStrategy(
        bound, server_rules, replay.window, predicted=predicted, trader=trader
    )
    try:
        settling.run()
    except RunError as error:
        if "no two-sided quote inside a session" not in str(error):
            raise
        raise NoClosingQuote(str(error)) from None
    result = _result(rows, np.concatenate(venue.fills), np.concatenate(venue.log), value)
    note_standing(result, venue)
    if value is not None:
        found = figures(terms, venue.books)
        for s in sorted({row.symbol for row in rows}):
            money = found["by_symbol"][f"S{s}"]
            result.by_symbol[s] = {name: money[name] for name in ("net", *ORDER_TERMS)}
        result.total = {name: found[name] for name in ("net", *ORDER_TERMS)}
    assert trader.figures()["timers"] == sum(not view.batch for view in strategy.views)
    _check_calls(strategy.calls, trader.figures())
    return Looped(result, strategy.views, answered, trader.figures()["messages"])


def _check_calls(calls: list[str], counts: dict[str, int]) -> None:
    """Reports come before predictions, and decisions after them, once the warm-up is over."""
    first = calls.index("decide") if "decide" in calls else len(calls)
    for before, after in pairwise(calls[first:]):
        assert (
            after
            in {
                "decide": ("decide", "predict", "on_reports"),
                "on_reports": ("predict", "decide"),
                "predict": ("decide",),
            }[before]
        )
    assert counts["batches"] + counts["timers"] == calls.count("decide")
