"""What readers rely on in a run's ``manifest.json`` and ``metrics.json``, checked as they are read.

Both may hold more than is named here: accountants add figures of their own.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from backtest.core.json_text import read_json_table
from backtest.core.text import first_of, suggested_path
from backtest.core.zones import known_zone
from backtest.errors import DataError
from backtest.runs.record_types import (
    Count,
    Digest,
    Figure,
    Instant,
    Length,
    Number,
    Sessions,
    Table,
    Unit,
)

_REMEDY = "Name the folder of a finished run, or run it again with --no-reuse."
_OLDER = "Run it again with --no-reuse, or remove its folder."


class _Loop(Table):
    kind: str
    why: str | None = None


class _Labels(Table):
    strategy: str
    policy: str
    service: str
    feed: str
    entry: str
    response: str
    accountant: str
    sizing: str | None = None
    quoting: str | None = None
    queue: str | None = None
    cancel: str | None = None
    replace: str | None = None


class _Part(Table):
    name: str


class _Entry(_Part):
    span: Count | None = None

    @model_validator(mode="after")
    def _spanned(self) -> _Entry:
        if self.name == "constant" and self.span is None:
            raise ValueError("constant has no span")
        return self


class _Latency(Table):
    service: _Part
    feed: _Part
    entry: _Entry
    response: _Part
    scale: Annotated[float, Field(ge=0)]


class _Window(Table):
    start: Instant | None
    end: Instant | None


class _Config(Table):
    dataset: str
    strategy: _Part
    latency: _Latency
    window: _Window
    limit: Count | None
    symbols: list[str] | None
    seed: Annotated[int, Field(ge=0)]
    device: str
    undropped: bool = False
    warmup: Count


class _Origin(Table):
    sha256: str | None = None


class _Inputs(Table):
    data: str
    fingerprint: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    origins: dict[str, _Origin] | None = None


class _Resumed(Table):
    event: Count | None = None
    answered: Count


class _Predictions(Table):
    key: Digest | None
    reused: bool = False
    strategy: str | None = None
    answered: Count | None = None
    seconds: Annotated[float, Field(ge=0, le=1e15)] | None = None
    resumed: _Resumed | None = None


class _Notes(Table):
    answers: _Predictions
    undropped: _Predictions | None = None
    reference: _Predictions | None = None


class _Calendar(Table):
    zone: Annotated[str, AfterValidator(known_zone)]
    sessions: Sessions | None
    open_ns_a_day: Length
    open_ns_a_year: Length


class _Manifest(Table):
    run: str
    digest: str
    partial: bool
    in_sample: bool | None
    loop: _Loop
    conformance: str | None
    reference: str | None = None
    dataset: str
    calendar: _Calendar | None = None
    labels: _Labels
    config: _Config
    determined_by: _Inputs
    predictions: _Notes
    seconds: Annotated[float, Field(ge=0, le=1e15)] | None = None


class _Quantiles(Table):
    p50: Figure | None
    p99: Figure | None
    max: Figure | None


class _Delays(Table):
    feed: _Quantiles | None = None
    queueing: _Quantiles | None = None
    service: _Quantiles | None = None
    sojourn: _Quantiles


class _Timing(Table):
    events: Count
    dropped: Count
    expired: Count
    conflated: Count
    sojourn_growth: Number | None = None
    response_rate: Annotated[float, Field(ge=0, le=1)] | None
    latency_ns: _Delays


class _Against(Table):
    correlation: Number | None = None
    rmse: Number | None = None


class _ByTarget(Table):
    forecast: dict[str, Number]
    outputs: list[dict[str, Number]]


class _AgainstTargets(Table):
    ic: Number | None = None
    r2: Number | None = None
    by_target: dict[str, _ByTarget] | None = None


class _Accuracy(Table):
    reference: _Against | None
    targets: _AgainstTargets | None = None
    no_opinion: Annotated[float, Field(ge=0, le=1)] | None = None


class _Account(Table):
    currency: str | None = None
    money_unit: Unit = Decimal("1e-9")
    net: Figure | None = None
    ideal: Figure | None = None
    missed: Figure | None = None
    silence: Figure | None = None
    liquidity: Figure | None = None
    decision: Figure | None = None
    feed: Figure | None = None
    queueing: Figure | None = None
    service: Figure | None = None
    entry: Figure | None = None
    rest: Figure | None = None
    spread: Figure | None = None
    impact: Figure | None = None
    fees: Figure | None = None
    turnover: Figure | None = None
    exposure: Figure | None = None
    net_points: Number | None = None
    total_requests: Count | None = None
    total_responses: Count | None = None
    response_rate: Number | None = None
    average_latency_ms: Number | None = None
    max_absolute_error: list[Number] | None = None
    mean_absolute_error: list[Number] | None = None


class _Reports(Table):
    reports: Count
    lots: Count


class _Bound(Table):
    net: Figure
    fills: Count
    lots: Count | None = None


class _Bracket(Table):
    through: _Bound
    optimistic: _Bound


class _Orders(Table):
    accepted: _Reports
    rejected: _Reports
    filled: _Reports
    took: _Reports
    cancelled: _Reports
    replaced: _Reports
    expired: _Reports
    late: _Reports
    bracket: _Bracket | None = None


class _Decisions(Table):
    batches: Count
    timers: Count
    merged_timers: Count
    messages: Count


class _Metrics(Table):
    timing: _Timing
    accuracy: _Accuracy
    account: _Account
    orders: _Orders | None = None
    decisions: _Decisions | None = None


def read_manifest(path: Path) -> dict[str, Any]:
    """What was run.

    Raises:
        DataError: the file cannot be read, or a key that readers rely on is missing or wrong.
    """
    return _checked(path, _Manifest)


def read_metrics(path: Path) -> dict[str, Any]:
    """What came out, in figures.

    Raises:
        DataError: as ``read_manifest``.
    """
    return _checked(path, _Metrics)


def _checked(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    folder = path.parent
    near = None if folder.exists() else suggested_path(folder)
    value = read_json_table(path, remedy=near or _REMEDY)
    try:
        model.model_validate(value)
    except ValidationError as error:
        errors = error.errors()
        keys = [".".join(map(str, each["loc"])) for each in errors]
        named = first_of(keys, 1)
        if {"run", "digest"} <= value.keys() and errors[0]["type"] == "missing":
            problem = f"is the folder of a run in an older format, without {named}"
            raise DataError(problem, place=str(path), remedy=_OLDER) from None
        problem = errors[0]["msg"].removeprefix("Value error, ")
        problem = f"is not the folder of a run: {named}: {problem}"
        raise DataError(problem, place=str(path), remedy=_REMEDY) from None
    return value
