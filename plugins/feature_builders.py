"""The feature builders that come with the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from backtest.core.parameters import Nanoseconds
from backtest.core.times import format_duration
from backtest.data.features.builders import (
    FeatureBuilder,
    PriceUnit,
    at_least_before,
    in_unit,
    mid,
    standing,
)
from backtest.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Returns(FeatureBuilder):
    """Change of the mid over each number of the symbol's events in ``lags``."""

    lags: tuple[int, ...] = (1, 10, 100)
    unit: PriceUnit = "bp"

    def __post_init__(self) -> None:
        _positive(lags=min(self.lags))

    def expressions(self) -> list[pl.Expr]:
        return [
            in_unit(mid() - mid().shift(lag), self.unit, mid().shift(lag)).alias(
                f"return_{lag}_{self.unit}"
            )
            for lag in self.lags
        ]


@dataclass(frozen=True)
class ReturnsOver(FeatureBuilder):
    """Change of the mid over fixed spans of time."""

    spans: tuple[Nanoseconds, ...] = (100_000_000, 1_000_000_000, 10_000_000_000)
    unit: PriceUnit = "bp"

    def __post_init__(self) -> None:
        _positive(spans=min(self.spans))

    def expressions(self) -> list[pl.Expr]:
        made = []
        for span in self.spans:
            before = at_least_before(mid(), span)
            change = in_unit(mid() - before, self.unit, before)
            made.append(change.alias(f"return_{format_duration(span)}_{self.unit}"))
        return made


@dataclass(frozen=True)
class Spread(FeatureBuilder):
    """Ask minus bid of the prevailing quote."""

    unit: PriceUnit = "bp"

    def expressions(self) -> list[pl.Expr]:
        return [in_unit(_spread(), self.unit, mid()).alias(f"spread_{self.unit}")]


@dataclass(frozen=True)
class Imbalance(FeatureBuilder):
    """(bid size - ask size) / (bid size + ask size) of the prevailing quote, -1 to 1."""

    def expressions(self) -> list[pl.Expr]:
        return [_imbalance().alias("imbalance")]


@dataclass(frozen=True)
class Microprice(FeatureBuilder):
    """Microprice minus mid: the mid weighted by the sizes of the opposite sides."""

    unit: PriceUnit = "bp"

    def expressions(self) -> list[pl.Expr]:
        # (bid * ask_size + ask * bid_size) / (bid_size + ask_size) - mid = imbalance * spread / 2
        offset = _imbalance() * _spread() / 2
        return [in_unit(offset, self.unit, mid()).alias(f"microprice_{self.unit}")]


@dataclass(frozen=True)
class Volatility(FeatureBuilder):
    """Root of the exponentially weighted mean square of the mid's change from event to event."""

    half_lives: tuple[int, ...] = (100,)
    unit: PriceUnit = "bp"

    def __post_init__(self) -> None:
        _positive(half_lives=min(self.half_lives))

    def expressions(self) -> list[pl.Expr]:
        change = in_unit(mid() - mid().shift(1), self.unit, mid().shift(1))
        return [
            _smoothed(change**2, half_life).sqrt().alias(f"volatility_{half_life}_{self.unit}")
            for half_life in self.half_lives
        ]


@dataclass(frozen=True)
class TimeSince(FeatureBuilder):
    """ln(1 + time / scale) since the symbol's last event, change of mid, or trade before this."""

    of: tuple[Literal["event", "mid", "trade"], ...] = ("event",)
    scale: Nanoseconds = 1_000_000

    def __post_init__(self) -> None:
        _positive(scale=self.scale)

    def expressions(self) -> list[pl.Expr]:
        import polars as pl

        time = pl.col("ts_event")
        happened = {
            "event": pl.lit(True),
            "mid": mid() != mid().shift(1),
            "trade": pl.col("trade_price").is_not_null(),
        }
        return [
            ((time - pl.when(happened[what]).then(time).forward_fill().shift(1)) / self.scale)
            .log1p()
            .alias(f"since_{what}")
            for what in self.of
        ]


