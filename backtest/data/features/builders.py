"""Feature builders: features as polars expressions over the past of one symbol's events.

A builder is causal: a row's features depend on that row and on rows before it, in bus order.
``look_ahead`` tries this by changing the future; ``backtest data features`` does so before it
writes anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.errors import PluginError
from backtest.market.events import NO_PRICE, EventBatch

if TYPE_CHECKING:
    import polars as pl

INPUTS = (
    "ts_event",
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "trade_price",
    "trade_size",
    "aggressor",
)
"""What an expression may read, all Int64: ns, ticks and lots; who initiated the trade: 1 the buyer,
-1 the seller, 0 unknown. Null where a side is absent, where the event is not a trade, and
throughout if the dataset has no such column."""

PriceUnit: TypeAlias = Literal["bp", "ticks"]
"""Differences of prices: in basis points of the mid, or in ticks of the instrument."""

_PRESENT_WITH = {
    "bid": "bid",
    "ask": "ask",
    "bid_size": "bid",
    "ask_size": "ask",
    "trade_price": "trade_price",
    "trade_size": "trade_price",
    "aggressor": "trade_price",
}


class FeatureBuilder(ABC):
    """Makes features of one symbol's past; subclass it as a dataclass of parameters."""

    @abstractmethod
    def expressions(self) -> list[pl.Expr]:
        """One named expression a feature, evaluated over all of one symbol's rows in bus order.

        The columns are those of ``INPUTS``. A row may read itself and the rows before it, never a
        later one, not even one with the same ``ts_event``: polars' rolling windows by time take
        those in. Null means "not known yet". Values become float32.

        Parameters belong in the names, so that a builder can be used twice.
        """


class FeatureSet:
    """Builders that are used together.

    Attributes:
        names: of the features, in the order of the builders.
        inputs: the columns of ``INPUTS`` that they read.

    Args:
        builders: by what they are called in messages.

    Raises:
        PluginError: two features have the same name, a name is empty or that of an input, an
            expression reads another column, or a builder makes none or fails.
    """

    def __init__(self, builders: Mapping[str, FeatureBuilder]) -> None:
        self.builders = dict(builders)
        owners: dict[str, str] = {}
        self.inputs: set[str] = set()
        for title, builder in self.builders.items():
            for name, roots in _outline(title, builder):
                if not name or name in INPUTS:
                    raise PluginError(f"a feature cannot be called {name!r}", place=_place(title))
                if name in owners:
                    raise PluginError(
                        f"the feature {name!r} is defined twice",
                        place=f"{_place(owners[name])} and {_place(title)}",
                        remedy="Leave one of them out, or change its parameters.",
                    )
                owners[name] = title
                self.inputs |= roots
        self.names = tuple(owners)

    def evaluate(self, frame: pl.DataFrame) -> Float32Array:
        """The features of one symbol's rows, float32 [n, F]; NaN where there is no value.

        Args:
            frame: the columns of ``INPUTS``, in bus order.

        Raises:
            PluginError: a builder fails, or does not give one value a row.
        """
        parts = [evaluate(title, builder, frame) for title, builder in self.builders.items()]
        return np.concatenate(parts, axis=1)


def evaluate(title: str, builder: FeatureBuilder, frame: pl.DataFrame) -> Float32Array:
    """One builder's features of one symbol's rows, as ``FeatureSet.evaluate``.

    Args:
        title: what the builder is called in messages.
    """
    import polars as pl

    try:
        made = frame.select(builder.expressions()).cast(pl.Float32)
    except BaseException as error:
        raise _failed(title, error) from error
    if made.height != frame.height:
        raise PluginError(
            f"it gives {made.height} values for {frame.height} events",
            place=_place(title),
            remedy="An expression must give one value per row.",
        )
    columns = [column.fill_null(float("nan")).to_numpy() for column in made]
    return np.stack(columns, axis=1)


def to_frame(batch: EventBatch) -> pl.DataFrame:
    """Events of one symbol as the columns of ``INPUTS``."""
    import polars as pl

    columns: dict[str, Any] = {name: getattr(batch, name) for name in INPUTS}
    n = len(batch)
    frame = pl.DataFrame(
        [
            pl.Series(name, np.zeros(n, np.int64) if values is None else values).cast(pl.Int64)
            for name, values in columns.items()
        ]
    )
    masked = []
    for name, marker in _PRESENT_WITH.items():
        absent = pl.col(marker) == NO_PRICE
        if columns[name] is None or columns[marker] is None:
            absent = pl.lit(True)
        masked.append(pl.when(absent).then(None).otherwise(pl.col(name)).alias(name))
    return frame.with_columns(masked)


