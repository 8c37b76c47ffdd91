"""Processes of every symbol, at its events: x' = decay · x + shock, all symbols in one pass."""

from __future__ import annotations

import math

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.data.synthetic.arrivals import ArrivalBlock
from backtest.data.synthetic.market import PRICE_TIME, SECOND, Floats, Market, RandomStream

_FORGOTTEN = 1e-12
"""A weight of the past below which it is left out."""

_VOLATILITY_TIME, _SPREAD_TIME, _DEPTH_TIME = 60.0, 5.0, 30.0
"""Seconds in which the factors of volatility, spread and depth fall to 1/e of their deviation."""

_VOLATILITY_SPREAD = 0.4
"""Standard deviation of the logarithm of volatility."""


class Processes:
    """Stationary processes of each symbol, continued from block to block.

    Ornstein-Uhlenbeck processes sampled at irregular times are exact: over a span d the decay is
    exp(-d / life) and the shock's variance 1 - decay² of the stationary one.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._lives = (
            market.life,
            market.offset_life,
            _VOLATILITY_TIME,
            _SPREAD_TIME,
            _DEPTH_TIME,
        )
        self._last_ts = np.full(market.symbols, -np.inf)
        self._last = np.zeros((len(self._lives) + 1, market.symbols))

    def step(self, events: ArrivalBlock) -> dict[str, Floats]:
        """The processes at a block's events, in their order, [n] each.

        ``alpha`` (unit variance), ``offset`` (its own), ``spread`` and ``depth`` (unit variance,
        factors of the quotes), ``price`` (half ticks: the doubled mid's distance from its base).
        """
        market = self._market
        order = np.argsort(events.symbol, kind="stable")
        owner = events.symbol[order]
        first = np.append(True, owner[1:] != owner[:-1])
        ts = (events.ts[order] - market.start) / SECOND
        span = ts - _previous(ts, self._last_ts[owner], first)  # infinite at a symbol's very first
        random = market.random(RandomStream.PROCESSES, events.block)
        shocks = random.standard_normal((len(self._lives) + 1, len(ts)))

        paths = []
        for k, life in enumerate(self._lives):
            decay = np.exp(-span / life)
            shock = np.sqrt(-np.expm1(-2 * span / life)) * shocks[k]
            paths.append(_recursion(decay, shock, self._last[k, owner], first))
        alpha, offset, volatility, spread, depth = paths
        before = _previous(alpha, self._last[0, owner], first)
        moves = self._moves(span, alpha, before, volatility, shocks[-1])
        decay = np.exp(-span / PRICE_TIME)
        price = _recursion(decay, moves, self._last[-1, owner], first)

        last = np.append(first[1:], True)
        self._last_ts[owner[last]] = ts[last]
        self._last[:, owner[last]] = np.stack([*paths, price])[:, last]
        named = {
            "alpha": alpha,
            "offset": math.sqrt(market.offset_variance) * offset,
            "spread": spread,
            "depth": depth,
            "price": price,
        }
        return {name: _in_order(path, order) for name, path in named.items()}

    def _moves(
        self, span: Floats, alpha: Floats, before: Floats, volatility: Floats, shock: Floats
    ) -> Floats:
        """Half ticks that the doubled mid moves over each span, 0 at a symbol's first event.

        The integral of the alpha between two of its values has mean life·tanh(d / 2 life) times
        their sum and variance 2 life (d - 2 life tanh(d / 2 life)), as a bridge.
        """
        market = self._market
        rate, life = market.edge / market.life, market.life
        seen = np.isfinite(span)
        d = np.where(seen, span, 0.0)
        tanh = np.tanh(d / (2 * life))
        bridge = np.maximum(2 * life * (d - 2 * life * tanh), 0.0) * rate**2
        s = _VOLATILITY_SPREAD
        diffusion = market.noise * market.alpha_variance_rate * d
        diffusion *= np.exp(2 * s * volatility - 2 * s * s)  # mean 1
        return rate * life * tanh * (before + alpha) + np.sqrt(bridge + diffusion) * shock


def _previous(values: Floats, carried: Floats, first: BoolArray) -> Floats:
    """Each row's predecessor of the same symbol, carried over from the last block at the first."""
    return np.where(first, carried, np.append(0.0, values[:-1]))


def _recursion(decay: Floats, shock: Floats, carried: Floats, first: BoolArray) -> Floats:
    """x[i] = decay[i] x[i-1] + shock[i] of each symbol, its rows together, by doubling.

    After a pass with reach k a row holds its last 2k shocks, decayed; Hillis and Steele (1986).
    """
    x = np.where(first, decay * carried + shock, shock)
    weight = np.where(first, 0.0, decay)
    reach = 1
    while reach < len(x) and weight.max() > _FORGOTTEN:
        x[reach:] += weight[reach:] * x[:-reach]
        weight[reach:] *= weight[:-reach]
        weight[:reach] = 0.0
        reach *= 2
    return x


def _in_order(path: Floats, order: Int64Array) -> Floats:
    found = np.empty_like(path)
    found[order] = path
    return found