@dataclass(frozen=True)
class TradeSign(FeatureBuilder):
    """1 for a buyer-initiated trade, -1 for a seller-initiated one, 0 for neither or no trade.

    The side is that of the price against the mid that stood before the event (Lee and Ready, 1991,
    without their rule for trades at the mid).
    """

    def expressions(self) -> list[pl.Expr]:
        return [_sign().fill_null(0).alias("trade_sign")]


@dataclass(frozen=True)
class TradeFlow(FeatureBuilder):
    """Bought minus sold volume over traded volume, exponentially weighted by event, -1 to 1."""

    half_lives: tuple[int, ...] = (100,)

    def __post_init__(self) -> None:
        _positive(half_lives=min(self.half_lives))

    def expressions(self) -> list[pl.Expr]:
        import polars as pl

        volume = pl.col("trade_size").fill_null(0)
        signed = (pl.col("trade_size") * _sign()).fill_null(0)
        return [
            _ratio(_smoothed(signed, h), _smoothed(volume, h)).alias(f"trade_flow_{h}")
            for h in self.half_lives
        ]


@dataclass(frozen=True)
class OrderFlow(FeatureBuilder):
    """Order flow imbalance over displayed size, exponentially weighted by event.

    An event's flow is the size that it adds to the bid side less what it adds to the ask side: of
    a side whose price improved all of it, of one that worsened minus all that stood there before
    (Cont, Kukanov and Stoikov, 2014, equation 10).
    """

    half_lives: tuple[int, ...] = (100,)

    def __post_init__(self) -> None:
        _positive(half_lives=min(self.half_lives))

    def expressions(self) -> list[pl.Expr]:
        import polars as pl

        def added(side: str, better: int) -> pl.Expr:
            price, size = standing(pl.col(side)), standing(pl.col(f"{side}_size"))
            step = better * (price - price.shift(1))
            return size * (step >= 0) - size.shift(1) * (step <= 0)

        flow = added("bid", 1) - added("ask", -1)
        shown = pl.when(flow.is_not_null()).then(standing(pl.col("bid_size") + pl.col("ask_size")))
        return [
            _ratio(_smoothed(flow, h), _smoothed(shown, h)).alias(f"order_flow_{h}")
            for h in self.half_lives
        ]


@hookimpl
def backtest_register_feature_builders(
    register: Callable[[str, type[FeatureBuilder]], None],
) -> None:
    register("returns", Returns)
    register("returns-over", ReturnsOver)
    register("spread", Spread)
    register("imbalance", Imbalance)
    register("microprice", Microprice)
    register("volatility", Volatility)
    register("time-since", TimeSince)
    register("trade-sign", TradeSign)
    register("trade-flow", TradeFlow)
    register("order-flow", OrderFlow)


def _spread() -> pl.Expr:
    import polars as pl

    return standing(pl.col("ask") - pl.col("bid"))


def _imbalance() -> pl.Expr:
    import polars as pl

    bid, ask = pl.col("bid_size"), pl.col("ask_size")
    return standing(_ratio(bid - ask, bid + ask))


def _sign() -> pl.Expr:
    """The side of a trade; null where there is none, or no mid was known before it."""
    import polars as pl

    return (pl.col("trade_price") - mid().shift(1)).sign()


def _smoothed(value: pl.Expr, half_life: int) -> pl.Expr:
    """The exponentially weighted mean of what is known of a value; null where it is not."""
    import polars as pl

    number = value.cast(float)
    # One NaN or infinity would stay in the mean for good.
    known = pl.when(number.is_finite()).then(number)
    return known.ewm_mean(half_life=half_life, adjust=True, ignore_nulls=True)


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole``, 0 where ``whole`` is 0."""
    import polars as pl

    return pl.when(whole == 0).then(0.0).otherwise(part / whole)


def _positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be above 0, not {value}")
