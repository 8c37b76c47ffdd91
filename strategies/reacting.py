"""Methods that a strategy may have and ``Strategy`` has not: those of a closed loop, and lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backtest.core.times import parse_duration
from backtest.errors import UsageError
from backtest.market.events import EventBatch
from backtest.strategies.desk import Desk, Reports
from backtest.strategies.messages import Messages


class Reacting:
    """What is asked of a strategy that defines it, by name; nothing derives from this class.

    ``on_fills`` is of strategies whose answers are sized or quoted, ``decide`` and ``on_reports``
    are of those that send their own orders, ``messages`` is of lists of orders.
    """

    timer: str | int | None = None
    """How often ``decide`` is called besides, in ns or as a span such as ``1s``."""

    def on_fills(self, fills: Sequence[Any]) -> None:
        """Take note of the fills that were confirmed since the last batch."""

    def on_reports(self, reports: Reports) -> None:
        """Take note of what the venue has reported since the last batch, if it has anything."""

    def decide(self, now: int, batch: EventBatch, desk: Desk) -> Messages | None:
        """Say what to send once the batch is served.

        Args:
            now: when the batch was dispatched, ns.
            batch: its events, for which ``predict`` has been called; none where a timer is due.
            desk: what the trader knows at ``now``.

        Returns:
            What leaves when the service ends; ``None``: nothing.
        """
        raise NotImplementedError

    def messages(self) -> Mapping[str, Sequence[Any]]:
        """The messages of a list of orders, by column."""
        raise NotImplementedError


def decides(strategy: object) -> bool:
    """Whether a strategy sends its own orders, batch by batch."""
    return hasattr(strategy, "decide")


def reacts(strategy: object) -> bool:
    """Whether what a strategy does depends on its fills."""
    return decides(strategy) or hasattr(strategy, "on_fills")


def check_methods(strategy: object, place: str) -> None:
    """Refuse methods that do not go together.

    Raises:
        UsageError: naming them.
    """
    problem = None
    if decides(strategy):
        for other, remedy in (
            ("on_fills", "on_reports tells a strategy that decides of its fills"),
            ("messages", "send the list, or decide, but not both"),
        ):
            if hasattr(strategy, other):
                problem = f"it has decide and {other}", f"{remedy}; remove {other}"
    elif hasattr(strategy, "on_reports"):
        problem = "it has on_reports, but no decide", "define decide(now, batch, desk)"
    elif getattr(strategy, "timer", None) is not None:
        problem = "it has a timer, but no decide", "define decide(now, batch, desk)"
    if problem is not None:
        remedy = problem[1][0].upper() + problem[1][1:]
        raise UsageError(problem[0], place=place, remedy=f"{remedy}.")


def timer_of(strategy: object, place: str) -> int | None:
    """How often a strategy's timer is due, ns; ``None``: it has none.

    Raises:
        UsageError: it is no span above 0.
    """
    timer: Any = getattr(strategy, "timer", None)
    if timer is None:
        return None
    try:
        span = parse_duration(timer) if isinstance(timer, str) else timer
    except ValueError as error:
        raise UsageError(
            f"timer is no span: {error}", place=place, remedy="Write for example 1s."
        ) from None
    whole = isinstance(span, int | np.integer) and not isinstance(span, bool)
    if not whole or span < 1:
        raise UsageError(
            f"timer is {timer!r}, not a span above 0",
            place=place,
            remedy='Write for example timer = "1s", or a whole number of ns.',
        )
    return int(span)
