"""What a run is asked to be: flags or a TOML file, checked at once and resolved to typed values."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from backtest.components import parse_duration
from backtest.data.times import parse_utc
from backtest.errors import UsageError


def parse_instant(value: Any) -> Any:
    """Nanoseconds UTC from text in ISO 8601, a TOML date-time, or a count of nanoseconds.

    Raises:
        ValueError: text that is no instant in UTC, or a date-time without a time zone.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; add Z for UTC")
        value = value.astimezone(UTC).isoformat()
    if isinstance(value, str):
        return int(value) if value.removeprefix("-").isdigit() else parse_utc(value)
    return value


def _span(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Instant = Annotated[int, BeforeValidator(parse_instant)]
Span = Annotated[int, BeforeValidator(_span), Field(ge=0)]
Part = str | dict[str, Any]
"""A component: ``NAME:VALUE,...`` or a table with ``name``; see ``backtest.components``."""


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
    """Where time is lost. ``feed`` is ``recorded`` by default if the dataset has receipts."""

    service: Component
    feed: Component | None = None
    entry: Component = "constant:0ns"
    response: Component = "constant:0ns"
    scale: float = Field(default=1.0, ge=0)


class Server(_Table):
    """Bounds of the simulated server."""

    line_limit: int = Field(default=100, ge=1)
    max_batch: int | None = Field(default=None, ge=1)
    max_age: Span | None = None


class RunConfig(_Table):
    """One run: everything that determines its result.

    ``symbols`` are those wanted (``None``: all); ``warmup`` counts events; ``limit`` keeps the
    first events of the window only (the run is partial); ``undropped`` also answers every event,
    for accuracy and the ideal PnL; ``nonfinite`` refuses NaN and infinity among features, or sets
    them to 0 and counts them.
    """

    dataset: str
    strategy: Component
    latency: Latency
    policy: Component = "all"
    accountant: Component = "market"
    sizing: Component = "sign"
    window: Window = Window()
    symbols: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    server: Server = Server()
    seed: int = Field(default=0, ge=0)
    warmup: int = Field(default=0, ge=0)
    limit: int | None = Field(default=None, ge=1)
    device: str = "cpu"
    capacity: int | None = Field(default=None, ge=1)
    undropped: bool = True
    nonfinite: Literal["refuse", "zero"] = "refuse"


_EXAMPLES = {
    "dataset": "give for example --dataset sample",
    "strategy": "give for example --strategy batched",
    "latency": "say how long an answer takes, for example --service affine:35.8ms,0.5ms",
    "latency.service": "say how long an answer takes, for example --service affine:35.8ms,0.5ms",
}


def parse_config(table: Mapping[str, Any], *, place: str) -> RunConfig:
    """A checked configuration.

    Raises:
        UsageError: with every problem of the table at once, each with its key.
    """
    try:
        return RunConfig.model_validate(dict(table))
    except ValidationError as error:
        problems = []
        for item in error.errors():
            key = ".".join(
                str(part) for part in item["loc"] if part not in ("str", "dict[str,any]")
            )
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "missing":
                message = f"missing; {_EXAMPLES[key]}"
            problems.append(f"{key}: {message}")
        raise UsageError(
            "; ".join(dict.fromkeys(problems)),
            place=place,
            remedy="`backtest run --help` explains every setting.",
        ) from None


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: no such file, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", place=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"is not TOML: {error}", place=str(path)) from None


def override(table: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The table with ``KEY.SUBKEY=VALUE`` settings put in; a component's text becomes a table.

    Raises:
        UsageError: a setting without ``=``, or a key below something that is no table.
    """
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not path.strip():
            raise UsageError(
                f"{setting!r} is no setting", place="--set", remedy="Write KEY=VALUE, as in seed=1."
            )
        *parents, key = (part.strip() for part in path.split("."))
        at = table
        for parent in parents:
            inner = at.get(parent, {})
            if isinstance(inner, str):
                inner = _spec_table(inner)
            if not isinstance(inner, dict):
                raise UsageError(f"{parent!r} has no keys of its own", place=f"--set {setting}")
            at[parent] = inner = dict(inner)
            at = inner
        at[key] = _plain(value.strip())
    return table


def _spec_table(text: str) -> dict[str, Any]:
    """A component's text as a table, so that one of its parameters can be overridden."""
    name, _, rest = text.partition(":")
    table: dict[str, Any] = {"name": name}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(
                f"{text!r} has parameters without names",
                place="--set",
                remedy=f"Name them ({name}:KEY=VALUE,...) to override one.",
            )
        table[key.strip()] = value.strip()
    return table


def _plain(text: str) -> Any:
    """A setting's text as TOML would read it, or as text where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
