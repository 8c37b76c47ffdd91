"""What a run is asked to be: flags or a TOML file, checked at once and resolved to typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from backtest.core.parts import Kind
from backtest.core.times import parse_duration, parse_utc
from backtest.data.model_errors import problems
from backtest.errors import UsageError

_COUNT = re.compile(r"-?[0-9]{1,25}")


def parse_instant(value: Any) -> Any:
    """Nanoseconds UTC from text in ISO 8601, a TOML date-time, or a count of nanoseconds.

    Raises:
        ValueError: text that is no instant in UTC, or a date-time without a time zone.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; add Z for UTC")
        try:
            value = value.astimezone(UTC).isoformat()
        except OverflowError:
            raise ValueError(f"{value.isoformat()} is outside the years 1678 to 2262") from None
    if isinstance(value, str):
        return int(value) if _COUNT.fullmatch(value) else parse_utc(value)
    return value


def _span(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


_MOST = 2**63 - 1

Instant = Annotated[int, BeforeValidator(parse_instant), Field(ge=-_MOST, le=_MOST)]
Span = Annotated[int, BeforeValidator(_span), Field(ge=0, le=_MOST)]
Part = str | dict[str, Any]
"""A component: ``NAME:VALUE,...`` (see ``backtest.core.grammar``) or a table with ``name``."""


def _named(part: Part) -> Part:
    if isinstance(part, dict) and "name" not in part:
        raise ValueError("a component's table needs a name")
    return part


Component = Annotated[Part, AfterValidator(_named)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Window(_Table):
    """Events with start <= ts_event < end; by default all of the dataset."""

    start: Instant | None = None
    end: Instant | None = None


class Latency(_Table):
    """Where time is lost. ``feed`` is ``recorded`` by default if the dataset has receipts.

    ``cancel`` and ``replace`` are of such messages, where orders rest; by default as ``entry``,
    with draws of their own.
    """

    service: Component
    feed: Component | None = None
    entry: Component = "constant:0ns"
    cancel: Component | None = None
    replace: Component | None = None
    response: Component = "constant:0ns"
    scale: float = Field(default=1.0, ge=0)


class Server(_Table):
    """Bounds of the simulated server."""

    line_limit: int = Field(default=100, ge=1, le=_MOST)
    max_batch: int | None = Field(default=None, ge=1, le=_MOST)
    max_age: Span | None = None


class Training(_Table):
    """What the strategy is trained on first: events with start <= ts_event < end.

    It is trained if ``end`` is given. Targets of events less than ``purge`` before the end, which
    may reach beyond it, are not learnt from.
    """

    start: Instant | None = None
    end: Instant | None = None
    purge: Span = 0


class Fills(_Table):
    """What no data tell of how resting orders fill, as in ``trading.order_terms.FillRules``."""

    queue: Component = "trades"
    through: Literal["volume", "full"] = "volume"
    cross: Literal["none", "displayed", "full"] = "displayed"
    inside: Literal["none", "both"] = "none"
    pairing: Span = 0
    self_trade: Literal["cancel-resting", "reject"] = "cancel-resting"


Lots = Annotated[int, Field(ge=0, le=_MOST)]
Amount = Annotated[float, Field(ge=0, le=1e18)]


class GroupLimits(_Table):
    """The most that some symbols may have at stake together, in currency."""

    symbols: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    gross: Amount | None = None
    net: Amount | None = None


class Limits(_Table):
    """What the venue holds the account to, in the worst case; unset: nothing.

    ``position`` is in lots of each symbol and ``gross_by_symbol`` in currency, for all alike or by
    name; ``gross`` and ``net`` are of the whole account, those of ``groups`` of the symbols in
    each. ``daily_loss`` and ``drawdown``, in currency, end trading for the day and for good.
    """

    position: Lots | dict[str, Lots] | None = None
    gross: Amount | None = None
    net: Amount | None = None
    gross_by_symbol: Amount | dict[str, Amount] | None = None
    groups: dict[str, GroupLimits] = {}
    orders_per_second: int | None = Field(default=None, ge=1, le=1_000_000)
    daily_loss: Annotated[float, Field(gt=0, le=1e18)] | None = None
    drawdown: Annotated[float, Field(gt=0, le=1e18)] | None = None


class RunConfig(_Table):
    """One run: everything that determines its result.

    ``symbols`` are those wanted (``None``: all); ``warmup`` counts events; ``limit`` keeps the
    first events of the window only (the run is partial); ``undropped`` also answers every event,
    for agreement and the ideal PnL; ``nonfinite`` refuses NaN and infinity among features, or sets
    them to 0 and counts them. With ``quoting`` orders rest, as ``fills`` says, and ``sizing`` is
    not used. ``limits`` hold either way.
    """

    dataset: str
    strategy: Component
    latency: Latency
    policy: Component = "all"
    accountant: Component = "market"
    sizing: Component = "sign"
    quoting: Component | None = None
    fills: Fills = Fills()
    limits: Limits = Limits()
    window: Window = Window()
    training: Training = Training()
    symbols: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    server: Server = Server()
    seed: int = Field(default=0, ge=0)
    warmup: int = Field(default=0, ge=0, le=_MOST)
    limit: int | None = Field(default=None, ge=1, le=_MOST)
    device: str = "cpu"
    capacity: int | None = Field(default=None, ge=1, le=_MOST)
    undropped: bool = True
    nonfinite: Literal["refuse", "zero"] = "refuse"


PARTS: dict[str, Kind] = {
    "strategy": "strategy",
    "policy": "batching policy",
    "accountant": "accountant",
    "sizing": "sizing rule",
    "quoting": "quoting rule",
    "fills.queue": "queue model",
    "latency.service": "latency model",
    "latency.feed": "latency model",
    "latency.entry": "latency model",
    "latency.cancel": "latency model",
    "latency.replace": "latency model",
    "latency.response": "latency model",
}
"""The settings that ask for a part, and for which kind."""

EXAMPLES = {
    "dataset": "give for example --dataset sample",
    "strategy": "give for example --strategy batched",
    "latency": "say how long an answer takes, for example --service affine:35.8ms,0.5ms",
    "latency.service": "say how long an answer takes, for example --service affine:35.8ms,0.5ms",
}
"""What to write for required settings."""


def parse_config(table: Mapping[str, Any], *, place: str) -> RunConfig:
    """A checked configuration.

    Raises:
        UsageError: with every problem of the table at once, each with its key.
    """
    try:
        return RunConfig.model_validate(dict(table))
    except ValidationError as error:
        raise UsageError(
            "; ".join(problems(error, RunConfig, table, examples=EXAMPLES)),
            place=place,
            remedy="`backtest run --help` explains every setting.",
        ) from None
