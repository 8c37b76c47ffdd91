"""Parameters of the synthetic market, and what follows from them by arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import IntEnum, auto
from typing import TypeAlias

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import NDArray

from backtest.core.arrays import Int64Array
from backtest.core.parameters import Nanoseconds

Floats: TypeAlias = NDArray[np.float64]

SECOND = 1_000_000_000

TICK_SIZE = Decimal("0.01")
FEE_HALF_TICKS = 0.5
"""Fee of a lot, in half ticks."""

SPREAD_SPREAD = 0.5
"""Standard deviation of the logarithm of the spread, before it is rounded to ticks."""

PRICE_TIME = 3600.0
"""Time constant, s, with which a price reverts to its base; this keeps prices positive."""


class RandomStream(IntEnum):
    """What a generator of random numbers is for; each has a sequence of its own."""

    LOADINGS = auto()
    ARRIVALS = auto()
    PROCESSES = auto()
    QUOTES = auto()
    FEATURES = auto()


@dataclass(frozen=True)
class Market:
    """A market in which a short-lived alpha, seen through features, drives the mids.

    Attributes:
        seed: of everything that is drawn; the same seed gives the same bytes.
        symbols: how many, each with processes of its own.
        rate: events a second of one symbol, on average.
        branching: events that an event sets off itself, on average; below 1.
        child_delay: mean time until such an event.
        same_symbol: share of them that are the same symbol's; the others are any symbol's.
        half_life: in which the alpha falls to a half, on average.
        offset_half_life: the same of the slow offset that features add to the alpha.
        offset_variance: variance of the offset, the alpha's being 1.
        single_r2: R² of the best linear predictor of the alpha from one event's features.
        edge_to_cost: half ticks earned by one standard deviation of alpha over its life, over half
            the mean spread and the fee of a lot.
        noise: variance rate of what moves mids besides the alpha, over the alpha's own.
        spread: ticks, about the mean.
        depth: lots displayed at the touch, about the mean.
        features: how many.
        targets: how many columns; each is the alpha, in its standard deviations.
        feature_step: features are rounded to multiples of it; 0 keeps all digits.
        start: ts_event of the first events, about, int64 ns.
    """

    seed: int = 0
    symbols: int = 12
    rate: float = 7.5
    branching: float = 0.5
    child_delay: Nanoseconds = 20_000_000
    same_symbol: float = 0.25
    half_life: Nanoseconds = 300_000_000
    offset_half_life: Nanoseconds = 10 * SECOND
    offset_variance: float = 3.0
    single_r2: float = 0.21
    edge_to_cost: float = 8.0
    noise: float = 1.0
    spread: float = 2.0
    depth: float = 10.0
    features: int = 79
    targets: int = 4
    feature_step: float = 1 / 64
    start: int = 1_756_735_200 * SECOND

    def __post_init__(self) -> None:
        for name in ("symbols", "features"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("rate", "child_delay", "half_life", "offset_half_life", "spread", "depth"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(
                    f"{field.name} cannot be negative, but is {getattr(self, field.name)}"
                )
        if self.branching >= 1:
            raise ValueError(
                f"branching must be below 1, not {self.branching}: events would pile up"
            )
        if self.same_symbol > 1:
            raise ValueError(f"same_symbol is a share, at most 1, not {self.same_symbol}")
        if not 0 < self.single_r2 < 1 / (1 + self.offset_variance):
            raise ValueError(
                f"single_r2 must lie between 0 and {1 / (1 + self.offset_variance):g}, which is "
                f"what an offset of variance {self.offset_variance:g} leaves, not {self.single_r2}"
            )

    @property
    def life(self) -> float:
        """Seconds in which the alpha falls to 1/e: half-life / ln 2."""
        return self.half_life / SECOND / math.log(2)

    @property
    def offset_life(self) -> float:
        """The same of the offset."""
        return self.offset_half_life / SECOND / math.log(2)

    @property
    def observation_noise(self) -> float:
        """Variance of the noise in alpha + offset as the best linear mix of one event's features
        shows it: single R² = 1 / (1 + offset variance + noise)."""
        return 1 / self.single_r2 - 1 - self.offset_variance

    @property
    def mean_spread(self) -> float:
        """Mean of the spread max(1, round(spread · exp(s z - s²/2))) in ticks, z being normal."""
        s = SPREAD_SPREAD
        total, k = 1.0, 2
        while True:
            z = (math.log((k - 0.5) / self.spread) + s * s / 2) / s
            above = 0.5 * math.erfc(z / math.sqrt(2))
            if above < 1e-12:
                return total
            total, k = total + above, k + 1

    @property
    def cost(self) -> float:
        """Half ticks that a marketable lot costs: half the mean spread, and the fee."""
        return self.mean_spread + FEE_HALF_TICKS  # half of a spread in ticks, in half ticks

    @property
    def edge(self) -> float:
        """Half ticks that the mid moves by one standard deviation of alpha over its life."""
        return self.edge_to_cost * self.cost

    @property
    def alpha_variance_rate(self) -> float:
        """Half ticks² a second that the alpha adds to the mid's variance, over long times."""
        return 2 * self.edge**2 / self.life

    @property
    def base_ticks(self) -> int:
        """Where prices return to: ten standard deviations above 0, or 10,000 ticks."""
        variance = (1 + self.noise) * self.alpha_variance_rate * PRICE_TIME / 2
        return max(10_000, math.ceil(5 * math.sqrt(variance)))

    def random(self, stream: RandomStream, *numbers: int) -> Generator:
        """The generator of one purpose and one block: draws never depend on how much is asked."""
        return Generator(SFC64(SeedSequence([self.seed, stream, *numbers])))

    def parameters(self) -> Iterator[tuple[str, int | float]]:
        """Every parameter and its value."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    def loadings(self) -> Loadings:
        """How each feature is made, drawn from the seed."""
        return _loadings(self)


@dataclass(frozen=True, slots=True)
class Loadings:
    """How features show x = alpha + offset; e is noise of an event and a feature alone.

    Attributes:
        linear: a x + sqrt(1 - a² var x) e, with these a [L].
        squared: b (x² / var x - 1) / sqrt 2 + sqrt(1 - b²) e; uncorrelated with the alpha.
        gated: pairs w and a w x + sqrt(1 - a² var x) e, w being normal noise of the event: the
            product is uncorrelated with the alpha unless it is multiplied by w.
        useless: how many that are noise.
        order: the place of each feature above in the dataset, int [F].
    """

    linear: Floats
    squared: Floats
    gated: Floats
    useless: int
    order: Int64Array


def _loadings(market: Market) -> Loadings:
    random = market.random(RandomStream.LOADINGS)
    count = market.features
    squared = gated = count // 10
    linear = max(1, count * 3 // 5)
    shape = random.uniform(0.5, 1.5, count) * random.choice([-1.0, 1.0], count)
    variance = 1 + market.offset_variance
    scale = _scale(shape[:linear], variance, market.observation_noise)
    typical = scale * 1.5
    limit = 0.9 / math.sqrt(variance)
    others = np.clip(shape[linear:] * typical, -limit, limit)
    return Loadings(
        linear=shape[:linear] * scale,
        squared=others[:squared] * math.sqrt(variance),
        gated=others[squared : squared + gated],
        useless=count - linear - squared - 2 * gated,
        order=random.permutation(count),
    )


def _scale(shape: Floats, variance: float, noise: float) -> float:
    """The c for which features of loadings c·shape and variance 1 together leave this noise.

    Independent features a x + sqrt(1 - a² var x) e leave 1 / sum(a² / (1 - a² var x)).
    """
    low, high = 0.0, 1 / (np.abs(shape).max() * math.sqrt(variance))
    for _ in range(200):
        middle = (low + high) / 2
        a2 = (middle * shape) ** 2
        if np.sum(a2 / (1 - a2 * variance)) < 1 / noise:
            low = middle
        else:
            high = middle
    return low
