"""Runs a market of the oracle through server, strategy and venue, joined as the engine joins them.

Only the dataset and the run folder are missing: the events come from memory, in pieces of any size
through a window of few rows, and what would be written is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from backtest.core.arrays import Float32Array
from backtest.inference.answering import RunAnswers
from backtest.inference.answers import AnswerStream
from backtest.inference.bound_strategy import BoundStrategy
from backtest.market.calendar import MarketHours
from backtest.market.events import EventBatch
from backtest.market.window import Window
from backtest.plugins.accountants.market import MarketAccountant
from backtest.runs import replay as replays
from backtest.runs.closed_loop import LiveStrategy, Rows, loop_columns
from backtest.runs.replay import EVENT_COLUMNS, Replay
from backtest.runs.settling import Settling, answer_columns, event_columns
from backtest.strategies.base import Session, Strategy
from backtest.timing.outcomes import Timing
from backtest.timing.server_rules import ServerRules
from backtest.trading.accountant import Account, RunTerms, SettledEvents
from backtest.trading.order_venue import OrderVenue
from backtest.trading.orders import Confirmation
from backtest.trading.target_venue import TargetVenue
from backtest.trading.terms import Terms
from backtest.trading.venue import Venue
from tests.market_server import How, events_of, feed_of, rules_of
from tests.markets import Market
from tests.stored import all_columns
from tests.venue_driver import terms_of

NO_OPINION = -(2**40)
"""A trade size that stands for no target."""

TIMES = ("received", "begun", "ended", "status", "batch")
"""Columns of ``Timing``."""


@dataclass
class Given(Strategy):
    """Answers with targets that travel as trade sizes, and keeps the fills that it learns of."""

    needs_features: ClassVar[bool] = False
    no_opinion: ClassVar[bool] = True

    def bind(self, session: Session) -> None:
        self.fills: list[Confirmation] = []
        self.calls: list[list[int]] = []

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.trade_size is not None
        self.calls.append(batch.trade_size.tolist())
        given = np.where(batch.trade_size == NO_OPINION, np.nan, batch.trade_size)
        return given.astype(np.float32).reshape(-1, 1)

    def on_fills(self, fills: Sequence[Confirmation]) -> None:
        self.fills += fills


class Pieces:
    """A stream of events in memory, as the engine reads one.

    Args:
        size: events of a piece.
    """

    def __init__(self, events: EventBatch, size: int) -> None:
        self._events, self._size = events, size
        self.count = len(events)

    def pieces(self, *, features: bool) -> Iterator[EventBatch]:
        """The events, piece by piece, read-only."""
        assert not features
        for first in range(0, self.count, self._size):
            yield self._events.select(slice(first, first + self._size)).read_only()


class Known(AnswerStream):
    """Answers that are known beforehand, float32 [n]."""

    def __init__(self, bound: BoundStrategy, forecast: Float32Array) -> None:
        super().__init__(bound)
        self._forecast = forecast
        self._given = 0

    def _predictions(self, events: EventBatch) -> Float32Array:
        first, self._given = self._given, self._given + len(events)
        return self._forecast[first : self._given, None]


@dataclass
class Ran:
    """What came of a run; ``confirmed`` holds each batch's instant and the fills known by then."""

    account: Account
    timing: Timing
    predictions: Float32Array
    fills: pa.Table
    strategy: Given
    confirmed: list[tuple[int, list[Confirmation]]] = field(default_factory=list)


class Collected:
    """Takes what an engine would write."""

    def __init__(self) -> None:
        self.fills: list[pa.RecordBatch] = []
        self.timing: list[Timing] = []
        self.predictions: list[Float32Array] = []

    def write(self, name: str, rows: pa.RecordBatch) -> None:
        """Take rows of a table."""
        assert name == "fills"
        self.fills.append(rows)

    def settle(self, settled: SettledEvents) -> None:
        """Take events whose outcome is final."""
        assert settled.first == sum(map(len, self.predictions))
        columns = [getattr(settled.timing, name).copy() for name in TIMES]
        self.timing.append(Timing(*columns))
        self.predictions.append(settled.answers.predictions[:, 0].copy())

    def ran(self, account: Account, strategy: Given) -> Ran:
        """All of it together."""
        columns = (np.concatenate([getattr(t, name) for t in self.timing]) for name in TIMES)
        return Ran(
            account,
            Timing(*columns),
            np.concatenate(self.predictions),
            all_columns(pa.Table.from_batches(self.fills)),
            strategy,
        )


def bound_to(market: Market) -> tuple[BoundStrategy, Given]:
    """The strategy that answers with the market's targets."""
    session = Session(tuple(f"S{k}" for k in range(len(market.value))))
    strategy = Given()
    strategy.bind(session)
    return BoundStrategy(strategy, {"name": "given"}, {}, session), strategy


def accountant_of(market: Market) -> MarketAccountant:
    """The accountant with the market's rules and buckets of 7 ns."""
    return MarketAccountant(market.limit, market.band, float(market.impact), bucket=7)


