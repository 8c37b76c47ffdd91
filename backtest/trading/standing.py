"""How long own orders stood at the touch, behind it and better than it, and with how many lots."""

from __future__ import annotations

from typing import Any

from backtest.core.arrays import Int64Array
from backtest.trading import order_layout as ol

_DIGIT = 1 << 31
"""Base in which sums of lots x ns are kept, as ``standing_loops`` has it."""


def standing_figures(standing: Int64Array, symbols: int, open_ns: int) -> dict[str, Any]:
    """Shares of the open time in which an own order stood where, by side and of both.

    Args:
        standing: as ``order_layout`` has it, int64 [S, 2, STANDING_SIZE]; no order works any more.
        symbols: how many are tradable.
        open_ns: open time of the window, ns.

    Returns:
        By ``buy``, ``sell`` and ``total``: the shares ``at``, ``behind``, ``better`` and ``none``,
        means over the tradable symbols, which add up to 1 (``None`` where the market is never
        open), and ``lot_ns``, the sum of open lots x ns over all symbols; and ``open_ns``.
    """
    sums = standing.astype(object).sum(axis=0)  # of many symbols they may not fit 64 bits
    spans, digits = sums[:, ol.S_TIMES : ol.S_SUM].tolist(), sums[:, ol.S_SUM :].tolist()
    lots = [sum(digit * _DIGIT**k for k, digit in enumerate(of)) for of in digits]
    whole = symbols * open_ns
    return {
        "open_ns": open_ns,
        "buy": _side(spans[0], whole, lots[0]),
        "sell": _side(spans[1], whole, lots[1]),
        "total": _side([sum(of) for of in zip(*spans, strict=True)], 2 * whole, sum(lots)),
    }


def _side(spans: list[int], whole: int, lot_ns: int) -> dict[str, Any]:
    times = [*spans, whole - sum(spans)]
    names = ("at", "behind", "better", "none")
    shares = (time / whole if whole else None for time in times)
    return {**dict(zip(names, shares, strict=True)), "lot_ns": lot_ns}
