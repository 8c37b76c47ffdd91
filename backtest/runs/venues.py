"""The venues of a run: of targets, or of orders that rest, with what a queue can fill at least and
at most beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.reading.stream import Stream
from backtest.errors import UsageError
from backtest.market.window import Window
from backtest.runs.depth_feed import DepthFeed
from backtest.runs.scenario import Scenario
from backtest.strategies.reacting import decides
from backtest.timing.latency import OrderMessage
from backtest.trading.account_tables import figures
from backtest.trading.accountant import RunTerms
from backtest.trading.depth_window import DepthWindow
from backtest.trading.desk_venue import DeskVenue
from backtest.trading.order_list import OrderList
from backtest.trading.order_terms import FillRules, OrderTerms
from backtest.trading.order_venue import OrderVenue
from backtest.trading.orders import Latency
from backtest.trading.portfolio_venue import PortfolioVenue
from backtest.trading.queue_models import Optimistic, QueueModel, Through, check_known
from backtest.trading.target_venue import TargetVenue
from backtest.trading.terms import Terms
from backtest.trading.venue import Venue

_BRACKET: Mapping[str, QueueModel] = {"through": Through(), "optimistic": Optimistic()}
"""The least and the most that a queue can be believed to fill."""


_AT_ONCE = OrderTerms(FillRules(Through()), cancel=0, replace=0)
"""Orders that never rest."""


def venue_columns(scenario: Scenario) -> Mapping[str, Any]:
    """Columns of the window that a venue reads and writes."""
    orders = scenario.rests or scenario.holds_portfolio
    return OrderVenue.COLUMNS if orders else TargetVenue.COLUMNS


def venues(
    window: Window, terms: Terms, depth: DepthWindow | None = None
) -> tuple[Venue, dict[str, Venue]]:
    """The run's venue, and those of the bracket by queue model; none where no order rests.

    Nor is there one where a strategy sends its own orders: after other fills it would send others.

    Args:
        window: of events; ``depth``: that of depth, where the dataset has it.
    """
    if terms.sizing is not None and terms.sizing.scope == "market":
        return PortfolioVenue(window, replace(terms, orders=_AT_ONCE)), {}
    if terms.orders is None:
        return TargetVenue(window, terms), {}
    if terms.orders.decided:
        return DeskVenue(window, terms, depth), {}
    bracket: dict[str, Venue] = {}
    for name, queue in _BRACKET.items():
        fills = replace(terms.orders.fills, queue=queue)
        bound = replace(terms, orders=replace(terms.orders, fills=fills))
        bracket[name] = OrderVenue(window, bound, depth)
    return OrderVenue(window, terms, depth), bracket


def depth_feed(
    stream: Stream, window: DepthWindow | None, venues: Iterable[Venue]
) -> DepthFeed | None:
    """What gives the venues the stream's depth; ``None``: the dataset has none."""
    if window is None:
        return None
    resting = [venue for venue in venues if isinstance(venue, OrderVenue)]
    return DepthFeed(stream.depth(), window, resting)


def order_terms(
    scenario: Scenario, run: RunTerms, latency: Callable[[OrderMessage], Latency]
) -> OrderTerms | None:
    """How a run's orders rest; ``None``: none does.

    Args:
        scenario: of the run.
        run: what its accountant is told.
        latency: scaled latency of each kind of message.

    Raises:
        UsageError: the compiled loops do not know the queue model, or it needs displayed sizes or
            single orders, which the dataset lacks.
        DataError: the order list has a row that is no message.
    """
    queue, fills = scenario.queue, scenario.config.fills
    if queue is None:
        return None
    check_known(queue)
    if queue.needs_sizes and not run.has_sizes:
        raise UsageError(
            "places in a queue need displayed sizes, which the dataset lacks",
            place="fills.queue",
            remedy="Choose the queue model through or optimistic.",
        )
    if queue.needs_orders and not scenario.dataset.depth_orders:
        raise UsageError(
            "the queue model l3 needs depth that tells of every order, which the dataset lacks",
            place="fills.queue",
            remedy="Choose the queue model trades or power.",
        )
    rules = FillRules(
        queue, fills.through, fills.cross, fills.inside, fills.pairing, fills.self_trade
    )
    listed, strategy = None, scenario.bound.strategy
    decided = decides(strategy)
    if scenario.quoting is None and not decided:
        place = str(getattr(strategy, "file", f"strategy {scenario.bound.name!r}"))
        tradable = {
            name
            for name, instrument in zip(run.symbols, run.instruments, strict=True)
            if instrument.tradable
        }
        listed = OrderList.of(cast(Any, strategy).messages(), run.symbols, place, tradable=tradable)
    return OrderTerms(
        fills=rules,
        cancel=latency("cancel"),
        replace=latency("replace"),
        quoting=scenario.quoting,
        listed=listed,
        decided=decided,
        listed_latency=None if listed is None else _spans(len(listed), latency),
    )


def _spans(count: int, latency: Callable[[OrderMessage], Latency]) -> Int64Array:
    """Entry, cancel, replace and response latency of the messages of a list, int64 ns [n, 4]."""
    spans = np.empty((count, 4), dtype=np.int64)
    kinds: tuple[OrderMessage, ...] = ("entry", "cancel", "replace", "response")
    for k, kind in enumerate(kinds):
        of = latency(kind)
        spans[:, k] = of(0, count) if callable(of) else of
    return spans


def order_metrics(venue: Venue, bracket: Mapping[str, Venue], open_ns: int) -> dict[str, Any]:
    """What became of orders that rest, how they stood, and what other queue models would earn.

    Args:
        open_ns: open time of the window, ns.
    """
    assert isinstance(venue, OrderVenue)
    found: dict[str, Any] = venue.figures()
    found["standing"] = venue.standing(open_ns)
    if bracket:
        found["bracket"] = {}
    for name, other in bracket.items():
        account = figures(other.terms, other.books)
        bounds = {"net": account["net"], "fills": account["fills"], "lots": account["lots_traded"]}
        found["bracket"][name] = bounds
    return found
