"""What is fixed before orders rest: how they are placed and filled, and how long messages take."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.errors import UsageError
from backtest.market.order_codes import POST_ONLY
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.order_list import OrderList
from backtest.trading.orders import Latency
from backtest.trading.queue_models import QueueModel
from backtest.trading.quoting import QuotingRule

_FINEST_SKEW = 10**6


@dataclass(frozen=True, slots=True)
class FillRules:
    """What no data tell of how resting orders fill; the defaults are pessimistic.

    Attributes:
        queue: the model of the queue at an order's price.
        through_fill: what a print through an order's price fills of it: no more than it traded
            (``volume``), or all (``full``).
        cross: what a quote of the other side at an order's price or through it fills, if nobody
            printed: what that side displays more (``displayed``), all (``full``) or ``none``.
        inside: who initiated a print between bid and ask: nobody knows, so ``none`` of the own
            orders is filled by it, or those of ``both`` sides.
        pairing: how long a print may come after the quote that it caused, ns.
        self_trade: an order that meets own ones cancels those first, or is rejected.
    """

    queue: QueueModel
    through_fill: Literal["volume", "full"] = "volume"
    cross: Literal["none", "displayed", "full"] = "displayed"
    inside: Literal["none", "both"] = "none"
    pairing: int = 0
    self_trade: Literal["cancel-resting", "reject"] = "cancel-resting"


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """Orders that rest, and where they come from.

    Attributes:
        fills: how they fill.
        cancel, replace: latency of such messages.
        quoting: makes quotes of predictions; or
        listed: messages that are sent as they are.
        listed_latency: entry, cancel, replace and response latency of each of these, scaled ns
            [n, 4]; or
        decided: a strategy sends its own messages, batch by batch.
    """

    fills: FillRules
    cancel: Latency
    replace: Latency
    quoting: QuotingRule | None = None
    listed: OrderList | None = None
    listed_latency: Int64Array | None = None
    decided: bool = False

    @property
    def needs_depth(self) -> bool:
        """Whether depth, where there is some, tells how orders fill: what stands before those that
        rest, or what levels there are for those that take."""
        if self.fills.queue.needs_sizes:
            return True
        if self.quoting is not None:
            return self.quoting.post_only == "no"
        return self.listed is None or bool((self.listed.post_only == ol.MAY_TAKE).any())

    def rule_table(self, position_limit: int | None) -> Int64Array:
        """What is fixed for all symbols, int64 [ORDER_RULES].

        Raises:
            UsageError: the skew has too many digits to count with.
        """
        fills, rule = self.fills, self.quoting
        table = np.zeros(ol.ORDER_RULES, dtype=np.int64)
        table[ol.MODEL] = fills.queue.number
        table[ol.THROUGH_FULL] = fills.through_fill == "full"
        table[ol.CROSS] = ("none", "displayed", "full").index(fills.cross)
        table[ol.INSIDE_BOTH] = fills.inside == "both"
        table[ol.PAIRING] = min(fills.pairing, at.LATEST // 4)
        table[ol.REJECT_SELF_TRADE] = fills.self_trade == "reject"
        limit = at.MOST_LOTS if position_limit is None else min(position_limit, at.MOST_LOTS)
        table[ol.POSITION_LIMIT] = limit
        table[ol.SKEW_UNDER] = 1
        if rule is not None:
            skew = Fraction(str(rule.skew))
            if skew.denominator > _FINEST_SKEW or abs(skew) > _FINEST_SKEW:
                raise UsageError(
                    f"skew is {rule.skew:g}, which has too many digits",
                    place=f"quoting rule {type(rule).__name__}",
                    remedy="Give it with six decimals at most.",
                )
            table[ol.SKEW], table[ol.SKEW_UNDER] = skew.numerator, skew.denominator
            table[ol.REQUOTE_BAND], table[ol.RESIZE_BAND] = rule.requote_band, rule.resize_band
            table[ol.MIN_INTERVAL] = min(rule.min_interval, at.LATEST // 4)
            table[ol.POST_ONLY] = POST_ONLY[rule.post_only]
        return table