def look_ahead(
    title: str, builder: FeatureBuilder, frame: pl.DataFrame, *, cuts: int = 5, seed: int = 0
) -> tuple[str, int] | None:
    """A feature that changes at or before a row when only later rows do.

    After each of ``cuts`` rows the future is cut off, and replaced by random events of which some
    share the row's instant. The features up to the row must stay the same, bit by bit. What looks
    further ahead than the frame is long, or at what random events never show, goes unnoticed.

    Args:
        title: what the builder is called in messages.
        frame: rows of one symbol, as ``to_frame`` gives them; at least 2.

    Returns:
        The feature's name and the first row that changed; ``None`` if none did.

    Raises:
        PluginError: the builder fails.
    """
    import polars as pl

    wanted = _bits(evaluate(title, builder, frame))
    names = [name for name, _ in _outline(title, builder)]
    for number, last in enumerate(np.linspace(0, frame.height - 2, cuts).astype(int).tolist()):
        past = frame.head(last + 1)
        future = random_events(
            frame.height - last - 1, seed=seed + number, start=frame["ts_event"][last]
        )
        for other in (past, pl.concat([past, future])):
            changed = _bits(evaluate(title, builder, other))[: last + 1] != wanted[: last + 1]
            if changed.any():
                row = int(np.argmax(changed.any(axis=1)))
                return names[int(np.argmax(changed[row]))], row
    return None


def check_causal(builders: Mapping[str, FeatureBuilder], frames: list[pl.DataFrame]) -> None:
    """Refuse builders that look ahead on any of the frames, or on random events.

    Raises:
        PluginError: naming the builder, the feature and the row.
    """
    for title, builder in builders.items():
        for frame in (*frames, random_events(600, seed=1, start=1_700_000_000_000_000_000)):
            found = look_ahead(title, builder, frame) if frame.height > 1 else None
            if found:
                raise PluginError(
                    f"it looks ahead: {found[0]!r} of row {found[1]} changes with later rows",
                    place=_place(title),
                    remedy="Read only a row and those before it: no negative shift, no total over"
                    " all rows, and no rolling window by time, which includes later rows of the"
                    " same instant.",
                )


def random_events(n: int, *, seed: int, start: int) -> pl.DataFrame:
    """Events of one made-up symbol: shared instants, one-sided and crossed quotes, trades.

    Args:
        start: ts_event of the first row, ns; many rows share the instant before theirs.
    """
    import polars as pl

    rng = np.random.default_rng(seed)
    gaps = np.where(rng.random(n) < 0.4, 0, rng.exponential(30e6, n)).astype(np.int64)
    gaps[:1] = 0
    bid = 10_000 + np.cumsum(rng.integers(-3, 4, n))
    columns = {
        "ts_event": start + np.cumsum(gaps),
        "bid": bid,
        "ask": bid + rng.integers(-1, 6, n),
        "bid_size": rng.integers(1, 500, n),
        "ask_size": rng.integers(1, 500, n),
        "trade_price": bid + rng.integers(-2, 5, n),
        "trade_size": rng.integers(1, 200, n),
    }
    present = {
        "bid": rng.random(n) < 0.95,
        "ask": rng.random(n) < 0.95,
        "trade_price": rng.random(n) < 0.3,
    }
    columns["aggressor"] = rng.integers(-1, 2, n)
    return pl.DataFrame(columns).with_columns(
        pl.when(pl.Series(present[marker])).then(pl.col(name)).alias(name)
        for name, marker in _PRESENT_WITH.items()
    )


def valid_quote() -> pl.Expr:
    """Rows with a two-sided, uncrossed quote."""
    import polars as pl

    return (pl.col("bid") <= pl.col("ask")).fill_null(False)


def standing(value: pl.Expr) -> pl.Expr:
    """A value of the prevailing quote: that of the last row with a valid one, this row included."""
    import polars as pl

    return pl.when(valid_quote()).then(value).forward_fill()


def mid() -> pl.Expr:
    """The prevailing mid, ticks."""
    import polars as pl

    return standing(pl.col("bid") + pl.col("ask")) / 2


def in_unit(ticks: pl.Expr, unit: PriceUnit, reference: pl.Expr) -> pl.Expr:
    """A difference of prices in a unit; basis points are of |``reference``|, unknown at 0."""
    if unit == "ticks":
        return ticks
    import polars as pl

    return pl.when(reference != 0).then(10_000 * ticks / reference.abs())


def at_least_before(value: pl.Expr, span: int) -> pl.Expr:
    """The value at the last row that is at least ``span`` ns older, ``span`` being above 0."""
    import polars as pl

    time = pl.col("ts_event")
    rows = time.search_sorted(time - span, side="right").cast(pl.Int64) - 1
    return pl.when(rows >= 0).then(value.gather(rows.clip(0)))


def _outline(title: str, builder: FeatureBuilder) -> list[tuple[str, set[str]]]:
    """Name and inputs of each of a builder's features."""
    try:
        found = [(e.meta.output_name(), set(e.meta.root_names())) for e in builder.expressions()]
    except BaseException as error:
        raise _failed(title, error) from error
    if not found:
        raise PluginError("it defines no feature", place=_place(title), remedy="Leave it out.")
    for name, roots in found:
        if roots - set(INPUTS):
            raise PluginError(
                f"{name!r} reads {', '.join(sorted(map(repr, roots - set(INPUTS))))}",
                place=_place(title),
                remedy=f"The inputs are {', '.join(INPUTS)}.",
            )
    return found


def _failed(title: str, error: BaseException) -> BaseException:
    # A polars panic is not an Exception; only an interrupt is passed on unchanged.
    if isinstance(error, KeyboardInterrupt):
        return error
    return PluginError(f"it fails: {type(error).__name__}: {error}", place=_place(title))


def _place(title: str) -> str:
    return f"feature builder {title!r}"


def _bits(values: Float32Array) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    """The bits of values, with every NaN the same."""
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)
