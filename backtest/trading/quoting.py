"""Quoting rules: from predictions to the bid and the ask that should work."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import RunError
from backtest.market.quotes import Quotes
from backtest.trading.layout import SILENT

KEEP = SILENT
"""An offset or a number of lots: this side stays as it is."""

_MOST = 2**53


class QuotingRule(ABC):
    """From predictions to quotes. The venue compares what is wanted with what works.

    A subclass is a frozen dataclass of parameters. It may replace the class attributes below, also
    by parameters of the same name.

    Attributes:
        skew: half ticks by which a lot that is held moves both prices down.
        requote_band: a price is left as it is if it is wrong by this many ticks at most.
        resize_band: a size is left as it is if it is wrong by this many lots at most.
        min_interval: between two messages of one side, ns.
        post_only: what becomes of an order that would take: ``reject``, ``slide`` (one tick off
            the touch) or ``no`` (it takes).
    """

    skew: float = 0.0
    requote_band: int = 0
    resize_band: int = 0
    min_interval: int = 0
    post_only: str = "reject"

    @abstractmethod
    def quote(self, predictions: Float32Array, quotes: Quotes) -> Int64Array:
        """The bid and the ask that should work after each event.

        Args:
            predictions: float32 [n, outputs].
            quotes: the symbol's quote standing at each event [n].

        Returns:
            Bid offset, bid lots, ask offset, ask lots, int64 [n, 4]. Offsets are half ticks from
            the mid, away from it if positive; 0 lots withdraw a side; ``KEEP`` leaves it.
        """


def wanted_quotes(rule: QuotingRule, predictions: Float32Array, quotes: Quotes) -> Int64Array:
    """What a quoting rule makes of predictions [n, outputs], int64 [n, 4].

    Raises:
        RunError: it gave something else than whole numbers, or more than any market has.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = np.asarray(rule.quote(predictions, quotes))
    place = f"quoting rule {type(rule).__name__}"
    if wanted.shape != (len(predictions), 4) or wanted.dtype.kind != "i":
        raise RunError(
            f"it gave {wanted.dtype} {list(wanted.shape)}, not whole numbers "
            f"[{len(predictions)}, 4]",
            place=place,
        )
    wanted = wanted.astype(np.int64, copy=False)
    kept = wanted == KEEP
    least = np.array([-_MOST, 0, -_MOST, 0])
    wrong = ~kept & ((wanted < least) | (wanted > _MOST))
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        name = ("bid offset", "bid lots", "ask offset", "ask lots")[column]
        raise RunError(
            f"it wants {name} of {wanted[row, column]}",
            place=place,
            remedy="Offsets are half ticks, 2^53 at most either way, and lots 0 to 2^53; KEEP "
            "leaves a side as it is.",
        )
    return np.require(wanted, requirements=["C"])