def trading_terms(market: Market, accountant: MarketAccountant, **others: Any) -> Terms:
    """The market's terms, with the accountant's order rules and bucket ends."""
    start = market.events[0].ts_event
    return terms_of(
        market,
        rules=accountant.order_rules(market.sessions, market.end),
        ends=accountant.bucket_ends(start, market.end, MarketHours()),
        **others,
    )


def run_terms(market: Market, sink: Collected, venue: Venue) -> RunTerms:
    """What the accountant learns of the run."""
    return RunTerms(
        symbols=venue.terms.symbols,
        instruments=venue.terms.instruments,
        sessions=market.sessions,
        warmup=market.warmup,
        start=market.events[0].ts_event,
        end=market.end,
        outputs=1,
        targets=0,
        has_sizes=True,
        sink=sink,
        venue=venue,
    )


def three_passes(
    market: Market,
    *,
    how: How = "tables",
    piece: int = 100,
    shared: bool = True,
    rules: ServerRules | None = None,
    forecast: Float32Array | None = None,
    venue_of: Callable[[Window, Terms], Venue] = TargetVenue,
    **others: Any,
) -> Ran:
    """Server first, answers known, venue beside the server.

    Args:
        how: what is compiled and what is asked in Python.
        piece: events that are read at once.
        shared: the undropped answers are the run's own, as where no answer depends on another.
        rules: of the server; by default the market's.
        forecast: what is answered [n]; by default the market's targets.
        venue_of: makes the venue.
        others: terms that differ from the market's.
    """
    bound, strategy = bound_to(market)
    if forecast is None:
        wanted = [np.nan if lots is None else lots for lots in market.targets]
        forecast = np.array(wanted, dtype=np.float32)
    own = Known(bound, forecast)
    answers = RunAnswers(own, own, own if shared else Known(bound, forecast.copy()))
    columns = _columns(answers) | OrderVenue.COLUMNS
    replay = _replay(market, events_of(market), rules or rules_of(market, how), piece, columns)
    sink, accountant = Collected(), accountant_of(market)
    venue = venue_of(replay.window, trading_terms(market, accountant, **others))
    settlement = accountant.open(run_terms(market, sink, venue))
    Settling(
        replay, bound, answers, None, warmup=market.warmup, settlement=settlement, venue=venue,
        sink=sink, write=sink.settle,
    ).run()  # fmt: skip
    return sink.ran(settlement.finish(), strategy)


def closed_loop(market: Market, rules: ServerRules, *, piece: int = 100) -> Ran:
    """Batch by batch: the strategy learns of its fills before each.

    Args:
        rules: of the server; its latency model is asked in Python for each batch.
        piece: events that are read at once.
    """
    bound, strategy = bound_to(market)
    events = events_of(market)
    wanted = [NO_OPINION if lots is None else lots for lots in market.targets]
    targets = np.array(wanted, dtype=np.int64)
    events = EventBatch(
        events.symbol, events.ts_event, None, events.bid, events.ask, events.bid_size,
        events.ask_size, trade_price=events.bid, trade_size=targets,
    )  # fmt: skip
    present = [name for name in EVENT_COLUMNS if getattr(events, name) is not None]
    columns = _columns(None) | loop_columns(bound, present)
    replay = _replay(market, events, rules, piece, columns, live=True)
    sink, accountant = Collected(), accountant_of(market)
    terms = trading_terms(market, accountant, ideal=False, reports=True)
    venue = TargetVenue(replay.window, terms)
    settlement = accountant.open(run_terms(market, sink, venue))
    settling = Settling(
        replay, bound, None, None, warmup=market.warmup, settlement=settlement, venue=venue,
        sink=sink, write=sink.settle,
    )  # fmt: skip
    confirmed: list[tuple[int, list[Confirmation]]] = []

    def before(now: int) -> None:
        confirmed.append((now, settling.confirmed(now)))
        strategy.on_fills(confirmed[-1][1])

    def predicted(rows: Rows, predictions: Float32Array) -> None:
        replay.window["forecast"][rows] = bound.forecast(predictions)

    replay.live = LiveStrategy(bound, rules, replay.window, before=before, predicted=predicted)
    settling.run()
    ran = sink.ran(settlement.finish(), strategy)
    ran.confirmed = confirmed
    return ran


def _columns(answers: RunAnswers | None) -> dict[str, Any]:
    """What settling reads of a window, for one prediction an event and no true values."""
    held, events = answer_columns(1, 0, answers), event_columns(quotes=True)
    return {**held, **events, **TargetVenue.COLUMNS}


def _replay(
    market: Market,
    events: EventBatch,
    rules: ServerRules,
    piece: int,
    columns: dict[str, Any],
    *,
    live: bool = False,
) -> Replay:
    """A replay whose window begins with four rows, so that they slide all the time."""
    stream: Any = Pieces(events, piece)
    with patch.object(replays, "Window", partial(Window, rows=4)):
        return Replay(
            stream, rules, feed_of(market), symbols=len(market.value), end=market.end,
            columns=columns, live=live,
        )  # fmt: skip
