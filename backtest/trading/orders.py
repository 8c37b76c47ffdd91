"""How targets become orders and orders fills, and what a strategy learns of its fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np

from backtest.core.arrays import Int64Array

Latency: TypeAlias = int | Callable[[int, int], Int64Array]
"""Scaled latency of the orders from all events, ns; or of those from the events ``first`` to
``stop - 1``, as a function of the two, int64 ns [stop - first]."""


@dataclass(frozen=True, slots=True)
class OrderRules:
    """How targets become orders and orders fills.

    Attributes:
        position_limit: targets are clipped to this many lots either way; ``None``: not at all.
        no_trade_band: an order of at most this many lots is not sent.
        impact: c of the impact formula i = ceil(c x spread x filled / displayed), half ticks a lot.
        sessions: trading hours as [open, close) in ns, ascending; ``None``: always open.
        end: orders that would reach the venue later are cancelled, ns.
    """

    position_limit: int | None
    no_trade_band: int
    impact: Fraction
    sessions: Sequence[tuple[int, int]] | None
    end: int

    def clip(self, targets: Int64Array) -> Int64Array:
        """Targets within the position limit, int64 lots."""
        if self.position_limit is None:
            return targets
        limit = min(self.position_limit, int(np.iinfo(np.int64).max))
        return np.clip(targets, -limit, limit)


class Confirmation(NamedTuple):
    """What a strategy with ``on_fills`` learns of one of its fills.

    Attributes:
        symbol: index into the session's symbols.
        event: number of the event whose answer sent the order; -1: a limit closed a position.
        lots: signed, positive bought.
        half_ticks: price paid, impact included.
        arrived: when it was filled, ns.
        known: when its confirmation arrived, ns.
    """

    symbol: int
    event: int
    lots: int
    half_ticks: int
    arrived: int
    known: int
