"""A strategy that sends its own orders, between the server that calls it and the venue."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.errors import RunError
from backtest.inference.bound_strategy import BoundStrategy
from backtest.market.events import EventBatch, locked
from backtest.market.window import Window
from backtest.runs.received_quotes import ReceivedQuotes
from backtest.strategies.desk import Desk
from backtest.strategies.messages import Messages
from backtest.timing.server import Batch, Server, next_due
from backtest.trading.desk_venue import DeskVenue
from backtest.trading.known_orders import KnownOrders, reports_of


class Trader:
    """Tells a strategy what it may know, asks it what to send, and sends it.

    Args:
        bound: the strategy, bound.
        server: calls it.
        window: holds the events.
        venue: where its orders go.
        hear: reports that are known by an instant and were not heard before, ns to int64
            [n, REPORT_SIZE].
        warmup: events before this number lead to no calls of ``decide``.
        end: when the window of time ends, ns; what would be sent later is not.
        timer: how often its timer is due, ns; ``None``: it has none.
        start: instant that the timer counts from, ns.

    Attributes:
        received: quotes that have been received.
    """

    def __init__(
        self,
        bound: BoundStrategy,
        server: Server,
        window: Window,
        venue: DeskVenue,
        hear: Callable[[int], Int64Array],
        *,
        warmup: int,
        end: int,
        timer: int | None,
        start: int,
    ) -> None:
        self._name, self._symbols = bound.name, bound.session.symbols
        self._server, self._window, self._venue, self._hear = server, window, venue, hear
        self._warmup, self._end = warmup, end
        self._timer, self._start = timer, start
        self._known = KnownOrders()
        self.received = ReceivedQuotes(server, window, len(self._symbols))
        self._tells = hasattr(bound.strategy, "on_reports")
        self._desk: Desk | None = None
        self._messages: Messages | None = None
        self._active = False
        self._counts = dict.fromkeys(("batches", "timers", "merged_timers", "messages"), 0)
        if warmup == 0:
            self._begin(start)

    def _begin(self, now: int) -> None:
        self._active = True
        if self._timer is not None:
            self._server.start_timer(next_due(self._start, self._timer, now), self._timer)

    def report(self, strategy: Any, now: int) -> int:
        """Tell a strategy of its reports: the time that it takes over them, ns."""
        heard = self._hear(now)
        self._known.hear(heard)
        self.received.take()
        venue, known, received = self._venue, self._known, self.received
        self._desk = Desk(
            locked(venue.held), locked(venue.unresolved), known.working, received.quotes
        )
        if not self._tells or not len(heard):
            return 0
        reports = reports_of(heard)
        begun = perf_counter_ns()
        strategy.on_reports(reports)
        return perf_counter_ns() - begun

    def decide(self, strategy: Any, batch: Batch, events: EventBatch) -> int:
        """Ask a strategy what to send: the time that it takes over it, ns.

        Raises:
            RunError: it gives something else than messages for symbols that trade.
        """
        self._messages = None
        newest = int(batch.events.max()) if batch.size else self._warmup
        if newest < self._warmup:
            return 0
        if not self._active:
            self._begin(batch.now)
        if batch.size:
            self._counts["batches"] += 1
        else:
            self._counts["timers"] += 1
            assert self._timer is not None
            self._counts["merged_timers"] += (batch.now - batch.due) // self._timer
        begun = perf_counter_ns()
        messages = strategy.decide(batch.now, events, self._desk)
        span = perf_counter_ns() - begun
        if messages is not None:
            self._messages = self._checked(messages)
        return span

    def _checked(self, messages: object) -> Messages:
        place = f"strategy {self._name!r}"
        if not isinstance(messages, Messages):
            raise RunError(
                f"decide gave a {type(messages).__name__}, not Messages",
                place=place,
                remedy="Make them with backtest.Messages.new and the like; None sends nothing.",
            )
        try:
            messages.check_symbols(self._venue.tradable)
        except RunError as error:
            raise RunError(
                f"decide gave {error.problem}", place=place, remedy=error.remedy
            ) from None
        return messages

    def send(self, batch: Batch, span: int) -> None:
        """Send what was decided on a batch once its service ends.

        Args:
            span: how long it is served, scaled ns.
        """
        messages, ready = self._messages, batch.now + span
        if messages is None or not len(messages) or ready > self._end:
            return
        self._counts["messages"] += len(messages)
        events = np.full(len(messages), -1, dtype=np.int64)
        instants = np.full((len(messages), 3), batch.now, dtype=np.int64)
        if batch.size:
            window, numbers = self._window, np.sort(batch.events)
            newest = np.full(len(self._symbols), numbers[-1], dtype=np.int64)
            newest[window["symbol"][numbers - window.first]] = numbers
            events = newest[messages.symbol]
            rows = events - window.first
            instants[:, 0], instants[:, 1] = window["ts_event"][rows], window["received"][rows]
        else:
            instants[:, :2] = batch.due
        self._venue.send(messages, ready, instants, events, max(self.received.newest, 0))

    def settle(self) -> None:
        """Note what has been received, before the window gives up its rows."""
        self.received.take()
        self._venue.keep_from = self._server.due

    def figures(self) -> dict[str, int]:
        """How often it was asked: for batches, by timers, and how many timers a later call stood
        for; and how many messages it sent."""
        return dict(self._counts)
