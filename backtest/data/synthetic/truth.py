"""What the best linear predictor of the alpha can know: the truth that the card states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.synthetic.arrivals import ArrivalBlock
from backtest.data.synthetic.market import SECOND, Market


def truth(market: Market, events: ArrivalBlock) -> dict[str, Any]:
    """Figures for the card: single-event and full-history R², the edge and the cost to compare.

    Args:
        market: the market.
        events: its first events, whose times represent all.
    """
    return {
        "single_event_r2": market.single_r2,
        "full_history_r2": round(full_history_r2(market, events), 4),
        "edge_to_cost": market.edge_to_cost,
        "edge_half_ticks": round(market.edge, 6),
        "mean_spread_ticks": round(market.mean_spread, 6),
        "cost_half_ticks": round(market.cost, 6),
    }


def full_history_r2(market: Market, events: ArrivalBlock) -> float:
    """R² of the Kalman filter that knows the market's parameters and the times of all events.

    Its error covariance follows from a symbol's event times alone (Kalman 1960), so it is computed,
    not estimated: 1 - mean variance of the alpha given its symbol's events so far. The first tenth
    of a symbol's events, while the offset is still unknown, is left out.
    """
    by_symbol = np.argsort(events.symbol, kind="stable")
    cuts = np.flatnonzero(np.diff(events.symbol[by_symbol])) + 1
    left = []
    for ts in np.split(events.ts[by_symbol], cuts):
        errors = _error_variances(market, ts)
        left += errors[len(errors) // 10 :]
    return 1 - sum(left) / len(left)


def _error_variances(market: Market, ts: Int64Array) -> list[float]:
    """Variance of the alpha after each event of one symbol, given all up to it."""
    noise, slow = market.observation_noise, market.offset_variance
    aa, ao, oo = 1.0, 0.0, slow
    found = []
    for span in (np.diff(ts, prepend=ts[0]) / SECOND).tolist():
        ra, ro = math.exp(-span / market.life), math.exp(-span / market.offset_life)
        aa, ao, oo = ra * ra * (aa - 1) + 1, ra * ro * ao, ro * ro * (oo - slow) + slow
        a, o = aa + ao, ao + oo
        seen = a + o + noise
        aa, ao, oo = aa - a * a / seen, ao - a * o / seen, oo - o * o / seen
        found.append(aa)
    return found
